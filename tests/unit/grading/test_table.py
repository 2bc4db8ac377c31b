"""A table of grades is taken as it stands, or refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cases import small_case

from inference.errors import BundleError
from inference.geometry import Geometry
from inference.grading.grades import open_grader, with_grades
from inference.grading.subject import Subject
from inference.grading.table import NO_ROW, SEVERAL
from inference.results import CaseResult, SideGrade
from inference.structures import Side
from inference.volume import Volume

SUBJECT = Subject(series_instance_uid="1.2.3", patient_id="P1", case="one")
HEAD = "series_instance_uid,patient_id,case,side,grade,grader,scale\n"


def graded(folder: Path, text: str, subject: Subject = SUBJECT) -> dict[Side, SideGrade]:
    path = folder / "grades.csv"
    path.write_text(text, encoding="utf-8")
    grid = Geometry.regular((12, 64, 64), (5.0, 4.0, 4.0))
    case: CaseResult = small_case(grid)
    volume = Volume(case.segments.astype("int16"), grid)
    grades = with_grades(case, volume, open_grader(path), subject).grades
    assert [each.side for each in grades] == list(Side)
    return {each.side: each for each in grades}


def test_each_side_has_the_grade_of_its_row_and_nobody_s_probability(tmp_path: Path):
    found = graded(tmp_path, HEAD + "1.2.3,,,R,2,reader A,KL\n,P1,,left,4,reader B,KL\n")

    right, left = found[Side.RIGHT], found[Side.LEFT]
    assert (right.grade, right.scale, right.grader.name) == ("2", "KL", "reader A")
    assert (left.grade, left.grader.name, left.grader.kind) == ("4", "reader B", "table")
    assert right.probability is left.probability is None


def test_a_row_fits_only_a_case_that_has_all_the_names_it_gives(tmp_path: Path):
    found = graded(tmp_path, HEAD + "1.2.3,P2,,R,2,,\n,,one,L,1,,\n")

    assert (found[Side.RIGHT].grade, found[Side.RIGHT].reason) == (None, NO_ROW)
    assert found[Side.LEFT].grade == "1"


def test_a_case_without_a_name_fits_no_row(tmp_path: Path):
    found = graded(tmp_path, "patient_id,side,grade\nP1,R,2\n", Subject(case="x.nii.gz"))

    assert {each.reason for each in found.values()} == {NO_ROW}


def test_two_grades_for_one_side_are_none(tmp_path: Path):
    found = graded(tmp_path, "case,side,grade\none,R,2\none,right,3\none,L,1\none,L,1\n")

    assert (found[Side.RIGHT].grade, found[Side.RIGHT].reason) == (None, SEVERAL)
    assert found[Side.LEFT].grade == "1"


def test_a_spreadsheet_s_byte_order_mark_and_quotes_are_read(tmp_path: Path):
    found = graded(tmp_path, '\ufeffcase,side,grade,grader\none,R,"2, late","Müller, A."\n')

    assert (found[Side.RIGHT].grade, found[Side.RIGHT].grader.name) == ("2, late", "Müller, A.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,side,grade\none,B,2\n", "line 2: side is none of R, L"),
        ("case,side,grade\none,R,\n", "line 2: has no grade"),
        ("case,side,grade\n,R,2\n", "line 2: names no case"),
        ("case,side,grade\none,R\n", "line 2: not as many values"),
        ("case,side,grade\none,R,2,3\n", "line 2: not as many values"),
        ("case,side,kl\none,R,2\n", "no column is called 'kl'"),
        ("case,grade\none,2\n", "there is no column side"),
        ("side,grade\nR,2\n", "no column series_instance_uid or patient_id or case"),
        ("", "there is no column side"),
        ("case,side,grade\none,R," + "x" * 65 + "\n", "more than 64 characters"),
        ("case,case,side,grade\none,one,R,1\n", "two columns have one name"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_line(tmp_path: Path, text: str, words: str):
    path = tmp_path / "grades.csv"
    path.write_text(text)

    with pytest.raises(BundleError, match=r"grades\.csv") as caught:
        open_grader(path)

    assert words in str(caught.value)


def test_a_message_about_a_table_names_no_patient(tmp_path: Path):
    path = tmp_path / "grades.csv"
    path.write_text("patient_id,side,grade\nYamada,both,2\n")

    with pytest.raises(BundleError) as caught:
        open_grader(path)

    assert "Yamada" not in str(caught.value)


def test_a_table_that_is_no_text_or_not_there_is_refused(tmp_path: Path):
    (tmp_path / "grades.csv").write_bytes(b"case,side,grade\n\xff\xfe,R,2\n")

    with pytest.raises(BundleError, match="not UTF-8"):
        open_grader(tmp_path / "grades.csv")
    with pytest.raises(BundleError, match="No such file"):
        open_grader(tmp_path / "none.csv")
