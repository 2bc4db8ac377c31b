"""The study's tables: the right numbers in the right cells, or words why there are none."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.scored import DATA_SETS, scored_arm

from inference.evaluation import tables
from inference.evaluation.exhibits import Table
from inference.evaluation.failure import of_average
from inference.evaluation.scored import Arm, Evaluation, Quantity, SideClass
from inference.evaluation.scores import CaseScore, Scope, StructureScore
from inference.evaluation.statistics import MeanSd
from inference.structures import BY_ABBREVIATION, STRUCTURES, Side

GMED = BY_ABBREVIATION["GMED"]
SACRUM = BY_ABBREVIATION["SACRUM"]


def cells(table: Table) -> list[dict[str, str]]:
    """The CSV as a reader gets it."""
    return list(csv.DictReader(io.StringIO(table.csv())))


def row(table: Table, name: str) -> dict[str, str]:
    (found,) = (one for one in cells(table) if next(iter(one.values())) == name)
    return found


def gmed_arm(*dice: float, uncertainty: tuple[float, ...] | None = None) -> Arm:
    """An arm of one structure."""
    unsure = uncertainty or tuple(1 - value for value in dice)
    pairs = zip(dice, unsure, strict=True)
    return Arm(
        "one",
        tuple(
            CaseScore(
                f"case{k}",
                (StructureScore("GMED", Scope.BOTH, 9, 9, dice=d, asd_mm=1.0, uncertainty=u),),
            )
            for k, (d, u) in enumerate(pairs)
        ),
    )


def test_table_3_follows_the_study_s_rule():
    """Dice .96 .94 .92 .80 .50, uncertainty 1 - Dice.

    Limits .801392 and .742088 (see test_evaluation_metrics): two cases inaccurate, one
    failed. The line is Dice = 1 - u, so the limits of u are .198608 and .257912.
    """
    found = row(tables.failure_table(gmed_arm(0.96, 0.94, 0.92, 0.80, 0.50)), "GMED")

    assert float(found["Dice limit, inaccurate"]) == pytest.approx(0.801392)
    assert (found["cases inaccurate"], found["cases failed"]) == ("2", "1")
    assert float(found["correlation"]) == pytest.approx(-1.0)
    assert float(found["uncertainty limit, inaccurate"]) == pytest.approx(0.198608)
    assert float(found["uncertainty limit, failed"]) == pytest.approx(0.257912)
    assert (found["AUROC inaccurate"], found["AUROC failed"]) == ("1", "1")


def test_table_3_says_in_words_what_it_cannot_give():
    table = tables.failure_table(gmed_arm(0.9, 0.9, uncertainty=(0.0, 0.0)))
    found = row(table, "GMED")

    assert found["correlation"] == found["AUROC failed"] == ""
    assert found["uncertainty limit, failed"] == ""
    assert any("No AUROC" in note for note in table.notes)
    assert any("No correlation" in note for note in table.notes)


def test_a_line_that_rises_gives_no_limit():
    arm = gmed_arm(0.5, 0.8, 0.9, 0.95, uncertainty=(1.0, 2.0, 3.0, 4.0))

    assert row(tables.failure_table(arm), "GMED")["uncertainty limit, failed"] == ""


def test_table_4_has_means_groups_and_no_test_of_a_single_bundle():
    arm = scored_arm()
    table = tables.accuracy_table(Evaluation((arm,)), 4, "x", (tables.DICE, tables.ASD))

    dice = arm.values(GMED, Quantity.DICE)
    assert float(row(table, "GMED")["Dice, mean"]) == pytest.approx(dice.mean())
    assert float(row(table, "GMED")["Dice, SD"]) == pytest.approx(dice.std(ddof=1))
    names = [next(iter(one.values())) for one in cells(table)]
    assert names[-4:] == ["bones", "hip muscles", "thigh muscles", "all structures"]
    assert not any("test" in column.heading for column in table.columns)


def test_two_bundles_are_tested_structure_by_structure_with_bonferroni():
    first, second = scored_arm("a"), scored_arm("b", shift=-0.01, seed=2)
    evaluation = Evaluation((first, second))
    table = tables.accuracy_table(evaluation, 4, "x", (tables.DICE,))
    pair = [arm.values(GMED, Quantity.DICE) for arm in (first, second)]
    normal = stats.shapiro(pair[0] - pair[1]).pvalue >= 0.05
    theirs = (stats.ttest_rel if normal else stats.wilcoxon)(*pair).pvalue

    found = row(table, "GMED")

    assert found["test"] == ("t" if normal else "Wilcoxon")
    assert float(found["p, corrected"]) == pytest.approx(min(1.0, theirs * 22))
    assert float(found["Dice (b), mean"]) == pytest.approx(pair[1].mean())


def test_table_6_has_a_column_for_each_data_set():
    arm = scored_arm()
    table = tables.data_set_table(Evaluation((arm,)), arm)

    north = arm.only(DATA_SETS[0]).values(GMED, Quantity.DICE)
    assert float(row(table, "GMED")["Dice, north (6), mean"]) == pytest.approx(north.mean())


def test_table_7_compares_the_truth_of_the_sides():
    arm = scored_arm()
    table = tables.side_table(Evaluation((arm,)))
    affected = arm.of_side(GMED, Quantity.TRUE_VOLUME, SideClass.AFFECTED, normalised=True)

    found = row(table, "GMED")
    assert float(found["volume, cm3/m2, affected, mean"]) == pytest.approx(affected.mean())
    assert float(found["volume, cm3/m2, unaffected, mean"]) > affected.mean()
    assert row(table, "SACRUM (whole)")["volume, cm3/m2, affected, mean"] == ""


def test_the_affected_side_is_the_one_that_the_case_names():
    """Case 0 is affected on the left, at 1.5 m: volumes over 1.5^2."""
    arm = scored_arm()
    (left,) = (
        s for s in arm.cases[0].structures if (s.structure, s.scope) == ("GMED", Scope.LEFT)
    )

    values = arm.of_side(GMED, Quantity.TRUE_VOLUME, SideClass.AFFECTED, normalised=True)

    assert arm.cases[0].affected is Side.LEFT
    assert left.true_volume_cm3 is not None
    assert values[0] == pytest.approx(left.true_volume_cm3 / 1.5**2)
    assert np.isnan(arm.of_side(SACRUM, Quantity.DICE, SideClass.AFFECTED)).all()


def test_without_every_height_volumes_are_not_normalised_and_a_note_says_so():
    arm = scored_arm()
    nameless = replace(arm.cases[3], height_m=None)
    arm = replace(arm, cases=(*arm.cases[:3], nameless, *arm.cases[4:]))

    table = tables.side_table(Evaluation((arm,)))

    assert "volume, cm3, affected" in [column.heading for column in table.columns]
    assert any("height of 1 case(s) is not known" in note for note in table.notes)


def test_table_8_takes_the_sides_together_where_none_is_affected():
    """Found volumes are 1 + (1 - Dice) / 2 times the truth, all 22 structures alike."""
    arm = scored_arm(sides=False)
    table = tables.agreement_table(Evaluation((arm,)), arm)
    true, found = (
        arm.together(GMED, quantity, normalised=True)
        for quantity in (Quantity.TRUE_VOLUME, Quantity.VOLUME)
    )

    mae = float(row(table, "GMED")["MAE of volume, cm3/m2, mean"])
    assert mae == pytest.approx(np.abs(true - found).mean())
    assert any("right and left are taken together" in note for note in table.notes)


def test_table_9_has_a_row_for_each_number_of_samples():
    arms = tuple(scored_arm(samples=t, shift=-0.01 / t) for t in (1, 5, 10))
    table = tables.samples_table(Evaluation(arms[-1:], arms))

    assert [one["samples"] for one in cells(table)] == ["1", "5", "10"]
    dice = [float(one["Dice, mean"]) for one in cells(table)]
    assert dice == sorted(dice)


def test_table_9_names_the_fewest_samples_that_are_enough():
    """Dice is lower than that of many by .01 / T: at 10 by .001, against 20 by .0005."""
    arms = tuple(scored_arm(samples=t, shift=-0.01 / t) for t in (1, 5, 10, 15, 20))

    assert tables.enough_samples(arms) == 10
    assert tables.enough_samples(arms[:2]) == 5
    assert tables.samples_table(Evaluation(arms[-1:], arms)).notes[-1].endswith(": 10.")


def test_table_10_puts_the_bundles_side_by_side():
    first, second = scored_arm("a"), scored_arm("b", shift=-0.02)
    table = tables.bundle_table(Evaluation((first, second)))
    one, other = cells(table)

    assert (one["bundle"], one["trained on"], one["p of Dice"]) == ("a", "made up", "")
    assert float(other["p of Dice"]) < 0.05
    assert float(one["correlation"]) == pytest.approx(of_average(first).correlation)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (tables.side_table, "no case names an affected side"),
        (tables.samples_table, "one number of samples only"),
        (lambda e: tables.data_set_table(e, e.first), "fewer than two data sets"),
    ],
)
def test_a_table_without_data_says_why_and_has_no_rows(table: Any, words: str):
    arm = scored_arm(sides=False)
    arm = replace(arm, cases=tuple(replace(case, data_set="") for case in arm.cases))

    made = table(Evaluation((arm,)))

    assert words in made.missing
    assert made.rows == ()
    assert f"Not given: {made.missing}" in made.markdown()


def test_tables_3_to_11_are_all_there():
    evaluation = Evaluation((scored_arm("a"), scored_arm("b", seed=2)))

    numbers = [table.number for table in tables.all_tables(evaluation)]

    assert sorted(set(numbers)) == list(range(3, 12))


def test_every_row_has_a_cell_for_every_column():
    arms = (scored_arm("a"), scored_arm("b", seed=2))
    for table in tables.all_tables(Evaluation(arms, arms)):
        assert {len(one) for one in table.rows} == {len(table.columns)}, table.heading


def test_averages_over_structures_leave_out_what_is_not_annotated():
    """One case with Dice .9 of GMED alone: the average is .9, not .9 / 22."""
    arm = gmed_arm(0.9)

    assert arm.averages(Quantity.DICE).tolist() == [0.9]
    assert arm.averages(Quantity.DICE, STRUCTURES[:1]).size == 1
    assert np.isnan(arm.averages(Quantity.DICE, STRUCTURES[:1])[0])


def test_bundles_that_find_different_structures_are_averaged_over_what_both_find():
    """The second knows no pelvis, the first no sacrum: neither is in an average."""
    some = STRUCTURES[:4]
    arms = [
        scored_arm(name, structures=tuple(one for one in some if one.abbreviation != lacks))
        for name, lacks in (("a", "SACRUM"), ("b", "PELVIS"))
    ]
    evaluation = Evaluation(tuple(arms))

    accuracy = tables.accuracy_table(evaluation, 4, "Dice", (tables.DICE,))
    bundles = tables.bundle_table(evaluation)

    rows = {row[0]: row for row in accuracy.rows}
    shared = [one for one in some if one.abbreviation in {"FEMUR", "GMAX"}]
    dice = [arm.averages(Quantity.DICE, shared).mean() for arm in arms]
    means = [cell.mean for cell in rows["all structures"] if isinstance(cell, MeanSd)]
    assert means == pytest.approx(dice)
    assert (rows["PELVIS"][3], rows["SACRUM"][2]) == (None, None)
    assert [row[4].mean for row in bundles.rows] == pytest.approx(dice)
    words = (
        "over the 2 structures that both were made to find. a alone: PELVIS; b alone: SACRUM."
    )
    assert any(words in note for note in accuracy.notes)
    assert any(words in note for note in bundles.notes)
