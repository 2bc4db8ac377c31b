"""NIfTI and MetaImage files: into the patient frame, and results onto the input's grid.

A file may store its axes in any order and direction: they are permuted and flipped, never
resampled. Results of a DICOM series are written with the axes of its own pixels and slices
along its normal, which is how other readers load the series. NIfTI holds evenly spaced
slices only: of an uneven series every voxel of the file shows the nearest slice, on slices
as far apart as the series' finest step, and `Layout.shown` says which slice stands where.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from dicom_node.durable_files import whole_file
from dicom_node.errors import (
    GeometryError,
    NotAxialError,
    PixelDataError,
    TooFewSlicesError,
)
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import MIN_SLICES, OBLIQUE_DEGREES
from inference.geometry import Geometry
from inference.volume import Volume

SUFFIXES: Final = (".nii", ".nii.gz", ".mha", ".mhd")

AIR_HU: Final = -1000.0
"""The value of voxels without a number (NaN)."""

EVEN_MM: Final = 0.05
"""Slices that lie this close to even positions count as evenly spaced."""

HALF_WAY_MM: Final = 1e-3
"""Closer to half-way than this is half-way: files store positions in single precision."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The way in which an image file stores a volume of the patient frame.

    axes: which axis of the stored array `[k, j, i]` are slices, rows and columns.
    flipped: which of slices, rows, columns run against the stored direction.
    origin_mm: LPS position of the first stored voxel.
    spacing_mm: along i, j, k.
    directions: rows are the LPS unit vectors along which i, j, k grow.
    shown: (stored slices,) which slice of the volume stands there, from feet to head; None
        where that is one for one.
    """

    axes: tuple[int, int, int]
    flipped: tuple[int, ...]
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    directions: NDArray[np.float64]
    shown: NDArray[np.intp] | None = None

    def write(self, path: Path, values: NDArray[Any]) -> None:
        """Write `[slice, row, column]` values of the patient frame in this layout.

        The file appears under its name only when it is whole.
        """
        values = values if self.shown is None else values[self.shown]
        stored = np.flip(values, self.flipped).transpose(np.argsort(self.axes))
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(stored))
        image.SetOrigin(self.origin_mm)
        image.SetSpacing(self.spacing_mm)
        image.SetDirection(self.directions.T.ravel().tolist())
        with whole_file(path) as part:
            SimpleITK.WriteImage(image, str(part))


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """A CT volume from a file, and the layout of the file."""

    volume: Volume
    layout: Layout


def is_image_file(path: Path) -> bool:
    """True if a file's name says NIfTI or MetaImage."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def read_image_file(path: Path) -> ImageFile:
    """Read a CT volume in Hounsfield units from a NIfTI or MetaImage file.

    Raises:
        PixelDataError: it cannot be read, or its values are no Hounsfield units.
        GeometryError: it is not one three-dimensional volume.
        NotAxialError: its axes lie too oblique to the patient's.
        TooFewSlicesError: it has too few slices to be a volume.
    """
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise PixelDataError("the file cannot be read as an image") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise GeometryError(
            f"not one volume of grey values: {image.GetDimension()} dimensions,"
            f" {image.GetNumberOfComponentsPerPixel()} value(s) per voxel"
        )
    layout = _layout_of(image)
    stored = SimpleITK.GetArrayFromImage(image)
    turned = np.flip(stored.transpose(layout.axes), layout.flipped)
    if len(turned) < MIN_SLICES:
        raise TooFewSlicesError(f"{len(turned)} slice(s), at least {MIN_SLICES} are needed")
    return ImageFile(Volume(_hounsfield(turned), _geometry(layout, turned.shape)), layout)


def series_layout(series: CtSeries) -> Layout:
    """The layout for results of a DICOM series: its pixels' axes, evenly spaced slices."""
    geometry, turn = series.volume.geometry, series.orientation
    in_plane = [turn.rows_flipped, turn.columns_flipped]
    # Stored j, i before the slices' direction is known: the source's rows and columns.
    ji = [geometry.row_axis, geometry.column_axis]
    ji = [-axis if flip else axis for axis, flip in zip(ji, in_plane, strict=True)]
    spacing_ji = list(geometry.spacing_mm)
    if turn.transposed:
        ji, spacing_ji = ji[::-1], spacing_ji[::-1]
    normal = np.cross(ji[1], ji[0])
    downward = bool(normal @ geometry.normal < 0)
    shown, step_mm = _even(geometry.slice_offsets_mm)
    flips = [downward, *in_plane]
    offsets = geometry.slice_offsets_mm
    ends = (offsets[0], offsets[0] + step_mm * (len(shown) - 1))
    corner = geometry.positions_mm[0] + (ends[downward] - offsets[0]) * geometry.normal
    counts = (0, geometry.rows, geometry.columns)
    for axis, vector in ((1, geometry.row_axis), (2, geometry.column_axis)):
        if flips[axis]:
            corner = corner + vector * geometry.spacing_mm[axis - 1] * (counts[axis] - 1)
    same = len(shown) == len(offsets) and bool((shown == np.arange(len(offsets))).all())
    return Layout(
        axes=(0, 2, 1) if turn.transposed else (0, 1, 2),
        flipped=tuple(axis for axis, flip in enumerate(flips) if flip),
        origin_mm=_three(corner),
        spacing_mm=(spacing_ji[1], spacing_ji[0], step_mm),
        directions=np.stack([ji[1], ji[0], normal]),
        shown=None if same else shown,
    )


def _even(offsets_mm: NDArray[np.float64]) -> tuple[NDArray[np.intp], float]:
    """Evenly spaced slices over a stack: which slice each shows, and their distance."""
    steps = np.diff(offsets_mm)
    mean = float(steps.mean())
    even = offsets_mm[0] + mean * np.arange(len(offsets_mm))
    if np.abs(offsets_mm - even).max() <= EVEN_MM:
        return np.arange(len(offsets_mm)), mean
    step_mm = float(steps.min())
    # Up to the last slice or beyond it: none may be missing from the file.
    count = int(np.ceil((offsets_mm[-1] - offsets_mm[0]) / step_mm - 1e-6)) + 1
    at = offsets_mm[0] + step_mm * np.arange(count)
    between = (offsets_mm[1:] + offsets_mm[:-1]) / 2
    # Half-way between two slices the upper one is shown, whatever the last digit says.
    return np.searchsorted(between, at + HALF_WAY_MM, side="right"), step_mm


def _layout_of(image: SimpleITK.Image) -> Layout:
    """The stored axes nearest to the patient's, and which of them run backwards."""
    # Columns of ITK's direction matrix are the LPS directions of i, j, k.
    directions = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3).T
    # For slices, rows, columns the stored axis k, j, i along z, y, x.
    along = np.abs(directions[::-1, ::-1])
    axes = tuple(int(along[:, axis].argmax()) for axis in range(3))
    least = min(along[axes[axis], axis] for axis in range(3))
    off_degrees = float(np.degrees(np.arccos(np.clip(least, 0, 1))))
    if sorted(axes) != [0, 1, 2] or off_degrees > OBLIQUE_DEGREES:
        raise NotAxialError(
            f"the axes are turned by {off_degrees:.0f} degrees against the patient's"
            f" ({OBLIQUE_DEGREES:.0f} are accepted)"
        )
    signed = directions[::-1, ::-1]
    return Layout(
        axes=(axes[0], axes[1], axes[2]),
        flipped=tuple(axis for axis in range(3) if signed[axes[axis], axis] < 0),
        origin_mm=_three(image.GetOrigin()),
        spacing_mm=_three(image.GetSpacing()),
        directions=directions,
    )


def _geometry(layout: Layout, shape: tuple[int, ...]) -> Geometry:
    """The patient frame's grid of a stored image."""
    vectors, spacings = [], []
    first = np.array(layout.origin_mm)
    for axis in range(3):
        stored = 2 - layout.axes[axis]  # k, j, i to i, j, k
        vector, spacing = layout.directions[stored], layout.spacing_mm[stored]
        if axis in layout.flipped:
            first = first + vector * spacing * (shape[axis] - 1)
            vector = -vector
        vectors.append(vector)
        spacings.append(spacing)
    steps = np.arange(shape[0])[:, np.newaxis] * spacings[0]
    return Geometry(
        positions_mm=first + steps * vectors[0],
        extents_mm=np.full(shape[0], spacings[0]),
        row_axis=vectors[1].copy(),
        column_axis=vectors[2].copy(),
        spacing_mm=(spacings[1], spacings[2]),
        rows=shape[1],
        columns=shape[2],
    )


def _hounsfield(values: NDArray[Any]) -> NDArray[np.int16] | NDArray[np.float32]:
    """int16 where that is exact, else float32."""
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values, nan=AIR_HU)
    lowest, highest = float(values.min()), float(values.max())
    if lowest >= 0:
        raise PixelDataError(
            f"values are no Hounsfield units: the lowest is {lowest:g}, but air and fat"
            " are negative"
        )
    bounds = np.iinfo(np.int16)
    whole = np.issubdtype(values.dtype, np.integer)
    if whole and bounds.min <= lowest and highest <= bounds.max:
        return np.ascontiguousarray(values, dtype=np.int16)
    return np.ascontiguousarray(values, dtype=np.float32)


def _three(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
