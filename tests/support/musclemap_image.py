"""A small CT for comparing with MuscleMap's program: numbers alone, no other module needed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SPACING_MM: Final = (5.0, 1.3, 0.8)
"""Of slices, rows and columns."""

RECORDED: Final = 4
"""Every so many rows and columns are recorded."""

CASES: Final = {
    "whole numbers in chunks of 2": (2, "int16", False),
    "one chunk": (5, "int16", False),
    "floating point in chunks of 2": (2, "float32", False),
    "one chunk, margin within the image": (5, "int16", True),
}
"""Slices in a chunk, kind of numbers, and whether the margin of the crop ends at the image."""


def small_ct(kind: str) -> NDArray[np.int16] | NDArray[np.float32]:
    """HU `[slice, row, column]`, 5 x 44 x 70: air, a body of textures, water of exactly 0."""
    places, y, x = np.mgrid[:5, :44, :70].astype(np.float64)
    hu = np.full(y.shape, -1000.0)
    body = ((y - 20 - places) / 17) ** 2 + ((x - 38) / 29) ** 2 < 1
    texture = 60 * np.sin(x / 3 + places) * np.cos(y / 4) + 8 * ((7 * x + 5 * y) % 11 - 5)
    hu[body] = (50 + texture)[body]
    hu[body & (np.hypot(y - 16, x - 28) < 6)] = 700
    hu[body & (y > 28)] = 0
    return hu.astype(np.float32) / 1.25 if kind == "float32" else np.rint(hu).astype(np.int16)
