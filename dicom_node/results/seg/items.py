"""The Segment Sequence of a segmentation: what each segment is, and who made it."""

from __future__ import annotations

from typing import Final

from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.headers import MANUFACTURER, MODEL_NAME, code_item
from inference.results import ModelIdentity, SampleKind
from inference.structures import Segment
from sr_templates.terms import CATEGORY, REGION, SIDE_TERMS, STRUCTURE_TERMS

ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
SPATIAL_CONCEPT: Final = Code("309825002", "SCT", "Spatial and Relational Concept")
BACKGROUND: Final = Code("125040", "DCM", "Background")
BACKGROUND_NUMBER: Final = 0


def segment_item(
    segment: Segment, number: int, model: ModelIdentity, tracking_uid: str
) -> Dataset:
    """One structure on one side, PS3.3 C.8.20.4.

    Args:
        segment: what it is.
        number: in the object.
        model: that found it.
        tracking_uid: the same as in the report.
    """
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
    item.AnatomicRegionSequence = [code_item(REGION)]
    item.RecommendedDisplayCIELabValue = list(cielab(segment.structure.colour_rgb))
    item.TrackingID = segment.title
    item.TrackingUID = tracking_uid
    return item


def background_item(segment: Dataset) -> Dataset:
    """The item for pixels of no segment, made by the algorithm that made the segments.

    Args:
        segment: an item of them.
    """
    item = Dataset()
    item.SegmentNumber = BACKGROUND_NUMBER
    item.SegmentLabel = "Background"
    item.SegmentAlgorithmType = segment.SegmentAlgorithmType
    item.SegmentAlgorithmName = segment.SegmentAlgorithmName
    item.SegmentedPropertyCategoryCodeSequence = [code_item(SPATIAL_CONCEPT)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(BACKGROUND)]
    item.RecommendedDisplayCIELabValue = list(cielab((0, 0, 0)))
    return item


def cielab(colour_rgb: tuple[int, int, int]) -> tuple[int, int, int]:
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
    parameters = [
        f"samples={model.samples}",
        f"seed={model.seed}",
        f"weights_sha256={model.weights_sha256}",
    ]
    if model.samples_of is not SampleKind.DROPOUT:
        parameters.append(f"samples_of={model.samples_of}")
    if model.origin:
        parameters.append(f"origin={model.origin}")
    item.AlgorithmParameters = "; ".join(parameters)
    return item
