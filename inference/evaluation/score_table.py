"""Table 11: which score tells the bad segmentations best, side by side on the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.exhibits import Cell, Column, Table
from inference.evaluation.metrics import FailureClasses, aurc, auroc
from inference.evaluation.scored import Arm, Quantity
from inference.structures import Structure

Values = NDArray[np.float64]

SCORES: Final = (
    (Quantity.UNCERTAINTY, "uncertainty"),
    (Quantity.DISAGREEMENT, "disagreement"),
    (Quantity.VOLUME_CV, "volume CV"),
)

COLUMNS: Final = (
    Column("structure"),
    Column("cases"),
    Column("cases inaccurate"),
    Column("cases failed"),
    Column("mean risk", ".3f"),
    *(
        Column(f"{name}: {what}", ".3f")
        for _, name in SCORES
        for what in ("AUROC inaccurate", "AUROC failed", "AURC")
    ),
)

WORDS: Final = (
    "Disagreement: 1 - Dice between the samples; volume CV: coefficient of variation of the"
    " volume over them. AURC: area under the risk-coverage curve, the risk being 1 - Dice"
    " (Zenk et al., Med Image Anal 101 (2025) 103392): the lower, the better, and no better"
    " than the mean risk where a score tells nothing. A structure that was not found has no"
    " score, and counts as the worst. Inaccurate and failed as in Table 3, over all of these"
    " cases."
)


def score_table(arm: Arm, *, named: bool = False) -> Table:
    """AUROC and AURC of every score, per structure and of the cases' averages."""
    structures = arm.structures()
    rows = [_structure_row(arm, one) for one in structures]
    medians = [_median([row[place] for row in rows]) for place in range(4, len(COLUMNS))]
    averages = [arm.averages(quantity) for quantity, _ in SCORES]
    rows.append(("median of the structures", None, None, None, *medians))
    rows.append(_row("average of the structures", arm.averages(Quantity.DICE), averages))
    notes = [WORDS]
    named_scores = zip(SCORES, averages, strict=True)
    missing = [name for (_, name), values in named_scores if not np.isfinite(values).any()]
    if missing:
        notes.append(f"No case has: {', '.join(missing)}.")
    return Table(
        11,
        "Scores that tell failures, side by side",
        COLUMNS,
        tuple(rows) if structures else (),
        about=arm.name if named else "",
        missing="" if structures else "no structure is annotated",
        notes=tuple(notes),
    )


def _structure_row(arm: Arm, structure: Structure) -> tuple[Cell, ...]:
    scores = [arm.values(structure, quantity) for quantity, _ in SCORES]
    return _row(structure.abbreviation, arm.values(structure, Quantity.DICE), scores)


def _row(name: str, dice: Values, scores: Sequence[Values]) -> tuple[Cell, ...]:
    """Cells of Dice and each score, nan where a case has none."""
    known = np.isfinite(dice)
    if not known.any():
        return (name, 0, *[None] * (len(COLUMNS) - 2))
    of_dice = dice[known]
    classes = FailureClasses.of(of_dice)
    limits = classes.inaccurate_below, classes.failed_below
    cells: list[Cell] = []
    for score in scores:
        of_known = score[known]
        if not np.isfinite(of_known).any():
            cells += [None, None, None]
            continue
        worst = np.where(np.isfinite(of_known), of_known, np.inf)
        cells += [auroc(worst, of_dice < limit) for limit in limits]
        cells.append(aurc(worst, 1 - of_dice))
    bad = [int((of_dice < limit).sum()) for limit in limits]
    return (name, len(of_dice), *bad, float((1 - of_dice).mean()), *cells)


def _median(cells: Sequence[Cell]) -> float | None:
    known = [cell for cell in cells if isinstance(cell, float)]
    return float(np.median(known)) if known else None
