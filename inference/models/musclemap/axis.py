"""One axis of a slice: its pixels, those that the network is fed, and the ways between them.

MONAI's `Spacing` keeps the first pixel's centre where it is, rounds the number of pixels, and
takes values linearly; beyond the last pixel's centre the last pixel counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

SAME_MM: Final = 1e-3
"""Pixels closer to the wanted distance than this are left as they are (MONAI's AFFINE_TOL)."""


@dataclass(frozen=True, slots=True)
class Axis:
    """pixels: of the image; fed: of the network's grid; step: image pixels between those."""

    pixels: int
    fed: int
    step: float

    @classmethod
    def of(cls, pixels: int, spacing_mm: float, wanted_mm: float) -> Axis:
        """The axis of an image whose pixels lie so far apart; 0 or less leaves it alone."""
        if wanted_mm <= 0 or abs(spacing_mm - wanted_mm) <= SAME_MM:
            return cls(pixels, pixels, 1.0)
        # np.round takes halves to the even number, as MONAI does.
        fed = int(np.round((pixels - 1) * spacing_mm / wanted_mm + 1))
        return cls(pixels, fed, wanted_mm / spacing_mm)

    def to_fed(self, image: Tensor, dim: int) -> Tensor:
        """Values at the network's pixels, from those of the image."""
        if self.step == 1 and self.fed == self.pixels:
            return image
        places = torch.arange(self.fed, dtype=torch.float64) * self.step
        return between(image, dim, places.clamp(max=self.pixels - 1))

    def places(self) -> Tensor:
        """(pixels,) float64 where the image's pixels lie on the network's grid."""
        places = torch.arange(self.pixels, dtype=torch.float64) / self.step
        return places.clamp(max=self.fed - 1)


def between(values: Tensor, dim: int, places: Tensor) -> Tensor:
    """Values at fractional places of an axis, linearly between neighbours.

    Args:
        values: floating point.
        dim: the axis.
        places: float64, each from 0 to the last index.
    """
    lower = places.floor().long()
    upper = (lower + 1).clamp(max=values.shape[dim] - 1)
    shape = [-1 if one == dim % values.ndim else 1 for one in range(values.ndim)]
    share = (places - lower).to(values).view(shape)
    lower, upper = lower.to(values.device), upper.to(values.device)
    below = values.index_select(dim, lower)
    return below.lerp_(values.index_select(dim, upper), share.expand_as(below))
