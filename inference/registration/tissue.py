"""Tissues told apart in a CT without any model: bone, muscle, the rest."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.hounsfield import BODY_ABOVE_HU

Mask = NDArray[np.bool_]
Hounsfield = NDArray[np.int16] | NDArray[np.float32]

BONE_ABOVE_HU: Final = 150.0
MUSCLE_DENSITY_HU: Final = (-30.0, 150.0)
"""After smoothing: fat lies below, bone above."""

SMOOTH_MM: Final = 1.0
CLOSED_MM: Final = 3.0
"""Gaps of a cortex up to twice this are closed before the marrow is filled."""

ENCLOSED_MM: Final = 25.0
"""How far away the cortex may lie around marrow."""

LEAST_BONE_MM2: Final = 60.0
"""A spot smaller than this in a slice is a marker on the skin or chalk in a vessel."""


def smoothed(hu: Hounsfield, pixel_mm: float) -> NDArray[np.float32]:
    """Slices without the finest noise."""
    sigma = SMOOTH_MM / pixel_mm
    return ndimage.gaussian_filter(np.asarray(hu, np.float32), (0, sigma, sigma))


def bone_of(hu: Hounsfield, pixel_mm: float, inside: Mask | None = None) -> Mask:
    """Bones with their marrow, slice by slice.

    inside: what is thought to lie inside a bone. Where the CT shows cortex around it, on three
        sides of four at least, it is marrow, even if the cortex has a gap.
    """
    dense = smoothed(hu, pixel_mm) > BONE_ABOVE_HU
    around = disk(CLOSED_MM / pixel_mm)
    least = int(LEAST_BONE_MM2 / pixel_mm**2)
    found = np.zeros(dense.shape, bool)
    for k, bright in enumerate(dense):
        marrow = inside[k] & _enclosed(bright, pixel_mm) if inside is not None else False
        filled = ndimage.binary_fill_holes(ndimage.binary_closing(bright | marrow, around))
        spots, _ = ndimage.label(filled)
        found[k] = filled & (np.bincount(spots.ravel())[spots] >= least)
    return found


def _enclosed(mask: Mask, pixel_mm: float) -> Mask:
    """True where a mask lies within reach on three of four sides of a pixel."""
    reach = round(ENCLOSED_MM / pixel_mm)
    sides = np.zeros(mask.shape, np.uint8)
    for axis in (0, 1):
        for turned in (mask, np.flip(mask, axis)):
            before = np.cumsum(turned, axis=axis)
            gone = np.zeros_like(before)
            rest = [slice(None), slice(None)]
            head = rest.copy()
            rest[axis], head[axis] = slice(reach, None), slice(None, -reach)
            gone[tuple(rest)] = before[tuple(head)]
            seen = before > gone
            sides += seen if turned is mask else np.flip(seen, axis)
    return sides >= 3


def muscle_of(hu: Hounsfield, pixel_mm: float) -> Mask:
    """True where a pixel is as dense as muscle, be it muscle or not."""
    soft = smoothed(hu, pixel_mm)
    return (soft > MUSCLE_DENSITY_HU[0]) & (soft < MUSCLE_DENSITY_HU[1])


def midline_mm(hu: Hounsfield, pixel_mm: float) -> float:
    """Column of the middle of a body or of two legs, without table and clothes."""
    body = [ndimage.binary_opening(one > BODY_ABOVE_HU, disk(5 / pixel_mm)) for one in hu]
    columns = np.flatnonzero(np.any(body, axis=(0, 1)))
    return float(columns[0] + columns[-1]) / 2 * pixel_mm


def surface_of(mask: Mask) -> NDArray[np.intp]:
    """(n, 3) voxels of a mask with a neighbour in their slice outside of it."""
    inner = np.stack([ndimage.binary_erosion(one) for one in mask])
    return np.argwhere(mask & ~inner)


def disk(radius: float) -> Mask:
    """A round structuring element; radius in pixels."""
    reach = max(1, round(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    round_: Mask = x * x + y * y <= max(1.0, radius) ** 2
    return round_
