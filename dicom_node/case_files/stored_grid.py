"""Where an image file says that its voxels lie, checked; the same for every format.

NIfTI, MetaImage and NRRD state three axes as vectors, in different words. Here they become
one grid in LPS millimetres, or a refusal: axes that are not there, that are sheared, or
that are no size of a body's voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dicom_node.errors import (
    GantryTiltError,
    GeometryError,
    TooLargeError,
    UnevenSlicesError,
    UnstatedSidesError,
)
from dicom_node.series.reading import MAX_VOXELS
from dicom_node.series.slice_spacing import SHEAR_DEGREES, SHEAR_SLACK_MM

VOXEL_LIMITS_MM: Final = (0.05, 100.0)
"""Voxels of a body scan are no smaller and no longer."""

LONGEST: Final = 32767
"""The longest axis that NIfTI-1 can hold, in which results are written."""

FARTHEST_MM: Final = 1e6
"""A position farther from the origin is no place in a scanner (1 km)."""

EVEN_MM: Final = 0.05
"""Slices that lie this close to even positions count as evenly spaced."""

AVERAGED: Final = "ITK_non_uniform_sampling_deviation"
"""The key under which ITK keeps how far steps are from the mean that it writes, in mm."""

AS_DICOM: Final = "an unevenly spaced series must come as DICOM"


@dataclass(frozen=True, slots=True, eq=False)
class StoredGrid:
    """The grid of the voxels `[k, j, i]` of an image file; i runs fastest in the file.

    shape: numbers of k, j, i.
    origin_mm: LPS position of the first voxel.
    spacing_mm: along i, j, k.
    directions: rows are the LPS unit vectors along which i, j, k grow.
    """

    shape: tuple[int, int, int]
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    directions: NDArray[np.float64]

    @property
    def corners_mm(self) -> NDArray[np.float64]:
        """(8, 3) LPS positions of the outermost voxels."""
        steps_mm = self.directions * np.array(self.spacing_mm)[:, np.newaxis]
        return corners_mm(self.shape, steps_mm, np.array(self.origin_mm))


def corners_mm(
    shape: tuple[int, int, int], steps_mm: NDArray[np.float64], origin_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(8, 3) positions of the outermost voxels of a grid.

    Args:
        shape: numbers of k, j, i.
        steps_mm: rows are the vectors from a voxel to the next along i, j, k.
        origin_mm: of the first voxel.
    """
    ends = np.array(shape[::-1], dtype=np.float64) - 1
    which = np.indices((2, 2, 2)).reshape(3, -1).T
    return np.asarray(origin_mm + (which * ends) @ steps_mm)


def stored_grid(
    shape: tuple[int, int, int], steps_mm: ArrayLike, origin_mm: ArrayLike
) -> StoredGrid:
    """The grid with these axes.

    Args:
        shape: numbers of k, j, i.
        steps_mm: rows are the LPS vectors from a voxel to the next along i, j, k.
        origin_mm: LPS position of the first voxel.

    Raises:
        UnstatedSidesError: an axis has no direction.
        GantryTiltError: the axes are not at right angles.
        GeometryError: a size or position is absurd.
    """
    steps = np.asarray(steps_mm, dtype=np.float64).reshape(3, 3)
    origin = np.asarray(origin_mm, dtype=np.float64).reshape(3)
    if not np.isfinite(steps).all() or not (np.abs(steps) > 0).any(axis=1).all():
        raise UnstatedSidesError("the file does not say in which direction its axes run")
    if np.abs(steps).max() > VOXEL_LIMITS_MM[1]:
        raise GeometryError(f"voxels of {np.abs(steps).max():g} mm are absurd")
    if not np.isfinite(origin).all() or np.abs(origin).max() > FARTHEST_MM:
        raise GeometryError("the position of the first voxel is absurd")
    spacing = np.linalg.norm(steps, axis=1)
    if not (spacing.min() >= VOXEL_LIMITS_MM[0] and spacing.max() <= VOXEL_LIMITS_MM[1]):
        raise GeometryError(f"voxels of {_by(spacing)} mm are absurd")
    directions = steps / spacing[:, np.newaxis]
    _check_right_angles(shape, directions, spacing)
    return StoredGrid(shape, _three(origin), _three(spacing), directions)


def _check_right_angles(
    shape: tuple[int, int, int],
    directions: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
) -> None:
    """A sheared grid is what a tilted gantry leaves; no reader can put it right by turning."""
    reach_mm = (np.array(shape[::-1]) - 1) * spacing_mm
    for one, other in combinations(range(3), 2):
        lean = float(abs(directions[one] @ directions[other]))
        degrees = math.degrees(math.asin(min(lean, 1.0)))
        if degrees > SHEAR_DEGREES and lean * reach_mm.max() > SHEAR_SLACK_MM:
            raise GantryTiltError(
                f"the axes are sheared by {degrees:.1f} degrees against each other, as a tilted"
                " gantry leaves them"
            )


def checked_shape(sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """Sizes along i, j, k and further axes as the shape `[k, j, i]` of one volume.

    Raises:
        GeometryError: it is not one volume.
        TooLargeError: it has more voxels than a scan of a body.
    """
    listed = " x ".join(f"{size:.9g}" for size in sizes[:8])
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]):
        raise GeometryError(f"not one three-dimensional volume: {listed or 'no'} voxels")
    if min(sizes) < 1:
        raise GeometryError(f"a volume of {listed} voxels is none")
    if math.prod(sizes) > MAX_VOXELS or max(sizes) > LONGEST:
        raise TooLargeError(f"a volume of {listed} voxels, more than a scan of a body has")
    return sizes[2], sizes[1], sizes[0]


def check_not_averaged(stated: str | None) -> None:
    """The mark that ITK leaves where the spacing it writes is a mean of unequal steps.

    Deviations of rounded positions are marked too; they change nothing.

    Raises:
        UnevenSlicesError: the steps differed.
    """
    if stated is None:
        return
    try:
        deviation_mm = float(stated)
    except ValueError:
        deviation_mm = math.inf
    if not deviation_mm <= EVEN_MM:
        raise UnevenSlicesError(
            f"the slices were not evenly spaced ({AVERAGED} {deviation_mm:g} mm), the spacing"
            f" in the file is an average: {AS_DICOM}"
        )


def _by(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _three(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
