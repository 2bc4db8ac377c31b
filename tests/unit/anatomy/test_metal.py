"""Metal: found by attenuation, sided, and what it spoils."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.volumes import body

from dicom_node.series.reading import read_series
from inference.anatomy.metal import find_metal, reach_mm
from inference.phantom.body import BodySpec
from inference.phantom.implants import Implant, ImplantKind
from inference.phantom.render import Phantom, phantom
from inference.phantom.spec import TWELVE_BIT_HU, PhantomSpec, Zone
from inference.results import Metal
from inference.structures import BY_KEY, Segment, Side
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


COARSE = PhantomSpec(
    zones=(Zone(8.0, 595.0),), pixel_mm=2.0, rows=208, columns=208, maximum_hu=TWELVE_BIT_HU
)


@cache
def plain() -> Phantom:
    """The phantom without metal."""
    return phantom(COARSE)


def keys(segments: tuple[Segment, ...]) -> set[str]:
    return {segment.key for segment in segments}


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("kind", "heights_mm", "held_by", "spoiled", "spared"),
    [
        ("hip", (190, 430), {"FEMUR", "PELVIS"}, {"GMAX", "OE", "VLVI"}, {"SM"}),
        ("knee", (-20, 90), {"FEMUR"}, {"VM", "BF"}, set()),
        ("nail", (-20, 430), {"FEMUR"}, {"PELVIS", "VLVI", "GMED"}, {"PI"}),
        ("plate", (-20, 250), {"FEMUR"}, {"VLVI", "VM"}, {"PE"}),
        ("screws", (300, 420), {"FEMUR"}, {"PELVIS", "OE"}, set()),
    ],
)
def test_implants_are_named_with_their_side_and_what_they_spoil(
    *,
    kind: str,
    heights_mm: tuple[float, float],
    held_by: set[str],
    spoiled: set[str],
    spared: set[str],
    side: Side,
) -> None:
    """On the phantom's own labels, in which metal is no bone."""
    low, high = heights_mm
    implant = BodySpec(implants=(Implant(ImplantKind(kind), side),))
    spec = replace(COARSE, body=implant, lower_mm=low, zones=(Zone(8.0, high),))
    scan = phantom(spec)
    found = find_metal(scan.volume, scan.segments)

    assert found.sides == (side,)
    assert keys(found.held_by) == {f"{name}_{side}" for name in held_by}
    assert {f"{name}_{side}" for name in spoiled} <= keys(found.spoiled)
    assert not keys(found.spoiled) & {f"{name}_{side}" for name in spared}
    assert {segment.side for segment in found.spoiled} == {side}
    assert found.outside_cm3 == 0


def test_implants_on_both_sides_lie_in_both_hips() -> None:
    implants = tuple(Implant(ImplantKind.HIP, side) for side in Side)
    spec = replace(COARSE, lower_mm=190.0, zones=(Zone(8.0, 430.0),))
    scan = phantom(replace(spec, body=BodySpec(implants=implants)))
    found = find_metal(scan.volume, scan.segments)

    assert found.sides == (Side.RIGHT, Side.LEFT)
    assert keys(found.held_by) == {"PELVIS_R", "PELVIS_L", "FEMUR_R", "FEMUR_L"}


@pytest.mark.parametrize("contrast_hu", [0, 200, 600])
def test_bone_and_contrast_agent_are_no_metal(contrast_hu: float) -> None:
    """Contrast in vessels and bladder reads up to about 600 HU, dense cortex 1000 to 2000."""
    spec = replace(COARSE, contrast_hu=contrast_hu, zones=(Zone(16.0, 595.0),))
    scan = phantom(spec)

    assert find_metal(scan.volume, scan.segments) == Metal()


def test_cortex_at_the_end_of_what_bone_can_be_is_no_metal() -> None:
    hu = plain().volume.hu.copy()
    hu[hu > 800] = 2300

    assert find_metal(Volume(hu, plain().volume.geometry), plain().segments) == Metal()


def beside(hu: NDArray[np.int16]) -> Metal:
    return find_metal(Volume(hu, plain().volume.geometry), plain().segments)


def front_row(number: int) -> int:
    """The first row of the body in the middle of a slice."""
    return int(np.flatnonzero(plain().volume.hu[number, :, 104] > -200)[0])


def test_a_coin_on_the_skin_is_told_but_spoils_nothing() -> None:
    """24 mm across and 2 mm thick, in three slices of 8 mm: 1.2 cm3."""
    hu = plain().volume.hu.copy()
    for number in (50, 51, 52):
        hu[number, front_row(number) - 1, 98:110] = TWELVE_BIT_HU

    assert beside(hu) == Metal(outside_cm3=pytest.approx(1.152))


def test_a_zip_and_a_rail_of_the_table_are_no_implants() -> None:
    hu = plain().volume.hu.copy()
    for number in range(45, 60):
        hu[number, front_row(number) - 3, 103:105] = TWELVE_BIT_HU
    back = int(np.flatnonzero(hu[20, :, 104] > -500)[-1])
    hu[:, back - 8 : back - 5, 60:63] = TWELVE_BIT_HU
    found = beside(hu)

    assert (found.volume_cm3, found.sides, found.spoiled) == (0, (), ())
    assert found.outside_cm3 > 10


def test_a_pin_that_enters_through_the_skin_counts_as_far_as_it_is_inside() -> None:
    """A pin of 4 mm from the air through the left thigh; 40 mm of it lie in the thigh."""
    hu = plain().volume.hu.copy()
    front = int(np.flatnonzero(hu[30, :, 155] > -200)[0])
    hu[30:32, front - 20 : front + 20, 155:157] = TWELVE_BIT_HU
    found = beside(hu)

    assert found.sides == (Side.LEFT,)
    assert found.volume_cm3 == pytest.approx(2 * 8 * 4 * 40 / 1000, rel=0.15)
    assert found.outside_cm3 == pytest.approx(2 * 8 * 4 * 40 / 1000, rel=0.15)


def test_a_speck_of_it_that_shows_above_the_skin_is_not_told_by_itself() -> None:
    """One voxel of 32 mm3 of a pin is out in the air."""
    hu = plain().volume.hu.copy()
    front = int(np.flatnonzero(hu[30, :, 155] > -200)[0])
    hu[30, front : front + 20, 155] = TWELVE_BIT_HU
    found = beside(hu)

    assert found.volume_cm3 == pytest.approx(19 * 0.032)
    assert found.outside_cm3 == 0


def test_a_real_body_without_implants_has_no_metal(shared_data: Path) -> None:
    """Visible Human Female: the densest voxels are cortex, 1823 and 1475 HU."""
    for name in ("vhf_knee_5mm", "vhf_pelvis_slab"):
        volume = read_series(sorted((shared_data / "ct" / name).glob("*"))).volume
        assert find_metal(volume, np.zeros(volume.hu.shape, np.uint8)) == Metal()
