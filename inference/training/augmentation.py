"""Slices of real scans, varied at random: a batch at a time, on the device that holds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from inference.training.resampling import resampled

Amount = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Largest variations of slices; every amount is drawn evenly between minus and plus it.

    rotation_deg: about the middle of the slice.
    scale: of the size, as a share of it.
    shear: of rows against each other, as a tangent.
    shift: of the middle, as a share of the training image's rows and columns.
    mirror: half of the slices are mirrored; sides carry no labels of their own.
    gain: of the Hounsfield units, as a share of them.
    offset_hu: added to them.
    noise_hu: standard deviation of white noise, evenly between nothing and this.
    """

    rotation_deg: Amount = 10.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.15
    shear: Amount = 0.1
    shift: Amount = 0.1
    mirror: bool = True
    gain: Annotated[float, Field(ge=0, lt=1)] = 0.02
    offset_hu: Amount = 8.0
    noise_hu: Amount = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Variation:
    """Amounts by which one slice is varied.

    matrix: (2, 2) from steps `(row, column)` of the training image to those of the slice.
    centre: `(row, column)` of the slice that comes to lie in the middle.
    """

    matrix: tuple[tuple[float, float], tuple[float, float]]
    centre: tuple[float, float]
    gain: float
    offset_hu: float
    noise_hu: float


def draw_variation(
    augmentation: Augmentation,
    random: np.random.Generator,
    size: tuple[int, int],
    crop: tuple[int, int],
) -> Variation:
    """A variation for a slice of some size, for a training image of the crop's."""

    def within(amount: float) -> float:
        return float(random.uniform(-amount, amount))

    angle = math.radians(within(augmentation.rotation_deg))
    scale, shear = 1 + within(augmentation.scale), within(augmentation.shear)
    mirror = -1.0 if random.random() < 0.5 and augmentation.mirror else 1.0
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    shifts = [within(augmentation.shift) * side for side in crop]
    return Variation(
        matrix=(
            (cosine, mirror * (sine + shear * cosine)),
            (-sine, mirror * (cosine - shear * sine)),
        ),
        centre=((size[0] - 1) / 2 + shifts[0], (size[1] - 1) / 2 + shifts[1]),
        gain=1 + within(augmentation.gain),
        offset_hu=within(augmentation.offset_hu),
        noise_hu=float(random.uniform(0, augmentation.noise_hu)),
    )


def varied(
    hu: Tensor,
    labels: Tensor,
    variations: list[Variation],
    crop: tuple[int, int],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Training images of slices; outside of them are air and background.

    Args:
        hu: int16 `[slice, row, column]`; smaller slices are filled up with air at the end.
        labels: uint8, likewise with background.
        variations: one a slice.
        crop: rows and columns of the training images.
        generator: of the noise, on the slices' device.

    Returns:
        float32 HU `[slice, row, column]` and int64 labels, of the crop's size.
    """
    device = hu.device
    steps = torch.tensor([one.matrix for one in variations], device=device)  # (n, 2, 2)
    centres = torch.tensor([one.centre for one in variations], device=device)  # (n, 2)
    y, x = (torch.arange(side, device=device) - (side - 1) / 2 for side in crop)
    offsets = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)  # (h, w, 2)
    # (n, h, w, 2): row and column of the slice for every pixel of the training image
    source = torch.einsum("nij,hwj->nhwi", steps, offsets) + centres[:, None, None]
    moved, labels = resampled(hu.float(), labels, source[..., 0], source[..., 1])
    gain, offset, noise = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (
            [one.gain for one in variations],
            [one.offset_hu for one in variations],
            [one.noise_hu for one in variations],
        )
    )
    image = moved * gain + offset
    image += noise * torch.randn(image.shape, generator=generator, device=device)
    return image, labels
