"""What a scan shows and what its border cuts, on a crude body of which parts are scanned."""

from __future__ import annotations

import numpy as np
import pytest
from support.volumes import AIR_HU, Body, body

from inference.anatomy.coverage import coverage
from inference.results import Coverage, Region
from inference.structures import BY_KEY, Side
from inference.volume import Volume

PADDING_HU = -2048


def seen(patient: Body) -> Coverage:
    return coverage(patient.segments, patient.volume)


def keys(found: Coverage) -> set[str]:
    return {segment.key for segment in found.cut}


def test_a_whole_scan_is_hip_to_knee_and_cuts_nothing():
    found = seen(body())

    assert (found.region, found.cut) == (Region.HIP_TO_KNEE, ())
    assert found.words == "The scan shows hip to knee on both sides."


def test_a_scan_that_begins_below_the_top_of_the_psoas_names_it_cut():
    """The psoas reaches 690 mm, the gluteus medius 630; the scan ends at 640 mm."""
    found = seen(body(z_mm=(-40, 640)))

    assert found.region is Region.HIP_TO_KNEE
    assert keys(found) == {"PSOAS_R", "PSOAS_L"}


def test_a_scan_that_ends_above_the_knee_is_partial_and_cuts_the_femora():
    found = seen(body(z_mm=(100, 720)))

    assert found.region is Region.PARTIAL
    assert {"FEMUR_R", "FEMUR_L", "BF_R", "VM_L"} <= keys(found)
    assert "not the knee end of the femur" in found.words


def test_a_scan_that_begins_at_the_hip_joint_is_partial():
    found = seen(body(z_mm=(-40, 440)))

    assert found.region is Region.PARTIAL
    assert "not the hip" in found.words


def test_a_pelvis_slab_is_partial():
    found = seen(body(z_mm=(520, 620)))

    assert found.region is Region.PARTIAL
    assert {"PELVIS_R", "GMED_L", "SACRUM"} <= keys(found)


def test_a_slab_of_a_few_millimetres_is_partial():
    """Three slices of 2 mm through the iliac wings."""
    found = seen(body(z_mm=(540, 546), spacing_mm=(2.0, 4.0, 4.0)))

    assert found.region is Region.PARTIAL


def test_two_knees_are_partial_though_hardly_a_muscle_reaches_them():
    """The lowest 12 cm of the femora; what muscle there is, is taken away."""
    patient = body(z_mm=(-200, 120))
    bones = np.where((patient.segments == 3) | (patient.segments == 4), patient.segments, 0)
    found = coverage(bones.astype(np.uint8), patient.volume)

    assert found.region is Region.PARTIAL
    assert "the knee end of the femur on both sides" in found.words


def test_one_leg_in_view_is_named():
    found = seen(body(sides=(Side.LEFT,)))

    assert found.region is Region.HIP_TO_KNEE
    assert "on the left side only" in found.words


def test_no_labels_are_neither_hip_nor_thigh():
    patient = body()
    found = coverage(np.zeros_like(patient.segments), patient.volume)

    assert (found.region, found.cut) == (Region.ELSEWHERE, ())


def test_islands_scattered_over_a_scan_are_no_evidence():
    """Every structure on both sides, but no more than 1 cm3 of each, here and there."""
    patient = body()
    random = np.random.default_rng(3)
    segments = np.zeros_like(patient.segments)
    where = random.choice(segments.size, size=43 * 8, replace=False)
    segments.flat[where] = np.tile(np.arange(1, 44, dtype=np.uint8), 8)

    assert coverage(segments, patient.volume).region is Region.ELSEWHERE


def test_a_bone_without_muscles_around_it_is_not_believed():
    """A skull labelled as pelvis is large, but no gluteal muscles lie beside it."""
    patient = body()
    skull = np.where(patient.segments <= 2, patient.segments, 0).astype(np.uint8)

    assert skull.any()
    assert coverage(skull, patient.volume).region is Region.ELSEWHERE


def test_labels_on_fat_and_air_are_not_believed():
    """The right shapes in the wrong place: everything is shifted by half a body."""
    patient = body()
    shifted = np.roll(patient.segments, 30, axis=1)

    assert coverage(shifted, patient.volume).region is Region.ELSEWHERE


def test_a_small_island_in_the_last_slice_cuts_nothing():
    patient = body()
    segments = patient.segments.copy()
    segments[-1, 30, 50] = BY_KEY["GMAX_L"].number

    assert coverage(segments, patient.volume).cut == ()


def test_the_edge_of_the_image_cuts_what_touches_it():
    """The field of view ends 120 mm right of the midline, through the right vastus."""
    found = seen(body(x_mm=(-120, 220)))

    assert {"VLVI_R", "GMED_R"} <= keys(found)
    assert "FEMUR_R" not in keys(found)
    assert not [key for key in keys(found) if key.endswith("L")]


def test_the_rim_of_the_reconstructed_circle_cuts_what_touches_it():
    """A circle of 125 mm radius around the midline: vasti and glutei medii reach beyond."""
    patient = body()
    columns = np.abs(np.arange(patient.geometry.columns) * 4.0 - 220.0)
    hu = patient.volume.hu.copy()
    hu[:, :, columns > 125] = PADDING_HU
    segments = patient.segments.copy()
    segments[:, :, columns > 125] = 0
    found = coverage(segments, Volume(hu, patient.geometry))

    assert {"VLVI_R", "VLVI_L", "GMED_R", "GMED_L"} <= keys(found)
    assert not {"FEMUR_R", "AD_L", "RF_R"} & keys(found)


@pytest.mark.parametrize("air", [AIR_HU, -1024])
def test_air_around_the_skin_is_no_rim(air: int):
    patient = body()
    hu = np.where(patient.volume.hu == AIR_HU, air, patient.volume.hu).astype(np.int16)

    assert coverage(patient.segments, Volume(hu, patient.geometry)).cut == ()
