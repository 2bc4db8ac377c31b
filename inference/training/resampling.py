"""Slices and their labels, looked at from somewhere else: on the device that holds them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from inference.hounsfield import AIR_HU


def resampled(
    hu: Tensor, labels: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    """Slices between their pixels; beyond their edge are air and background.

    Args:
        hu: float32 `[slice, row, column]`, taken linearly.
        labels: integers, likewise, taken from the nearest pixel.
        rows: float32 `[slice, h, w]`, the row of its slice that each new pixel shows; the
            first row's centre is 0.
        columns: the same of columns.

    Returns:
        float32 HU and int64 labels, `[slice, h, w]`.
    """
    height, width = hu.shape[1:]
    # grid_sample takes the column first, counts from edge to edge as -1 to 1, fills with 0.
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    above_air = functional.grid_sample(
        hu[:, None] - AIR_HU, grid, mode="bilinear", align_corners=False
    )
    nearest = functional.grid_sample(
        labels[:, None].float(), grid, mode="nearest", align_corners=False
    )
    return above_air[:, 0] + AIR_HU, nearest[:, 0].long()
