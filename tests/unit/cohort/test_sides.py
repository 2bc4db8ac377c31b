"""Affected sides: the file, whom its lines mean, and the study's comparison by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.cohorts import cohort, renamed

from dicom_node.cohort.cohort import Cohort, Quantity
from dicom_node.cohort.records import CaseRecord, Grade
from dicom_node.cohort.side_comparison import compare_sides, grades_of_affected
from dicom_node.cohort.sides_file import KnownSides, known_sides, read_sides, worse_side
from dicom_node.errors import ConfigurationError
from inference.structures import Side


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def with_volumes(case: CaseRecord, key: str, right: float, left: float) -> CaseRecord:
    """The case with other volumes of one structure."""
    told = {f"{key}_R": right, f"{key}_L": left}
    structures = tuple(
        replace(one, volume_cm3=told[one.segment.key], verdict="accepted")
        if one.segment.key in told
        else one
        for one in case.structures
    )
    return replace(case, structures=structures)


def test_a_case_is_meant_by_name_folder_uid_or_patient(tmp_path: Path):
    cases = list(cohort(4, refused_every=0))
    cases[3] = renamed(cases[3], name="results/far/below")
    file = written(
        tmp_path / "sides.csv",
        "case,affected_side\n"
        f"case0001,R\n{cases[1].source.series_instance_uid},left\nP-case0003,L\nbelow,r\n",
    )
    known = known_sides(cases, read_sides(file))

    assert known.affected == {
        "case0001": Side.RIGHT,
        "case0002": Side.LEFT,
        "case0003": Side.LEFT,
        "results/far/below": Side.RIGHT,
    }
    assert known.unmatched == ()


def test_a_folder_name_that_two_cases_share_means_neither(tmp_path: Path):
    first, second = cohort(2, refused_every=0)
    cases = [renamed(first, name="a/one"), renamed(second, name="b/one")]
    file = written(tmp_path / "sides.csv", "case,affected_side\none,R\nb/one,L\n")

    known = known_sides(cases, read_sides(file))

    assert known.affected == {"b/one": Side.LEFT}
    assert known.unmatched == ("one",)


def test_both_and_none_are_no_pair_and_the_greater_grade_tells_the_side(tmp_path: Path):
    cases = cohort(5, refused_every=0)
    file = written(
        tmp_path / "sides.csv",
        "case;affected_side;grade_R;grade_L\n"
        "case0001;both;3;3\ncase0002;none;4;1\ncase0003;;1;3\ncase0004;;2;2\nnobody;R;;\n",
    )
    known = known_sides(cases, read_sides(file))

    assert known.affected == {"case0003": Side.LEFT}
    assert known.by_grade == 1
    assert known.unmatched == ("nobody",)
    assert known.grades["case0002"] == {Side.RIGHT: "4", Side.LEFT: "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "columns missing"),
        ("name,side\na,R\n", "columns 'name', 'side'"),
        ("case\na\n", "columns 'case'"),
        ("case,affected_side\na,R\nb,up\n", "line 3: affected_side 'up'"),
        ("case,affected_side\n,R\n", "line 2: no case"),
        ("case,affected_side\na,R,3\n", "line 2: more cells than columns"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_line(tmp_path: Path, text: str, words: str):
    with pytest.raises(ConfigurationError, match=words):
        read_sides(written(tmp_path / "sides.csv", text))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("case0001,R,,\ncase0001,L,,\n", "lines 2 and 3 .* affected_side"),
        ("case0001,,3,1\n2.25.20001,,2,\n", "lines 2 and 3 .* grade_R"),
        ("case0002,R,,\ncase0001,none,,\nP-case0001,both,,\n", "lines 3 and 4"),
    ],
)
def test_lines_that_contradict_each_other_are_refused(tmp_path: Path, lines: str, words: str):
    file = written(tmp_path / "sides.csv", f"case,affected_side,grade_R,grade_L\n{lines}")

    with pytest.raises(ConfigurationError, match=words):
        known_sides(cohort(2, refused_every=0), read_sides(file))


def test_lines_that_say_the_same_or_more_of_a_case_are_one(tmp_path: Path):
    file = written(
        tmp_path / "sides.csv",
        "case,affected_side,grade_R,grade_L\ncase0001,R,,\ncase0001,right,3,\ncase0001,,,1\n",
    )
    known = known_sides(cohort(1, refused_every=0), read_sides(file))

    assert known.affected == {"case0001": Side.RIGHT}
    assert known.grades["case0001"] == {Side.RIGHT: "3", Side.LEFT: "1"}


@pytest.mark.parametrize("grades", [("nan", "1"), ("2", "nan"), ("inf", "1"), ("", "1")])
def test_a_grade_that_is_no_finite_number_tells_no_side(grades: tuple[str, str]):
    assert worse_side(dict(zip(Side, grades, strict=True))) is None


def test_a_file_that_is_no_text_or_not_there_is_told(tmp_path: Path):
    (tmp_path / "latin.csv").write_bytes(b"case,affected_side\nM\xfcller,R\n")
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte"):
        read_sides(tmp_path / "latin.csv")
    with pytest.raises(ConfigurationError, match="No such file"):
        read_sides(tmp_path / "none.csv")


def test_grades_of_records_tell_sides_by_the_grader_of_most():
    case, other = cohort(2, refused_every=0)
    graded = replace(
        case,
        grades=(
            Grade("R", "1", 0.7, "net"),
            Grade("L", "3", 0.9, "net"),
            Grade("R", "4", None, "reader"),
        ),
    )
    known = known_sides([graded, other])

    assert known.affected == {"case0001": Side.LEFT}
    assert known.grader == "net"
    assert known.by_others == 0


def test_readers_who_share_the_cases_are_one_grader_and_a_network_is_another():
    """Two readers with a case each, and a network with one: the readers' two count."""
    cases = list(cohort(3, refused_every=0))
    graders = (("Ito", True), ("Sato", True), ("net", False))
    for number, (grader, by_people) in enumerate(graders):
        both = (("R", "2"), ("L", "0"))
        grades = (Grade(side, one, None, grader, by_people=by_people) for side, one in both)
        cases[number] = replace(cases[number], grades=tuple(grades))
    known = known_sides(cases)

    assert known.affected == {"case0001": Side.RIGHT, "case0002": Side.RIGHT}
    assert (known.grader, known.by_others) == ("people, in tables of grades", 1)


def test_the_comparison_is_that_of_its_pairs():
    """Affected sides R, R, L: affected 90 80 70, unaffected 100 100 80: 10 20 10 less.

    Too few to be far from normal: t = -13.33 / (5.77 / √3) = -4.
    """
    cases = [
        with_volumes(case, "RF", *volumes)
        for case, volumes in zip(
            cohort(3, refused_every=0), ((90, 100), (80, 100), (80, 70)), strict=True
        )
    ]
    known = KnownSides(
        {"case0001": Side.RIGHT, "case0002": Side.RIGHT, "case0003": Side.LEFT}, {}
    )

    found = compare_sides(Cohort.of(cases), known, Quantity.VOLUME)
    (rf,) = [one for one in found if one.structure.abbreviation == "RF"]

    assert list(rf.affected) == [90, 80, 70]
    assert list(rf.unaffected) == [100, 100, 80]
    assert rf.test.difference == pytest.approx(-40 / 3)
    assert rf.effect.cohens_dz == pytest.approx(-4 / np.sqrt(3))
    assert rf.effect.rank_biserial == -1.0


def test_p_values_are_scipys_times_the_structures_tested():
    table = Cohort.of(cohort(40, refused_every=0, affected_less=0.1))
    known = known_sides(table.cases)

    found = compare_sides(table, known, Quantity.MEAN_HU)

    assert len(found) == 21
    for one in found:
        differences = one.affected - one.unaffected
        normal = stats.shapiro(differences).pvalue >= 0.05
        theirs = (
            stats.ttest_rel(one.affected, one.unaffected).pvalue
            if normal
            else stats.wilcoxon(one.affected, one.unaffected).pvalue
        )
        assert one.test.name == ("t" if normal else "Wilcoxon")
        assert one.test.corrected_p == pytest.approx(min(1.0, 21 * theirs))


def test_a_grade_compares_the_pairs_whose_affected_side_has_it():
    table = Cohort.of(cohort(40, refused_every=0, affected_less=0.1))
    known = known_sides(table.cases)

    grades = grades_of_affected(table, known)
    pairs = [compare_sides(table, known, Quantity.MEAN_HU, one)[0].test.pairs for one in grades]

    assert grades == ("2", "3", "4")
    assert sum(pairs) == compare_sides(table, known, Quantity.MEAN_HU)[0].test.pairs


def test_two_scans_of_one_patient_are_one_pair():
    first, second = cohort(2, refused_every=0)
    cases = [first, renamed(second, patient_key=first.source.patient_key)]
    known = KnownSides({"case0001": Side.RIGHT, "case0002": Side.RIGHT}, {})

    found = compare_sides(Cohort.of(cases), known, Quantity.MEAN_HU)

    assert max(one.test.pairs for one in found) == 1
