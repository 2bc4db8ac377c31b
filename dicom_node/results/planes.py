"""The functional groups that tie a frame to the source slice it lies on.

The same for every object with frames on the source grid: where the frame lies, how large
its pixels are, which image it was derived from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.headers import code_item
from dicom_node.series.ct_series import SourcePlane
from dicom_node.uids import derived_uid
from inference.geometry import CONTIGUITY_TOLERANCE_MM, Geometry

SOURCE_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")


def put_frame_of_reference(dataset: Dataset, header: Dataset) -> None:
    """Frame of Reference module, PS3.3 C.7.4.1."""
    # A few scanners leave it out; the slices of one series share one space all the same.
    dataset.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or derived_uid(
        "frame of reference", str(header.SeriesInstanceUID)
    )
    dataset.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")


def put_lossy_history(dataset: Dataset, header: Dataset) -> None:
    """State the lossy compression of an object's source images (PS3.3 C.7.6.1.1.5)."""
    dataset.LossyImageCompression = header.get("LossyImageCompression") or "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in header:
                dataset.add(header[keyword])


def put_references(dataset: Dataset, planes: Sequence[SourcePlane], header: Dataset) -> None:
    """Common Instance Reference, PS3.3 C.12.2; and the request, General Series."""
    series = Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    references = dict.fromkeys(plane.reference for plane in planes)
    series.ReferencedInstanceSequence = [reference.item() for reference in references]
    dataset.ReferencedSeriesSequence = [series]
    if "RequestAttributesSequence" in header:
        dataset.add(header["RequestAttributesSequence"])


def pixel_measures(planes: Sequence[SourcePlane], geometry: Geometry) -> list[Dataset]:
    """The pixel measures of each slice; all equal when the stack is even.

    Slice Thickness is the source's own, or what the slice stands for where it gives none.
    """
    spacing = _even_spacing_mm(geometry)

    def item(plane: SourcePlane, extent_mm: float) -> Dataset:
        measures = Dataset()
        thickness = plane.thickness
        measures.SliceThickness = round(extent_mm, 6) if thickness is None else thickness
        if spacing is not None:
            measures.SpacingBetweenSlices = spacing
        measures.PixelSpacing = list(plane.pixel_spacing)
        return measures

    return [
        item(plane, float(mm)) for plane, mm in zip(planes, geometry.extents_mm, strict=True)
    ]


def _even_spacing_mm(geometry: Geometry) -> float | None:
    """The distance of the slices, or None where it is not the same everywhere."""
    steps = np.diff(geometry.slice_offsets_mm)
    if not steps.size or np.ptp(steps) > CONTIGUITY_TOLERANCE_MM:
        return None
    return round(float(steps.mean()), 6)


def orientation_item(plane: SourcePlane) -> Dataset:
    """Plane Orientation (Patient) Macro, PS3.3 C.7.6.16.2.4."""
    item = Dataset()
    item.ImageOrientationPatient = list(plane.orientation)
    return item


def position_item(plane: SourcePlane) -> Dataset:
    """Plane Position (Patient) Macro, PS3.3 C.7.6.16.2.3."""
    item = Dataset()
    item.ImagePositionPatient = list(plane.position)
    return item


def derivation_item(plane: SourcePlane, derivation: Code, *, in_place: bool = True) -> Dataset:
    """Derivation Image Macro, PS3.3 C.7.6.16.2.6.

    Args:
        plane: and its source.
        derivation: what was done.
        in_place: whether every pixel lies where it lies in the source.
    """
    source: Any = plane.reference.item()
    if plane.frame_number is not None:
        source.ReferencedFrameNumber = plane.frame_number
    source.SpatialLocationsPreserved = "YES" if in_place else "NO"
    source.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    item = Dataset()
    item.DerivationCodeSequence = [code_item(derivation)]
    item.SourceImageSequence = [source]
    return item
