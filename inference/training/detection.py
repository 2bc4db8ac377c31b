"""How well a calibrated gate, and each score by itself, finds bad segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import aurc, auroc
from inference.quality.calibration import Calibration, StructureCalibration
from inference.results import Score
from inference.structures import STRUCTURES
from inference.training.calibrate import row_means, stacked_scores
from inference.training.scoring import Scored

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Detection:
    """Detection of bad segmentations by a calibrated gate among cases it was not fitted on.

    AUROCs are None where all cases are good, or all bad.

    inaccurate, failed: of the average score against the average Dice (the study's, of the
        uncertainty).
    structure_failed: of all structures of all cases together, each score relative to its own
        limit; a structure that was missed counts as the worst of all, since the gate names
        it without any score.
    failures: how many structures failed, of how many.
    structure_aurc: of the same: mean of 1 - Dice of those kept, over all shares kept.
    """

    cases: int
    inaccurate: float | None
    failed: float | None
    structure_failed: float | None
    failures: tuple[int, int]
    structure_aurc: float | None = None


def detection(
    calibration: Calibration, cases: Sequence[Scored], score: Score | None = None
) -> Detection:
    """Try the limits of a calibration on scored cases; the Dice limits are the fit's own.

    `score`: by which; the one that each structure's verdicts rest on without it.
    """
    dice = np.stack([case.dice for case in cases])
    pooled = structures_together(calibration, cases, score)
    averages = {one: row_means(values) for one, values in stacked_scores(cases).items()}
    failed = int(pooled.failed.sum())
    return Detection(
        len(cases),
        *_average_aurocs(calibration.average, row_means(dice), averages, score),
        structure_failed=auroc(pooled.signal, pooled.failed),
        failures=(failed, len(pooled.failed)),
        structure_aurc=aurc(pooled.signal, 1 - pooled.dice),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """Structures of many cases in one row: (n,) each.

    signal: the score over its limit for failed; inf where the structure was missed.
    case: the place of the case.
    """

    signal: Values
    dice: Values
    failed: NDArray[np.bool_]
    case: NDArray[np.intp]


def structures_together(
    calibration: Calibration, cases: Sequence[Scored], score: Score | None = None
) -> Together:
    """All structures that are calibrated by the score, of all cases that show them."""
    dice, scores = np.stack([case.dice for case in cases]), stacked_scores(cases)
    parts: list[tuple[Values, Values, NDArray[np.bool_], NDArray[np.intp]]] = []
    for k, structure in enumerate(STRUCTURES):
        fitted = calibration.structures.get(structure.abbreviation)
        by = score or (fitted.gate if fitted else None)
        if fitted is None or by is None or by not in fitted.scores or by not in scores:
            continue
        known = np.isfinite(dice[:, k])
        relative = scores[by][known, k] / fitted.scores[by].limits[1]
        signal = np.where(np.isnan(relative), np.inf, relative)
        of_one = dice[known, k]
        parts.append((signal, of_one, of_one < fitted.dice_limits[1], np.flatnonzero(known)))
    if not parts:
        nothing = np.empty(0)
        return Together(nothing, nothing, np.empty(0, bool), np.empty(0, np.intp))
    signal, of_all, failed, case = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Together(signal, of_all, failed, case)


def _average_aurocs(
    average: StructureCalibration | None,
    dice: Values,
    averages: dict[Score, Values],
    score: Score | None,
) -> tuple[float | None, float | None]:
    """(inaccurate, failed) of the cases' averages; a case where nothing is found is worst."""
    by = score or (average.gate if average else None)
    if average is None or by is None or by not in averages:
        return None, None
    known = np.isfinite(dice)
    signal = np.where(np.isnan(averages[by][known]), np.inf, averages[by][known])
    inaccurate, failed = (auroc(signal, dice[known] < limit) for limit in average.dice_limits)
    return inaccurate, failed
