"""Agreement, correlation and paired tests, with the reason in words where there is none.

The study's way to a p-value (Methods, "statistics"): Shapiro-Wilk on the differences of the
pairs; Student's t test where they look normal, Wilcoxon's signed rank test where they do
not; Bonferroni over the structures of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

NORMAL_FROM: Final = 0.05
"""Differences whose Shapiro-Wilk p-value reaches this are taken as normal."""

FEWEST_PAIRS: Final = 3
"""Shapiro-Wilk is not defined for fewer."""

FEWEST_FOR_SD: Final = 2


@dataclass(frozen=True, slots=True)
class MeanSd:
    """Mean and standard deviation (of the sample, n - 1; None of a single value)."""

    mean: float
    sd: float | None
    count: int


def mean_sd(values: Values) -> MeanSd | None:
    """Mean and spread of what is known; None of nothing. `nan` is not known."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    sd = float(known.std(ddof=1)) if known.size >= FEWEST_FOR_SD else None
    return MeanSd(float(known.mean()), sd, int(known.size))


def both_known(a: Values, b: Values) -> tuple[Values, Values]:
    """The pairs of which both values are known."""
    known = np.isfinite(a) & np.isfinite(b)
    return a[known], b[known]


def pearson(x: Values, y: Values) -> float | None:
    """Pearson's correlation; None of fewer than three pairs, or where one does not vary."""
    x, y = both_known(x, y)
    if len(x) < FEWEST_PAIRS or not _varies(x) or not _varies(y):
        return None
    dx, dy = x - x.mean(), y - y.mean()
    return float((dx @ dy) / np.sqrt((dx @ dx) * (dy @ dy)))


@dataclass(frozen=True, slots=True)
class Line:
    """y = a + b x."""

    a: float
    b: float

    def x_at(self, y: float) -> float:
        """The x at which the line reaches a value."""
        return (y - self.a) / self.b


def regression(x: Values, y: Values) -> Line | None:
    """The least squares line; None of fewer than three pairs, or where x does not vary."""
    x, y = both_known(x, y)
    if len(x) < FEWEST_PAIRS or not _varies(x):
        return None
    dx = x - x.mean()
    b = float((dx @ (y - y.mean())) / (dx @ dx))
    return Line(float(y.mean() - b * x.mean()), b)


def concordance(x: Values, y: Values) -> float | None:
    """Lin's concordance correlation coefficient (Biometrics 45, 1989, eq. 4).

    2 s_xy / (s_x^2 + s_y^2 + (mean x - mean y)^2) with variances divided by n; None of fewer
    than three pairs, or where both are one and the same constant.
    """
    x, y = both_known(x, y)
    if len(x) < FEWEST_PAIRS:
        return None
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    shared = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * shared / spread) if spread else None


def absolute_error(x: Values, y: Values) -> MeanSd | None:
    """MAE: mean and standard deviation of |x - y| over the pairs."""
    x, y = both_known(x, y)
    return mean_sd(np.abs(x - y))


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A paired comparison, or why there is none.

    name: `t` or `Wilcoxon`; empty where no test was possible.
    difference: mean of the first minus the second.
    p, corrected_p: as tested, and after Bonferroni; None without a test.
    words: why there is no test.
    """

    pairs: int
    difference: float | None = None
    name: str = ""
    p: float | None = None
    corrected_p: float | None = None
    words: str = ""


def paired_test(first: Values, second: Values) -> PairedTest:
    """Test whether two values of the same cases differ: t or Wilcoxon, as Shapiro-Wilk says."""
    first, second = both_known(first, second)
    differences = first - second
    count = len(differences)
    if count < FEWEST_PAIRS:
        few = f"{count} of at least {FEWEST_PAIRS} pairs"
        return PairedTest(count, float(differences.mean()) if count else None, words=few)
    mean = float(differences.mean())
    if not _varies(differences):
        return PairedTest(count, mean, words="all differences are equal")
    if stats.shapiro(differences).pvalue >= NORMAL_FROM:
        p = float(stats.ttest_1samp(differences, 0.0).pvalue)
        return PairedTest(count, mean, "t", p)
    p = float(stats.wilcoxon(differences).pvalue)
    return PairedTest(count, mean, "Wilcoxon", p)


def bonferroni(tests: Sequence[PairedTest]) -> tuple[PairedTest, ...]:
    """The tests of one table, each p times the number of tests made, 1 at the most."""
    made = sum(test.p is not None for test in tests)
    return tuple(
        test if test.p is None else replace(test, corrected_p=min(1.0, test.p * made))
        for test in tests
    )


def _varies(values: Values) -> bool:
    """True if values differ by more than the rounding of their arithmetic."""
    return bool(np.ptp(values) > 1e-12 * max(1e-300, float(np.abs(values).max())))
