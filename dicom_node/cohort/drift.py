"""What moves over time and between scanners: which numbers are watched, and what is said.

Each scanner is held against limits of 3 standard errors about the mean of all cases: its mean
lies beyond them where it is off by more than 3 SD / √n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicom_node.cohort.cohort import Cohort, Mask, Values, day_of
from dicom_node.cohort.control_chart import (
    FEWEST_CASES,
    ControlChart,
    Step,
    control_chart,
    step_of,
)
from inference.results import Verdict

MOST_SCANNERS: Final = 12
FEWEST_OF_SCANNER: Final = 5
NO_SCANNER: Final = f"no scanner is named by {FEWEST_OF_SCANNER} cases or more"
SCANNER_SD: Final = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A number a case that is watched over time. unit: after a shift in words."""

    words: str
    values: Values
    form: str
    unit: str = ""
    share: bool = False


def watched_numbers(cohort: Cohort) -> tuple[Watched, ...]:
    """The numbers of a report; a case that was not judged says nothing of verdicts."""
    flagged = [
        np.nan if case.verdict is Verdict.NOT_JUDGED else case.verdict is not Verdict.ACCEPTED
        for case in cohort.cases
    ]
    return (
        Watched("mean uncertainty", cohort.mean_uncertainty, ".2e"),
        Watched("muscle HU, difference to median", cohort.muscle_hu_shift, ".1f", " HU"),
        Watched("bone HU, difference to median", cohort.bone_hu_shift, ".1f", " HU"),
        Watched("share not accepted", np.array(flagged, dtype=np.float64), ".2f", share=True),
    )


def charts_of(
    cohort: Cohort, watched: Sequence[Watched], members: Mask, finest: Step = Step.WEEK
) -> list[tuple[Watched, ControlChart]]:
    """The control chart of each number, over some of the cases.

    All have periods of one length, the longest that any of them needs: they share an axis and
    a table. finest: no shorter one is wanted.
    """
    rows = np.flatnonzero(members)
    days = [day_of(cohort.cases[row]) for row in rows]
    steps = [finest]
    for one in watched:
        pairs = zip(days, one.values[rows], strict=True)
        known = [day for day, value in pairs if day is not None and np.isfinite(value)]
        if len(known) >= FEWEST_CASES:
            steps.append(step_of(known, finest))
    step = max(steps, key=list(Step).index)
    return [
        (one, control_chart(days, one.values[rows], share=one.share, step=step))
        for one in watched
    ]


def drift_words(watched: Watched, chart: ControlChart, scanner: str) -> str:
    """A sentence that says what moved, since when and by how much; empty where nothing did."""
    if not chart.moved_since:
        return ""
    direction = "up" if chart.shift > 0 else "down"
    now, then = chart.centre + chart.shift, chart.centre
    sizes = []
    if not watched.share:
        sizes.append(f"{abs(chart.shift) / chart.sd:.1f} SD of single cases")
        if not watched.unit and then:
            sizes.insert(0, f"{100 * abs(chart.shift) / abs(then):.0f} %")
    size = f" ({', '.join(sizes)})" if sizes else ""
    on = f" on {scanner}" if scanner else ""
    words = watched.words[0].upper() + watched.words[1:]
    return (
        f"MOVED: {words}{on} went {direction} since {chart.moved_since}: from"
        f" {then:{watched.form}} to {now:{watched.form}}{watched.unit}{size}."
    )


def scanner_groups(cohort: Cohort) -> tuple[list[tuple[str, Mask]], int]:
    """The scanners with most cases, and how many cases are of none of them."""
    names = np.array([case.source.scanner for case in cohort.cases], dtype=np.str_)
    found, counts = np.unique(names[names != ""], return_counts=True)
    order = sorted(range(len(found)), key=lambda place: (-counts[place], found[place]))
    kept = [str(found[p]) for p in order if counts[p] >= FEWEST_OF_SCANNER][:MOST_SCANNERS]
    groups = [(name, np.asarray(names == name)) for name in kept]
    return groups, len(names) - sum(int(members.sum()) for _, members in groups)


def scanner_words(watched: Sequence[Watched], members: Mask) -> str:
    """Which means of a scanner lie beyond the mean of all ± 3 SD / √n."""
    off = []
    for one in watched:
        known = np.isfinite(one.values)
        own = one.values[known & members]
        if len(own) < FEWEST_OF_SCANNER or (members | ~known).all():
            continue
        centre, sd = one.values[known].mean(), one.values[known].std(ddof=1)
        distance = float(own.mean() - centre)
        if sd > 0 and abs(distance) > SCANNER_SD * sd / np.sqrt(len(own)):
            off.append(f"{one.words} {'high' if distance > 0 else 'low'}")
    return "; ".join(off) or "within limits"
