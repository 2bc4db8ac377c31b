"""Cross-validation over patients: which of them a run does not see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from inference.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """k-fold cross-validation; the study's is five-fold.

    count: parts into which the patients are dealt.
    index: the part that is held out, from 0.
    seed: of the dealing; the same in all runs of a cross-validation.
    """

    count: Annotated[int, Field(ge=2)] = 5
    index: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        """Refuse a part that is not there."""
        if self.index >= self.count:
            raise ValueError(
                f"index is {self.index}, of {self.count} folds the last is number"
                f" {self.count - 1}"
            )

    def held_out(self, patients: Iterable[str]) -> frozenset[str]:
        """The patients of the part that is held out.

        Who they are follows from the set of all patients and the seed, not from the order.
        Parts differ by one patient at most, and every patient is in exactly one.

        Raises:
            TrainingError: there are fewer patients than parts.
        """
        known = sorted(set(patients))
        if len(known) < self.count:
            raise TrainingError(
                f"{len(known)} patients cannot be dealt into {self.count} folds"
            )
        dealt = np.random.default_rng(self.seed).permutation(len(known))
        return frozenset(known[place] for place in dealt[self.index :: self.count])
