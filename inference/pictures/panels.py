"""Single pictures of a scan and what was found in it, without words: what pages are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.hounsfield import BODY_ABOVE_HU
from inference.pictures.canvas import Picture
from inference.pictures.projections import Plane, View, coloured, radiograph, upright
from inference.structures import SEGMENTS
from inference.volume import Volume

SOFT_TISSUE_HU: Final = (-160.0, 240.0)
OVERLAY_OPACITY: Final = 0.35
COLOUR_SHARE: Final = 0.85
FAINT_BODY: Final = 70.0
AROUND_MM: Final = 25.0
"""How much is shown around the segments in axial slices."""

_HEAT: Final = np.array(
    [(0, 0, 0), (60, 10, 90), (150, 35, 105), (225, 85, 50), (250, 170, 30), (252, 250, 180)],
    dtype=np.float32,
)

_LABEL_PALETTE: Final = np.array(
    [(0, 0, 0), *(s.structure.colour_rgb for s in SEGMENTS)], dtype=np.float32
)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The part of a scan around its segments: what the panels draw.

    rows, columns: which part of every slice it is.
    """

    volume: Volume
    segments: NDArray[np.uint8]
    rows: slice
    columns: slice

    @classmethod
    def around(cls, volume: Volume, segments: NDArray[np.uint8]) -> Shown:
        """The part that holds the segments, and a margin; or the body, where there are none."""
        found = segments > 0 if segments.any() else volume.hu > BODY_ABOVE_HU
        rows, columns = (
            _around(np.asarray(found.any(axis=(0, other))), spacing)
            for other, spacing in zip((2, 1), volume.geometry.spacing_mm, strict=True)
        )
        hu = volume.hu[:, rows, columns]
        geometry = replace(volume.geometry, rows=hu.shape[1], columns=hu.shape[2])
        return cls(Volume(hu, geometry), segments[:, rows, columns], rows, columns)

    def fitting(self, size: tuple[int, int], view: View) -> float:
        """Millimetres per pixel that let a projection fill (width, height) pixels."""
        geometry = self.volume.geometry
        across = geometry.shape[2 - view.value] * geometry.spacing_mm[1 - view.value]
        offsets, extents = geometry.slice_offsets_mm, geometry.extents_mm
        height = offsets[-1] - offsets[0] + (extents[0] + extents[-1]) / 2
        return max(across / size[0], float(height) / size[1])


def _around(found: NDArray[np.bool_], spacing_mm: float) -> slice:
    where = np.flatnonzero(found)
    if not where.size:
        return slice(0, len(found))
    margin = round(AROUND_MM / spacing_mm)
    return slice(max(0, int(where[0]) - margin), int(where[-1]) + margin + 1)


def borders(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels at the border between labels, on the side of the label that is not 0."""
    border = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border & (labels > 0)


def overlay_slice(
    volume: Volume,
    segments: NDArray[np.uint8],
    number: int,
    *,
    width_px: int = 512,
    opacity: float = OVERLAY_OPACITY,
) -> Picture:
    """One axial slice with the segments in their colours and outlined, true to scale.

    Args:
        volume: the CT.
        segments: `[slice, row, column]` 0 to 43 on the CT's grid.
        number: which slice.
        width_px: width of the picture; the height follows from the pixels' shape.
        opacity: of the colour inside the outlines; 0 shows the CT alone.
    """
    rows_mm, columns_mm = (
        count * spacing
        for count, spacing in zip(volume.hu.shape[1:], volume.geometry.spacing_mm, strict=True)
    )
    size = (width_px, max(1, round(width_px * rows_mm / columns_mm)))
    low, high = SOFT_TISSUE_HU
    hu = np.clip((volume.hu[number].astype(np.float32) - low) / (high - low), 0, 1)
    grey = np.asarray(Image.fromarray(hu).resize(size, Image.Resampling.BILINEAR))
    labels = np.ascontiguousarray(segments[number])
    labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    alpha = np.where(labels > 0, np.where(borders(labels), 1.0, opacity), 0.0)[..., np.newaxis]
    rgb = grey[..., np.newaxis] * 255 * (1 - alpha) + _LABEL_PALETTE[labels] * alpha
    return np.asarray(rgb, dtype=np.uint8)


def coloured_radiograph(shown: Shown, view: View, size: tuple[int, int]) -> Picture:
    """A radiograph with the segments' colours, to fit into (width, height) pixels."""
    mm_per_pixel = shown.fitting(size, view)
    geometry = shown.volume.geometry
    shade = _grey(shown, view, mm_per_pixel)
    colours = coloured(shown.segments, geometry, view)
    rgb = upright(colours.rgb, geometry, view, mm_per_pixel)
    opacity = upright(colours.opacity, geometry, view, mm_per_pixel) * COLOUR_SHARE
    lit = rgb * (0.5 + 0.7 * shade)
    mixed = shade * 255 * (1 - opacity[..., np.newaxis]) + lit * opacity[..., np.newaxis]
    return np.asarray(np.clip(mixed, 0, 255), dtype=np.uint8)


def _grey(shown: Shown, view: View, mm_per_pixel: float) -> Plane:
    """The radiograph, 0 to 1 `[height, width, 1]`."""
    plane = upright(radiograph(shown.volume, view), shown.volume.geometry, view, mm_per_pixel)
    return plane[..., np.newaxis]


def uncertainty_map(plane: Plane, shown: Shown, top: float, size: tuple[int, int]) -> Picture:
    """A coronal projection of the uncertainty as heat over a faint body.

    Args:
        plane: `[slice, column]` of what is shown; NaN where there is nothing.
        shown: the scan.
        top: the value at the upper end of the colour scale.
        size: the picture's largest width and height.
    """
    mm_per_pixel = shown.fitting(size, View.CORONAL)

    def turned(values: Plane) -> Plane:
        return upright(values, shown.volume.geometry, View.CORONAL, mm_per_pixel)

    opacity = turned(np.isfinite(plane).astype(np.float32))[..., np.newaxis]
    faint = _grey(shown, View.CORONAL, mm_per_pixel) * FAINT_BODY
    hot = np.maximum(heat(turned(np.nan_to_num(plane) / top)), faint)
    return np.asarray(hot * opacity + faint * (1 - opacity), dtype=np.uint8)


def heat(shares: Plane) -> Plane:
    """Black over violet and orange to pale yellow, for 0 to 1."""
    at = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(shares, at, _HEAT[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)
