"""Scores side by side, by numbers worked by hand."""

from __future__ import annotations

import pytest

from inference.evaluation.score_table import COLUMNS, score_table
from inference.evaluation.scored import Arm
from inference.evaluation.scores import CaseScore, Scope, StructureScore

DICE = (0.90, 0.88, 0.92, 0.90, 0.40)
"""Median .90, MAD .02: inaccurate below .8407, failed below .8110. The last has failed."""
UNCERTAINTY = (1e-4, 2e-4, 3e-4, 4e-4, 2.5e-4)
DISAGREEMENT = (0.10, 0.12, 0.08, 0.11, 0.60)


def case(number: int, *, found: bool = True) -> CaseScore:
    score = StructureScore(
        "GMED",
        Scope.BOTH,
        true_voxels=100,
        found_voxels=100,
        dice=DICE[number],
        uncertainty=UNCERTAINTY[number] if found else None,
        disagreement=DISAGREEMENT[number] if found else None,
    )
    return CaseScore(f"case{number}", (score,))


def cells(arm: Arm) -> dict[str, object]:
    row = score_table(arm).rows[0]
    return {column.heading: cell for column, cell in zip(COLUMNS, row, strict=True)}


def test_each_score_has_its_auroc_and_aurc_on_the_same_cases():
    """By uncertainty the failed case is third of five: 2 of 4 good ones lie below it.

    Kept by uncertainty: risks .10 .12 .60 .08 .10, means .10 .11 .2733 .225 .20.
    By disagreement .08 .10 .10 .12 .60: .08 .09 .0933 .10 .20.
    """
    found = cells(Arm("one", tuple(case(number) for number in range(5))))

    assert found["cases failed"] == 1
    assert found["mean risk"] == pytest.approx(0.2)
    assert found["uncertainty: AUROC failed"] == 0.5
    assert found["uncertainty: AURC"] == pytest.approx(0.9083333 / 5)
    assert found["disagreement: AUROC failed"] == 1.0
    assert found["disagreement: AURC"] == pytest.approx(0.5633333 / 5)


def test_a_structure_that_was_not_found_counts_as_the_worst():
    cases = [case(number) for number in range(4)] + [case(4, found=False)]

    found = cells(Arm("one", tuple(cases)))

    assert found["uncertainty: AUROC failed"] == 1.0


def test_a_score_that_no_case_has_is_named_and_has_no_figures():
    arm = Arm("one", tuple(case(number) for number in range(5)))

    assert cells(arm)["volume CV: AURC"] is None
    assert any("No case has: volume CV." in note for note in score_table(arm).notes)


def test_an_arm_without_any_annotation_says_so():
    assert score_table(Arm("one", (CaseScore("empty", ()),))).missing
