"""Gates compared on scored cases: each is fitted on some bodies and tried on others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import aurc, auroc
from inference.quality.calibration import Calibration
from inference.results import Score
from inference.structures import STRUCTURES
from inference.training.calibrate import fit, row_means, stacked_scores
from inference.training.scoring import Scored

Values = NDArray[np.float64]

FIT, TRIED, STILL = "fit", "tried", "still"
"""Parts of the cases: drawn from one seed, from another, and label maps as they are."""

RESAMPLINGS: Final = 1000
INTERVAL: Final = (2.5, 97.5)
"""Percentiles of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class StudyCase:
    """One scored case: of which part, of which body, and that body's label map."""

    part: str
    body: str
    source: str
    scored: Scored


Gate = Callable[[dict[Score, Values]], Values]
"""One number of each structure of each case, (cases, 22), from the scores relative to their
limits for failed: the higher, the worse."""


def _with_others(relative: dict[Score, Values]) -> Values:
    """Disagreement times the root of the median of the other structures' of the case."""
    own = relative[Score.DISAGREEMENT]
    others = np.full_like(own, np.nan)
    for k in range(own.shape[1]):
        rest = np.delete(own, k, axis=1)
        some = np.isfinite(rest).any(axis=1)
        others[some, k] = np.nanmedian(rest[some], axis=1)
    return np.asarray(own * np.sqrt(others))


GATES: Final[dict[str, Gate]] = {
    "uncertainty (the study's)": lambda relative: relative[Score.UNCERTAINTY],
    "volume CV": lambda relative: relative[Score.VOLUME_CV],
    "disagreement": lambda relative: relative[Score.DISAGREEMENT],
    "worst of disagreement and uncertainty": lambda relative: np.fmax(
        relative[Score.DISAGREEMENT], relative[Score.UNCERTAINTY]
    ),
    "worst of disagreement and volume CV": lambda relative: np.fmax(
        relative[Score.DISAGREEMENT], relative[Score.VOLUME_CV]
    ),
    "disagreement with that of the other structures": _with_others,
}


Cases = tuple[StudyCase, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """On what gates are fitted, and on what they are tried, once or several times."""

    name: str
    folds: tuple[tuple[Cases, Cases], ...]


def splits(cases: Sequence[StudyCase]) -> tuple[Split, ...]:
    """Each body by limits of all others; other draws, both ways; and each label map's bodies.

    The last by limits of the other label maps' bodies.
    """

    def those(wanted: Callable[[StudyCase], bool]) -> Cases:
        return tuple(case for case in cases if wanted(case))

    fit_on, tried = those(lambda c: c.part == FIT), those(lambda c: c.part == TRIED)
    bodies = dict.fromkeys(case.body for case in cases)
    folds = tuple((those(_not_of(body)), those(_of_body(body))) for body in bodies)
    made = [
        Split("each body, fitted on all others", folds),
        Split("second seed, fitted on the first", ((fit_on, tried),)),
        Split("first seed, fitted on the second", ((tried, fit_on),)),
    ]
    for source in sorted({case.source for case in cases}):
        without = those(lambda c, s=source: c.source != s)  # type: ignore[misc]
        made.append(Split(f"{source}, fitted without it", ((without, those(_of(source))),)))
    still = those(lambda c: c.part == STILL)
    if still:
        made.append(Split("label maps as they are, fitted on drawn bodies", ((fit_on, still),)))
    return tuple(made)


def _of_body(body: str) -> Callable[[StudyCase], bool]:
    return lambda case: case.body == body


def _not_of(body: str) -> Callable[[StudyCase], bool]:
    return lambda case: case.body != body


def _of(source: str) -> Callable[[StudyCase], bool]:
    return lambda case: case.source == source


@dataclass(frozen=True, slots=True)
class Found:
    """How one gate does on one split.

    interval: 95 %, of the AUROC, over resampled bodies; None where none could be had.
    average: AUROC of the cases' averages against failed averages.
    """

    split: str
    gate: str
    cases: int
    structures: int
    failed: int
    auroc: float | None
    interval: tuple[float, float] | None
    aurc: float | None
    average: float | None


def study(cases: Sequence[StudyCase], resamplings: int = RESAMPLINGS) -> Iterator[Found]:
    """Every gate on every split."""
    for split in splits(cases):
        folds = [list(_fold_rows(*fold)) for fold in split.folds]
        for name, parts in zip(GATES, zip(*folds, strict=True), strict=True):
            yield _found(split.name, name, _Rows.together(parts), resamplings)


def _fold_rows(fitted: Cases, tried: Cases) -> Iterator[_Rows]:
    """The rows of each gate, by limits that were fitted on some cases."""
    calibration = fit([case.scored for case in fitted], "", dt.date(2000, 1, 1))
    scored = [case.scored for case in tried]
    dice, relative = np.stack([one.dice for one in scored]), _relative(calibration, scored)
    limits = np.array([_failed_below(calibration, s.abbreviation) for s in STRUCTURES])
    # The same structures for every gate: those that have a disagreement's limit.
    judged = np.isfinite(dice) & np.isfinite(limits)
    body = np.array([case.body for case in tried])
    below = calibration.average.dice_limits[1] if calibration.average else np.nan
    for gate in GATES.values():
        signal = np.where(np.isfinite(gate(relative)), gate(relative), np.inf)
        yield _Rows.of(signal, dice, limits, judged, body, below)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Structures of cases in one row, and the averages of the cases."""

    signal: Values
    dice: Values
    failed: NDArray[np.bool_]
    body: NDArray[np.str_]
    case_signal: Values
    case_failed: NDArray[np.bool_]

    @classmethod
    def of(  # noqa: PLR0913, PLR0917 - a row's parts
        cls,
        signal: Values,
        dice: Values,
        limits: Values,
        judged: NDArray[np.bool_],
        body: NDArray[np.str_],
        average_limit: float,
    ) -> _Rows:
        failed = dice < limits
        average = row_means(dice)
        bodies = np.broadcast_to(body[:, np.newaxis], dice.shape)
        found = np.where(judged & np.isfinite(signal), signal, np.nan)
        return cls(
            signal[judged],
            dice[judged],
            failed[judged],
            bodies[judged],
            np.nan_to_num(row_means(found), nan=np.inf),
            average < average_limit,
        )

    @classmethod
    def together(cls, parts: Sequence[_Rows]) -> _Rows:
        """The rows of several folds as one."""
        return cls(
            *(np.concatenate([getattr(p, one.name) for p in parts]) for one in fields(cls))
        )


def _found(split: str, gate: str, rows: _Rows, resamplings: int) -> Found:
    return Found(
        split,
        gate,
        len(rows.case_signal),
        len(rows.failed),
        int(rows.failed.sum()),
        auroc(rows.signal, rows.failed),
        _interval(rows, resamplings),
        aurc(rows.signal, 1 - rows.dice),
        auroc(rows.case_signal, rows.case_failed),
    )


def _interval(rows: _Rows, resamplings: int) -> tuple[float, float] | None:
    """Percentiles of the AUROC over bodies drawn with replacement."""
    rng = np.random.default_rng(1)
    names = np.unique(rows.body)
    places = [np.flatnonzero(rows.body == name) for name in names]
    found = []
    for _ in range(resamplings):
        drawn = np.concatenate([places[k] for k in rng.integers(len(names), size=len(names))])
        area = auroc(rows.signal[drawn], rows.failed[drawn])
        if area is not None:
            found.append(area)
    if not found:
        return None
    low, high = (float(v) for v in np.percentile(found, INTERVAL))
    return low, high


def _relative(calibration: Calibration, cases: Sequence[Scored]) -> dict[Score, Values]:
    """(cases, 22) of each score over its limit for failed; nan where there is none."""
    scores = stacked_scores(cases)
    relative = {}
    for score in Score:
        limits = np.full(len(STRUCTURES), np.nan)
        for k, structure in enumerate(STRUCTURES):
            fitted = calibration.structures.get(structure.abbreviation)
            if fitted is not None and score in fitted.scores:
                limits[k] = fitted.scores[score].limits[1]
        none = np.full((len(cases), len(STRUCTURES)), np.nan)
        relative[score] = scores.get(score, none) / limits
    return relative


def _failed_below(calibration: Calibration, abbreviation: str) -> float:
    fitted = calibration.structures.get(abbreviation)
    if fitted is None or Score.DISAGREEMENT not in fitted.scores:
        return np.nan
    return fitted.dice_limits[1]


HEADINGS: Final = (
    "tried on", "gate", "cases", "structures failed", "AUROC", "95 %", "AURC", "AUROC, cases",
)  # fmt: skip


def table(found: Sequence[Found]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * 2}{' ---: |' * (len(HEADINGS) - 2)}"]
    for one in found:
        interval = f"{one.interval[0]:.3f} to {one.interval[1]:.3f}" if one.interval else "-"
        numbers = ["-" if v is None else f"{v:.3f}" for v in (one.auroc, one.aurc, one.average)]
        cells = (
            one.split, one.gate, str(one.cases), f"{one.failed} of {one.structures}",
            numbers[0], interval, *numbers[1:],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
