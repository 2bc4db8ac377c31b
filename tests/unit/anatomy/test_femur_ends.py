"""The lower end of a femur: a knee, a stump, or where the labels stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.volumes import body

from inference.anatomy.coverage import coverage
from inference.anatomy.femur_ends import FemurEnd, femur_ends
from inference.phantom.body import BodySpec
from inference.phantom.render import Phantom, phantom
from inference.phantom.spec import LEG_PHANTOM, SMALL_PHANTOM, PhantomSpec, Zone
from inference.results import Region
from inference.structures import BY_KEY, Side
from inference.volume import Volume

AIR_HU, SOFT_HU = -1000, 40
KNEES = dict.fromkeys(Side, FemurEnd.KNEE)
MIDDLE = SMALL_PHANTOM.columns // 2
LEFT = slice(MIDDLE, None)
BOTH = slice(None)


def amputated(
    spec: PhantomSpec, below_mm: float, columns: slice, *, soft_mm: float = 0.0
) -> tuple[np.ndarray, Volume]:
    """A phantom without what lies below a height, but for soft tissue over the bone."""
    whole = phantom(spec)
    segments, hu = whole.segments.copy(), np.array(whole.volume.hu)
    heights = whole.volume.geometry.slice_offsets_mm
    gone = heights < below_mm
    covered = gone & (heights >= below_mm - soft_mm)
    segments[gone, :, columns] = 0
    part = hu[:, :, columns]
    part[covered] = np.where(part[covered] > SOFT_HU, SOFT_HU, part[covered])
    part[gone & ~covered] = AIR_HU
    return segments, Volume(hu, whole.volume.geometry)


def without_labels(found: Phantom, below_mm: float, key: str) -> np.ndarray:
    segments = found.segments.copy()
    below = segments[found.volume.geometry.slice_offsets_mm < below_mm]
    below[below == BY_KEY[key].number] = 0
    segments[: len(below)] = below
    return segments


@pytest.mark.parametrize("spec", [SMALL_PHANTOM, LEG_PHANTOM], ids=["hip to knee", "limbs"])
@pytest.mark.parametrize("height_m", [1.0, 1.2, 1.6, 1.9])
def test_the_knees_of_children_and_adults_are_knees(spec: PhantomSpec, height_m: float):
    found = phantom(replace(spec, body=replace(spec.body, height_m=height_m)))

    assert set(femur_ends(found.segments, found.volume).values()) <= {FemurEnd.KNEE}


@pytest.mark.parametrize("spec", [SMALL_PHANTOM, LEG_PHANTOM], ids=["hip to knee", "limbs"])
@pytest.mark.parametrize("below_mm", [15, 40, 70, 120, 200, 300, 340])
def test_a_leg_that_ends_anywhere_above_the_knee_is_a_stump(spec: PhantomSpec, below_mm: float):
    """From just above the joint line to below the trochanters."""
    segments, volume = amputated(spec, below_mm, LEFT)

    assert femur_ends(segments, volume)[Side.LEFT] is FemurEnd.STUMP
    assert femur_ends(segments, volume).get(Side.RIGHT, FemurEnd.KNEE) is FemurEnd.KNEE


@pytest.mark.parametrize("soft_mm", [0, 30, 60, 100])
def test_soft_tissue_covers_a_stump(soft_mm: float):
    segments, volume = amputated(LEG_PHANTOM, 200, LEFT, soft_mm=soft_mm)

    assert femur_ends(segments, volume)[Side.LEFT] is FemurEnd.STUMP


@pytest.mark.parametrize("sides", [LEFT, BOTH])
def test_air_that_is_the_same_everywhere_is_air(sides: slice):
    """Clipped at -1000, as many conversions do, it fills the corners like padding."""
    segments, volume = amputated(SMALL_PHANTOM, 200, sides)
    clipped = Volume(np.maximum(volume.hu, -1000), volume.geometry)

    assert femur_ends(segments, clipped)[Side.LEFT] is FemurEnd.STUMP


@pytest.mark.parametrize("below_mm", [40, 200])
def test_both_legs_may_be_stumps(below_mm: float):
    segments, volume = amputated(SMALL_PHANTOM, below_mm, BOTH)
    shown = coverage(segments, volume)

    assert femur_ends(segments, volume) == dict.fromkeys(Side, FemurEnd.STUMP)
    assert shown.region is Region.PARTIAL
    assert "not the knee end of the femur" in shown.words
    assert "The femur ends without a knee on both sides." in shown.words


def test_a_stump_that_nothing_is_seen_below_tells_by_its_length():
    """Soft tissue down to the end of the scan: narrow, and shorter than the other femur."""
    segments, volume = amputated(SMALL_PHANTOM, 150, LEFT, soft_mm=400)

    assert femur_ends(segments, volume)[Side.LEFT] is FemurEnd.STUMP


@pytest.mark.parametrize("below_mm", [70, 120, 200])
def test_labels_that_stop_while_the_bone_goes_on_are_no_stump(below_mm: float):
    found = phantom(SMALL_PHANTOM)
    segments = without_labels(found, below_mm, "FEMUR_L")
    shown = coverage(segments, found.volume)

    assert femur_ends(segments, found.volume)[Side.LEFT] is FemurEnd.LOST
    assert shown.words == (
        "The scan shows hip to knee on the right side only. "
        "The segmentation of the femur ends above the knee on the left."
    )
    assert shown.lost == (BY_KEY["FEMUR_L"],)
    assert shown.stump == ()


def test_a_scan_that_ends_with_the_femur_says_nothing():
    found = phantom(replace(SMALL_PHANTOM, lower_mm=200.0, zones=(Zone(15.25, 595.0),)))

    assert femur_ends(found.segments, found.volume) == {}


def test_a_leg_outside_the_image_is_not_gone():
    """The circle that was reconstructed shows less and less of the left leg."""
    found = phantom(SMALL_PHANTOM)
    hu, segments = np.array(found.volume.hu), found.segments.copy()
    low = found.volume.geometry.slice_offsets_mm < 150
    hu[low, :, MIDDLE:] = -2048
    segments[low, :, MIDDLE:] = 0
    hu[:, [0, -1]] = -2048
    volume = Volume(hu, found.volume.geometry)

    assert femur_ends(segments, volume)[Side.LEFT] is FemurEnd.KNEE


def test_the_knee_of_a_leg_that_ends_below_it_is_one():
    """The lower leg of one side alone goes on; the other ends 38 mm below the joint."""
    found = phantom(replace(LEG_PHANTOM, body=BodySpec(lower_legs=(Side.LEFT,))))

    assert femur_ends(found.segments, found.volume) == KNEES


def test_a_body_whose_femora_end_in_flesh_has_knees():
    patient = body(z_mm=(-200, 720))

    assert femur_ends(patient.segments, patient.volume) == KNEES


def test_what_an_amputation_takes_part_of_is_named_and_the_hip_is_not():
    segments, volume = amputated(SMALL_PHANTOM, 200, LEFT)
    shown = coverage(segments, volume)
    named = {segment.key for segment in shown.stump}

    assert {"FEMUR_L", "VLVI_L", "VM_L", "AD_L", "RF_L", "BF_L"} <= named
    assert not {"PELVIS_L", "GMED_L", "ILI_L", "PSOAS_L", "TFL_L"} & named
    assert not [key for key in named if key.endswith("R")]
    assert shown.region is Region.HIP_TO_KNEE
    assert shown.words == (
        "The scan shows hip to knee on the right side only. "
        "The femur ends without a knee on the left."
    )


def test_a_hip_without_a_femur_is_told():
    segments, volume = amputated(SMALL_PHANTOM, 430, LEFT)
    segments = np.where(segments == BY_KEY["FEMUR_L"].number, 0, segments).astype(np.uint8)

    assert coverage(segments, volume).words == (
        "The scan shows hip to knee on the right side only. No femur was found on the left."
    )
