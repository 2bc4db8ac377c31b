"""From Hounsfield units on the source's grid to what the network is fed, and back.

A bundle declares both halves of it: the `Window` (what a grey value means) and the
`PixelGrid` (how far pixels lie apart). Slices stay slices: nothing is resampled across
them. One `Frame` serves all slices of a volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as f

from inference.hounsfield import AIR_HU, BODY_ABOVE_HU
from inference.models.bayesian_unet.network import Architecture
from inference.volume import Volume

BODY_SHARE: Final = 0.1
"""Parts below this share of the largest are not the body; two separate legs are."""

BODY_PIXEL_MM: Final = 4.0
BODY_SLICE_MM: Final = 8.0
"""The body is sought on every n-th pixel and slice, up to about these distances."""

BODY_MARGIN_MM: Final = 12.0
"""Kept around the body: the coarse search may miss 8 mm of skin."""


@dataclass(frozen=True, slots=True)
class Window:
    """HU clipped to [low_hu, high_hu] and scaled to [low_value, high_value].

    The defaults are those of the study group's published tools.
    """

    low_hu: float = -150.0
    high_hu: float = 350.0
    low_value: float = 0.0
    high_value: float = 255.0

    def __post_init__(self) -> None:
        """Refuse an empty window."""
        if self.low_hu >= self.high_hu or self.low_value == self.high_value:
            raise ValueError(f"the window is empty: {self}")

    def apply(self, hu: Tensor) -> Tensor:
        """Grey values for the network, float32, in the shape of the Hounsfield units."""
        scale = (self.high_value - self.low_value) / (self.high_hu - self.low_hu)
        clipped = hu.float().clamp(self.low_hu, self.high_hu)
        return (clipped - self.low_hu) * scale + self.low_value


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """The pixels that the network is fed.

    pixel_mm: their distance along rows and columns, or None for the source's own.
    body_only: cut the air and the table around the body off first; they only cost time.
        The study fed whole slices.
    """

    pixel_mm: float | None = None
    body_only: bool = True

    def __post_init__(self) -> None:
        """Refuse distances that no CT has."""
        if self.pixel_mm is not None and not 0.1 <= self.pixel_mm <= 10:
            raise ValueError(f"pixel_mm is {self.pixel_mm}, not in 0.1 to 10")


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of every slice that the network sees, and its pixels; pairs `(row, column)`.

    source: size of the source's slices in pixels.
    start: source pixel with which the frame begins, edge on edge; negative or beyond the
        image where the network needs more pixels than the image has.
    pixel: size of a network pixel in source pixels.
    size: of the frame in network pixels.

    Network pixel i is centred on source coordinate start + (i + 1/2) pixel - 1/2.
    """

    source: tuple[int, int]
    start: tuple[int, int]
    pixel: tuple[float, float]
    size: tuple[int, int]

    @property
    def source_box(self) -> tuple[slice, slice]:
        """Rows and columns of the source that the frame covers."""
        low, high = zip(*(self._covered(axis) for axis in range(2)), strict=True)
        return slice(low[0], high[0]), slice(low[1], high[1])

    @property
    def source_pixels(self) -> float:
        """Number of source pixels that one network pixel stands for."""
        return self.pixel[0] * self.pixel[1]

    def column_edges(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outer edges of network columns on the source's column axis.

        Source column c reaches from c - 1/2 to c + 1/2.
        """
        return self.start[1] + columns * self.pixel[1] - 0.5

    def to_network(self, hu: Tensor) -> Tensor:
        """Slices `[n, row, column]` as HU on the network's pixels, float32 `[n, 1, h, w]`.

        Larger pixels are the area-weighted mean of the source's, smaller ones lie on
        straight lines between them. Outside the image is air.
        """
        if self.start == (0, 0) and self.size == self.source and self.pixel == (1.0, 1.0):
            return hu.float()[:, None]
        rows, columns = (self._weights(axis).to(hu.device) for axis in range(2))
        above_air = hu.float() - AIR_HU  # (n, H, W)
        resampled = rows @ above_air @ columns.T + AIR_HU  # (n, h, w)
        return resampled[:, None]

    def to_source(self, maps: Tensor) -> Tensor:
        """Network maps `[n, c, h, w]` inside `source_box`, by bilinear interpolation."""
        if self.pixel != (1.0, 1.0):
            maps = f.interpolate(maps, scale_factor=self.pixel, mode="bilinear")
        rows, columns = self.source_box
        top, left = rows.start - self.start[0], columns.start - self.start[1]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return maps[..., top : top + height, left : left + width]

    def _covered(self, axis: int) -> tuple[int, int]:
        end = self.start[axis] + int(self.size[axis] * self.pixel[axis])
        return max(self.start[axis], 0), min(end, self.source[axis])

    def _weights(self, axis: int) -> Tensor:
        """(network, source) weights along an axis; a row adds up to 1 inside the image."""
        step = self.pixel[axis]
        source = np.arange(self.source[axis])[None, :]
        low = self.start[axis] - 0.5 + np.arange(self.size[axis])[:, None] * step
        if step >= 1:
            overlap = np.minimum(low + step, source + 0.5) - np.maximum(low, source - 0.5)
            weights = overlap.clip(0) / step
        else:
            weights = (1 - np.abs(low + step / 2 - source)).clip(0)
        return torch.from_numpy(weights.astype(np.float32))


def frame_of(volume: Volume, grid: PixelGrid, architecture: Architecture) -> Frame:
    """The frame that a network of this architecture sees of all slices of a volume.

    Its sides are multiples of what the pooling levels divide by, its centre is that of the
    body.
    """
    geometry = volume.geometry
    source = (geometry.rows, geometry.columns)
    pixel = tuple(
        1.0 if grid.pixel_mm is None else grid.pixel_mm / mm for mm in geometry.spacing_mm
    )
    box = body_box(volume) if grid.body_only else ((0, source[0]), (0, source[1]))
    start, size = [], []
    for (low, high), step in zip(box, pixel, strict=True):
        pixels = rounded_up((high - low) / step, architecture)
        size.append(pixels)
        start.append(int(np.floor((low + high - pixels * step) / 2)))
    return Frame(source, (start[0], start[1]), (pixel[0], pixel[1]), (size[0], size[1]))


def body_box(volume: Volume) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and end row, first and end column of the body with a margin.

    The whole slice where nothing like a body is there.
    """
    geometry = volume.geometry
    steps = [
        max(1, int(coarse // fine))
        for coarse, fine in zip(
            (BODY_SLICE_MM, BODY_PIXEL_MM, BODY_PIXEL_MM),
            (float(np.median(geometry.extents_mm)), *geometry.spacing_mm),
            strict=True,
        )
    ]
    coarse = volume.hu[:: steps[0], :: steps[1], :: steps[2]] > BODY_ABOVE_HU
    in_plane = np.ones((1, 3, 3), dtype=bool)  # opening takes away table tops and clothes
    parts, _ = ndimage.label(ndimage.binary_opening(coarse, in_plane))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = np.isin(parts, np.flatnonzero(sizes >= max(1, BODY_SHARE * sizes.max())))
    if not body.any():
        return (0, geometry.rows), (0, geometry.columns)
    rows = _extent(
        np.asarray(body.any(axis=(0, 2))), steps[1], geometry.rows, geometry.spacing_mm[0]
    )
    columns = _extent(
        np.asarray(body.any(axis=(0, 1))), steps[2], geometry.columns, geometry.spacing_mm[1]
    )
    return rows, columns


def _extent(
    seen: NDArray[np.bool_], step: int, size: int, spacing_mm: float
) -> tuple[int, int]:
    """First and end source pixel of what was seen on every n-th, with the margin."""
    margin = int(np.ceil(BODY_MARGIN_MM / spacing_mm))
    places = np.flatnonzero(seen) * step
    return max(0, int(places[0]) - margin), min(size, int(places[-1]) + 1 + margin)


def rounded_up(pixels: float, architecture: Architecture) -> int:
    """The smallest side of an image that the network takes and that holds these pixels."""
    divisor = int(2 ** (architecture.layers - 1))
    rounded = ceil(round(pixels, 6) / divisor) * divisor
    return max(rounded, architecture.smallest_side)
