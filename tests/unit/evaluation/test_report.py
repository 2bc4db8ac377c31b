"""The report as files: self-contained, complete, and honest about what is missing."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

from PIL import Image
from support.scored import scored_arm

from inference.evaluation.report import scores_csv, write_report
from inference.evaluation.scored import Evaluation, LeftOut
from inference.structures import BY_ABBREVIATION

FEW = (BY_ABBREVIATION["PELVIS"], BY_ABBREVIATION["GMED"])
"""Enough for every figure; two panels instead of 22 take a second instead of six."""


def evaluation() -> Evaluation:
    first = scored_arm("a", structures=FEW)
    second = scored_arm("b", structures=FEW, shift=-0.01, seed=2)
    few = scored_arm("a", structures=FEW, samples=1, shift=-0.02)
    return Evaluation(
        (first, second),
        (few, first),
        (LeftOut("case99", "a", "<gantry> tilt"),),
        (("cases", "12 of 13 listed"),),
    )


def test_the_report_needs_no_other_file(tmp_path: Path):
    text = write_report(evaluation(), tmp_path).read_text()

    assert text.count('src="data:image/png;base64,') == 5
    assert not re.search(r'(src|href)="(?!data:)', text)
    for number in range(3, 12):
        assert f"Table {number}. " in text
    assert "case99, a: &lt;gantry&gt; tilt" in text


def test_tables_and_figures_are_files_too(tmp_path: Path):
    write_report(evaluation(), tmp_path)

    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert {"table-3-a.md", "table-3-b.csv", "table-4.csv", "table-9-a.md"} <= names
    pictures = sorted((tmp_path / "figures").glob("*.png"))
    assert [path.stem for path in pictures] == [
        "figure-4",
        "figure-5-a",
        "figure-5-b",
        "figure-6",
        "figure-7-a",
    ]
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width > 1000


def test_what_an_earlier_report_had_more_is_gone(tmp_path: Path):
    write_report(evaluation(), tmp_path)
    write_report(Evaluation((scored_arm("a", sides=False, structures=FEW),)), tmp_path)

    assert not list(tmp_path.glob("*/*-b.*"))
    assert not list(tmp_path.glob("figures/figure-7*"))
    assert "Not given: no case names an affected side" in (tmp_path / "report.html").read_text()


def test_scores_are_a_line_for_each_arm_case_structure_and_scope():
    rows = list(csv.DictReader(io.StringIO(scores_csv(evaluation()))))

    assert len(rows) == 3 * 12 * (3 + 3)
    assert {row["samples"] for row in rows} == {"1", "10"}
    assert {row["scope"] for row in rows} == {"both", "R", "L"}


def test_two_cases_make_a_report_that_says_what_they_cannot_tell(tmp_path: Path):
    text = write_report(
        Evaluation((scored_arm(cases=2, structures=FEW),)), tmp_path
    ).read_text()

    assert "No correlation: fewer than 3 cases" in text
    assert "No test was possible" in text
    assert "no structure has both good and bad cases" in text


def test_one_case_is_enough_for_a_report(tmp_path: Path):
    arm = scored_arm(cases=1, structures=FEW)
    without = replace(arm.cases[0], structures=arm.cases[0].structures[:3])
    text = write_report(Evaluation((replace(arm, cases=(without,)),)), tmp_path).read_text()

    assert "fewer than two cases have both Dice and uncertainty" in text
    assert "no muscle is annotated" in text
