"""The predictive uncertainty of every voxel, as a Parametric Map on the source slices.

One frame for each source slice, unsigned 16 bit (PS3.3 A.75 and C.8.32). A stored value
times the slope of the Real World Value Mapping is the uncertainty: the variance of the
softmax over the Monte Carlo samples, averaged over the classes. The slope is a power of
ten, so that a reader can do it in the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.headers import MODEL_NAME, ObjectHeader, add_common_modules, code_item
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
from inference.results import CaseResult
from sr_templates.terms import QUANTITY_TERMS

UNSPECIFIED_CALCULATION: Final = Code("113062", "DCM", "Unspecified method of calculation")
QUANTITY: Final = Code("246205007", "SCT", "Quantity")
IMAGE_POSITION_PATIENT: Final = 0x00200032
PLANE_POSITION_SEQUENCE: Final = 0x00209113
LARGEST_STORED: Final = 2**16 - 1
SMALLEST_SLOPE: Final = 1e-9
"""The slope where nothing is uncertain; one sample of a variance is far above."""


def build_parametric_map(
    case: CaseResult, grid: SourceGrid, object_header: ObjectHeader
) -> Dataset:
    """The uncertainty of a case on the grid of its source images.

    Args:
        case: whose `uncertainty` is there, and not negative.
        grid: of its source images.
        object_header: of the object.
    """
    uncertainty = case.uncertainty
    if uncertainty is None:
        raise ValueError("the model of this case has no uncertainty")
    highest = float(uncertainty.max())
    slope = _slope(highest)
    dataset = Dataset()
    _put_image(dataset, object_header.header, grid.orientation.to_source(uncertainty), slope)
    _put_dimension(dataset, object_header.identity.sop_instance_uid)
    _put_functional_groups(dataset, grid.planes, case, highest, slope)
    put_references(dataset, grid.planes, object_header.header)
    if object_header.header.get("BodyPartExamined"):
        dataset.BodyPartExamined = object_header.header.BodyPartExamined
    add_common_modules(dataset, object_header)
    return dataset


def _slope(highest: float) -> float:
    """The smallest power of ten with which the highest value fits 16 bits."""
    if highest <= SMALLEST_SLOPE * LARGEST_STORED:
        return SMALLEST_SLOPE
    return float(f"1e{math.ceil(math.log10(highest / LARGEST_STORED))}")


def _put_image(
    dataset: Dataset, header: Dataset, values: NDArray[np.float32], slope: float
) -> None:
    """Frame of Reference, Image Pixel and Parametric Map Image modules."""
    put_frame_of_reference(dataset, header)
    dataset.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.PixelPresentation = "MONOCHROME"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    # It lies over both sides, whatever the source says it was made of.
    dataset.ImageLaterality = "U"
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    put_lossy_history(dataset, header)
    dataset.ContentQualification = "RESEARCH"
    dataset.ContentLabel = "UNCERTAINTY"
    dataset.ContentDescription = "Predictive uncertainty of the segmentation"
    dataset.ContentCreatorName = f"{MODEL_NAME}^"  # one component alone is a retired form
    dataset.AcquisitionContextSequence = []
    dataset.add_new("PixelData", "OW", _stored(values, slope))


def _stored(values: NDArray[np.float32], slope: float) -> bytes:
    """The values in steps of the slope, slice by slice: a scan is never held as float twice."""
    pixels = BytesIO()
    for plane in values:
        pixels.write(np.rint(plane / np.float32(slope)).astype("<u2").tobytes())
    return pixels.getvalue()


def _put_dimension(dataset: Dataset, sop_instance_uid: str) -> None:
    """Frames are told apart by position, PS3.3 C.7.6.17."""
    organization = Dataset()
    organization.DimensionOrganizationUID = derived_uid("dimensions", sop_instance_uid)
    dataset.DimensionOrganizationSequence = [organization]
    position = Dataset()
    position.DimensionOrganizationUID = organization.DimensionOrganizationUID
    position.DimensionIndexPointer = IMAGE_POSITION_PATIENT
    position.FunctionalGroupPointer = PLANE_POSITION_SEQUENCE
    position.DimensionDescriptionLabel = "Slice, feet to head"
    dataset.DimensionIndexSequence = [position]


def _put_functional_groups(
    dataset: Dataset,
    planes: Sequence[SourcePlane],
    case: CaseResult,
    highest: float,
    slope: float,
) -> None:
    """Shared and Per-frame Functional Groups, PS3.3 C.7.6.16 and A.75.4."""
    measures = pixel_measures(planes, case.geometry)
    even = all(m == measures[0] for m in measures)
    shared = Dataset()
    shared.PlaneOrientationSequence = [orientation_item(planes[0])]
    shared.PixelValueTransformationSequence = [_identity()]
    shared.FrameVOILUTSequence = [_window(case, highest, slope)]
    shared.RealWorldValueMappingSequence = [_mapping(slope)]
    shared.ParametricMapFrameTypeSequence = [_frame_type(dataset)]
    if even:
        shared.PixelMeasuresSequence = [measures[0]]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(plane, rank, None if even else measures[rank - 1])
        for rank, plane in enumerate(planes, start=1)
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


def _identity() -> Dataset:
    """Identity Pixel Value Transformation Macro, PS3.3 C.7.6.16.2.9b."""
    item = Dataset()
    item.RescaleIntercept = 0
    item.RescaleSlope = 1
    item.RescaleType = "US"
    return item


def _window(case: CaseResult, highest: float, slope: float) -> Dataset:
    """The window that a viewer shows first: from 0 to twice the failed limit, or to the top."""
    limits = case.mean_uncertainty_limits
    top = 2 * limits[1] if limits else highest
    steps = max(round(top / slope), 2)
    item = Dataset()
    item.WindowCenter = steps / 2
    item.WindowWidth = steps
    return item


def _mapping(slope: float) -> Dataset:
    """Real World Value Mapping Macro, PS3.3 C.7.6.16.2.11."""
    term = QUANTITY_TERMS["uncertainty"]
    quantity = Dataset()
    quantity.ValueType = "CODE"
    quantity.ConceptNameCodeSequence = [code_item(QUANTITY)]
    quantity.ConceptCodeSequence = [code_item(term.name)]
    item = Dataset()
    item.RealWorldValueFirstValueMapped = 0
    item.RealWorldValueLastValueMapped = LARGEST_STORED
    item.RealWorldValueIntercept = 0.0
    item.RealWorldValueSlope = slope
    item.LUTExplanation = term.name.meaning
    item.LUTLabel = term.name.value
    item.MeasurementUnitsCodeSequence = [code_item(term.unit)]
    item.QuantityDefinitionSequence = [quantity]
    return item


def _frame_type(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.FrameType = dataset.ImageType
    return item
