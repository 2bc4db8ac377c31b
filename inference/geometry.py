"""Positions of voxels in the patient: one index convention, one patient frame.

Arrays are indexed `[slice, row, column]` everywhere; points are LPS millimetres (x grows
to the patient's left, y to the back, z to the head: PS3.3 C.7.6.2.1.1). Slices may be
unevenly spaced and of different thickness, so a stack is described by the position and the
extent of each slice, not by one affine matrix.

A volume handed to the science is in the *patient frame*: slices from feet to head, rows
from front to back, columns from the patient's right to left. `Orientation` tells how the
pixels of a source image were turned to get there, and turns results back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Voxel = TypeVar("Voxel", bound=np.generic)

CONTIGUITY_TOLERANCE_MM: Final = 0.05
"""How far neighbouring slices may gape or overlap and still count as touching."""

CONTIGUITY_SHARE: Final = 0.01
"""... and by which share of their distance: slices of 0.625 mm every 0.6 mm overlap."""

MOST_EVEN_SLICES: Final = 16384
"""No series is laid on more: 16 m of a body, a millimetre apart."""

HALF_WAY_MM: Final = 1e-3
"""Closer to a border than this is on it: files store positions in single precision."""


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The grid of a stack of parallel slices in the patient frame.

    positions_mm: (slices, 3) LPS position of the centre of each slice's first voxel,
        ordered from feet to head.
    extents_mm: (slices,) how much of the body each slice stands for along the normal.
    row_axis, column_axis: (3,) unit vectors along which the *row index* and the *column
        index* grow. (DICOM's Image Orientation lists them the other way round.)
    spacing_mm: distance between rows, distance between columns.
    rows, columns: size of a slice in pixels.
    """

    positions_mm: NDArray[np.float64]
    extents_mm: NDArray[np.float64]
    row_axis: NDArray[np.float64]
    column_axis: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    rows: int
    columns: int

    def __post_init__(self) -> None:
        """Check that the parts fit each other, and lock the arrays."""
        slices = len(self.positions_mm)
        if self.positions_mm.shape != (slices, 3) or not slices:
            msg = f"positions_mm is {self.positions_mm.shape}, not (slices, 3)"
            raise ValueError(msg)
        if self.extents_mm.shape != (slices,) or (self.extents_mm <= 0).any():
            msg = f"extents_mm needs {slices} positive values"
            raise ValueError(msg)
        for array in (
            self.positions_mm,
            self.extents_mm,
            self.row_axis,
            self.column_axis,
        ):
            array.flags.writeable = False

    @classmethod
    def regular(
        cls,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Geometry:
        """An evenly spaced axial stack; `spacing_mm` and `shape` as [slice, row, column]."""
        slices, rows, columns = shape
        positions = np.tile(np.asarray(origin_mm, dtype=np.float64), (slices, 1))
        positions[:, 2] += np.arange(slices) * spacing_mm[0]
        return cls(
            positions_mm=positions,
            extents_mm=np.full(slices, float(spacing_mm[0])),
            row_axis=np.array([0.0, 1.0, 0.0]),
            column_axis=np.array([1.0, 0.0, 0.0]),
            spacing_mm=(float(spacing_mm[1]), float(spacing_mm[2])),
            rows=rows,
            columns=columns,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return (len(self.positions_mm), self.rows, self.columns)

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit vector from feet to head, across the slices."""
        return np.cross(self.column_axis, self.row_axis)

    @property
    def slice_offsets_mm(self) -> NDArray[np.float64]:
        """(slices,) how far each slice lies along the normal, from the patient origin."""
        return np.asarray(self.positions_mm @ self.normal)

    @property
    def voxel_volumes_mm3(self) -> NDArray[np.float64]:
        """(slices,) the volume of one voxel of each slice."""
        return self.extents_mm * self.spacing_mm[0] * self.spacing_mm[1]

    def to_patient_mm(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """LPS points of `[slice, row, column]` indices, (n, 3) to (n, 3).

        The slice index is a whole number; rows and columns may be fractions.
        """
        origin = self.positions_mm[index[:, 0].astype(int)]
        along_rows = index[:, 1:2] * self.spacing_mm[0] * self.row_axis
        along_columns = index[:, 2:3] * self.spacing_mm[1] * self.column_axis
        return np.asarray(origin + along_rows + along_columns)


@dataclass(frozen=True, slots=True)
class Orientation:
    """Transposition and flips that turned a source image into the patient frame.

    Applied in this order: rows and columns exchanged, then flipped. The order of slices is
    not part of it: it is a list of instances, kept with the series.
    """

    transposed: bool = False
    rows_flipped: bool = False
    columns_flipped: bool = False

    def to_patient(self, source: NDArray[Voxel]) -> NDArray[Voxel]:
        """Turn `[..., row, column]` pixels of the source into the patient frame (a view)."""
        turned = source.swapaxes(-1, -2) if self.transposed else source
        turned = turned[..., ::-1, :] if self.rows_flipped else turned
        return turned[..., ::-1] if self.columns_flipped else turned

    def to_source(self, patient: NDArray[Voxel]) -> NDArray[Voxel]:
        """Turn `[..., row, column]` pixels of the patient frame back (a view)."""
        turned = patient[..., ::-1] if self.columns_flipped else patient
        turned = turned[..., ::-1, :] if self.rows_flipped else turned
        return turned.swapaxes(-1, -2) if self.transposed else turned


@dataclass(frozen=True, slots=True, eq=False)
class EvenSlices:
    """Evenly spaced slices over the body that a stack covers.

    shown: (slices,) which slice of the stack each shows.
    first_mm: offset of the first one's centre along the normal.
    step_mm: their distance, and the extent of each.
    """

    shown: NDArray[np.intp]
    first_mm: float
    step_mm: float

    @property
    def offsets_mm(self) -> NDArray[np.float64]:
        """(slices,) of their centres along the normal."""
        return np.asarray(self.first_mm + self.step_mm * np.arange(len(self.shown)))


def even_slices(geometry: Geometry) -> EvenSlices:
    """The stack itself where it is even, else slices at its finest step.

    They begin where the lowest slice begins, and each shows the slice around it. So every
    slice is shown, and where all extents are whole steps (6, 2 and 1 mm) every structure
    keeps its volume. The finest step is the least extent: where two passes meet, a single
    step may be a tenth of the others.
    """
    offsets, extents = geometry.slice_offsets_mm, geometry.extents_mm
    mean_mm = float(np.diff(offsets).mean()) if len(offsets) > 1 else float(extents[0])
    even = offsets[0] + mean_mm * np.arange(len(offsets))
    if np.abs(offsets - even).max() <= CONTIGUITY_TOLERANCE_MM:
        return EvenSlices(np.arange(len(offsets)), float(offsets[0]), mean_mm)
    bottom_mm, top_mm = offsets[0] - extents[0] / 2, offsets[-1] + extents[-1] / 2
    step_mm = max(float(extents.min()), float(top_mm - bottom_mm) / MOST_EVEN_SLICES)
    count = int(np.ceil((top_mm - bottom_mm - HALF_WAY_MM) / step_mm))
    centres_mm = bottom_mm + step_mm * (np.arange(count) + 0.5)
    shown = np.searchsorted(_borders_mm(geometry), centres_mm + HALF_WAY_MM, side="right")
    return EvenSlices(shown, float(centres_mm[0]), step_mm)


def _borders_mm(geometry: Geometry) -> NDArray[np.float64]:
    """(slices - 1,) where one slice's extent ends and the next one's begins.

    From the positions of both, so that what extents say too much never adds up.
    """
    offsets, half = geometry.slice_offsets_mm, geometry.extents_mm / 2
    borders = ((offsets + half)[:-1] + (offsets - half)[1:]) / 2
    return np.asarray(borders.clip(offsets[:-1], offsets[1:]))


def slice_extents_mm(
    offsets_mm: NDArray[np.float64], thickness_mm: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Extent of body that each slice stands for, from sorted offsets and nominal thickness.

    Where the nominal thicknesses tile the body (the half thicknesses of neighbours add up
    to their distance) each slice counts with its own thickness, also where 2, 6 and 1 mm
    slices follow each other in one volume. Elsewhere (overlapping reconstructions, gaps, no
    thickness given) a slice reaches half-way to its neighbours. A single slice counts with
    its thickness, or 1 mm where that is unknown.

    Args:
        offsets_mm: (slices,) ascending positions along the normal.
        thickness_mm: (slices,) nominal slice thickness, or None.
    """
    if len(offsets_mm) == 1:
        return np.array([1.0]) if thickness_mm is None else thickness_mm.astype(float)
    steps = np.diff(offsets_mm)
    half_lower = half_upper = steps / 2
    if thickness_mm is not None:
        lower, upper = thickness_mm[:-1] / 2, thickness_mm[1:] / 2
        slack_mm = np.minimum(CONTIGUITY_TOLERANCE_MM, CONTIGUITY_SHARE * steps)
        touching = np.abs(lower + upper - steps) <= slack_mm
        half_lower = np.where(touching, lower, half_lower)
        half_upper = np.where(touching, upper, half_upper)
    # The outermost slices reach as far outward as they do inward.
    above = np.append(half_lower, half_upper[-1])
    below = np.insert(half_upper, 0, half_lower[0])
    return np.asarray(above + below)
