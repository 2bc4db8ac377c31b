"""The cut below the knee: which labels go, which slices count as left out, what is said."""

from __future__ import annotations

import numpy as np
import pytest
from support.volumes import Body, body

from inference.anatomy.coverage import coverage, lower_legs_words
from inference.anatomy.femur_ends import FemurEnd
from inference.anatomy.knees import SeenKnee
from inference.anatomy.lower_legs import Cut, cut_below_knees
from inference.results import Coverage, Knee, LowerLegs, Region
from inference.structures import BY_KEY, Side

WHOLE = body(z_mm=(-400, 720))
"""The femora end at 0 mm; slices are 8 mm apart, the first at -400."""

RIGHT = SeenKnee(height_mm=-10.0, across_mm=(124.0, 130.0))
LEFT = SeenKnee(height_mm=15.0, across_mm=(124.0, 310.0))


def cut(patient: Body, *knees: SeenKnee) -> Cut:
    return cut_below_knees(patient.segments, patient.geometry, knees)


def below(patient: Body, height_mm: float) -> np.ndarray:
    return np.asarray(patient.geometry.slice_offsets_mm < height_mm)


def hallucinated(patient: Body, *keys: str) -> Body:
    """The same with what the segments cover at the knee all the way down."""
    segments = patient.segments.copy()
    for key in keys:
        number = BY_KEY[key].number
        section = (patient.segments == number).any(axis=0)
        segments[below(patient, 40)] = np.where(section, number, segments[below(patient, 40)])
    return Body(patient.labels, segments, patient.volume)


def shown(patient: Body, found: Cut) -> Coverage:
    return coverage(found.segments, patient.volume, found.legs, found.first_slices)


def test_labels_below_the_knee_go_and_the_slices_are_counted():
    """The femora are seen down to 4 mm: 46 slices, from -400 to -40, lie below -36 mm."""
    patient = hallucinated(WHOLE, "BF_R", "VM_L")
    found = cut(patient, RIGHT, LEFT)

    np.testing.assert_array_equal(found.segments[below(patient, -36)], 0)
    kept = ~below(patient, -36)
    np.testing.assert_array_equal(found.segments[kept], patient.segments[kept])
    assert found.legs is not None
    assert (found.legs.slices, found.legs.kept_mm) == (46, 40.0)


def test_the_joint_is_the_femurs_lower_end_where_the_ct_agrees():
    found = cut(WHOLE, RIGHT, LEFT)

    assert found.legs is not None
    assert [knee.side for knee in found.legs.knees] == [Side.RIGHT, Side.LEFT]
    assert [knee.height_mm for knee in found.legs.knees] == pytest.approx([0, 0], abs=8)


def test_a_tibia_that_was_taken_for_a_femur_does_not_move_the_cut():
    """The label goes on to the feet; the CT says that the knee is at 15 mm."""
    patient = hallucinated(WHOLE, "FEMUR_L")
    found = cut(patient, RIGHT, LEFT)

    assert found.legs is not None
    assert found.legs.knees[1] == Knee(Side.LEFT, 15.0)
    assert not found.segments[below(patient, -30), :, 55:].any()


def test_each_leg_is_cut_at_its_own_knee():
    """The right knee is 80 mm higher than the left; only what is below both is left out."""
    segments = hallucinated(WHOLE, "BF_R", "BF_L").segments.copy()
    right = np.isin(segments, [s.number for s in BY_KEY.values() if s.side is Side.RIGHT])
    lifted = np.where(right, segments, 0)
    segments[right] = 0
    segments[10:] = np.where(lifted[:-10] > 0, lifted[:-10], segments[10:])
    patient = Body(WHOLE.labels, segments, WHOLE.volume)
    found = cut(patient, SeenKnee(75.0, RIGHT.across_mm), LEFT)

    lowest = {
        key: patient.geometry.slice_offsets_mm[
            np.flatnonzero((found.segments == BY_KEY[key].number).any(axis=(1, 2)))[0]
        ]
        for key in ("BF_R", "BF_L")
    }
    assert lowest["BF_R"] - lowest["BF_L"] == pytest.approx(80, abs=8)
    assert found.legs is not None
    assert found.legs.slices == 46


def test_the_cut_counts_as_the_scans_border():
    """A label that reaches it is cut; the femur, which ends above, is not; nor is the knee."""
    patient = hallucinated(WHOLE, "BF_R")
    found = shown(patient, cut(patient, RIGHT, LEFT))

    assert found.region is Region.HIP_TO_KNEE
    assert found.cut == (BY_KEY["BF_R"],)
    assert found.words == (
        "The scan shows hip to knee on both sides. "
        "It was cut 40 mm below each knee joint: 46 slices of the lower legs left out."
    )


def test_without_a_knee_in_the_ct_the_end_of_a_whole_femur_tells():
    """A cast hides the fibula; the femur is there from hip to knee."""
    found = cut(hallucinated(WHOLE, "BF_L"))

    assert found.legs is not None
    assert found.legs.slices == 46


def test_a_knee_seen_on_one_side_is_given_to_the_femur_above_it():
    patient = body(z_mm=(-400, 720), sides=(Side.LEFT,))
    found = cut(patient, LEFT)

    assert found.legs is not None
    assert [knee.side for knee in found.legs.knees] == [Side.LEFT]
    assert found.legs.slices == 46
    assert "of the lower leg left out" in shown(patient, found).words


@pytest.mark.parametrize("lowest_mm", [-48, -40, 100])
def test_a_scan_that_ends_about_the_knee_or_above_is_not_cut(lowest_mm: float):
    patient = body(z_mm=(lowest_mm, 720))
    found = cut(patient)

    assert found.legs is None
    np.testing.assert_array_equal(found.segments, patient.segments)
    assert shown(patient, found).lower_legs is None


def test_a_stump_of_a_femur_is_no_knee():
    """The right femur ends in mid-thigh, 150 mm long, with nothing of a leg below."""
    segments = WHOLE.segments.copy()
    right = [s.number for s in BY_KEY.values() if s.side is Side.RIGHT]
    segments[np.isin(segments, right) & below(WHOLE, 320)[:, None, None]] = 0
    found = cut(Body(WHOLE.labels, segments, WHOLE.volume), LEFT)

    assert found.legs is not None
    assert [knee.side for knee in found.legs.knees] == [Side.LEFT]


def test_the_end_of_a_stump_is_no_knee_however_long_the_femur():
    """230 mm of a right femur are left; the scan goes on to the left foot."""
    segments = WHOLE.segments.copy()
    right = [s.number for s in BY_KEY.values() if s.side is Side.RIGHT]
    segments[np.isin(segments, right) & below(WHOLE, 240)[:, None, None]] = 0
    ends = {Side.RIGHT: FemurEnd.STUMP, Side.LEFT: FemurEnd.KNEE}
    found = cut_below_knees(segments, WHOLE.geometry, [LEFT], ends)

    assert found.legs is not None
    assert [knee.side for knee in found.legs.knees] == [Side.LEFT]


def test_there_is_no_knee_without_a_thigh():
    """A shoulder that looks like a knee, above labels of anything but a femur."""
    femora = [BY_KEY[f"FEMUR_{side}"].number for side in Side]
    segments = np.where(np.isin(WHOLE.segments, femora), 0, WHOLE.segments).astype(np.uint8)
    found = cut_below_knees(segments, WHOLE.geometry, [SeenKnee(300.0, RIGHT.across_mm)])

    assert found.legs is None
    assert found.first_slices == {}
    np.testing.assert_array_equal(found.segments, segments)


def test_a_cut_of_nothing_is_not_told():
    """A right femur ends in mid-air and is taken for a whole one; the left is in all slices."""
    patient = hallucinated(WHOLE, "FEMUR_L", "VM_L")
    segments = patient.segments.copy()
    right = [s.number for s in BY_KEY.values() if s.side is Side.RIGHT]
    segments[np.isin(segments, right) & below(WHOLE, 160)[:, None, None]] = 0
    found = cut_below_knees(segments, WHOLE.geometry, [], {Side.LEFT: FemurEnd.LOST})

    assert found.legs is None
    assert found.first_slices == {}


def test_a_leg_cut_beside_one_that_goes_on_is_told_without_a_number_of_slices():
    """The right knee is drawn up; the left thigh is in every slice of the right lower leg."""
    patient = body(z_mm=(60, 720))
    segments = patient.segments.copy()
    right = [s.number for s in BY_KEY.values() if s.side is Side.RIGHT]
    segments[np.isin(segments, right) & below(patient, 240)[:, None, None]] = 0
    segments[:4, 40, 30] = BY_KEY["BF_R"].number
    found = cut_below_knees(segments, patient.geometry, [SeenKnee(240.0, RIGHT.across_mm)])

    assert found.legs == LowerLegs((Knee(Side.RIGHT, 240.0),), 0, 40.0)
    assert lower_legs_words(found.legs) == ("The right leg was cut 40 mm below the knee joint.")


def test_one_slice_is_told_in_the_singular():
    legs = LowerLegs((Knee(Side.LEFT, 0.0),), 1, 40.0)

    assert lower_legs_words(legs) == (
        "It was cut 40 mm below the knee joint: 1 slice of the lower leg left out."
    )
    assert lower_legs_words(None) == ""
