"""How fast a batch goes, and when it will be done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a batch is.

    total: cases in all. before: done in an earlier run. now: done in this one.
    seconds: since the first case of this run was begun.
    """

    total: int
    before: int
    now: int
    seconds: float

    @property
    def done(self) -> int:
        """In all runs."""
        return self.before + self.now

    @property
    def per_hour(self) -> float | None:
        """Cases an hour in this run; None before the first."""
        return self.now / self.seconds * 3600 if self.now and self.seconds > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds until all are done, if the rest goes as those before."""
        return (self.total - self.done) * self.seconds / self.now if self.now else None

    @property
    def words(self) -> str:
        """The pace in a reader's words."""
        if self.per_hour is None or self.left_s is None:
            return "no pace yet"
        left = "done" if self.done == self.total else f"{duration(self.left_s)} left"
        return f"{self.per_hour:.{1 if self.per_hour < 10 else 0}f} cases an hour, {left}"


def duration(seconds: float) -> str:
    """A length of time with the two units that matter."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"
