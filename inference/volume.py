"""A CT in Hounsfield units, tied to its grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """CT in Hounsfield units, read-only, `[slice, row, column]` in the patient frame.

    `hu` is int16 or float32; int16 halves the memory and is exact for scanners' data.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry

    def __post_init__(self) -> None:
        """Tie the voxels to their grid and lock them."""
        if self.hu.shape != self.geometry.shape:
            msg = f"hu is {self.hu.shape}, its geometry {self.geometry.shape}"
            raise ValueError(msg)
        if self.hu.dtype not in (np.int16, np.float32):
            msg = f"hu is {self.hu.dtype}, not int16 or float32"
            raise ValueError(msg)
        self.hu.flags.writeable = False

    def part(self, slices: range) -> Volume:
        """Some neighbouring slices of the volume; a view."""
        part = slice(slices.start, slices.stop)
        geometry = replace(
            self.geometry,
            positions_mm=self.geometry.positions_mm[part],
            extents_mm=self.geometry.extents_mm[part],
        )
        return Volume(self.hu[part], geometry)


@dataclass(frozen=True, slots=True)
class Patient:
    """Facts about the patient that the measurements need; nothing that identifies."""

    height_m: float | None = None
