"""Both sides of a case graded by a trained network, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.graders import (
    DECLARATION,
    Hips,
    case_of,
    hips_of,
    radiographs,
    trained_grader,
    worn,
)

from inference.grading.bundle import GraderBundle
from inference.grading.grades import CHANGED, open_grader, with_grades, with_grades_of
from inference.grading.network import GraderNetwork
from inference.grading.subject import AGAINST_HEADER, FAILED, Subject
from inference.grading.writing import write_grader_bundle
from inference.phantom.body import BodySpec
from inference.phantom.implants import Implant
from inference.phantom.spec import Zone
from inference.results import CaseResult, GradeCode, Region, SideGrade, Verdict
from inference.structures import BY_KEY, Side

TRAINED_ON = range(1, 8)
HELD_OUT = range(20, 24)
NOBODY = Subject()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> GraderBundle:
    """The tiny network, trained on seven bodies."""
    return trained_grader(tmp_path_factory.mktemp("graders") / "tiny", TRAINED_ON)


@pytest.fixture(scope="module")
def hips() -> Hips:
    """A body that the network has not seen."""
    return hips_of(HELD_OUT[0])


def grades(hips: Hips, bundle: GraderBundle, **changes: object) -> dict[Side, SideGrade]:
    case = with_grades(
        case_of(hips, **changes), hips.volume, open_grader(bundle.folder), NOBODY
    )
    return {each.side: each for each in case.grades}


def test_it_tells_worn_hips_of_bodies_that_it_has_not_seen(bundle: GraderBundle):
    """16 radiographs, half of them worn; by chance half of them would be right."""
    images, classes = radiographs(HELD_OUT)
    found = [int(np.argmax(bundle.probabilities(image))) for image in images]

    assert len(classes) == 16
    assert np.mean(np.array(found) == classes) >= 0.85


@pytest.mark.parametrize("sides", [(), (Side.LEFT,), (Side.RIGHT,), tuple(Side)])
def test_each_side_of_a_case_has_its_own_grade(
    bundle: GraderBundle, hips: Hips, sides: tuple[Side, ...]
):
    found = grades(worn(hips, *sides), bundle)

    assert list(found) == list(Side)
    for side, grade in found.items():
        assert grade.grade == ("worn" if side in sides else "normal")
        assert grade.probability == max(p for _, p in grade.probabilities)
        assert grade.probability > 0.5
        assert [name for name, _ in grade.probabilities] == ["normal", "worn"]
        assert (grade.scale, grade.grader) == ("wear", bundle.identity)
        assert grade.hip is not None
        assert grade.hip == hips.centres[side]


def test_probabilities_that_are_no_numbers_are_no_grade(
    bundle: GraderBundle, hips: Hips, tmp_path: Path
):
    """Every weight is finite, and so large that what follows is not."""
    network = GraderNetwork(bundle.declared.architecture, 2).eval()
    with torch.no_grad():
        network.blocks[1][0].weight.fill_(1e30)
        network.head.weight.fill_(1e30)
    found = grades(hips, write_grader_bundle(tmp_path / "large", network, DECLARATION))

    for side, grade in found.items():
        assert (grade.grade, grade.probability, grade.probabilities) == (None, None, ())
        assert grade.reason == "the grader's probabilities are no numbers"
        assert grade.hip == hips.centres[side]


def test_a_class_carries_its_code_where_the_bundle_gives_one(bundle: GraderBundle, hips: Hips):
    found = grades(worn(hips, Side.LEFT), bundle)

    assert found[Side.RIGHT].code == GradeCode("17621005", "SCT", "Normal")
    assert found[Side.LEFT].code is None


def without(key: str, verdict: Verdict) -> Callable[[CaseResult], CaseResult]:
    """The case with another verdict on a structure."""
    number = BY_KEY[key].number - 1

    def changed(case: CaseResult) -> CaseResult:
        structures = list(case.structures)
        structures[number] = replace(structures[number], verdict=verdict)
        return replace(case, structures=tuple(structures))

    return changed


@pytest.mark.parametrize(
    ("key", "verdict", "reason"),
    [
        ("FEMUR_L", Verdict.FAILED, "the segmentation of the femur failed"),
        ("PELVIS_L", Verdict.FAILED, "the segmentation of the pelvis failed"),
        ("PELVIS_L", Verdict.NOT_PROVIDED, "the pelvis is not provided by the model"),
        ("FEMUR_L", Verdict.ABSENT, "the femur was not found"),
        ("PELVIS_L", Verdict.SPOILED, "metal spoils the pelvis"),
    ],
)
def test_a_hip_whose_bones_are_doubted_has_no_grade_and_the_other_has(
    bundle: GraderBundle, hips: Hips, key: str, verdict: Verdict, reason: str
):
    case = without(key, verdict)(case_of(hips))
    right, left = with_grades(case, hips.volume, open_grader(bundle.folder), NOBODY).grades

    assert (left.grade, left.probability, left.reason) == (None, None, reason)
    assert right.grade == "normal"


def test_a_case_that_failed_or_whose_sides_are_doubted_has_no_grade(
    bundle: GraderBundle, hips: Hips, tmp_path: Path
):
    table = tmp_path / "grades.csv"
    table.write_text("case,side,grade\none,R,2\n")
    coverage = replace(case_of(hips).coverage, against_header=True, region=Region.PARTIAL)
    for case, reason in (
        (case_of(hips, verdict=Verdict.FAILED), FAILED),
        (case_of(hips, coverage=coverage, verdict=Verdict.FAILED), AGAINST_HEADER),
    ):
        for path in (bundle.folder, table):
            graded = with_grades(case, hips.volume, open_grader(path), Subject(case="one"))
            assert {each.reason for each in graded.grades} == {reason}
            assert {each.grade for each in graded.grades} == {None}


def test_a_replaced_head_has_no_grade(bundle: GraderBundle):
    body = BodySpec(implants=(Implant.named("hip-left"),))
    found = grades(hips_of(0, body=body), bundle)

    assert (found[Side.LEFT].grade, found[Side.LEFT].reason) == (None, "metal at the hip")
    assert found[Side.RIGHT].grade is not None


def test_a_hip_too_near_the_scan_s_end_has_no_grade(bundle: GraderBundle):
    """The scan ends 27 mm above the centre; the cube reaches 60 mm, 28 % of it not seen."""
    found = grades(hips_of(21, zones=(Zone(4.0, 425.0),)), bundle)

    for grade in found.values():
        assert grade.grade is None
        assert "of the cube around the hip lies outside the scan" in grade.reason
        assert grade.hip is not None


def test_a_grader_that_has_changed_since_its_hash_was_taken_gives_no_grade(
    hips: Hips, tmp_path: Path
):
    table = tmp_path / "grades.csv"
    table.write_text("case,side,grade\none,R,2\none,L,1\n")
    sha256 = open_grader(table).identity.sha256
    case, subject = case_of(hips), Subject(case="one")

    same = with_grades_of(case, hips.volume, str(table), sha256, subject)
    table.write_text("case,side,grade\none,R,3\none,L,1\n")
    other = with_grades_of(case, hips.volume, str(table), sha256, subject)
    table.unlink()
    gone = with_grades_of(case, hips.volume, str(table), sha256, subject)

    assert [each.grade for each in same.grades] == ["2", "1"]
    assert {each.reason for each in (*other.grades, *gone.grades)} == {CHANGED}


def test_a_side_has_a_grade_or_a_reason_and_never_both(bundle: GraderBundle):
    with pytest.raises(ValueError, match="a grade or a reason"):
        SideGrade(Side.LEFT, bundle.identity)
    with pytest.raises(ValueError, match="a grade or a reason"):
        SideGrade(Side.LEFT, bundle.identity, grade="1", reason="metal")
