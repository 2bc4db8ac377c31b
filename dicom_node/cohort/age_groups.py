"""Decades of age, put together until each is large enough to be told.

A group of fewer than `FEWEST_IN_GROUP` people is neither a norm nor private: it is put
together with the next older decade, the oldest with the one before; where even all ages
together are too few there is no group at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST_IN_GROUP: Final = 5
STARTS: Final = (0, 30, 40, 50, 60, 70, 80)
"""Where a decade of adults starts, in years; the first holds all younger ones."""


@dataclass(frozen=True, slots=True)
class AgeGroup:
    """Ages from a year on to below another one; None: no end to it."""

    from_year: int
    below_year: int | None

    @property
    def words(self) -> str:
        """As in `60 to 69`, `below 40`, `80 and over`, `all ages`."""
        if self.below_year is None:
            return f"{self.from_year} and over" if self.from_year else "all ages"
        if not self.from_year:
            return f"below {self.below_year}"
        return f"{self.from_year} to {self.below_year - 1}"

    def holds(self, age_years: float) -> bool:
        """True if an age, which may be a fraction of years, lies inside."""
        return self.from_year <= age_years < (self.below_year or math.inf)

    def members(self, ages: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the ages lie inside; an unknown one, nan, does not."""
        return (ages >= self.from_year) & (ages < (self.below_year or math.inf))


ALL_AGES: Final = AgeGroup(0, None)


def age_groups(ages: Iterable[float], fewest: int = FEWEST_IN_GROUP) -> tuple[AgeGroup, ...]:
    """Groups that hold all ages without a gap, each with at least `fewest` of them.

    Empty where fewer ages than that are known; `nan` is not known.
    """
    known = np.array([age for age in ages if math.isfinite(age)])
    if len(known) < fewest:
        return ()
    starts: list[int] = [STARTS[0]]
    for start in STARTS[1:]:
        so_far = ((known >= starts[-1]) & (known < start)).sum()
        to_come = (known >= start).sum()
        if so_far >= fewest and to_come >= fewest:
            starts.append(start)
    ends = [*starts[1:], None]
    return tuple(AgeGroup(*pair) for pair in zip(starts, ends, strict=True))
