"""Shewhart's control chart: has a quantity moved since its beginning, and when?

The first third of the cases (`FEWEST_IN_BASELINE` at the least) draws the centre line and
the spread of single cases. Each period after that has its own limits, centre ± 3 SD / √n:
a month of few cases may stray farther than one of many. A quantity has moved where two of
three periods in a row lie beyond the limits, or eight in a row on one side of the centre
(after the rules of the Western Electric handbook, 1956), and it has not come back since.
What lay beyond and is no move is told as passing.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

FEWEST_CASES: Final = 40
FEWEST_IN_BASELINE: Final = 20
FEWEST_IN_PERIOD: Final = 3
LIMIT_SD: Final = 3.0
LONG_RUN: Final = 8

WEEKS_BELOW_DAYS: Final = 150
QUARTERS_FROM_DAYS: Final = 6 * 365


class Step(Enum):
    """The length of a period; the value is its word."""

    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"

    def start(self, day: dt.date) -> dt.date:
        """The first day of the period that holds a day."""
        match self:
            case Step.WEEK:
                return day - dt.timedelta(days=day.weekday())
            case Step.MONTH:
                return day.replace(day=1)
            case Step.QUARTER:
                return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)

    def name_of(self, start: dt.date) -> str:
        """`2024-05`, `2024 Q2`, or the first day of the week."""
        match self:
            case Step.WEEK:
                return start.isoformat()
            case Step.MONTH:
                return f"{start:%Y-%m}"
            case Step.QUARTER:
                return f"{start.year} Q{(start.month + 2) // 3}"


@dataclass(frozen=True, slots=True)
class Period:
    """The cases of one period.

    limits: (lower, upper) of its mean; None of too few cases to judge.
    in_baseline: it helped to draw the centre line, and proves nothing against it.
    """

    name: str
    start: dt.date
    count: int
    mean: float
    limits: tuple[float, float] | None
    in_baseline: bool

    @property
    def beyond(self) -> int:
        """1 above the limits, -1 below, 0 within or not judged."""
        if self.limits is None or self.in_baseline:
            return 0
        return int(self.mean > self.limits[1]) - int(self.mean < self.limits[0])


@dataclass(frozen=True, slots=True)
class ControlChart:
    """A quantity over time.

    centre, sd: of the baseline; of a share, sd is that of a single yes or no.
    moved_since: name of the period at which the move began; empty where nothing moved.
    direction: 1 up, -1 down, 0 of no move.
    shift: mean of the periods since then (by cases) minus the centre.
    passing: names of periods beyond the limits that are no move, or that it came back from.
    missing: why there is no chart; then there are no periods.
    """

    step: Step = Step.MONTH
    periods: tuple[Period, ...] = ()
    centre: float = math.nan
    sd: float = math.nan
    moved_since: str = ""
    direction: int = 0
    shift: float = 0.0
    passing: tuple[str, ...] = ()
    missing: str = ""


def step_of(days: Sequence[dt.date]) -> Step:
    """Weeks for a few months, quarters for many years, months between."""
    length = (max(days) - min(days)).days
    if length < WEEKS_BELOW_DAYS:
        return Step.WEEK
    return Step.QUARTER if length >= QUARTERS_FROM_DAYS else Step.MONTH


def control_chart(
    days: Sequence[dt.date | None], values: Values, *, share: bool = False
) -> ControlChart:
    """The chart of one value a case.

    Args:
        days: (cases,) when; None is left out.
        values: (cases,), nan is left out; 0 or 1 of a share.
        share: values are yes or no: the spread is that of a binomial.
    """
    known = sorted(
        (day, float(value))
        for day, value in zip(days, values, strict=True)
        if day is not None and math.isfinite(value)
    )
    if len(known) < FEWEST_CASES:
        few = f"{len(known)} of at least {FEWEST_CASES} cases with a date and a value"
        return ControlChart(missing=few)
    step = step_of([day for day, _ in known])
    baseline = max(FEWEST_IN_BASELINE, len(known) // 3)
    start_values = np.array([value for _, value in known[:baseline]])
    centre, sd = _centre_and_spread(start_values, share=share)
    limits = _Limits(centre, sd, share)
    if sd <= 0:
        return ControlChart(missing="the first third of the cases does not vary")
    end_of_baseline = known[baseline - 1][0]
    periods = _periods(known, step, limits, end_of_baseline)
    if not any(period.limits and not period.in_baseline for period in periods):
        few = f"no {step.value} after them has {FEWEST_IN_PERIOD} cases"
        return ControlChart(missing=f"the first third of the cases is all there is: {few}")
    return _judged(step, periods, centre, sd)


def _centre_and_spread(values: Values, *, share: bool) -> tuple[float, float]:
    """Of a share p: √(p (1 - p)), p kept half a case from 0 and 1 so that it varies."""
    centre = float(values.mean())
    if not share:
        return centre, float(values.std(ddof=1))
    half = 0.5 / len(values)
    kept = min(max(centre, half), 1 - half)
    return centre, math.sqrt(kept * (1 - kept))


@dataclass(frozen=True, slots=True)
class _Limits:
    """Of a mean of so many cases; a share stays within 0 and 1."""

    centre: float
    sd: float
    share: bool

    def of(self, count: int) -> tuple[float, float] | None:
        if count < FEWEST_IN_PERIOD:
            return None
        reach = LIMIT_SD * self.sd / math.sqrt(count)
        lower, upper = self.centre - reach, self.centre + reach
        return (max(lower, 0.0), min(upper, 1.0)) if self.share else (lower, upper)


def _periods(
    known: Sequence[tuple[dt.date, float]],
    step: Step,
    limits: _Limits,
    end_of_baseline: dt.date,
) -> tuple[Period, ...]:
    together: dict[dt.date, list[float]] = {}
    for day, value in known:
        together.setdefault(step.start(day), []).append(value)
    periods = []
    for start, values in together.items():
        mean, inside = float(np.mean(values)), start <= end_of_baseline
        name, count = step.name_of(start), len(values)
        periods.append(Period(name, start, count, mean, limits.of(count), inside))
    return tuple(periods)


def _judged(step: Step, periods: tuple[Period, ...], centre: float, sd: float) -> ControlChart:
    """Where a move began: the first of two periods beyond, or of a long run.

    The latest move counts, and only if the quantity has not come back since: a run is over
    as soon as a period that is judged lies on the other side of the centre.
    """
    judged = [one for one in periods if one.limits is not None and not one.in_baseline]
    run: list[Period] = []
    for one in judged:
        if run and _side(one, centre) != _side(run[-1], centre):
            run = []
        run.append(one)
    jumped = _two_of_three(run)
    moved = jumped or len(run) >= LONG_RUN
    first = next(one for one in run if one.beyond) if jumped else run[0]
    since = first if moved else None
    after = [one for one in periods if since is not None and one.start >= since.start]
    count = sum(one.count for one in after)
    shift = sum(one.count * one.mean for one in after) / count - centre if count else 0.0
    named = {one.name for one in run} if moved else set()
    return ControlChart(
        step,
        periods,
        centre,
        sd,
        since.name if since else "",
        _side(run[-1], centre) if moved else 0,
        shift,
        tuple(one.name for one in judged if one.beyond and one.name not in named),
    )


def _two_of_three(run: Sequence[Period]) -> bool:
    """Two of three periods in a row beyond the limits, on one side."""
    places = [place for place, one in enumerate(run) if one.beyond]
    return any(later - earlier <= 2 for earlier, later in pairwise(places))


def _side(period: Period, centre: float) -> int:
    return 1 if period.mean >= centre else -1
