"""Metal: found by attenuation, sided, and what it spoils."""

from __future__ import annotations

import numpy as np
import pytest
from support.volumes import body

from inference.metal import find_metal, reach_mm
from inference.results import Metal
from inference.structures import BY_KEY, Side
from inference.volume import Volume


def with_metal(hu: float, z: slice, y: slice, x: slice) -> Metal:
    """Find metal in a body with a block of it; voxels are 8 x 4 x 4 mm = 0.128 cm3."""
    patient = body()
    values = patient.volume.hu.copy()
    values[z, y, x] = hu
    return find_metal(Volume(values, patient.geometry), patient.segments)


LEFT_FEMORAL_HEAD = slice(55, 65), slice(28, 34), slice(74, 80)
"""Around x = 86 mm, at the height of the hip joint: 10 x 6 x 6 voxels = 46 cm3."""


def test_a_body_without_metal_has_none():
    patient = body()

    assert find_metal(patient.volume, patient.segments) == Metal()


def test_a_clipped_prosthesis_is_found_on_its_side_and_spoils_what_is_around():
    found = with_metal(3071, *LEFT_FEMORAL_HEAD)
    spoiled = {segment.key for segment in found.spoiled}

    assert found.volume_cm3 == pytest.approx(360 * 0.128)
    assert found.sides == (Side.LEFT,)
    assert {"FEMUR_L", "PELVIS_L", "GMAX_L", "OE_L"} <= spoiled
    assert not {"FEMUR_R", "VLVI_R", "GMED_R"} & spoiled


def test_dense_cortical_bone_is_no_metal():
    assert with_metal(2200, *LEFT_FEMORAL_HEAD) == Metal()


def test_noise_in_single_voxels_is_no_metal():
    """One voxel of a finer grid: 2 x 2 x 2 mm = 8 mm3."""
    patient = body(spacing_mm=(8.0, 2.0, 2.0))
    hu = patient.volume.hu.copy()
    hu[40, 60, 100] = 3000

    assert find_metal(Volume(hu, patient.geometry), patient.segments) == Metal()


def test_metal_in_a_scan_without_anatomy_has_no_side():
    patient = body()
    hu = patient.volume.hu.copy()
    hu[LEFT_FEMORAL_HEAD] = 3071
    found = find_metal(Volume(hu, patient.geometry), np.zeros_like(patient.segments))

    assert (found.sides, found.spoiled) == ((), ())
    assert found.volume_cm3 > 40


def test_metal_on_both_sides_is_named_on_both():
    patient = body()
    hu = patient.volume.hu.copy()
    hu[55:60, 30:33, 32:35] = hu[55:60, 30:33, 76:79] = 3071
    found = find_metal(Volume(hu, patient.geometry), patient.segments)

    assert found.sides == (Side.RIGHT, Side.LEFT)
    assert {BY_KEY["FEMUR_R"], BY_KEY["FEMUR_L"]} <= set(found.spoiled)


def test_more_metal_reaches_further_within_limits():
    """1 cm3 reaches 20 mm, 8 cm3 twice as far; a clip of 0.05 cm3 10 mm, 50 cm3 60 mm."""
    assert [reach_mm(v) for v in (1000, 8000, 50, 50_000)] == pytest.approx([20, 40, 10, 60])
