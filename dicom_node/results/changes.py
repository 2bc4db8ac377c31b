"""What has changed since an earlier scan, as values: for the summary and the table of results.

The rule by which they are found is in `cohort/changes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from inference.structures import Segment

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Change:
    """One quantity now and then, in its own unit.

    range: the lowest and highest difference between any sample of now and any of then; None
        where one of the two has no samples.
    """

    now: float
    then: float
    range: Range | None = None

    @property
    def difference(self) -> float:
        """Now less then."""
        return self.now - self.then

    @property
    def percent(self) -> float | None:
        """The difference as a share of then; None where that was nothing or negative."""
        return 100.0 * self.difference / self.then if self.then > 0.0 else None

    @property
    def is_within_range(self) -> bool | None:
        """True if the samples of now and then overlap, so that there may be no change."""
        return None if self.range is None else self.range[0] <= 0.0 <= self.range[1]


@dataclass(frozen=True, slots=True)
class StructureChange:
    """The changes of one structure; None of what one of the two scans does not give."""

    segment: Segment
    volume_cm3: Change | None
    mean_hu: Change | None


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a patient's structures since an earlier scan.

    then: the date of that scan; None where there is none that could be compared.
    is_same_protocol: whether scanner, kernel, slice thickness and kVp are the same.
    structures: those that were accepted in both.
    """

    then: date | None = None
    is_same_protocol: bool = False
    structures: tuple[StructureChange, ...] = ()
