"""A DICOM segmentation as labels on the grid of the CT it was drawn on.

Read frame by frame (a segmentation of all structures unpacked at once takes gigabytes),
placed by each frame's own position and orientation (PS3.3 C.7.6.16), so that frames may come
in any order and be turned as they like, as long as their pixels are those of the CT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from dicom_node.errors import GeometryError, PixelDataError
from dicom_node.series.bounded_files import NotDicomError, read_until_pixels
from inference.geometry import Geometry, Orientation
from inference.label_table import LabelTable, Meaning
from inference.structures import BY_ABBREVIATION, segment_of
from sr_templates.terms import SIDE_TERMS, STRUCTURE_TERMS

ALIGNED: Final = 0.999
"""Cosine between a frame's and the CT's axis, from which on they are the same."""

Labels = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationFile:
    """Labels (Segment Numbers) on the CT's grid, and what the segments are by their codes."""

    labels: Labels
    table: LabelTable


def read_segmentation(path: Path, geometry: Geometry) -> SegmentationFile:
    """Read a BINARY or LABELMAP segmentation. Where segments overlap, the later one counts.

    Args:
        path: of the file.
        geometry: of the CT, in the patient frame.

    Raises:
        PixelDataError: not a segmentation that can be read.
        GeometryError: a frame does not lie on a slice of the CT.
    """
    try:
        header = read_until_pixels(path)
        kind = str(header.get("SegmentationType", ""))
        if kind not in {"BINARY", "LABELMAP"}:
            raise PixelDataError(
                f"segmentation type {kind or 'missing'}, not BINARY or LABELMAP"
            )
        labels = np.zeros(geometry.shape, dtype=np.uint16)
        frames = iter_pixels(path, raw=True)
        for place, pixels in zip(_places(header, geometry), frames, strict=True):
            turned = place.orientation.to_patient(pixels)
            found = turned > 0
            values = turned if place.segment is None else place.segment
            labels[place.slice_index][found] = np.broadcast_to(values, found.shape)[found]
    except (NotDicomError, AttributeError, KeyError, IndexError) as error:
        words = f"not a readable segmentation: {type(error).__name__}: {error}"
        raise PixelDataError(words) from error
    return SegmentationFile(labels, segment_table(header))


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a frame; `segment` is None where pixels say it themselves."""

    slice_index: int
    orientation: Orientation
    segment: int | None


def _places(header: Dataset, geometry: Geometry) -> Iterator[_Place]:
    shared = header.SharedFunctionalGroupsSequence[0]
    binary = header.SegmentationType == "BINARY"
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence, start=1):
        groups = (own, shared)
        axes = _macro(groups, "PlaneOrientationSequence").ImageOrientationPatient
        corner = _macro(groups, "PlanePositionSequence").ImagePositionPatient
        spacing = _macro(groups, "PixelMeasuresSequence").PixelSpacing
        turn = _turn(np.array(axes, dtype=float).reshape(2, 3), geometry)
        if turn is None:
            raise GeometryError(f"frame {number} is oblique to the CT")
        first = np.array(corner, dtype=float)
        size = (int(header.Rows), int(header.Columns))
        _check_pixels(number, turn, size, tuple(float(v) for v in spacing), geometry)
        index = _slice_of(number, first, turn, geometry)
        segment = None
        if binary:
            named = _macro(groups, "SegmentIdentificationSequence")
            segment = int(named.ReferencedSegmentNumber)
        yield _Place(index, turn, segment)


def _macro(groups: tuple[Dataset, Dataset], keyword: str) -> Dataset:
    """A functional group of the frame, or the one that all frames share."""
    own, shared = groups
    item: Dataset = (own if keyword in own else shared)[keyword].value[0]
    return item


def _turn(axes: NDArray[np.float64], geometry: Geometry) -> Orientation | None:
    """The turn of a frame: its column index grows along axes[0], its row index axes[1]."""
    cosines = axes @ np.stack([geometry.column_axis, geometry.row_axis]).T
    transposed = bool(abs(cosines[0, 1]) > abs(cosines[0, 0]))
    along = cosines[::-1] if transposed else cosines
    if min(abs(along[0, 0]), abs(along[1, 1])) < ALIGNED:
        return None
    return Orientation(
        transposed=transposed,
        rows_flipped=bool(along[1, 1] < 0),
        columns_flipped=bool(along[0, 0] < 0),
    )


def _check_pixels(
    number: int,
    turn: Orientation,
    size: tuple[int, int],
    spacing_mm: tuple[float, ...],
    geometry: Geometry,
) -> None:
    """A frame must have the pixels of the CT."""
    rows_columns = size[::-1] if turn.transposed else size
    apart_mm = spacing_mm[::-1] if turn.transposed else spacing_mm
    same = np.allclose(apart_mm, geometry.spacing_mm, rtol=1e-3)
    if rows_columns != geometry.shape[1:] or not same:
        raise GeometryError(
            f"frame {number} is {rows_columns[0]} x {rows_columns[1]} pixels of"
            f" {apart_mm[0]:g} x {apart_mm[1]:g} mm, the CT {geometry.rows} x"
            f" {geometry.columns} of {geometry.spacing_mm[0]:g} x {geometry.spacing_mm[1]:g} mm"
        )


def _slice_of(
    number: int, first_mm: NDArray[np.float64], turn: Orientation, geometry: Geometry
) -> int:
    """The slice that a frame lies on: its corner must be that of the CT's slice."""
    offsets = geometry.slice_offsets_mm
    index = int(np.abs(offsets - first_mm @ geometry.normal).argmin())
    # The frame's first pixel, which after turning is another corner of the slice.
    corner = np.array(
        [
            index,
            (geometry.rows - 1) if turn.rows_flipped else 0,
            (geometry.columns - 1) if turn.columns_flipped else 0,
        ],
        dtype=float,
    )
    off_mm = float(np.abs(geometry.to_patient_mm(corner[None])[0] - first_mm).max())
    if off_mm > min(geometry.spacing_mm) / 2:
        raise GeometryError(f"frame {number} lies {off_mm:.1f} mm beside the nearest CT slice")
    return index


def segment_table(header: Dataset) -> LabelTable:
    """The meanings of the segments by their coded types; an unknown code means nothing."""
    meanings = {int(item.SegmentNumber): _meaning(item) for item in header.SegmentSequence}
    return LabelTable(meanings, "coded property types of the DICOM segmentation")


_STRUCTURE_OF: Final = {
    (term.code.value, term.code.scheme_designator): BY_ABBREVIATION[name]
    for name, term in STRUCTURE_TERMS.items()
}
_SIDE_OF: Final = {(c.value, c.scheme_designator): side for side, c in SIDE_TERMS.items()}


def _meaning(item: Dataset) -> Meaning:
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    structure = _STRUCTURE_OF.get((str(kind.CodeValue), str(kind.CodingSchemeDesignator)))
    if structure is None:
        return None
    for code in kind.get("SegmentedPropertyTypeModifierCodeSequence", ()):
        side = _SIDE_OF.get((str(code.CodeValue), str(code.CodingSchemeDesignator)))
        if side is not None:
            return segment_of(structure, side)
    return structure if structure.paired else segment_of(structure, None)
