"""The frames of a segmentation: how they are told apart, where they lie, what they hold."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from dicom_node.results.planes import (
    derivation_item,
    orientation_item,
    pixel_measures,
    position_item,
)
from dicom_node.series.ct_series import SourceGrid
from dicom_node.uids import derived_uid
from inference.geometry import Geometry

SEGMENTATION: Final = Code("113076", "DCM", "Segmentation")
REFERENCED_SEGMENT_NUMBER: Final = 0x0062000B
SEGMENT_IDENTIFICATION_SEQUENCE: Final = 0x0062000A
IMAGE_POSITION_PATIENT: Final = 0x00200032
PLANE_POSITION_SEQUENCE: Final = 0x00209113
_ITEM_HEADER: Final = struct.Struct("<HHI")
"""Tag and length of an item, PS3.5 7.5."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: a slice index of the volume, and what is shown there.

    segment: a number of `SEGMENTS`; None for all segments at once, as in a label map.
    """

    slice_index: int
    segment: int | None = None


def put_dimensions(dataset: Dataset, frames: Sequence[Frame], organization_uid: str) -> None:
    """Frames are told apart by position, and by segment where each has one (C.7.6.17)."""
    by = [(IMAGE_POSITION_PATIENT, PLANE_POSITION_SEQUENCE, "Slice, feet to head")]
    if frames[0].segment is None:
        # Other dimensions than those of bit planes, so not under the same UID.
        organization_uid = derived_uid("position alone", organization_uid)
    else:
        by.insert(0, (REFERENCED_SEGMENT_NUMBER, SEGMENT_IDENTIFICATION_SEQUENCE, "Segment"))
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = [_dimension(organization_uid, *each) for each in by]


def _dimension(organization_uid: str, pointer: int, group: int, label: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = organization_uid
    item.DimensionIndexPointer = pointer
    item.FunctionalGroupPointer = group
    item.DimensionDescriptionLabel = label
    return item


def put_functional_groups(
    dataset: Dataset,
    frames: Sequence[Frame],
    grid: SourceGrid,
    numbers: Mapping[int, int],
    geometry: Geometry,
) -> None:
    """Shared and Per-frame Functional Groups, PS3.3 C.7.6.16 and A.51.5.

    The dataset must be written in explicit VR little endian: the per-frame groups are put
    into it encoded.
    """
    measures = pixel_measures(grid.planes, geometry)
    even = all(m == measures[0] for m in measures)
    shared = Dataset()
    shared.PlaneOrientationSequence = [orientation_item(grid.planes[0])]
    if even:
        shared.PixelMeasuresSequence = [measures[0]]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = _per_frame_groups(frames, grid, numbers, None if even else measures)
    tag = Tag("PerFrameFunctionalGroupsSequence")
    dataset[tag] = RawDataElement(
        tag, "SQ", len(groups), groups, 0, is_implicit_VR=False, is_little_endian=True
    )


def _per_frame_groups(
    frames: Sequence[Frame],
    grid: SourceGrid,
    numbers: Mapping[int, int],
    measures: Sequence[Dataset] | None,
) -> bytes:
    """The items of the Per-frame Functional Groups Sequence, encoded.

    A long scan has ten thousand frames, and the library needs milliseconds for each. What
    depends on the slice alone, or on the segment alone, is encoded once; the rest of a
    frame is its place along the dimensions. Elements follow each other by tag, as they must
    (PS3.5 7.1).
    """
    used = sorted({frame.slice_index for frame in frames})
    ranks = {index: rank for rank, index in enumerate(used, start=1)}
    planes, in_place = grid.planes, not grid.resampled
    before = {
        index: _encoded(
            DerivationImageSequence=[
                derivation_item(planes[index], SEGMENTATION, in_place=in_place)
            ]
        )
        for index in used
    }
    after = {
        index: _encoded(
            PlanePositionSequence=[position_item(planes[index])],
            **({} if measures is None else {"PixelMeasuresSequence": [measures[index]]}),
        )
        for index in used
    }
    segment = {
        n: _encoded(SegmentIdentificationSequence=[_segment_identification(place)])
        for n, place in numbers.items()
    }
    dimensions = 1 if frames[0].segment is None else 2
    indices = struct.Struct(f"<{dimensions}I")
    content = _encoded(FrameContentSequence=[_frame_content(dimensions)])[: -indices.size]

    def item(frame: Frame) -> bytes:
        at, n = frame.slice_index, frame.segment
        place = (ranks[at],) if n is None else (numbers[n], ranks[at])
        identification = b"" if n is None else segment[n]
        groups = (before[at], content, indices.pack(*place), after[at], identification)
        return _ITEM_HEADER.pack(0xFFFE, 0xE000, sum(map(len, groups))) + b"".join(groups)

    return b"".join(map(item, frames))


def _encoded(**elements: list[Dataset]) -> bytes:
    """Sequences by keyword, in explicit VR little endian."""
    dataset = Dataset()
    for keyword, items in elements.items():
        setattr(dataset, keyword, items)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _frame_content(dimensions: int) -> Dataset:
    """The frame's place along the dimensions; its last bytes are the index values."""
    item = Dataset()
    item.DimensionIndexValues = [0] * dimensions
    return item


def _segment_identification(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSegmentNumber = number
    return item
