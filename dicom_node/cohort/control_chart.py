"""A control chart: has a quantity moved since its beginning, and is it still away?

The first third of the cases (`FEWEST_IN_BASELINE` at the least, and whole days: nothing says
which case of a day came first) draws the centre and the spread of single cases. Each period
after that has limits of its own (Shewhart's, centre ± 3 standard errors, those of the centre
included; of a share the same probability by the binomial distribution): a month of few cases
may stray farther than one of many.

A quantity has moved where all cases from some period on, up to the last, lie apart from the
baseline by more than `MOVED_Z` standard errors in their mean, and the last third of them lies
more than half as far out: then it has not come back. That period is the one from which on the
distance is greatest. The limit is that high because every period is tried as the first. What
lies beyond the limits and is no move is told as passing.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

FEWEST_CASES: Final = 40
FEWEST_IN_BASELINE: Final = 20
FEWEST_IN_PERIOD: Final = 3
LIMIT_SD: Final = 3.0
TAIL: Final = 0.00135
"""The share of a normal distribution beyond 3 SD, on one side."""

FEWEST_MOVED: Final = 10
MOVED_Z: Final = 4.0
STILL_AWAY: Final = 0.5

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
    shift: mean of the cases since then minus the centre.
    passing: names of periods beyond the limits that are no move, or that it came back from.
    missing: why there is no chart; then there are no periods.
    """

    step: Step = Step.MONTH
    periods: tuple[Period, ...] = ()
    centre: float = math.nan
    sd: float = math.nan
    moved_since: str = ""
    shift: float = 0.0
    passing: tuple[str, ...] = ()
    missing: str = ""


def step_of(days: Sequence[dt.date], finest: Step = Step.WEEK) -> Step:
    """Weeks for a few months, quarters for many years, months between; longer for few cases.

    A period should hold `FEWEST_IN_PERIOD` cases on average.

    Args:
        days: of the cases, at least one.
        finest: nothing shorter is wanted.
    """
    length = (max(days) - min(days)).days
    shortest = Step.WEEK if length < WEEKS_BELOW_DAYS else Step.MONTH
    shortest = max(shortest, finest, key=list(Step).index)
    for step in (Step.WEEK, Step.MONTH):
        few = len(days) < FEWEST_IN_PERIOD * len({step.start(day) for day in days})
        if step is shortest and few:
            shortest = Step.MONTH if step is Step.WEEK else Step.QUARTER
    return Step.QUARTER if length >= QUARTERS_FROM_DAYS else shortest


def control_chart(
    days: Sequence[dt.date | None],
    values: Values,
    *,
    share: bool = False,
    step: Step | None = None,
) -> ControlChart:
    """The chart of one value a case.

    Args:
        days: (cases,) when; None is left out.
        values: (cases,), nan is left out; 0 or 1 of a share.
        share: values are yes or no: the spread is that of a binomial.
        step: length of a period; None for that which fits the days.
    """
    known = [
        (day, float(value))
        for day, value in zip(days, values, strict=True)
        if day is not None and math.isfinite(value)
    ]
    # By day alone: by value, too, the lowest of a day would come first and be the baseline.
    known.sort(key=lambda pair: pair[0])
    if len(known) < FEWEST_CASES:
        few = f"{len(known)} of at least {FEWEST_CASES} cases with a date and a value"
        return ControlChart(missing=few)
    end = known[max(FEWEST_IN_BASELINE, len(known) // 3) - 1][0]
    first = np.array([value for day, value in known if day <= end])
    baseline = _Baseline(float(first.mean()), float(first.std(ddof=1)), len(first), share)
    if not share and baseline.sd <= 0:
        return ControlChart(missing="the first third of the cases does not vary")
    step = step or step_of([day for day, _ in known])
    groups = _grouped(known, step)
    periods = tuple(
        Period(
            step.name_of(start),
            start,
            len(group),
            float(group.mean()),
            baseline.limits(len(group)),
            in_baseline=start <= end,
        )
        for start, group in groups.items()
    )
    if not any(one.limits and not one.in_baseline for one in periods):
        few = f"no {step.value} after them has {FEWEST_IN_PERIOD} cases"
        return ControlChart(missing=f"the first third of the cases is all there is: {few}")
    later = {start: group for start, group in groups.items() if start > end}
    return _judged(step, periods, baseline, later)


def without_small_periods(chart: ControlChart, fewest: int) -> ControlChart:
    """The same chart with no period of fewer cases, where it must not tell of single ones."""
    if not chart.periods:
        return chart
    periods = tuple(one for one in chart.periods if one.count >= fewest)
    names = {one.name for one in periods}
    return replace(
        chart,
        periods=periods,
        passing=tuple(name for name in chart.passing if name in names),
        missing="" if periods else f"no {chart.step.value} has {fewest} cases",
    )


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The first third of the cases. share: values are 0 or 1."""

    centre: float
    sd: float
    count: int
    share: bool

    def limits(self, count: int) -> tuple[float, float] | None:
        """Of the mean of so many cases."""
        if count < FEWEST_IN_PERIOD:
            return None
        if self.share:
            # Kept half a case from 0 and 1: none so far does not mean never.
            half = 0.5 / self.count
            likely = min(max(self.centre, half), 1 - half)
            counts = stats.binom(count, likely)
            return float(counts.ppf(TAIL)) / count, float(counts.ppf(1 - TAIL)) / count
        reach = LIMIT_SD * self.sd * math.sqrt(1 / count + 1 / self.count)
        return self.centre - reach, self.centre + reach

    def z(self, values: Values) -> float:
        """How many standard errors apart the mean of values lies; of a share, both pooled."""
        mean, count = float(values.mean()), len(values)
        sd = self.sd
        if self.share:
            pooled = (mean * count + self.centre * self.count) / (count + self.count)
            sd = math.sqrt(pooled * (1 - pooled))
        if sd <= 0:
            return 0.0
        return (mean - self.centre) / (sd * math.sqrt(1 / count + 1 / self.count))


def _grouped(known: Sequence[tuple[dt.date, float]], step: Step) -> dict[dt.date, Values]:
    """The values of each period, by its first day, in their order."""
    together: dict[dt.date, list[float]] = {}
    for day, value in known:
        together.setdefault(step.start(day), []).append(value)
    return {start: np.array(values) for start, values in together.items()}


def _judged(
    step: Step,
    periods: tuple[Period, ...],
    baseline: _Baseline,
    later: Mapping[dt.date, Values],
) -> ControlChart:
    """Where a move began that lasts to the end; later: the values after the baseline."""
    since, values = _farthest(baseline, later)
    moved = since is not None and _lasts(baseline, values)
    shift = float(values.mean()) - baseline.centre if moved else 0.0
    passing = [one for one in periods if one.beyond]
    if moved and since is not None:
        passing = [one for one in passing if one.start < since]
    return ControlChart(
        step,
        periods,
        baseline.centre,
        baseline.sd,
        step.name_of(since) if moved and since else "",
        shift,
        tuple(one.name for one in passing),
    )


def _farthest(
    baseline: _Baseline, later: Mapping[dt.date, Values]
) -> tuple[dt.date | None, Values]:
    """The period from which on all cases lie farthest from the baseline, and those cases."""
    best: tuple[float, dt.date | None, Values] = (MOVED_Z, None, np.empty(0))
    tail = np.empty(0)
    for start in sorted(later, reverse=True):
        tail = np.concatenate([later[start], tail])
        distance = abs(baseline.z(tail))
        if len(tail) >= FEWEST_MOVED and distance > best[0]:
            best = (distance, start, tail)
    return best[1], best[2]


def _lasts(baseline: _Baseline, values: Values) -> bool:
    """True if the last third lies more than half as far out as all, on the same side."""
    shift = float(values.mean()) - baseline.centre
    last = float(values[-(len(values) // 3) :].mean()) - baseline.centre
    return last / shift > STILL_AWAY
