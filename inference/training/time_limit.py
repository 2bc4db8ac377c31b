"""Training for as long as there is, not for as long as it takes: on a machine that is lent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from inference.errors import TrainingError

REPLAN_S: Final = 5.0
"""The pace is taken over so long: a machine that others use changes it."""


@dataclass(slots=True)
class TimeLimit:
    """Number of iterations that a run gets, planned anew as it goes on, for what fits.

    The learning rate follows the plan, so that it has fallen when the time is up.

    limit_s: seconds of training, all goes of the run together.
    most: iterations of the recipe, which a fast machine does not go beyond.
    """

    limit_s: float
    most: int
    _planned: int = field(init=False)
    _mark: tuple[int, float] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Plan the recipe's iterations, until the pace is known."""
        if not self.limit_s > 0:
            raise TrainingError(f"a time limit of {self.limit_s:g} s leaves no training")
        self._planned = self.most

    def begin(self, iteration: int, seconds: float) -> int:
        """The plan at the begin of a go, by the pace of those before; see `plan`."""
        if iteration:
            self._planned = self._fitting(iteration, seconds, iteration, seconds)
        return self._planned

    def plan(self, iteration: int, seconds: float) -> int:
        """Number of iterations that the run is to have, as of the end of one of them.

        Args:
            iteration: how many were done.
            seconds: that they took, all goes of the run together.
        """
        if seconds >= self.limit_s:
            return min(iteration, self._planned)
        if self._mark is None:  # the first one of a go waits for what is made ready
            self._mark = (iteration, seconds)
        done, took = iteration - self._mark[0], seconds - self._mark[1]
        # A plan made at a slow moment is reached too early: it is not believed then.
        if done and (took >= min(REPLAN_S, self.limit_s / 20) or iteration >= self._planned):
            self._planned = self._fitting(iteration, seconds, done, took)
            self._mark = (iteration, seconds)
        return self._planned

    def _fitting(self, iteration: int, seconds: float, done: int, took: float) -> int:
        """Number of iterations by the end of the time, if the rest goes on at this pace."""
        left = max(0.0, self.limit_s - seconds) * done / max(took, 1e-9)
        return math.floor(min(self.most, iteration + left))
