"""Small CT datasets with any geometry, whose Hounsfield units tell where they lie.

Unless told otherwise a pixel's HU is `field_hu` of its place in the patient, so that a test
can ask of every voxel of a volume whether it ended up where it belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
SERIES_UID = "1.2.826.0.1.3680043.8.498.1.2"
FRAME_OF_REFERENCE_UID = "1.2.826.0.1.3680043.8.498.1.3"
SHARED_BY_FRAMES = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
    "Modality",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def field_hu(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) LPS points to HU: 3 per mm to the left, 5 per mm to the back, 2 per mm up."""
    return np.asarray(points_mm @ np.array([3.0, 5.0, 2.0]))


def pixel_points(dataset: Dataset) -> NDArray[np.float64]:
    """(rows, columns, 3) LPS points of a slice's pixels (PS3.3 C.7.6.2.1.1)."""
    along_columns = np.array(dataset.ImageOrientationPatient[:3], dtype=float)
    along_rows = np.array(dataset.ImageOrientationPatient[3:], dtype=float)
    row_mm, column_mm = (float(value) for value in dataset.PixelSpacing)
    rows = np.arange(dataset.Rows)[:, None, None] * row_mm * along_rows
    columns = np.arange(dataset.Columns)[None, :, None] * column_mm * along_columns
    return np.asarray(np.array(dataset.ImagePositionPatient, dtype=float) + rows + columns)


def ct_slice(
    position_mm: Sequence[float] = (-4.0, -3.0, 0.0),
    *,
    orientation: Sequence[float] = AXIAL,
    hu: NDArray[Any] | None = None,
    shape: tuple[int, int] = (6, 8),
    spacing_mm: tuple[float, float] = (1.0, 0.5),
    slope: float = 1.0,
    intercept: float = -1024.0,
    dtype: str = "uint16",
    bits_stored: int = 16,
    **elements: Any,
) -> Dataset:
    """One CT Image Storage dataset; `elements` set or (with None) delete by keyword.

    Args:
        position_mm: Image Position (Patient).
        orientation: Image Orientation (Patient), six cosines.
        hu: (rows, columns) Hounsfield units; `field_hu` of the pixels when None.
        shape: rows and columns, where `hu` does not give them.
        spacing_mm: between rows, between columns.
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        dtype: uint16 or int16 stored values.
        bits_stored: Bits Stored.
        elements: anything else, by DICOM keyword.
    """
    dataset = Dataset()
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = STUDY_UID
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE_UID
    dataset.PatientID = "P1"
    dataset.PatientName = "Phantom^Small"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ConvolutionKernel = "B30f"
    dataset.SliceThickness = 1.0
    dataset.ImagePositionPatient = [float(value) for value in position_mm]
    dataset.ImageOrientationPatient = [float(value) for value in orientation]
    dataset.PixelSpacing = list(spacing_mm)
    dataset.Rows, dataset.Columns = shape if hu is None else hu.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = bits_stored
    dataset.HighBit = bits_stored - 1
    dataset.PixelRepresentation = int(dtype == "int16")
    dataset.RescaleSlope = slope
    dataset.RescaleIntercept = intercept
    values = np.round(field_hu(pixel_points(dataset))) if hu is None else hu
    stored = np.round((values - intercept) / slope).astype(dtype)
    dataset.PixelData = stored.tobytes()
    _set(dataset, elements)
    dataset.file_meta = file_meta(dataset)
    return dataset


def _set(dataset: Dataset, elements: dict[str, Any]) -> None:
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)


def file_meta(
    dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian
) -> FileMetaDataset:
    """The file meta information of a dataset that has none yet."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    return meta


def ct_stack(
    offsets_mm: Iterable[float] = (0.0, 2.0, 4.0, 6.0, 8.0),
    *,
    origin_mm: Sequence[float] = (-4.0, -3.0, 0.0),
    along: Sequence[float] | None = None,
    orientation: Sequence[float] = AXIAL,
    **elements: Any,
) -> list[Dataset]:
    """A rigid stack: slices at these offsets along the normal (or along another direction)."""
    normal = np.cross(orientation[:3], orientation[3:])
    direction = normal if along is None else np.asarray(along, dtype=float)
    return [
        ct_slice(
            (np.asarray(origin_mm) + offset * direction).tolist(),
            orientation=orientation,
            InstanceNumber=number + 1,
            **elements,
        )
        for number, offset in enumerate(offsets_mm)
    ]


def save(datasets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write datasets as 0.dcm, 1.dcm, ... and answer their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def enhanced_ct(
    slices: Sequence[Dataset], sop_class_uid: str = ENHANCED_CT_IMAGE_STORAGE
) -> Dataset:
    """The same slices as frames of one Enhanced CT instance (PS3.3 A.38)."""
    first = slices[0]
    dataset = Dataset()
    for keyword in SHARED_BY_FRAMES:
        setattr(dataset, keyword, first.get(keyword))
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = generate_uid()
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(slices)
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(first, "ImageOrientationPatient")
    shared.PixelMeasuresSequence = _item(first, "PixelSpacing", "SliceThickness")
    shared.CTReconstructionSequence = _item(first, "ConvolutionKernel")
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence([_frame(one) for one in slices])
    dataset.PixelData = b"".join(one.PixelData for one in slices)
    dataset.file_meta = file_meta(dataset)
    return dataset


def _frame(one: Dataset) -> Dataset:
    frame = Dataset()
    frame.PlanePositionSequence = _item(one, "ImagePositionPatient")
    frame.PixelValueTransformationSequence = _item(one, "RescaleSlope", "RescaleIntercept")
    frame_type = Dataset()
    frame_type.FrameType = one.ImageType
    frame.CTImageFrameTypeSequence = DicomSequence([frame_type])
    return frame


def _item(source: Dataset, *keywords: str) -> DicomSequence:
    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, source.get(keyword))
    return DicomSequence([item])
