"""A smooth deformation in the plane of each slice, from one picture of tissues to another.

Demons with symmetric forces (Thirion, Med Image Anal 1998; Vercauteren et al., NeuroImage
2009, equation 5): each pixel is pushed along the gradients of both pictures by their
difference; the field is smoothed after every step, which is what keeps muscles whole.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
"""(2, slices, rows, columns): shift of rows and of columns in mm."""

STEPS: Final = 100
FIELD_SIGMA_MM: Final = 6.0
SLICES_SIGMA_MM: Final = 2.0
"""Smoothness of the field in the plane, and from slice to slice."""

PICTURE_SIGMA_MM: Final = 1.0
LARGEST_STEP_MM: Final = 1.0


def followed(
    moving: NDArray[np.float32],
    fixed: NDArray[np.float32],
    valid: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> Field:
    """Shifts with which each pixel of `fixed` finds itself in `moving`.

    Args:
        moving: a picture of tissues `[slice, row, column]`, such as 0, 1 and 2.
        fixed: the picture it should become.
        valid: where the pictures are comparable; elsewhere nothing pulls.
        spacing_mm: between slices, rows and columns.
    """
    step_mm, pixel = spacing_mm[0], np.asarray(spacing_mm[1:], np.float32)
    blur = (0.0, *(PICTURE_SIGMA_MM / pixel))
    moving, fixed = (ndimage.gaussian_filter(one, blur) for one in (moving, fixed))
    smooth = (SLICES_SIGMA_MM / step_mm, *(FIELD_SIGMA_MM / pixel))
    field = np.zeros((2, *fixed.shape), np.float32)
    for _ in range(STEPS):
        seen = looked_up(moving, field, spacing_mm, order=1)
        difference = np.where(valid, fixed - seen, 0)
        slopes = np.stack(
            [np.gradient((seen + fixed) / 2, pixel[axis - 1], axis=axis) for axis in (1, 2)]
        )
        weight = (slopes**2).sum(axis=0) + difference**2 / LARGEST_STEP_MM**2
        push = np.divide(difference, weight, where=weight > 1e-6, out=np.zeros_like(seen))
        field += slopes * push
        for one in field:
            ndimage.gaussian_filter(one, smooth, output=one)
    return field


def looked_up(
    values: NDArray[np.float32],
    field: Field,
    spacing_mm: tuple[float, float, float],
    order: Literal[0, 1],
) -> NDArray[np.float32]:
    """Values at the places that a field points to; nearest (0) or linear (1)."""
    slices, rows, columns = np.indices(values.shape, np.float32)
    at = (slices, rows + field[0] / spacing_mm[1], columns + field[1] / spacing_mm[2])
    found: NDArray[np.float32] = ndimage.map_coordinates(
        values, at, order=order, mode="nearest"
    )
    return found
