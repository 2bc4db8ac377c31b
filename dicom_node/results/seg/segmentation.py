"""The segmentation object: one segment per structure and side, on the source slices.

Without overlap, in one of two encodings (PS3.3 A.51 and C.8.20). BINARY has one frame for
each structure on each source slice. LABELMAP has one frame for each source slice, each
pixel the number of its segment, and takes a fiftieth of the space; fewer archives and
viewers know it. Either way a frame has its slice's own position and refers to it as the
image it was derived from, for viewers draw nothing otherwise. Empty structures have no
segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dicom_node.errors import ResultError
from dicom_node.results.headers import MODEL_NAME, ObjectHeader, add_common_modules
from dicom_node.results.planes import (
    put_frame_of_reference,
    put_lossy_history,
    put_references,
)
from dicom_node.results.seg.frames import Frame, put_dimensions, put_functional_groups
from dicom_node.results.seg.items import BACKGROUND_NUMBER, background_item, segment_item
from dicom_node.results.seg.pixels import packed_bits, run_lengths
from dicom_node.series.ct_series import SourceGrid
from dicom_node.series.study_header import UNICODE
from inference.results import CaseResult
from inference.structures import SEGMENTS, Group


class Encoding(StrEnum):
    """The encoding of segments as pixels; a value is a Segmentation Type, PS3.3 C.8.20.2.3."""

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"


@dataclass(frozen=True, slots=True)
class SegmentationUids:
    """The UIDs inside the object; tracking by `Segment.number`."""

    tracking: Mapping[int, str]
    dimension_organization: str


CONTENTS: Final = MappingProxyType(
    {
        None: ("MSK_SEGMENTATION", "Bones and muscles from hip to knee, right and left"),
        Group.BONE: ("MSK_BONES", "Bones from hip to knee, right and left"),
        Group.HIP_MUSCLE: ("MSK_HIP_MUSCLES", "Hip muscles, right and left"),
        Group.THIGH_MUSCLE: ("MSK_THIGH_MUSCLE", "Thigh muscles, right and left"),
    }
)
"""Content Label, of at most 16 characters, and Content Description by what is inside."""


def segment_numbers(case: CaseResult, group: Group | None = None) -> dict[int, int]:
    """From `Segment.number` to the number in the object, for the segments found.

    The object's numbers must count from 1 without a gap (PS3.3 C.8.20.2.4; a label map
    might do otherwise, but its readers count on it too). The order of the structures never
    changes.

    Args:
        case: whose segments are numbered.
        group: of the structures in the object; None for all of them.
    """
    found = np.flatnonzero(_present(case.segments).any(axis=0))
    inside = (n for n in found if group in {None, SEGMENTS[n - 1].structure.group})
    return {int(n): place for place, n in enumerate(inside, start=1)}


def _present(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The numbers of `SEGMENTS` that each slice holds, bool [slice, number]."""
    counts = [np.bincount(image[image > 0], minlength=len(SEGMENTS) + 1) for image in labels]
    return np.stack(counts) > 0


def build_segmentation(  # noqa: PLR0913 - the last two are what destinations choose
    case: CaseResult,
    grid: SourceGrid,
    uids: SegmentationUids,
    object_header: ObjectHeader,
    *,
    encoding: Encoding = Encoding.BINARY,
    group: Group | None = None,
) -> Dataset:
    """The segmentation of a case on the grid of its source images.

    Args:
        case: with at least one voxel of the group segmented.
        grid: of its source images.
        uids: derived.
        object_header: of the object.
        encoding: BINARY is uncompressed, LABELMAP RLE Lossless.
        group: of the structures in the object; None for all of them.

    Raises:
        ResultError: no voxel is segmented.
    """
    numbers = segment_numbers(case, group)
    if not numbers:
        raise ResultError(f"nothing to put into a segmentation of {group or 'all structures'}")
    dataset = Dataset()
    put_frame_of_reference(dataset, object_header.header)
    put_lossy_history(dataset, object_header.header)
    dataset.ContentLabel, dataset.ContentDescription = CONTENTS[group]
    dataset.ContentCreatorName = f"{MODEL_NAME}^"  # one component alone is a retired form
    dataset.SegmentSequence = [
        segment_item(SEGMENTS[n - 1], place, case.model, uids.tracking[n])
        for n, place in numbers.items()
    ]
    # In memory as the source has it: turned views are slow to go through again and again.
    labels = np.ascontiguousarray(grid.orientation.to_source(case.segments))
    put_frames = _put_label_map if encoding is Encoding.LABELMAP else _put_bit_planes
    frames = put_frames(dataset, labels, numbers)
    put_dimensions(dataset, frames, uids.dimension_organization)
    put_functional_groups(dataset, frames, grid, numbers, case.geometry)
    put_references(dataset, grid.planes, object_header.header)
    add_common_modules(dataset, object_header)
    if encoding is Encoding.LABELMAP:
        dataset.file_meta.TransferSyntaxUID = RLELossless
    # Written as it stands: the encoded groups are not to be taken apart again.
    dataset.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=convert_encodings(UNICODE),
    )
    return dataset


def _put_bit_planes(
    dataset: Dataset, labels: NDArray[np.uint8], numbers: Mapping[int, int]
) -> Sequence[Frame]:
    """A frame for each segment and slice that has it: by segment, then from feet to head."""
    present = _present(labels)
    frames = [
        Frame(slice_index=int(index), segment=n)
        for n in numbers
        for index in np.flatnonzero(present[:, n])
    ]
    _put_image(dataset, Encoding.BINARY, labels, frames)
    dataset.add_new("PixelData", "OB", packed_bits(labels, frames))
    return frames


def _put_label_map(
    dataset: Dataset, labels: NDArray[np.uint8], numbers: Mapping[int, int]
) -> Sequence[Frame]:
    """A frame for each slice from the first to the last that has a segment."""
    table = np.zeros(256, dtype=np.uint8)
    for n, place in numbers.items():
        table[n] = place
    used = np.flatnonzero(_present(labels)[:, list(numbers)].any(axis=1))
    frames = [Frame(slice_index=index) for index in range(used[0], used[-1] + 1)]
    _put_image(dataset, Encoding.LABELMAP, labels, frames)
    dataset.add_new("PixelPaddingValue", "US", BACKGROUND_NUMBER)
    # Every value of a pixel is described (PS3.3 C.8.20.2.3), the background's too. It comes
    # last because viewers exist that take the first item for number 1, and so on.
    dataset.SegmentSequence.append(background_item(dataset.SegmentSequence[0]))
    dataset.add_new("PixelData", "OB", run_lengths(labels, frames, table))
    dataset["PixelData"].is_undefined_length = True
    return frames


def _put_image(
    dataset: Dataset, encoding: Encoding, labels: NDArray[np.uint8], frames: Sequence[Frame]
) -> None:
    """General Image, Image Pixel and Segmentation Image modules."""
    bits = 1 if encoding is Encoding.BINARY else 8
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = labels.shape[1:]
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.SegmentationType = encoding.value
    dataset.SegmentsOverlap = "NO"
