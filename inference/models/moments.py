"""Mean and variance of samples' softmax, without keeping the samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Running mean and variance of the samples' softmax, `[slice, class, row, column]`.

    Sums are taken of the differences to the first sample: exact where all samples agree,
    and free of the cancellation that plain sums of squares suffer.
    """

    first: Tensor
    sums: Tensor
    squares: Tensor

    @classmethod
    def starting_with(cls, first: Tensor) -> Moments:
        """The moments of one sample."""
        return cls(first, torch.zeros_like(first), torch.zeros_like(first))

    def add(self, sample: Tensor) -> None:
        """Count one more sample."""
        difference = sample - self.first
        self.sums.add_(difference)
        self.squares.addcmul_(difference, difference)

    def mean(self, samples: int) -> Tensor:
        """Mean softmax `[slice, class, row, column]`."""
        return self.first + self.sums / samples

    def uncertainty(self, samples: int) -> Tensor:
        """Mean over the classes of the population variance, `[slice, row, column]`."""
        variance = self.squares / samples - (self.sums / samples) ** 2
        return variance.clamp_(min=0).mean(dim=1)
