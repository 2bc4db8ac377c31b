"""The disease grades of the hips in a report, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.cases import CONTEXT, RECORD, of_kind, small_case, small_series
from support.golden import tree_text

from dicom_node.case_files.report_reader import reported_structures
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from inference.geometry import Geometry
from inference.results import GradeCode, GraderIdentity, SideGrade
from inference.structures import Side
from sr_templates.words import grade_words

BUNDLE = GraderIdentity("bundle", "hip-oa", "2.1", "ab" * 32)
READER = GraderIdentity("table", "reader A", "", "cd" * 32)
CODED = SideGrade(
    Side.RIGHT,
    BUNDLE,
    grade="normal",
    probability=0.91234,
    scale="Wear",
    code=GradeCode("17621005", "SCT", "Normal"),
    scale_code=GradeCode("WEAR", "99SITE", "Wear of the hip"),
)
NAMED = SideGrade(Side.LEFT, BUNDLE, grade="3", probability=0.5, scale="Wear")
NONE = SideGrade(Side.LEFT, BUNDLE, reason="metal at the hip")
GRADE = "DISEASEGRADE"


def report(folder: Path, grades: Sequence[SideGrade], kind: str = "SR") -> Dataset:
    series = small_series(folder)
    case = small_case(series.volume.geometry, grades=tuple(grades))
    kinds = RECORD | {ResultKind.SR_KEY_SLICE}
    return of_kind(publish_case(series, case, CONTEXT, kinds), kind)


def evaluations(dataset: Dataset) -> list[Dataset]:
    (container,) = [
        item
        for item in dataset.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Qualitative Evaluations"
    ]
    return list(container.ContentSequence)


def called(items: Sequence[Dataset], value: str) -> list[Dataset]:
    return [item for item in items if item.ConceptNameCodeSequence[0].CodeValue == value]


def below(item: Dataset, value: str) -> Dataset:
    (found,) = called(item.ContentSequence, value)
    return found


def test_a_grade_with_a_code_is_coded_with_its_side_probability_and_grader(tmp_path: Path):
    (item,) = called(evaluations(report(tmp_path, [CODED, NONE])), "WEAR")
    site = below(item, "363698007")

    assert item.ValueType == "CODE"
    assert item.ConceptCodeSequence[0].CodeValue == "17621005"
    assert site.ConceptCodeSequence[0].CodeValue == "24136001"
    assert below(site, "272741003").ConceptCodeSequence[0].CodeValue == "24028007"
    assert below(item, "122157").MeasuredValueSequence[0].NumericValue == 0.912
    assert below(item, "111001").TextValue == "hip-oa"
    assert below(item, "111003").TextValue == "2.1"
    assert "ab" * 32 in below(item, "111002").TextValue


def test_a_grade_without_a_code_is_text_under_the_project_s_name(tmp_path: Path):
    (item,) = called(evaluations(report(tmp_path, [CODED, NAMED])), GRADE)

    assert (item.ValueType, item.TextValue) == ("TEXT", "3")
    site = below(item, "363698007")
    assert below(site, "272741003").ConceptCodeSequence[0].CodeValue == "7771000"


def test_a_person_s_grade_has_neither_probability_nor_algorithm(tmp_path: Path):
    grades = [SideGrade(side, READER, grade="2") for side in Side]

    for item in called(evaluations(report(tmp_path, grades)), GRADE):
        assert [one.ConceptNameCodeSequence[0].CodeValue for one in item.ContentSequence] == [
            "363698007"
        ]


def test_a_side_without_a_grade_has_no_item_but_a_reason_in_words(tmp_path: Path):
    items = evaluations(report(tmp_path, [NAMED, NONE]))
    (words,) = called(items, "GRADETEXT")

    assert len(called(items, GRADE)) == 1
    assert "left not graded (metal at the hip)" in words.TextValue


@pytest.mark.parametrize("kind", ["SR", "SR-KEYSLICE"])
def test_every_report_says_the_grades(tmp_path: Path, kind: str):
    assert called(evaluations(report(tmp_path, [NAMED], kind)), GRADE)


def test_a_report_without_a_grader_is_the_one_that_it_was(tmp_path: Path):
    """Golden files hold it byte for byte; nothing in it speaks of grades."""
    text = tree_text(report(tmp_path, []))

    assert "grade" not in text.lower()


def test_the_structures_of_a_report_are_read_as_without_grades(tmp_path: Path):
    with_them = reported_structures(report(tmp_path / "1", [CODED, NAMED]))

    assert with_them == reported_structures(report(tmp_path / "2", []))


def test_the_words_name_sides_scale_probability_and_grader():
    geometry = Geometry.regular((12, 64, 64), (5.0, 4.0, 4.0))
    case = small_case(geometry, grades=(CODED, NONE))

    assert grade_words(case) == (
        "Wear of the hips: right normal (probability 0.91); left not graded (metal at the "
        "hip). Graded by hip-oa 2.1."
    )
    assert grade_words(small_case(geometry)) == ""
