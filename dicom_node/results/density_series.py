"""The muscles' density on the source slices, as a multi-frame True Color Secondary Capture.

One frame for each source slice from the first to the last that holds a segment (PS3.3 A.8.5
and C.8.6.3), in the patient's frame of reference: a viewer can scroll it beside the CT.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from dicom_node.errors import ResultError
from dicom_node.results.headers import ObjectHeader, add_common_modules
from dicom_node.results.planes import (
    derivation_item,
    orientation_item,
    pixel_measures,
    position_item,
    put_frame_of_reference,
    put_lossy_history,
    put_references,
)
from dicom_node.series.ct_series import SourceGrid, SourcePlane
from dicom_node.uids import derived_uid
from inference.pictures.density_slices import density_slice, segmented_slices
from inference.results import CaseResult
from inference.volume import Volume

UNSPECIFIED_CALCULATION: Final = Code("113062", "DCM", "Unspecified method of calculation")
PER_FRAME_GROUPS: Final = Tag(0x5200, 0x9230)
IMAGE_POSITION_PATIENT: Final = 0x00200032
PLANE_POSITION_SEQUENCE: Final = 0x00209113

DERIVATION: Final = (
    "CT with the muscles of an automatic segmentation coloured by the HU of each voxel: "
    "yellow fat, red lean; bones pale"
)


def build_density_series(
    volume: Volume, case: CaseResult, grid: SourceGrid, object_header: ObjectHeader
) -> Dataset:
    """The coloured slices of a case on the grid of its source images.

    Args:
        volume: the CT that was analysed.
        case: with at least one voxel segmented.
        grid: of its source images.
        object_header: of the object.

    Raises:
        ResultError: no voxel is segmented.
    """
    numbers = segmented_slices(case.segments)
    if not numbers:
        raise ResultError("nothing to colour: no voxel is segmented")
    dataset = Dataset()
    put_frame_of_reference(dataset, object_header.header)
    _put_image(dataset, object_header.header)
    _put_frames(dataset, volume, case, grid, numbers)
    _put_groups(dataset, case, grid.planes, numbers, object_header.identity.sop_instance_uid)
    put_references(dataset, [grid.planes[number] for number in numbers], object_header.header)
    add_common_modules(dataset, object_header)
    return dataset


def _put_image(dataset: Dataset, header: Dataset) -> None:
    """SC Equipment, General Image and SC Image modules."""
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = ""
    if header.get("BodyPartExamined"):
        dataset.BodyPartExamined = header.BodyPartExamined
    # It shows both sides, whatever the source says it was made of.
    dataset.ImageLaterality = "U"
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    dataset.DerivationDescription = DERIVATION
    put_lossy_history(dataset, header)


def _put_frames(
    dataset: Dataset,
    volume: Volume,
    case: CaseResult,
    grid: SourceGrid,
    numbers: Sequence[int],
) -> None:
    """Image Pixel and SC Multi-frame Image modules, PS3.3 C.7.6.3 and C.8.6.3."""
    pixels = BytesIO()
    for number in numbers:
        # Turned as its source lies, channel by channel: a long scan is never held twice.
        picture = density_slice(volume, case.segments, number)
        turned = [grid.orientation.to_source(picture[..., channel]) for channel in range(3)]
        frame = np.stack(turned, axis=-1)
        pixels.write(frame.tobytes())
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.NumberOfFrames = len(numbers)
    dataset.Rows, dataset.Columns = frame.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.FrameIncrementPointer = PER_FRAME_GROUPS
    pixels.write(b"\0" * (pixels.tell() % 2))
    dataset.add_new("PixelData", "OB", pixels.getvalue())


def _put_groups(
    dataset: Dataset,
    case: CaseResult,
    planes: Sequence[SourcePlane],
    numbers: Sequence[int],
    sop_instance_uid: str,
) -> None:
    """Dimensions and functional groups, PS3.3 C.7.6.17 and A.8.5.4: where each frame lies."""
    organization = Dataset()
    organization.DimensionOrganizationUID = derived_uid("dimensions", sop_instance_uid)
    dataset.DimensionOrganizationSequence = [organization]
    position = Dataset()
    position.DimensionOrganizationUID = organization.DimensionOrganizationUID
    position.DimensionIndexPointer = IMAGE_POSITION_PATIENT
    position.FunctionalGroupPointer = PLANE_POSITION_SEQUENCE
    position.DimensionDescriptionLabel = "Slice, feet to head"
    dataset.DimensionIndexSequence = [position]
    measures = pixel_measures(planes, case.geometry)
    even = all(measures[number] == measures[numbers[0]] for number in numbers)
    shared = Dataset()
    shared.PlaneOrientationSequence = [orientation_item(planes[numbers[0]])]
    if even:
        shared.PixelMeasuresSequence = [measures[numbers[0]]]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(planes[number], rank, None if even else measures[number])
        for rank, number in enumerate(numbers, start=1)
    ]


def _frame(plane: SourcePlane, rank: int, measures: Dataset | None) -> Dataset:
    content = Dataset()
    content.DimensionIndexValues = [rank]
    frame = Dataset()
    frame.FrameContentSequence = [content]
    frame.PlanePositionSequence = [position_item(plane)]
    frame.DerivationImageSequence = [derivation_item(plane, UNSPECIFIED_CALCULATION)]
    if measures is not None:
        frame.PixelMeasuresSequence = [measures]
    return frame
