"""What becomes of a scan whose model was made to find some of the 43 segments only.

The model answers with the phantom's truth, so whatever is wrong here is wrong behind the
network. The phantom shows hip to knee, and cuts both psoas at its upper end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from support.truth_kind import (
    ALL,
    BONES,
    LABEL_OF,
    MUSCLES,
    TOTAL,
    Truth,
    answered,
    of_structures,
    truth_bundle,
    without,
)

from inference.anatomy.frame import Exchanged, exchanged_ends, unchecked
from inference.phantom.render import Phantom, phantom
from inference.phantom.spec import LEG_PHANTOM, SMALL_PHANTOM, PhantomSpec, Zone
from inference.pipeline import analyse
from inference.prediction import Prediction
from inference.results import CaseResult, Finding, Region, SampleKind, Verdict
from inference.structures import BY_KEY, Group, Segment, Side
from inference.volume import Volume
from sr_templates.words import case_words

LEFT = frozenset(s for s in ALL if s.side is Side.LEFT)
KNOWN: Mapping[str, frozenset[Segment]] = {
    "all": ALL,
    "TotalSegmentator's": TOTAL,
    "bones": BONES,
    "no femur": without("FEMUR"),
    "no pelvis": without("PELVIS"),
    "muscles": MUSCLES,
    "muscles of the thigh": frozenset(
        s for s in MUSCLES if s.structure.group is Group.THIGH_MUSCLE
    ),
    "vasti and gracilis": of_structures("VLVI", "GRAC"),
    "one muscle": of_structures("GMED"),
    "the left": LEFT,
    "one muscle of the left": frozenset({BY_KEY["GMED_L"]}),
}
UNTOLD = ("no femur", "no pelvis", "muscles", "muscles of the thigh", "one muscle")


@cache
def scan(spec: PhantomSpec = SMALL_PHANTOM) -> Phantom:
    return phantom(spec)


def case_of(known: str, spec: PhantomSpec = SMALL_PHANTOM) -> CaseResult:
    return answered(scan(spec).volume, scan(spec).segments, KNOWN[known])


@pytest.mark.parametrize("known", KNOWN)
def test_all_that_a_model_provides_gets_its_side_and_the_rest_is_never_absent(known: str):
    """Without a wrong voxel, though the patient lies off the middle of the table."""
    spec = replace(SMALL_PHANTOM, centre_mm=(70.0, SMALL_PHANTOM.centre_mm[1]), columns=192)
    case = case_of(known, spec)
    numbers = [segment.number for segment in KNOWN[known]]
    truth = np.where(np.isin(scan(spec).segments, numbers), scan(spec).segments, 0)

    np.testing.assert_array_equal(case.segments, truth)
    for result in case.structures:
        provided = result.segment in KNOWN[known]
        assert (result.verdict is not Verdict.NOT_PROVIDED) == provided
        assert result.verdict is not Verdict.ABSENT


@pytest.mark.parametrize("known", ["all", "TotalSegmentator's", "bones"])
def test_pelvis_and_femora_tell_the_region_without_their_muscles(known: str):
    case = case_of(known)

    assert case.coverage.region is Region.HIP_TO_KNEE
    assert case.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("known", UNTOLD)
def test_a_region_that_no_bone_of_the_model_tells_is_unknown_and_not_elsewhere(known: str):
    """Each structure keeps its verdict; the case as a whole is not accepted."""
    case = case_of(known)

    assert case.coverage.region is Region.UNKNOWN
    assert (case.verdict, case.findings[0]) == (Verdict.NOT_JUDGED, Finding.REGION_UNKNOWN)
    assert case.of(BY_KEY["GMED_L"]).verdict is not Verdict.ABSENT
    assert case.coverage.words.startswith("Whether the scan shows hip to knee cannot be told: ")
    assert Finding.NOT_HIP_TO_KNEE not in case.findings


def test_the_words_name_the_bone_that_is_lacking_and_what_is_shown_all_the_same():
    words = case_of("no pelvis").coverage.words

    assert (
        "cannot be told: the model does not provide the pelvis. It shows the shaft of" in words
    )
    assert "the knee end of the femur on both sides." in words
    assert (
        "the model does not provide the pelvis and the femur"
        in case_of("muscles").coverage.words
    )


def test_a_knee_without_a_hip_is_a_part_whatever_the_model_lacks():
    """The femur ends at the knee and is cut above: that much is told without a pelvis."""
    spec = replace(SMALL_PHANTOM, lower_mm=-30.0, zones=(Zone(8.0, 120.0),))
    case = case_of("no pelvis", spec)

    assert case.coverage.region is Region.PARTIAL
    assert "the knee end of the femur on both sides, not the shaft" in case.coverage.words
    assert "Whether it shows the hip cannot be told" in case.coverage.words
    assert "not the hip" not in case.coverage.words


def test_one_side_s_model_blames_the_other_side_for_nothing():
    case = case_of("the left")

    assert case.coverage.region is Region.HIP_TO_KNEE
    assert case.coverage.words == (
        "The scan shows hip to knee on the left side (the model does not tell of the other)."
    )
    assert case.verdict is Verdict.ACCEPTED


def test_a_scan_that_shows_none_of_the_model_s_few_muscles_is_not_said_to_be_elsewhere():
    """A pelvis, and a model of the gracilis: it is not found, and that tells nothing."""
    spec = replace(SMALL_PHANTOM, lower_mm=430.0, zones=(Zone(10.0, 540.0),))
    few = answered(scan(spec).volume, scan(spec).segments, of_structures("GRAC"))
    nothing = np.zeros_like(scan().segments)
    many = answered(scan().volume, nothing, MUSCLES)

    assert few.coverage.region is Region.UNKNOWN
    assert few.of(BY_KEY["GRAC_L"]).verdict is Verdict.ABSENT
    assert many.coverage.region is Region.ELSEWHERE
    assert many.verdict is Verdict.FAILED


@pytest.mark.parametrize("known", ["muscles", "no femur", "the left", "TotalSegmentator's"])
def test_lower_legs_are_cut_by_the_knees_of_the_ct_where_no_femur_is_provided(known: str):
    """Labels 55 mm below the knee, which ends at 0 mm, are cut with the calves."""
    patient = scan(LEG_PHANTOM)
    truth = patient.segments.copy()
    heights = patient.volume.geometry.slice_offsets_mm
    below = int(np.searchsorted(heights, heights[truth.any(axis=(1, 2))][0] - 52.0))
    numbers = [BY_KEY["VLVI_L"].number, BY_KEY["GMAX_L"].number]
    truth[below, 60:64, 80:84] = numbers[known == "TotalSegmentator's"]
    case = answered(patient.volume, truth, KNOWN[known])

    assert Finding.BELOW_KNEE_LEFT_OUT in case.findings
    assert not case.segments[below].any()


def test_metal_is_not_said_to_lie_in_a_muscle_by_a_model_without_bones():
    """A nail of 3071 HU in the left femur; its streaks spoil the muscles all the same."""
    patient = scan()
    middle = np.argwhere(patient.segments == BY_KEY["FEMUR_L"].number)
    z, y, x = middle[len(middle) // 2]
    hu = patient.volume.hu.copy()
    hu[z - 2 : z + 3, y - 1 : y + 2, x - 1 : x + 2] = 3071
    volume = Volume(hu, patient.volume.geometry)
    full = answered(volume, patient.segments, ALL).metal
    boneless = answered(volume, patient.segments, MUSCLES).metal

    assert [segment.key for segment in full.held_by] == ["FEMUR_L"]
    assert boneless.held_by == ()
    assert boneless.sides == full.sides == (Side.LEFT,)
    assert set(boneless.spoiled) == set(full.spoiled) - BONES


TURNS = {
    Exchanged.HEAD_AND_FEET: (slice(None, None, -1), slice(None), slice(None, None, -1)),
    Exchanged.FRONT_AND_BACK: (slice(None), slice(None, None, -1), slice(None, None, -1)),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("known", ["muscles", "no femur", "TotalSegmentator's", "the left"])
def test_a_body_against_its_header_is_seen_with_few_structures_too(known: str, turn: Exchanged):
    """Its sides would be exchanged. Of gluteal muscles, they and the sacrum tell."""
    segments = KNOWN[known]
    numbers = [segment.number for segment in segments]
    truth = np.where(np.isin(scan().segments, numbers), scan().segments, 0)
    labels = np.ascontiguousarray(LABEL_OF[truth][TURNS[turn]])

    assert exchanged_ends(LABEL_OF[truth], scan().volume.geometry, segments) == ()
    assert exchanged_ends(labels, scan().volume.geometry, segments) == (turn,)
    assert unchecked(segments) == ""


@pytest.mark.parametrize("lower", range(-20, 540, 80))
def test_no_part_of_an_upright_body_contradicts_its_header_with_few_structures(lower: float):
    part = scan(replace(SMALL_PHANTOM, lower_mm=lower, zones=(Zone(8.0, lower + 104.0),)))
    for known in ("muscles", "TotalSegmentator's", "no femur"):
        numbers = [segment.number for segment in KNOWN[known]]
        labels = LABEL_OF[np.where(np.isin(part.segments, numbers), part.segments, 0)]

        assert exchanged_ends(labels, part.volume.geometry, KNOWN[known]) == ()


@pytest.mark.parametrize(
    ("samples_of", "asked"), [(SampleKind.DROPOUT, 2), (SampleKind.VARIATIONS, 1)]
)
def test_only_of_dropout_is_doubt_about_a_turned_body_known_to_mean_something(
    samples_of: SampleKind, asked: int
):
    """A bundle without calibration, whose doubt is asked about wherever it may be."""
    answers = []

    class Counting(Truth):
        def predict(self, volume: Volume, **told: Any) -> tuple[Prediction, ...]:
            answers.append(len(volume.hu))
            return super().predict(volume, **told)

    model = Counting(scan().segments, samples_of=samples_of, slice_by_slice=True)
    analyse(scan().volume, truth_bundle(model), seed=1)

    assert len(answers) == asked


def test_a_model_of_few_structures_says_that_it_could_not_check_the_header():
    assert "Whether the body lies as the header says was not checked" in case_words(
        case_of("vasti and gracilis")
    )
    assert "was not checked" not in case_words(case_of("muscles"))
