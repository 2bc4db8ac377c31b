"""Image files (NIfTI, MetaImage, NRRD) into the patient frame, and results onto their grids.

A file may store its axes in any order and direction: they are permuted and flipped, never
resampled. What it does not state is not guessed, and where it states one thing in two ways
they must agree; docs/image-files.md has the rules.

Results of a DICOM series are written with the axes of its own pixels and slices along its
normal, which is how other readers load the series. NIfTI holds evenly spaced slices only:
of an uneven series every voxel of the file shows the slice around it, on slices as far apart
as the series' finest step, and `Layout.shown` says which slice stands where.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from dicom_node.case_files.meta_image import meta_image_data_file, read_meta_image
from dicom_node.case_files.nifti import nifti_data_file, read_nifti, write_nifti
from dicom_node.case_files.nifti_form import form_of
from dicom_node.case_files.nrrd import nrrd_data_file, read_nrrd
from dicom_node.case_files.stored_grid import AS_DICOM, StoredGrid
from dicom_node.case_files.stored_image import StoredImage
from dicom_node.durable_files import whole_file
from dicom_node.errors import (
    LostRescaleError,
    NotAxialError,
    PixelDataError,
    SeriesError,
    TooFewSlicesError,
    UnevenSlicesError,
)
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import MIN_SLICES, OBLIQUE_DEGREES
from inference.geometry import Geometry, even_slices
from inference.volume import Volume

NIFTI: Final = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
META_IMAGE: Final = (".mha", ".mhd")
NRRD: Final = (".nrrd", ".nhdr")
SUFFIXES: Final = (*NIFTI, *META_IMAGE, *NRRD)

HALVES: Final = (".img", ".img.gz")
"""The voxels of a NIfTI pair: known by the header beside them."""

AIR_HU: Final = -1000.0
"""The value of voxels without a number (NaN)."""

FAT_HU: Final = (-300.0, -50.0)
"""Every CT of a body has values between these: fat, and the edge of the skin."""

DENSE_HU: Final = 700.0
"""Only dense bone and metal lie above; of a CT without its rescale all of the body does."""

LEAST_FAT: Final = 0.01
"""So much fat there is at least beside what is dense."""

INTERPOLATED: Final = re.compile(r"_Eq(_\d+)?$")
"""dcm2niix's name for the copy of an uneven series that it interpolates."""


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
    form: the header of the NIfTI file that is the input, whose statement is repeated as it is.
    """

    axes: tuple[int, int, int]
    flipped: tuple[int, ...]
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    directions: NDArray[np.float64]
    shown: NDArray[np.intp] | None = None
    form: Nifti1Header | None = None

    def write(self, path: Path, values: NDArray[Any]) -> None:
        """Write `[slice, row, column]` values of the patient frame in this layout, as NIfTI.

        The file appears under its name only when it is whole.
        """
        values = values if self.shown is None else values[self.shown]
        stored = np.flip(values, self.flipped).transpose(np.argsort(self.axes))
        slices, rows, columns = stored.shape
        grid = StoredGrid(
            (slices, rows, columns), self.origin_mm, self.spacing_mm, self.directions
        )
        with whole_file(path) as part:
            write_nifti(part, stored, self.form or form_of(grid))


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """A CT volume from a file, and the layout of the file.

    notes: what was noticed and tolerated.
    """

    volume: Volume
    layout: Layout
    notes: tuple[str, ...] = ()


def is_image_file(path: Path) -> bool:
    """True if a file's name says NIfTI, MetaImage or NRRD."""
    if not path.is_file():
        return False
    name = path.name.lower()
    return name.endswith(SUFFIXES) or (name.endswith(HALVES) and _header_of(path) != path)


def read_image_file(path: Path) -> ImageFile:
    """Read a CT volume in Hounsfield units from an image file.

    Raises:
        PixelDataError: it cannot be read.
        LostRescaleError: its values are no Hounsfield units.
        UnstatedSidesError: it does not say which side is right.
        ContradictoryError: it says one thing in two ways.
        UnevenSlicesError: its slices were not evenly spaced.
        GantryTiltError: its axes are sheared.
        GeometryError: it is not one three-dimensional volume.
        NotAxialError: its axes lie too oblique to the patient's.
        TooFewSlicesError: it has too few slices to be a volume.
        TooLargeError: it has more voxels than a scan of a body.
    """
    image = read_stored(path)
    layout = _layout_of(image.grid, image.form)
    turned = in_patient_frame(image.voxels, layout)
    if len(turned) < MIN_SLICES:
        raise TooFewSlicesError(f"{len(turned)} slice(s), at least {MIN_SLICES} are needed")
    hu, notes = _hounsfield(turned)
    volume = Volume(hu, _geometry(layout, turned.shape))
    return ImageFile(volume, layout, (*image.notes, *notes))


def read_on_own_grid(path: Path) -> tuple[NDArray[Any], Geometry]:
    """The values of an image file in the patient frame, whatever they mean, and their grid.

    Raises:
        SeriesError: as `read_image_file`, but for values and number of slices.
    """
    image = read_stored(path)
    layout = _layout_of(image.grid, image.form)
    turned = in_patient_frame(image.voxels, layout)
    return turned, _geometry(layout, turned.shape)


def read_stored(path: Path) -> StoredImage:
    """An image file as it is stored.

    Raises:
        SeriesError: it cannot be read, or does not say where its voxels lie.
    """
    path = _header_of(path)
    name = path.name.lower()
    with np.errstate(all="ignore"):  # what overflows is refused as absurd
        if name.endswith(META_IMAGE):
            return read_meta_image(path)
        if name.endswith(NRRD):
            return read_nrrd(path)
        if name.endswith(NIFTI):
            _check_not_uneven(path)
            return read_nifti(path)
    raise PixelDataError("not named as NIfTI, MetaImage or NRRD, which are read")


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that an image is made of: its header, and its voxels where they lie apart."""
    header = _header_of(path)
    name = header.name.lower()
    try:
        if name.endswith(META_IMAGE):
            return (header, meta_image_data_file(header))
        if name.endswith(NRRD):
            return (header, nrrd_data_file(header))
        if name.endswith(NIFTI):
            return (header, nifti_data_file(header))
    except SeriesError:
        pass  # it will be refused when it is read
    return (header,)


def _header_of(path: Path) -> Path:
    """The header beside the voxels of a NIfTI pair, where there is one; else the file."""
    for suffix in HALVES:
        if path.name.lower().endswith(suffix):
            stem = path.name[: -len(suffix)]
            names = (stem + ending for ending in (".hdr", ".hdr.gz", ".HDR"))
            return next((p for n in names if (p := path.with_name(n)).is_file()), path)
    return path


def _check_not_uneven(path: Path) -> None:
    """dcm2niix gives an uneven series one even step, and writes an interpolated copy beside it.

    Raises:
        UnevenSlicesError: the file is one of the two.
    """
    suffix = next(suffix for suffix in NIFTI if path.name.lower().endswith(suffix))
    stem = path.name[: -len(suffix)]
    if INTERPOLATED.search(stem):
        raise UnevenSlicesError(
            f"by its name dcm2niix interpolated the file from uneven slices: {AS_DICOM}"
        )
    copies = (f"{stem}_Eq{number}{end}" for number in ("_1", "") for end in NIFTI[:2])
    if any(path.with_name(name).exists() for name in copies):
        raise UnevenSlicesError(
            "dcm2niix wrote an evenly spaced copy (_Eq) beside the file, whose own spacing is"
            f" not that of its slices: {AS_DICOM}"
        )


def in_patient_frame(stored: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Stored voxels `[k, j, i]` as `[slice, row, column]` of the patient frame; a view."""
    return np.flip(stored.transpose(layout.axes), layout.flipped)


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
    even = even_slices(geometry)
    flips = [downward, *in_plane]
    above_mm = even.offsets_mm[-1 if downward else 0] - geometry.slice_offsets_mm[0]
    corner = geometry.positions_mm[0] + above_mm * geometry.normal
    counts = (0, geometry.rows, geometry.columns)
    for axis, vector in ((1, geometry.row_axis), (2, geometry.column_axis)):
        if flips[axis]:
            corner = corner + vector * geometry.spacing_mm[axis - 1] * (counts[axis] - 1)
    return Layout(
        axes=(0, 2, 1) if turn.transposed else (0, 1, 2),
        flipped=tuple(axis for axis, flip in enumerate(flips) if flip),
        origin_mm=_three(corner),
        spacing_mm=(spacing_ji[1], spacing_ji[0], even.step_mm),
        directions=np.stack([ji[1], ji[0], normal]),
        shown=None if len(even.shown) == len(geometry.positions_mm) else even.shown,
    )


def _layout_of(grid: StoredGrid, form: Nifti1Header | None) -> Layout:
    """The stored axes nearest to the patient's, and which of them run backwards."""
    directions = grid.directions
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
        origin_mm=grid.origin_mm,
        spacing_mm=grid.spacing_mm,
        directions=directions,
        form=form,
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


def _hounsfield(
    values: NDArray[Any],
) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[str, ...]]:
    """int16 where that is exact, else float32; and what was noticed.

    Raises:
        PixelDataError: the values are no Hounsfield units.
    """
    notes: tuple[str, ...] = ()
    if np.issubdtype(values.dtype, np.floating):
        missing = np.isnan(values)
        _check_rescaled(values[~missing])
        if missing.any():
            values = np.where(missing, values.dtype.type(AIR_HU), values)
            notes = (f"{int(missing.sum())} voxels without a number (NaN) are taken as air",)
    else:
        _check_rescaled(values)
    lowest, highest = float(values.min()), float(values.max())
    if lowest > FAT_HU[1]:
        raise PixelDataError(
            f"values are no Hounsfield units: the lowest is {lowest:g}, but air and fat"
            f" are below {FAT_HU[1]:g}"
        )
    bounds = np.iinfo(np.int16)
    whole = np.issubdtype(values.dtype, np.integer)
    if whole and bounds.min <= lowest and highest <= bounds.max:
        return np.ascontiguousarray(values, dtype=np.int16), notes
    return np.ascontiguousarray(values, dtype=np.float32), notes


def _check_rescaled(values: NDArray[Any]) -> None:
    """Values as a scanner stores them, with air at 0, are no Hounsfield units yet.

    Air that is padded far below 0 does not hide it: there is a body, and nothing like fat.
    """
    if not values.size:
        raise PixelDataError("no voxel has a value")
    lowest, highest = float(values.min()), float(values.max())
    if not np.isfinite([lowest, highest]).all():
        raise PixelDataError("values are infinite")
    dense = int(np.count_nonzero(values >= DENSE_HU))
    fat = int(np.count_nonzero((values > FAT_HU[0]) & (values < FAT_HU[1])))
    if dense and fat < LEAST_FAT * dense:
        raise LostRescaleError(
            f"values are no Hounsfield units: they run from {lowest:g} to {highest:g}, and"
            " none is like fat. A CT with its air at 0 has lost its rescale (HU = value - 1024)"
        )


def _three(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
