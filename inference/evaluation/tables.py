"""The study's tables 3 to 10, and one of scores, from any labelled cases.

```
3   failure detection: correlation, thresholds, AUROC        7   truth, affected and unaffected
4   Dice and surface distance                                8   agreement of volume and HU
5   errors of volume and of mean HU                          9   the number of samples
6   the data sets                                           10   the bundles
                                                            11   scores side by side
```
A table that the cases cannot fill says why. Mean and standard deviation are over the cases;
of a group or of all structures, over the cases' own averages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.exhibits import Cell, Column, Table
from inference.evaluation.failure import FailureDetection, of_average, of_structure
from inference.evaluation.score_table import score_table
from inference.evaluation.scored import Arm, Evaluation, Quantity, SideClass
from inference.evaluation.statistics import (
    PairedTest,
    absolute_error,
    bonferroni,
    both_known,
    concordance,
    mean_sd,
    paired_test,
)
from inference.structures import Group, Structure

Values = NDArray[np.float64]

ALL: Final = "all structures"
FAILURE_COLUMNS: Final = (
    Column("structure"),
    Column("cases"),
    Column("Dice median", ".3f"),
    Column("Dice limit, inaccurate", ".3f"),
    Column("Dice limit, failed", ".3f"),
    Column("cases inaccurate"),
    Column("cases failed"),
    Column("correlation", ".3f"),
    Column("AUROC inaccurate", ".3f"),
    Column("AUROC failed", ".3f"),
    Column("uncertainty limit, inaccurate", ".2e"),
    Column("uncertainty limit, failed", ".2e"),
)

FAILURE_WORDS: Final = (
    "Inaccurate and failed: Dice below median + 1.4826 k MAD with k = -2 and -3, the median and"
    " MAD being those of these cases. Uncertainty limits: where the regression line of Dice on"
    " uncertainty crosses the Dice limits, which may be beyond all cases; not given where the"
    " line does not fall. A structure that was not found has no uncertainty: such cases are not"
    " in this table."
)
AGREEMENT_WORDS: Final = (
    "CCC: Lin's concordance correlation coefficient, from 3 cases on. MAE: mean absolute error"
    " ± its standard deviation, where the structure was found."
)
ENOUGH_DICE: Final = 0.001
"""The study's Dice, too, is given to three decimals."""

ONE_ARM: Final = "one bundle only: nothing to compare it with"


@dataclass(frozen=True, slots=True)
class Measure:
    """A quantity with its heading and how it is written."""

    quantity: Quantity
    heading: str
    form: str


DICE: Final = Measure(Quantity.DICE, "Dice", ".3f")
ASD: Final = Measure(Quantity.ASD, "ASD, mm", ".3f")
AVE: Final = Measure(Quantity.AVE, "AVE, %", ".2f")
AIE: Final = Measure(Quantity.AIE, "AIE, HU", ".2f")
UNCERTAINTY: Final = Measure(Quantity.UNCERTAINTY, "uncertainty", ".2e")


def all_tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """Every table, in the order of their numbers."""
    several = len(evaluation.arms) > 1
    return (
        *(failure_table(arm, named=several) for arm in evaluation.arms),
        accuracy_table(evaluation, 4, "Segmentation accuracy", (DICE, ASD)),
        accuracy_table(evaluation, 5, "Errors of volume and of mean HU", (AVE, AIE)),
        *(data_set_table(evaluation, arm, named=several) for arm in evaluation.arms),
        side_table(evaluation),
        *(agreement_table(evaluation, arm, named=several) for arm in evaluation.arms),
        samples_table(evaluation),
        bundle_table(evaluation),
        *(score_table(arm, named=several) for arm in evaluation.arms),
    )


def failure_table(arm: Arm, *, named: bool = False) -> Table:
    """Table 3: how well the uncertainty tells bad segmentations."""
    detections = [(one, of_structure(arm, one)) for one in arm.structures()]
    rows = [_failure_row(one.abbreviation, found) for one, found in detections]
    rows.append(_failure_row("average of the structures", of_average(arm)))
    medians = [_median(row[place] for row in rows[:-1]) for place in (7, 8, 9)]
    rows.append(("median of the structures", *[None] * 6, *medians, None, None))
    notes = [FAILURE_WORDS]
    if any(row[8] is None or row[9] is None for row in rows[:-1]):
        notes.append("No AUROC where no case (or every case) falls below the limit.")
    if all(row[7] is None for row in rows):
        notes.append(
            "No correlation: fewer than 3 cases, or an uncertainty that does not vary"
            " (a single sample has none)."
        )
    return Table(
        3,
        "Detection of failures from the uncertainty",
        FAILURE_COLUMNS,
        tuple(rows),
        about=arm.name if named else "",
        missing="" if detections else "no structure is annotated",
        notes=tuple(notes),
    )


def _failure_row(name: str, found: FailureDetection) -> tuple[Cell, ...]:
    if found.classes is None or found.dice_limits is None:
        return (name, 0, *[None] * 10)
    bad = [int(found.bad(limit).sum()) for limit in found.dice_limits]
    areas = [found.auroc(limit) for limit in found.dice_limits]
    limits = found.uncertainty_limits or (None, None)
    return (
        name,
        len(found.dice),
        found.classes.median,
        *found.dice_limits,
        *bad,
        found.correlation,
        *areas,
        *limits,
    )


def accuracy_table(
    evaluation: Evaluation, number: int, title: str, measures: Sequence[Measure]
) -> Table:
    """Tables 4 and 5: per structure, both sides together; two bundles with their tests."""
    first, *others = evaluation.arms
    structures = evaluation.all_structures
    columns = [Column("structure"), Column("cases")]
    cells: list[list[Cell]] = [
        [one.abbreviation, _most_cases(evaluation.arms, one)] for one in structures
    ]
    groups = _groups(evaluation.shared_structures)
    cells += [[name, len(first.cases)] for name, _ in groups]
    tests: list[PairedTest] = []
    for measure in measures:
        for arm in evaluation.arms:
            about = f" ({arm.name})" if others else ""
            columns.append(Column(measure.heading + about, measure.form, spread=True))
            for row, values in zip(cells, _down(arm, measure, structures, groups), strict=True):
                row.append(mean_sd(values))
        if others:
            compared = _compared(first, others[0], measure, structures, groups)
            columns += [Column("p, corrected", "p"), Column("test")]
            for row, test in zip(cells, compared, strict=True):
                row += [test.corrected_p, test.name or test.words]
            tests += compared
    return Table(
        number,
        title,
        tuple(columns),
        tuple(tuple(row) for row in cells),
        missing="" if structures else "no structure is annotated",
        notes=_accuracy_notes(measures, evaluation, tests),
    )


def _most_cases(arms: Sequence[Arm], structure: Structure) -> int:
    return max(int(np.isfinite(arm.values(structure, Quantity.DICE)).sum()) for arm in arms)


def _unshared_notes(evaluation: Evaluation) -> list[str]:
    """Which structures are in no average of arms that are compared, and whose they are."""
    shared = evaluation.shared_structures
    told = [
        f"{arm.name} alone: {', '.join(one.abbreviation for one in own)}"
        for arm in evaluation.arms
        if (own := [one for one in arm.structures() if one not in shared])
    ]
    words = f"Averages are over the {len(shared)} structures that both were made to find."
    return [f"{words} {'; '.join(told)}."] if told else []


def _accuracy_notes(
    measures: Sequence[Measure], evaluation: Evaluation, tests: Sequence[PairedTest]
) -> tuple[str, ...]:
    notes = ["Mean ± standard deviation over the cases; both sides of a structure together."]
    if {ASD, AIE} & set(measures):
        notes.append(
            "ASD and AIE leave out cases in which a structure was not found at all; Dice counts"
            " them as 0 and AVE as 100 %."
        )
    notes += _unshared_notes(evaluation)
    if len(evaluation.arms) > 1:
        notes.append(_test_words(tests))
    return tuple(notes)


def _test_words(tests: Sequence[PairedTest]) -> str:
    if not any(test.p is not None for test in tests):
        return "No test was possible: at least 3 cases whose differences vary are needed."
    return (
        "Pairs of the same cases: Student's t test where Shapiro-Wilk finds their differences"
        " normal (p of at least .05), else Wilcoxon's signed rank test; p times the number of"
        " structures tested (Bonferroni), of averages times the number of averages."
    )


def _groups(structures: Sequence[Structure]) -> list[tuple[str, tuple[Structure, ...]]]:
    """The groups of the study that are annotated, and all structures."""
    groups = [
        (f"{group.value}s", tuple(one for one in structures if one.group is group))
        for group in Group
    ]
    found = [(name, members) for name, members in groups if members]
    return [*found, (ALL, tuple(structures))] if structures else []


def _down(
    arm: Arm,
    measure: Measure,
    structures: Sequence[Structure],
    groups: Sequence[tuple[str, tuple[Structure, ...]]],
) -> list[Values]:
    """The values of every row: the structures', then the groups' averages."""
    columns = [arm.values(one, measure.quantity) for one in structures]
    return columns + [
        arm.averages(measure.quantity, members) for _, members in groups if members
    ]


def _compared(
    first: Arm,
    second: Arm,
    measure: Measure,
    structures: Sequence[Structure],
    groups: Sequence[tuple[str, tuple[Structure, ...]]],
) -> tuple[PairedTest, ...]:
    """Tests of every row; structures are corrected for each other, averages for theirs."""
    pairs = zip(
        _down(first, measure, structures, groups),
        _down(second, measure, structures, groups),
        strict=True,
    )
    tests = [paired_test(a, b) for a, b in pairs]
    count = len(structures)
    return *bonferroni(tests[:count]), *bonferroni(tests[count:])


def data_set_table(evaluation: Evaluation, arm: Arm, *, named: bool = False) -> Table:
    """Table 6: the data sets side by side."""
    about = arm.name if named else ""
    title = "Dice and error of mean HU in the data sets"
    sets = evaluation.data_sets
    if len(sets) < 2:
        why = "the listing names fewer than two data sets"
        return Table(6, title, about=about, missing=why)
    parts = [arm.only(name) for name in sets]
    columns = [Column("structure")]
    for measure in (DICE, AIE):
        for name, part in zip(sets, parts, strict=True):
            heading = f"{measure.heading}, {name or 'unnamed'} ({len(part.cases)})"
            columns.append(Column(heading, measure.form, spread=True))
    rows: list[tuple[Cell, ...]] = [
        (
            one.abbreviation,
            *(mean_sd(part.values(one, m.quantity)) for m in (DICE, AIE) for part in parts),
        )
        for one in arm.structures()
    ]
    means = (mean_sd(part.averages(m.quantity)) for m in (DICE, AIE) for part in parts)
    rows.append((ALL, *means))
    return Table(6, title, tuple(columns), tuple(rows), about, notes=("In brackets: cases.",))


def side_table(evaluation: Evaluation) -> Table:
    """Table 7: volume and mean HU of the truth, unaffected against affected side."""
    title = "Truth of the unaffected and the affected side"
    if not evaluation.names_affected_sides:
        return Table(7, title, missing="no case names an affected side")
    arm = evaluation.first
    normalised = evaluation.knows_heights
    unit = "volume, cm3/m2" if normalised else "volume, cm3"
    structures = arm.structures()
    columns = [Column("structure")]
    cells: list[list[Cell]] = [[_sided_name(one)] for one in structures]
    tests: list[PairedTest] = []
    for quantity, heading in (
        (Quantity.TRUE_VOLUME, unit),
        (Quantity.TRUE_MEAN_HU, "mean HU"),
    ):
        columns += [
            Column(f"{heading}, unaffected", ".2f", spread=True),
            Column(f"{heading}, affected", ".2f", spread=True),
            Column("p, corrected", "p"),
            Column("test"),
        ]
        sides = [_sides(arm, one, quantity, normalised=normalised) for one in structures]
        made = bonferroni([paired_test(*pair) for pair in sides])
        tests += made
        for row, pair, test in zip(cells, sides, made, strict=True):
            row += [mean_sd(pair[0]), mean_sd(pair[1])]
            # The sacrum is whole: it has no other side to be compared with.
            row += [test.corrected_p, (test.name or test.words) if test.pairs else ""]
    notes = [_test_words(tests), *_height_notes(evaluation)]
    return Table(
        7, title, tuple(columns), tuple(tuple(row) for row in cells), notes=tuple(notes)
    )


def _sided_name(structure: Structure) -> str:
    return structure.abbreviation + ("" if structure.paired else " (whole)")


def _sides(
    arm: Arm, structure: Structure, quantity: Quantity, *, normalised: bool
) -> tuple[Values, Values]:
    """(cases,) of the unaffected, of the affected side."""
    unaffected, affected = (
        arm.of_side(structure, quantity, side, normalised=normalised)
        for side in (SideClass.UNAFFECTED, SideClass.AFFECTED)
    )
    return unaffected, affected


def _height_notes(evaluation: Evaluation) -> list[str]:
    unknown = sum(case.height_m is None for case in evaluation.first.cases)
    if not unknown:
        return []
    words = "volumes are not divided by its square, as they are in the study."
    return [f"The height of {unknown} case(s) is not known: {words}"]


def agreement_table(evaluation: Evaluation, arm: Arm, *, named: bool = False) -> Table:
    """Table 8: CCC and MAE of volumes and mean HU against the truth."""
    normalised = evaluation.knows_heights
    unit = "cm3/m2" if normalised else "cm3"
    sides = tuple(SideClass) if evaluation.names_affected_sides else (None,)
    columns = [Column("structure")]
    for side in sides:
        words = f", {side.value}" if side else ""
        columns += [
            Column(f"CCC of volume{words}", ".3f"),
            Column(f"MAE of volume{words}, {unit}", ".2f", spread=True),
            Column(f"CCC of mean HU{words}", ".3f"),
            Column(f"MAE of mean HU{words}, HU", ".2f", spread=True),
        ]
    rows: list[tuple[Cell, ...]] = []
    for one in arm.structures():
        cells: list[Cell] = [_sided_name(one)]
        for side in sides:
            cells += _agreement(arm, one, side, normalised=normalised)
        rows.append(tuple(cells))
    notes = [AGREEMENT_WORDS, *_height_notes(evaluation)]
    if sides == (None,):
        notes.append("No case names an affected side: right and left are taken together.")
    return Table(
        8,
        "Agreement of volume and mean HU with the truth",
        tuple(columns),
        tuple(rows),
        about=arm.name if named else "",
        missing="" if rows else "no structure is annotated",
        notes=tuple(notes),
    )


def _agreement(
    arm: Arm, structure: Structure, side: SideClass | None, *, normalised: bool
) -> list[Cell]:
    """CCC and MAE of volume, then of mean HU."""
    cells: list[Cell] = []
    for true, found in (
        (Quantity.TRUE_VOLUME, Quantity.VOLUME),
        (Quantity.TRUE_MEAN_HU, Quantity.MEAN_HU),
    ):
        x, y = both_known(
            *(
                arm.together(structure, quantity, normalised=normalised)
                if side is None
                else arm.of_side(structure, quantity, side, normalised=normalised)
                for quantity in (true, found)
            )
        )
        cells += [concordance(x, y), absolute_error(x, y)]
    return cells


def samples_table(evaluation: Evaluation) -> Table:
    """Table 9: Dice and surface distance against the number of samples."""
    title = "The number of Monte Carlo samples"
    arms = evaluation.by_samples
    if len(arms) < 2:
        why = "one number of samples only; `--samples 1,5,10,15,20` tries several"
        return Table(9, title, missing=why)
    columns = (
        Column("samples"),
        Column("cases"),
        *(Column(m.heading, m.form, spread=True) for m in (DICE, ASD, UNCERTAINTY)),
    )
    rows = tuple(
        (
            arm.samples,
            len(arm.cases),
            *(mean_sd(arm.averages(m.quantity)) for m in (DICE, ASD, UNCERTAINTY)),
        )
        for arm in arms
    )
    enough = enough_samples(arms)
    notes = [
        "Averages over the structures. A single sample has no variance: uncertainty 0.",
        f"Fewest samples with a mean Dice within {ENOUGH_DICE:g} of the most's: {enough}.",
    ]
    return Table(9, title, columns, rows, about=arms[0].name, notes=tuple(notes))


def enough_samples(arms: Sequence[Arm]) -> int | None:
    """The fewest samples that segment about as well as the most do; see `ENOUGH_DICE`.

    `arms` are one bundle with growing numbers of samples. Uncertainty counts for nothing
    here: more samples make it steadier where Dice has long stopped growing.
    """
    dice = [float(np.nanmean(arm.averages(Quantity.DICE))) for arm in arms]
    return next(
        arm.samples
        for arm, mean in zip(arms, dice, strict=True)
        if not mean < dice[-1] - ENOUGH_DICE
    )


def bundle_table(evaluation: Evaluation) -> Table:
    """Table 10: the bundles side by side, as the study's grow with their training cases."""
    measures = (DICE, ASD, AVE, AIE, UNCERTAINTY)
    columns = (
        Column("bundle"),
        Column("trained on"),
        Column("samples"),
        Column("cases"),
        *(Column(m.heading, m.form, spread=True) for m in measures),
        Column("correlation", ".3f"),
        Column("AUROC inaccurate", ".3f"),
        Column("AUROC failed", ".3f"),
        Column("p of Dice", "p"),
    )
    rows = tuple(_bundle_row(arm, evaluation, measures) for arm in evaluation.arms)
    notes = [
        "Averages over the structures; correlation and AUROC of a case's averages.",
        *_unshared_notes(evaluation),
        *([] if len(evaluation.arms) > 1 else [f"No p: {ONE_ARM}."]),
    ]
    return Table(10, "The bundles", columns, rows, notes=tuple(notes))


def _bundle_row(
    arm: Arm, evaluation: Evaluation, measures: Sequence[Measure]
) -> tuple[Cell, ...]:
    shared, first = evaluation.shared_structures, evaluation.first
    found = FailureDetection.of(
        *(arm.averages(quantity, shared) for quantity in (Quantity.DICE, Quantity.UNCERTAINTY))
    )
    limits = found.dice_limits
    areas = [found.auroc(limit) for limit in limits] if limits else [None, None]
    test = paired_test(*(one.averages(Quantity.DICE, shared) for one in (first, arm)))
    return (
        arm.name,
        arm.trained_on or "not said",
        arm.samples,
        len(arm.cases),
        *(mean_sd(arm.averages(m.quantity, shared)) for m in measures),
        found.correlation,
        *areas,
        None if arm is first else test.p,
    )


def _median(cells: Iterable[Cell]) -> float | None:
    """Of the numbers among the cells."""
    known = [cell for cell in cells if isinstance(cell, float)]
    return float(np.median(known)) if known else None
