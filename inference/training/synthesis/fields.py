"""Random numbers and smooth fields on voxel grids, the raw material of synthetic bodies.

Everything is drawn from one `Draw`, so that a seed names a body. Fields are torch tensors
`[slice, row, column]`; they are made coarse and interpolated, because smooth things need
few samples.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

VARIANCE_LOST: Final = 1.5
"""Linear interpolation between nodes leaves 2/3 of the variance per axis, on average."""

FAR_MM: Final = 1e4
"""Stands for "farther than looked for" in a distance field."""


class Draw:
    """One seeded source of scalars and of noise fields.

    Scalars are the same on every device, noise is that of the device.
    """

    def __init__(self, *seed: int, device: torch.device | str = "cpu") -> None:
        self.scalars = np.random.default_rng(seed)
        self.fields = torch.Generator(device)
        self.fields.manual_seed(int(self.scalars.integers(2**62)))

    @property
    def device(self) -> torch.device:
        """Device on which fields are made."""
        return self.fields.device

    def uniform(self, low: float, high: float) -> float:
        """A number between two bounds."""
        return float(self.scalars.uniform(low, high))

    def normal(self, mean: float, deviation: float) -> float:
        """A number from a Gaussian."""
        return float(self.scalars.normal(mean, deviation))

    def chance(self, probability: float) -> bool:
        """True if something that happens this often happens now."""
        return bool(self.scalars.random() < probability)

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """White Gaussian noise."""
        return torch.randn(shape, generator=self.fields, device=self.device)


def smooth_noise(
    draw: Draw,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    correlation_mm: float,
) -> Tensor:
    """Gaussian noise with about unit variance and the given correlation length.

    White noise on a lattice as wide as the correlation length, interpolated trilinearly.
    """
    lattice = [
        max(2, round(n * mm / correlation_mm) + 1)
        for n, mm in zip(shape, spacing_mm, strict=True)
    ]
    coarse = draw.noise((1, 1, *lattice))
    field = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    noise: Tensor = field[0, 0] * VARIANCE_LOST**1.5
    return noise


def blur(field: Tensor, sigma: tuple[float, ...]) -> Tensor:
    """Gaussian blur, sigma in voxels per axis; the border is repeated."""
    for axis, width in enumerate(sigma):
        if width > 0:
            field = _blur_axis(field, axis, width)
    return field


def _blur_axis(field: Tensor, axis: int, sigma: float) -> Tensor:
    radius = max(1, int(2.5 * sigma + 0.5))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    length = field.shape[axis]
    index = torch.arange(-radius, length + radius).clamp(0, length - 1)
    padded = field.index_select(axis, index)
    total = torch.zeros_like(field)
    for k, tap in enumerate(taps.tolist()):
        total.add_(padded.narrow(axis, k, length), alpha=tap)
    return total


def distance_mm(
    mask: Tensor, spacing_mm: tuple[float, float, float], reach_mm: float
) -> Tensor:
    """Euclidean distance to the nearest voxel of a mask, exact up to `reach_mm`.

    Squared distances by the min-plus product along each axis in turn (Felzenszwalb and
    Huttenlocher 2012), over a limited reach: plain shifts, fast on any device.
    """
    squared = torch.where(mask, 0.0, FAR_MM**2)
    for axis, step in enumerate(spacing_mm):
        source, length = squared, squared.shape[axis]
        squared = source.clone()
        for k in range(1, min(int(reach_mm / step), length - 1) + 1):
            kept, cost = length - k, (k * step) ** 2
            ahead, behind = squared.narrow(axis, 0, kept), squared.narrow(axis, k, kept)
            torch.minimum(ahead, source.narrow(axis, k, kept) + cost, out=ahead)
            torch.minimum(behind, source.narrow(axis, 0, kept) + cost, out=behind)
    return squared.sqrt_()


def eroded(mask: Tensor, steps: int = 1) -> Tensor:
    """A mask without the voxels that touch its outside in the plane, `steps` times over."""
    for _ in range(steps):
        inner = mask.clone()
        inner[:, 1:] &= mask[:, :-1]
        inner[:, :-1] &= mask[:, 1:]
        inner[:, :, 1:] &= mask[:, :, :-1]
        inner[:, :, :-1] &= mask[:, :, 1:]
        mask = inner
    return mask


def dilated(mask: Tensor, steps: int = 1) -> Tensor:
    """A mask with its neighbours in the plane, `steps` times over."""
    return ~eroded(~mask, steps)
