"""The segmentation object: one segment per structure and side, on the source slices.

BINARY, uncompressed, without overlap (PS3.3 A.51 and C.8.20). Every frame is one structure
on one source slice: it has that slice's own position and refers to it as the image it was
derived from, for viewers draw nothing otherwise. Empty structures have no segment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from dicom_node.results.headers import (
    MANUFACTURER,
    MODEL_NAME,
    UNICODE,
    Letterhead,
    code_item,
    complete,
)
from dicom_node.results.sources import SourceGrid, SourcePlane
from dicom_node.uids import derived_uid
from inference.geometry import CONTIGUITY_TOLERANCE_MM
from inference.results import CaseResult, ModelIdentity
from inference.structures import SEGMENTS, Segment
from sr_templates.terms import CATEGORY, REGION, SIDE_TERMS, STRUCTURE_TERMS

SEGMENTATION: Final = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
REFERENCED_SEGMENT_NUMBER: Final = 0x0062000B
SEGMENT_IDENTIFICATION_SEQUENCE: Final = 0x0062000A
IMAGE_POSITION_PATIENT: Final = 0x00200032
PLANE_POSITION_SEQUENCE: Final = 0x00209113
_INDEX_VALUES: Final = struct.Struct("<II")
_ITEM_HEADER: Final = struct.Struct("<HHI")
"""Tag and length of an item, PS3.5 7.5."""


@dataclass(frozen=True, slots=True)
class SegmentationUids:
    """The UIDs inside the object; tracking by `Segment.number`."""

    tracking: Mapping[int, str]
    dimension_organization: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: a segment number of `SEGMENTS` on a slice index of the volume."""

    segment: int
    slice_index: int


def segment_numbers(case: CaseResult) -> dict[int, int]:
    """From `Segment.number` to the number in the object, for the segments found.

    The object's numbers must count from 1 without a gap (PS3.3 C.8.20.2); the order of the
    structures never changes.
    """
    found = np.flatnonzero(_present(case.segments).any(axis=0))
    return {int(n): place for place, n in enumerate(found, start=1)}


def _present(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which numbers of `SEGMENTS` each slice holds, bool [slice, number]."""
    counts = [np.bincount(image[image > 0], minlength=len(SEGMENTS) + 1) for image in labels]
    return np.stack(counts) > 0


def build_segmentation(
    case: CaseResult, grid: SourceGrid, uids: SegmentationUids, letterhead: Letterhead
) -> Dataset:
    """The segmentation of a case on the grid of its source images.

    Args:
        case: with at least one voxel segmented.
        grid: of its source images.
        uids: derived.
        letterhead: of the object.
    """
    labels = grid.orientation.to_source(case.segments)
    numbers = segment_numbers(case)
    frames = _frames(labels, numbers)
    dataset = Dataset()
    _put_image(dataset, letterhead.header, labels, frames)
    dataset.SegmentSequence = [
        _segment_item(SEGMENTS[n - 1], place, case.model, uids.tracking[n])
        for n, place in numbers.items()
    ]
    _put_dimensions(dataset, uids.dimension_organization)
    _put_functional_groups(dataset, grid.planes, frames, numbers, case)
    _put_references(dataset, grid.planes, letterhead.header)
    complete(dataset, letterhead)
    # Written as it stands: the encoded groups are not to be taken apart again.
    dataset.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=convert_encodings(UNICODE),
    )
    return dataset


def _frames(labels: NDArray[np.uint8], numbers: Mapping[int, int]) -> tuple[Frame, ...]:
    """A frame for each segment and slice that has it: by segment, then from feet to head."""
    present = _present(labels)
    return tuple(
        Frame(segment=n, slice_index=int(index))
        for n in numbers
        for index in np.flatnonzero(present[:, n])
    )


def _put_image(
    dataset: Dataset,
    header: Dataset,
    labels: NDArray[np.uint8],
    frames: Sequence[Frame],
) -> None:
    """Frame of Reference, General Image, Image Pixel and Segmentation Image modules."""
    # A few scanners leave it out; the slices of one series share one space all the same.
    dataset.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or derived_uid(
        "frame of reference", str(header.SeriesInstanceUID)
    )
    dataset.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = labels.shape[1:]
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    _put_lossy_history(dataset, header)
    dataset.SegmentationType = "BINARY"
    dataset.SegmentsOverlap = "NO"
    dataset.ContentLabel = "MSK_SEGMENTATION"
    dataset.ContentDescription = "Bones and muscles from hip to knee, right and left"
    dataset.ContentCreatorName = MODEL_NAME
    masks = (labels[frame.slice_index] == frame.segment for frame in frames)
    dataset.add_new("PixelData", "OB", packed_bits(masks))


def _put_lossy_history(dataset: Dataset, header: Dataset) -> None:
    """What was derived from lossy images says so (PS3.3 C.7.6.1.1.5)."""
    dataset.LossyImageCompression = header.get("LossyImageCompression") or "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in header:
                dataset.add(header[keyword])


def packed_bits(masks: Iterable[NDArray[np.bool_]]) -> bytes:
    """Masks as single bits, the first pixel in the lowest bit, without a gap between frames.

    (PS3.5 8.2 and D: a frame that does not fill its last byte shares it with the next.)
    The whole is padded to an even number of bytes.
    """
    packed = b"".join(_packed_pieces(masks))
    return packed + b"\0" * (len(packed) % 2)


def _packed_pieces(masks: Iterable[NDArray[np.bool_]]) -> Iterator[bytes]:
    rest = np.zeros(0, dtype=bool)
    for mask in masks:
        bits = np.concatenate((rest, mask.ravel())) if rest.size else mask.ravel()
        whole = bits.size - bits.size % 8
        rest = bits[whole:]
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
    yield np.packbits(rest, bitorder="little").tobytes()


def _segment_item(
    segment: Segment, number: int, model: ModelIdentity, tracking_uid: str
) -> Dataset:
    """One item of the Segment Sequence, PS3.3 C.8.20.4."""
    term = STRUCTURE_TERMS[segment.structure.abbreviation]
    kind = code_item(term.code)
    if segment.side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [code_item(SIDE_TERMS[segment.side])]
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = segment.title
    item.SegmentDescription = segment.key
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = f"{MODEL_NAME} {model.name} {model.version}"
    item.SegmentationAlgorithmIdentificationSequence = [_algorithm_item(model)]
    item.SegmentedPropertyCategoryCodeSequence = [code_item(CATEGORY)]
    item.SegmentedPropertyTypeCodeSequence = [kind]
    item.AnatomicRegionSequence = [code_item(term.parent or REGION)]
    item.RecommendedDisplayCIELabValue = list(_cielab(segment.structure.colour_rgb))
    item.TrackingID = segment.title
    item.TrackingUID = tracking_uid
    return item


def _cielab(colour_rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """A display colour as DICOM writes it (PS3.3 C.10.7.1.1)."""
    value: tuple[int, int, int] = CIELabColor.from_rgb(*colour_rgb).value
    return value


def _algorithm_item(model: ModelIdentity) -> Dataset:
    """Algorithm Identification Macro, PS3.3 10.16."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code_item(ARTIFICIAL_INTELLIGENCE)]
    item.AlgorithmName = f"{MODEL_NAME} {model.name}"
    item.AlgorithmVersion = model.version
    item.AlgorithmSource = MANUFACTURER
    item.AlgorithmParameters = (
        f"samples={model.samples}; seed={model.seed}; weights_sha256={model.weights_sha256}"
    )
    return item


def _put_dimensions(dataset: Dataset, organization_uid: str) -> None:
    """Frames are told apart by segment and by position, PS3.3 C.7.6.17."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = [
        _dimension(organization_uid, pointer, group, label)
        for pointer, group, label in (
            (REFERENCED_SEGMENT_NUMBER, SEGMENT_IDENTIFICATION_SEQUENCE, "Segment"),
            (IMAGE_POSITION_PATIENT, PLANE_POSITION_SEQUENCE, "Slice, feet to head"),
        )
    ]


def _dimension(organization_uid: str, pointer: int, group: int, label: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = organization_uid
    item.DimensionIndexPointer = pointer
    item.FunctionalGroupPointer = group
    item.DimensionDescriptionLabel = label
    return item


def _put_functional_groups(
    dataset: Dataset,
    planes: Sequence[SourcePlane],
    frames: Sequence[Frame],
    numbers: Mapping[int, int],
    case: CaseResult,
) -> None:
    """Shared and Per-frame Functional Groups, PS3.3 C.7.6.16 and A.51.5."""
    measures = _pixel_measures(planes, case)
    even = all(m == measures[0] for m in measures)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_orientation_item(planes[0])]
    if even:
        shared.PixelMeasuresSequence = [measures[0]]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = _per_frame_groups(planes, frames, numbers, None if even else measures)
    tag = Tag("PerFrameFunctionalGroupsSequence")
    dataset[tag] = RawDataElement(
        tag, "SQ", len(groups), groups, 0, is_implicit_VR=False, is_little_endian=True
    )


def _per_frame_groups(
    planes: Sequence[SourcePlane],
    frames: Sequence[Frame],
    numbers: Mapping[int, int],
    measures: Sequence[Dataset] | None,
) -> bytes:
    """The items of the Per-frame Functional Groups Sequence, encoded.

    A long scan has ten thousand frames, and the library needs milliseconds for each. What
    depends on the slice alone, or on the segment alone, is encoded once; the rest of a
    frame is two numbers. Elements follow each other by tag, as they must (PS3.5 7.1).
    """
    before = [_encoded(DerivationImageSequence=[_derivation_item(p)]) for p in planes]
    content = _encoded(FrameContentSequence=[_frame_content()])[: -_INDEX_VALUES.size]
    after = [
        _encoded(
            PlanePositionSequence=[_position_item(plane)],
            **({} if measures is None else {"PixelMeasuresSequence": [measures[index]]}),
        )
        for index, plane in enumerate(planes)
    ]
    segment = {
        n: _encoded(SegmentIdentificationSequence=[_segment_identification(place)])
        for n, place in numbers.items()
    }
    ranks = {index: rank for rank, index in enumerate(_slices_used(frames), start=1)}

    def item(frame: Frame) -> bytes:
        at = frame.slice_index
        index_values = _INDEX_VALUES.pack(numbers[frame.segment], ranks[at])
        groups = (before[at], content, index_values, after[at], segment[frame.segment])
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


def _slices_used(frames: Sequence[Frame]) -> list[int]:
    return sorted({frame.slice_index for frame in frames})


def _pixel_measures(planes: Sequence[SourcePlane], case: CaseResult) -> list[Dataset]:
    """The pixel measures of each slice; all equal when the stack is even.

    Slice Thickness is the source's own, or what the slice stands for where it gives none.
    """
    spacing = _even_spacing_mm(case)

    def item(plane: SourcePlane, extent_mm: float) -> Dataset:
        measures = Dataset()
        thickness = plane.thickness
        measures.SliceThickness = round(extent_mm, 6) if thickness is None else thickness
        if spacing is not None:
            measures.SpacingBetweenSlices = spacing
        measures.PixelSpacing = list(plane.pixel_spacing)
        return measures

    extents = case.geometry.extents_mm
    return [item(plane, float(mm)) for plane, mm in zip(planes, extents, strict=True)]


def _even_spacing_mm(case: CaseResult) -> float | None:
    """The distance of the slices, or None where it is not the same everywhere."""
    steps = np.diff(case.geometry.slice_offsets_mm)
    if not steps.size or np.ptp(steps) > CONTIGUITY_TOLERANCE_MM:
        return None
    return round(float(steps.mean()), 6)


def _orientation_item(plane: SourcePlane) -> Dataset:
    item = Dataset()
    item.ImageOrientationPatient = list(plane.orientation)
    return item


def _position_item(plane: SourcePlane) -> Dataset:
    item = Dataset()
    item.ImagePositionPatient = list(plane.position)
    return item


def _frame_content() -> Dataset:
    """The frame's place along the dimensions; its last bytes are the two index values."""
    item = Dataset()
    item.DimensionIndexValues = [0, 0]
    return item


def _segment_identification(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSegmentNumber = number
    return item


def _derivation_item(plane: SourcePlane) -> Dataset:
    """Derivation Image Macro, PS3.3 C.7.6.16.2.6."""
    source: Any = plane.reference.item()
    if plane.frame_number is not None:
        source.ReferencedFrameNumber = plane.frame_number
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    item = Dataset()
    item.DerivationCodeSequence = [code_item(SEGMENTATION)]
    item.SourceImageSequence = [source]
    return item


def _put_references(dataset: Dataset, planes: Sequence[SourcePlane], header: Dataset) -> None:
    """Common Instance Reference, PS3.3 C.12.2; and the request, General Series."""
    series = Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    references = dict.fromkeys(plane.reference for plane in planes)
    series.ReferencedInstanceSequence = [reference.item() for reference in references]
    dataset.ReferencedSeriesSequence = [series]
    if "RequestAttributesSequence" in header:
        dataset.add(header["RequestAttributesSequence"])
