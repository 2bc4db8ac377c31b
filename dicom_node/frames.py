"""What the headers of CT files say about each slice, single-frame or multi-frame.

A classic CT file is one slice; an Enhanced or Legacy Converted Enhanced CT file is many,
described by its functional groups (PS3.3 C.7.6.16.1.1). Both become the same value here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.errors import GeometryError, PixelDataError
from dicom_node.identity import IDENTITY_KEYWORDS
from dicom_node.selection import ImageKind

HEADER_KEYWORDS: Final = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    *IDENTITY_KEYWORDS,
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "ConvolutionKernel",
    "SliceThickness",
    "GantryDetectorTilt",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PatientSize",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
"""All that is read of a header before a pixel is looked at."""

SPACING_LIMITS_MM: Final = (0.05, 20.0)
"""Distances between pixels that a whole-body CT can have; others are absurd."""

POSITION_LIMIT_MM: Final = 1e5
"""Positions farther than 100 m from the origin are absurd."""

UNIT_TOLERANCE: Final = 1e-2
"""How far direction cosines may be from unit length and from a right angle."""


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """One slice as its header describes it, in the source's own row and column order.

    frame_number: 1-based in a multi-frame file, None in a classic one.
    position_mm: (3,) LPS centre of the first pixel.
    row_axis, column_axis: (3,) unit vectors along which row and column *index* grow.
    spacing_mm: distance between rows, distance between columns.
    thickness_mm: nominal, or None where missing or absurd.
    tilt_degrees: Gantry/Detector Tilt, 0 where it is not given.
    acquisition: what tells acquisitions at one position apart (number, time).
    padding: lowest and highest stored value that means "no pixel here", or None.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    series_instance_uid: str
    frame_of_reference_uid: str
    rows: int
    columns: int
    position_mm: NDArray[np.float64]
    row_axis: NDArray[np.float64]
    column_axis: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    tilt_degrees: float
    kernel: str
    acquisition: tuple[str, ...]
    slope: float
    intercept: float
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit vector across the slice, as the image's own axes give it."""
        return np.cross(self.column_axis, self.row_axis)


def read_header(path: Path) -> Dataset | None:
    """The header values of one file, or None when it is not DICOM.

    Raises:
        PixelDataError: a DICOM file that breaks off inside its header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=list(HEADER_KEYWORDS)
            )
    except InvalidDicomError:
        return None
    except (EOFError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise PixelDataError(
            f"a file breaks off or is damaged in its header ({type(error).__name__})"
        ) from error


def kinds(header: Dataset) -> Iterator[ImageKind]:
    """What each image of a file is: one, or one for each frame."""
    for frame in _frames(header):
        image_type = frame.get("FrameType") or header.get("ImageType") or ()
        words = (image_type,) if isinstance(image_type, str) else tuple(image_type)
        yield ImageKind(
            sop_instance_uid=frame.text("SOPInstanceUID"),
            sop_class_uid=frame.text("SOPClassUID"),
            modality=frame.text("Modality"),
            image_type=tuple(str(word).strip().upper() for word in words),
            samples_per_pixel=int(header.get("SamplesPerPixel") or 1),
            rescale_type=frame.text("RescaleType").upper(),
            frame_number=frame.number,
        )


def slice_header(path: Path, header: Dataset, frame_number: int | None) -> SliceHeader:
    """The geometry and pixel description of one slice.

    Raises:
        GeometryError: something needed is missing or absurd; the message names it.
    """
    frame = _Frame(header, frame_number)
    column_axis, row_axis = _axes(frame)
    return SliceHeader(
        path=path,
        sop_class_uid=frame.text("SOPClassUID"),
        sop_instance_uid=frame.text("SOPInstanceUID"),
        frame_number=frame_number,
        series_instance_uid=frame.text("SeriesInstanceUID"),
        frame_of_reference_uid=frame.text("FrameOfReferenceUID"),
        rows=_size(frame, "Rows"),
        columns=_size(frame, "Columns"),
        position_mm=_position(frame),
        row_axis=row_axis,
        column_axis=column_axis,
        spacing_mm=_spacing(frame),
        thickness_mm=_thickness(frame),
        tilt_degrees=_optional_number(frame, "GantryDetectorTilt") or 0.0,
        kernel=frame.text("ConvolutionKernel"),
        acquisition=_acquisition(frame),
        slope=_rescale(frame, "RescaleSlope"),
        intercept=_rescale(frame, "RescaleIntercept"),
        bits_allocated=int(header.get("BitsAllocated") or 0),
        bits_stored=int(header.get("BitsStored") or 0),
        signed=bool(header.get("PixelRepresentation")),
        padding=_padding(header),
    )


class _Frame:
    """Looks a keyword up where a frame's value can be: its own groups, shared, top level."""

    def __init__(self, header: Dataset, number: int | None) -> None:
        self.header = header
        self.number = number
        self._groups = list(_functional_groups(header, number))

    def get(self, keyword: str) -> Any:
        """The value, or None where it is missing or cannot be read."""
        try:
            for group in self._groups:
                if (value := group.get(keyword)) is not None:
                    return value
            return self.header.get(keyword)
        except (ValueError, TypeError, KeyError):
            return None

    def text(self, keyword: str) -> str:
        """The value as text, several values joined by backslashes; empty when missing."""
        value = self.get(keyword)
        if value is None:
            return ""
        if isinstance(value, str):
            return value.strip()
        try:
            return "\\".join(str(item).strip() for item in value)
        except TypeError:
            return str(value)

    def numbers(self, keyword: str, count: int) -> NDArray[np.float64]:
        """The value as `count` finite numbers.

        Raises:
            GeometryError: missing, of another length, or not finite.
        """
        value = self.get(keyword)
        if value is None:
            raise GeometryError(f"{keyword} is missing{self.where()}")
        try:
            found = np.array(value, dtype=np.float64).reshape(-1)
        except (ValueError, TypeError):
            found = np.array([np.nan])
        if found.size != count or not np.isfinite(found).all():
            raise GeometryError(f"{keyword} is not {count} finite number(s){self.where()}")
        return found

    def where(self) -> str:
        """Which image this is, for messages."""
        frame = "" if self.number is None else f", frame {self.number}"
        return f" in instance {self.header.get('SOPInstanceUID', 'without UID')}{frame}"


def _frames(header: Dataset) -> Iterator[_Frame]:
    if "PerFrameFunctionalGroupsSequence" not in header:
        yield _Frame(header, None)
        return
    for index in range(len(header.PerFrameFunctionalGroupsSequence)):
        yield _Frame(header, index + 1)


def _functional_groups(header: Dataset, number: int | None) -> Iterator[Dataset]:
    """The macro items of one frame, its own before the shared ones."""
    if number is None:
        return
    holders = [header.PerFrameFunctionalGroupsSequence[number - 1]]
    holders += list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    for holder in holders:
        for element in holder:
            if element.VR == "SQ" and element.value:
                yield element.value[0]


def _size(frame: _Frame, keyword: str) -> int:
    size = int(frame.numbers(keyword, 1)[0])
    if size < 1:
        raise GeometryError(f"{keyword} is {size}{frame.where()}")
    return size


def _position(frame: _Frame) -> NDArray[np.float64]:
    position = frame.numbers("ImagePositionPatient", 3)
    if np.abs(position).max() > POSITION_LIMIT_MM:
        raise GeometryError(f"ImagePositionPatient is absurdly far away{frame.where()}")
    return position


def _axes(frame: _Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column axis and row axis, unit length: Image Orientation's two triplets."""
    cosines = frame.numbers("ImageOrientationPatient", 6)
    column_axis, row_axis = cosines[:3], cosines[3:]
    lengths = [float(np.linalg.norm(axis)) for axis in (column_axis, row_axis)]
    skew = abs(float(column_axis @ row_axis))
    if any(abs(length - 1) > UNIT_TOLERANCE for length in lengths) or skew > UNIT_TOLERANCE:
        raise GeometryError(
            f"ImageOrientationPatient is not two unit vectors at a right angle{frame.where()}"
        )
    return column_axis / lengths[0], row_axis / lengths[1]


def _spacing(frame: _Frame) -> tuple[float, float]:
    spacing = frame.numbers("PixelSpacing", 2)
    low, high = SPACING_LIMITS_MM
    if spacing.min() < low or spacing.max() > high:
        raise GeometryError(
            f"PixelSpacing {spacing[0]:g} x {spacing[1]:g} mm is absurd{frame.where()}"
        )
    return float(spacing[0]), float(spacing[1])


def _rescale(frame: _Frame, keyword: str) -> float:
    value = float(frame.numbers(keyword, 1)[0])
    if keyword == "RescaleSlope" and value <= 0:
        raise GeometryError(f"RescaleSlope is {value:g}{frame.where()}")
    return value


def _optional_number(frame: _Frame, keyword: str) -> float | None:
    try:
        return float(frame.numbers(keyword, 1)[0])
    except GeometryError:
        return None


def _thickness(frame: _Frame) -> float | None:
    thickness = _optional_number(frame, "SliceThickness")
    return thickness if thickness is not None and thickness > 0 else None


def _acquisition(frame: _Frame) -> tuple[str, ...]:
    keywords = ("AcquisitionNumber", "FrameAcquisitionNumber", "AcquisitionTime", "ContentTime")
    return tuple(frame.text(keyword) for keyword in keywords)


def _padding(header: Dataset) -> tuple[int, int] | None:
    """Stored values that mean "no pixel here" (PS3.3 C.7.5.1.1.2), signed as they are."""
    value = header.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = header.get("PixelPaddingRangeLimit")
    bounds = [value, limit if isinstance(limit, int) else value]
    low, high = sorted(_with_sign(bound, header) for bound in bounds)
    return low, high


def _with_sign(value: int, header: Dataset) -> int:
    """A padding value written with the wrong VR, read as the pixels are."""
    bits = int(header.get("BitsAllocated") or 16)
    wrapped = value % (1 << bits)
    negative = bool(header.get("PixelRepresentation")) and wrapped >= 1 << (bits - 1)
    return wrapped - (1 << bits) if negative else wrapped
