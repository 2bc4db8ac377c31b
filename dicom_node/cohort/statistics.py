"""Statistics of a cohort beside those of `inference.evaluation.statistics`.

Asymmetry of the sides, outliers by the modified z-score, effect sizes of paired tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from inference.evaluation.statistics import FEWEST_PAIRS, both_known

Values = NDArray[np.float64]

OUTLYING: Final = 3.5
"""Modified z-score from which a value is called an outlier (Iglewicz and Hoaglin, How to
Detect and Handle Outliers, 1993)."""

MAD_TO_Z: Final = 0.6745
FEWEST_FOR_OUTLIERS: Final = 8
"""With fewer, median and MAD say too little for any of them to be called an outlier."""

PERCENTILES: Final = (5, 10, 25, 50, 75, 90, 95)


def asymmetry_percent(right: Values, left: Values) -> Values:
    """Side difference over the mean of both sides, right minus left, in percent.

    200 (R - L) / (R + L); nan where a side is unknown, or where both together are nothing.
    """
    total = right + left
    whole = np.where(total > 0, total, np.nan)
    return 200.0 * (right - left) / whole


def modified_z(values: Values) -> Values:
    """0.6745 (x - median) / MAD; nan where unknown, all nan where nothing can be said.

    MAD is the median absolute deviation. Nothing is said of fewer than
    `FEWEST_FOR_OUTLIERS` values, or of values of which half are the same.
    """
    known = values[np.isfinite(values)]
    if len(known) < FEWEST_FOR_OUTLIERS:
        return np.full(len(values), np.nan)
    median = np.median(known)
    mad = np.median(np.abs(known - median))
    if mad <= 0:
        return np.full(len(values), np.nan)
    scores: Values = MAD_TO_Z * (values - median) / mad
    return scores


@dataclass(frozen=True, slots=True)
class Effect:
    """The size of a paired difference, in units of no quantity.

    cohens_dz: mean of the differences over their standard deviation (n - 1).
    rank_biserial: matched pairs: share of the rank sum in favour of the first minus the
        share in favour of the second (Kerby 2014); equal pairs are left out.
    """

    cohens_dz: float | None
    rank_biserial: float | None


def paired_effect(first: Values, second: Values) -> Effect:
    """Effect sizes of the first against the second.

    None of fewer pairs than are tested, and where differences do not vary.
    """
    first, second = both_known(first, second)
    differences = first - second
    if len(differences) < FEWEST_PAIRS:
        return Effect(None, None)
    sd = float(differences.std(ddof=1))
    scale = 1e-12 * max(1e-300, float(np.abs(differences).max()))
    dz = float(differences.mean()) / sd if sd > scale else None
    return Effect(dz, _rank_biserial(differences))


def _rank_biserial(differences: Values) -> float | None:
    other = differences[differences != 0]
    if not len(other):
        return None
    ranks = stats.rankdata(np.abs(other))
    return float((ranks * np.sign(other)).sum() / ranks.sum())
