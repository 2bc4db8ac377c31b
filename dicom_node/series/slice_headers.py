"""The facts about each slice in the headers of CT files, single-frame or multi-frame.

A classic CT file is one slice; an Enhanced or Legacy Converted Enhanced CT file is many,
described by its functional groups (PS3.3 C.7.6.16.1.1). Both become the same value here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import AMBIGUOUS_VR, BYTES_VR

from dicom_node.errors import (
    GeometryError,
    LostRescaleError,
    PixelDataError,
    SeriesError,
    TooLargeError,
    UnidentifiedError,
)
from dicom_node.series.acquisitions import ACQUISITION_KEYWORDS
from dicom_node.series.bounded_files import NotDicomError, named_damage, read_until_pixels
from dicom_node.series.character_sets import texts_of
from dicom_node.series.ct_series import InstanceReference, SourcePlane
from dicom_node.series.decimal_strings import decimal_string
from dicom_node.series.patient_identity import IDENTITY_KEYWORDS
from dicom_node.series.selection import (
    CT_IMAGE_STORAGE,
    CT_SOP_CLASSES,
    ExcludedImage,
    ImageKind,
    exclusions,
    reason_to_leave_out,
)
from dicom_node.series.slice_header import SliceHeader
from dicom_node.uids import is_uid

DESCRIPTIONS: Final = ("DerivationDescription", "SeriesDescription")
"""Attributes whose words may say that pixels were computed of other images."""

RESCALE: Final = ("RescaleSlope", "RescaleIntercept")

MEASURES: Final = {
    "ImagePositionPatient": 3,
    "PixelSpacing": 2,
    **dict.fromkeys(RESCALE, 1),
}
"""The numbers without which a derived image is not taken for CT, and how many each has."""

HEADER_KEYWORDS: Final = [
    "ImageType",
    *DESCRIPTIONS,
    "LossyImageCompression",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    *IDENTITY_KEYWORDS,
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    *ACQUISITION_KEYWORDS,
    "SliceThickness",
    "SpacingBetweenSlices",
    "NumberOfSeriesRelatedInstances",
    "GantryDetectorTilt",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PatientSize",
    "SamplesPerPixel",
    "PhotometricInterpretation",
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

ACQUISITION_TAGS: Final = {int(Tag(keyword)): keyword for keyword in ACQUISITION_KEYWORDS}
"""The keywords of what tells acquisitions apart, by tag."""

SPACING_LIMITS_MM: Final = (0.05, 20.0)
"""Distances between pixels that a whole-body CT can have; others are absurd."""

POSITION_LIMIT_MM: Final = 1e5
"""Positions farther than 100 m from the origin are absurd."""

THICKNESS_LIMIT_MM: Final = 100.0
"""No slice is thicker; such a thickness says nothing."""

SIDE_LIMIT: Final = 8192
"""Rows and columns that are believed: four times what the finest scanners reconstruct."""

MAX_SLICES: Final = 16384
"""More slices are no scan of a body: 16 m of it, a millimetre apart."""

SLOPE_LIMITS: Final = (1e-4, 1e3)
"""Rescale slopes with which 16 bits can be Hounsfield units."""

INTERCEPT_LIMIT: Final = 1e5
"""Rescale intercepts that are believed, either way."""

BITS_ALLOCATED: Final = (8, 16, 32)
"""Sizes of a pixel that can be read (PS3.3 C.8.2.1.1.3 has 16 for CT)."""

MONOCHROME: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
"""Photometric interpretations of CT (PS3.3 C.8.2.1.1.2); neither changes Hounsfield units."""

MACROS: Final = 64
"""So many functional groups of a frame are looked at; the standard has a third of them."""

TEXT_LIMIT: Final = 64
"""Of a text in a header so much is kept: it may end in a message."""

VALUE_LIMIT: Final = 1024
"""Of a value that rules look at so many characters are kept."""

UNIT_TOLERANCE: Final = 1e-2
"""The deviation allowed to direction cosines from unit length and from a right angle."""


@dataclass(frozen=True, slots=True, eq=False)
class StatedImage:
    """An image as its header states it.

    found: its slice, or why it cannot be one; None where the image does not count anyway.
    """

    kind: ImageKind
    found: SliceHeader | SeriesError | None


def read_header(path: Path) -> Dataset | None:
    """The header values of one file, or None when it is not DICOM.

    Raises:
        PixelDataError: a DICOM file that breaks off inside its header, or is damaged there.
    """
    try:
        header = read_until_pixels(path, HEADER_KEYWORDS)
    except NotDicomError:
        return None
    ended = value_of(header, "SeriesInstanceUID") is None and value_of(header, "Rows") is None
    if ended and _says_ct(header):
        # Cut off between two elements, it would pass for an image of another kind.
        raise PixelDataError("a CT file ends before its Series Instance UID")
    return header


def _says_ct(header: Dataset) -> bool:
    """True if the file meta information announces a CT image."""
    return str(value_of(header.file_meta, "MediaStorageSOPClassUID")) in CT_SOP_CLASSES


def kinds(header: Dataset) -> Iterator[ImageKind]:
    """The kind of each image of a file: one, or one for each frame.

    Raises:
        PixelDataError: functional groups that cannot be read, or of another number of frames.
        TooLargeError: more frames than a series can have slices.
    """
    with named_damage("a header cannot be read"):
        for frame in _frames(header):
            image_type = frame.get("FrameType") or frame.get("ImageType") or ()
            words = (image_type,) if isinstance(image_type, str) else tuple(image_type)
            samples = number_of(header, "SamplesPerPixel")
            yield ImageKind(
                sop_instance_uid=frame.text("SOPInstanceUID"),
                sop_class_uid=frame.text("SOPClassUID"),
                modality=frame.text("Modality"),
                image_type=tuple(str(word).strip().upper() for word in words),
                samples_per_pixel=1 if samples is None else samples,
                rescale_type=frame.text("RescaleType").upper(),
                frame_number=frame.number,
                descriptions=tuple(frame.text(each).upper() for each in DESCRIPTIONS),
                orientation=_stated_numbers(frame, "ImageOrientationPatient", 6),
                is_measured=all(
                    _stated_numbers(frame, keyword, count)
                    for keyword, count in MEASURES.items()
                ),
                is_rescaled=any(frame.get(keyword) is not None for keyword in RESCALE),
                is_lossy=frame.text("LossyImageCompression") == "01",
            )


def _stated_numbers(frame: _Frame, keyword: str, count: int) -> tuple[float, ...]:
    """The value as so many finite numbers; empty where it is missing or something else."""
    try:
        return tuple(map(float, frame.numbers(keyword, count)))
    except GeometryError:
        return ()


def check_identified(kind: ImageKind) -> None:
    """Refuse a CT image that only lacks the UID of its SOP class: it is none to leave out.

    Raises:
        UnidentifiedError: no result could refer to the image.
    """
    if lacks_sop_class(kind):
        uid = kind.sop_instance_uid
        raise UnidentifiedError(
            "SOPClassUID is missing or no UID in instance"
            f" {uid if is_uid(uid) else 'without UID'}"
        )


def lacks_sop_class(kind: ImageKind) -> bool:
    """True of an image that would count if it had the UID of its SOP class."""
    known = replace(kind, sop_class_uid=CT_IMAGE_STORAGE)
    return not is_uid(kind.sop_class_uid) and reason_to_leave_out(known) is None


def images_of(path: Path, header: Dataset) -> Iterator[StatedImage]:
    """The images of a file, each with its slice or what is wrong with it.

    Raises:
        PixelDataError: functional groups that cannot be read, or of another number of frames.
        TooLargeError: more frames than a series can have slices.
    """
    for kind in kinds(header):
        found: SliceHeader | SeriesError | None = None
        if reason_to_leave_out(kind) is None:
            try:
                found = slice_header(path, header, kind.frame_number)
            except SeriesError as error:
                # Whether it counts at all depends on the other images; without its
                # traceback, which would keep the whole header.
                found = error.with_traceback(None)
        yield StatedImage(kind, found)


def counted_among(
    images: Sequence[StatedImage],
) -> tuple[list[StatedImage], list[ExcludedImage]]:
    """Of the images of a series those that count, and why the others do not."""
    reasons = exclusions([image.kind for image in images])
    counted = [image for image, out in zip(images, reasons, strict=True) if out is None]
    return counted, [out for out in reasons if out is not None]


def slices_of(counted: Sequence[StatedImage]) -> list[SliceHeader]:
    """The slices of images that count.

    Raises:
        LostRescaleError: none says anything of how its values become Hounsfield units.
        SeriesError: of the first that cannot be used.
    """
    if not any(image.kind.is_rescaled for image in counted):
        raise LostRescaleError(
            "the rescale to Hounsfield units was lost: neither Rescale Slope nor Rescale"
            " Intercept is there in any image"
        )
    found: list[SliceHeader] = []
    for image in counted:
        if isinstance(image.found, SeriesError):
            raise image.found
        if image.found is not None:
            found.append(image.found)
    return found


def slice_header(path: Path, header: Dataset, frame_number: int | None) -> SliceHeader:
    """The geometry and pixel description of one slice.

    Raises:
        GeometryError: something needed is missing or absurd; the message names it.
        PixelDataError: the pixels are not what a CT image's can be.
        UnidentifiedError: no result could refer to the image.
    """
    with named_damage("a header cannot be read"):
        return _slice_header(path, _Frame(header, frame_number))


def _slice_header(path: Path, frame: _Frame) -> SliceHeader:
    stored = _stored(frame)
    column_axis, row_axis = _axes(frame)
    return SliceHeader(
        path=path,
        sop_class_uid=frame.text("SOPClassUID"),
        sop_instance_uid=_uid(frame, "SOPInstanceUID"),
        frame_number=frame.number,
        frames=len(items_of(frame.header, "PerFrameFunctionalGroupsSequence")) or 1,
        series_instance_uid=_uid(frame, "SeriesInstanceUID"),
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
        bits_allocated=stored.bits_allocated,
        bits_stored=stored.bits_stored,
        signed=stored.signed,
        padding=_padding(frame.header, stored),
        plane=_plane(frame),
    )


def _plane(frame: _Frame) -> SourcePlane:
    """The plane of a slice, as its header writes it; the numbers have been checked."""
    thickness = None if _thickness(frame) is None else frame.get("SliceThickness")
    return SourcePlane(
        reference=InstanceReference(frame.text("SOPClassUID"), frame.text("SOPInstanceUID")),
        frame_number=frame.number,
        position=_words(frame.get("ImagePositionPatient")),
        orientation=_words(frame.get("ImageOrientationPatient")),
        pixel_spacing=_words(frame.get("PixelSpacing")),
        thickness=None if thickness is None else _words([thickness])[0],
    )


def _words(numbers: Sequence[Any]) -> tuple[str, ...]:
    """Decimal strings as they were read, shortened where they are too long (PS3.5 6.2, DS)."""
    return tuple(map(decimal_string, numbers))


class _Frame:
    """Looks a keyword up where a frame's value can be: its own groups, shared, top level."""

    def __init__(self, header: Dataset, number: int | None) -> None:
        self.header = header
        self.number = number
        self._groups = list(_functional_groups(header, number))

    def get(self, keyword: str) -> Any:
        """The value, or None where it is missing or cannot be read."""
        for group in self._groups:
            if (value := value_of(group, keyword)) is not None:
                return value
        return value_of(self.header, keyword)

    def keywords(self, tags: Mapping[int, str]) -> tuple[str, ...]:
        """Which of these (by tag) the frame has at all; far quicker than asking for each."""
        held = [tags.keys() & holder.keys() for holder in (*self._groups, self.header)]
        return tuple(tags[tag] for tag in sorted(set().union(*held)))

    def text(self, keyword: str) -> str:
        """The value as text, several values joined by backslashes; empty when missing.

        At most `TEXT_LIMIT` characters, without those that no text has.
        """
        value = self.get(keyword)
        if value is None or isinstance(value, (bytes, Dataset)):
            return ""
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            found = str(value).strip()
        else:
            found = "\\".join(str(item).strip() for item in islice(value, TEXT_LIMIT))
        return "".join(c if c.isprintable() else "?" for c in found[: TEXT_LIMIT + 1])

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
        """The name of this image, for messages."""
        frame = "" if self.number is None else f", frame {self.number}"
        uid = self.text("SOPInstanceUID")
        return f" in instance {uid if is_uid(uid) else 'without UID'}{frame}"


def _frames(header: Dataset) -> Iterator[_Frame]:
    """Every image of a file, once the numbers of frames that it states agree."""
    groups = len(items_of(header, "PerFrameFunctionalGroupsSequence"))
    stated = number_of(header, "NumberOfFrames")
    # A file says how many frames it has up to three times: once more in its pixels.
    if stated is not None and stated != (groups or 1):
        raise PixelDataError(
            f"Number of Frames is {stated}, but {groups or 1} are described"
            f"{_Frame(header, None).where()}"
        )
    if groups > MAX_SLICES:
        raise TooLargeError(f"{groups} frames, at most {MAX_SLICES} are taken")
    if not groups:
        yield _Frame(header, None)
        return
    for index in range(groups):
        yield _Frame(header, index + 1)


def _functional_groups(header: Dataset, number: int | None) -> Iterator[Dataset]:
    """The macro items of one frame, its own before the shared ones."""
    if number is None:
        return
    holders = [items_of(header, "PerFrameFunctionalGroupsSequence")[number - 1]]
    holders += list(items_of(header, "SharedFunctionalGroupsSequence"))[:1]
    for holder in holders:
        yield from islice(_first_items(holder), MACROS)


def _first_items(holder: Dataset) -> Iterator[Dataset]:
    """The first item of every sequence; what cannot be read is passed over."""
    for tag in sorted(holder.keys()):
        value = value_of(holder, tag)
        if isinstance(value, pydicom.Sequence) and value:
            yield value[0]


@dataclass(frozen=True, slots=True)
class _Stored:
    """The form in which a stored value is written."""

    bits_allocated: int
    bits_stored: int
    signed: bool


def _stored(frame: _Frame) -> _Stored:
    """The description of the pixels (PS3.3 C.7.6.3.1), if it makes sense.

    A wrong Bits Stored or High Bit would shift every Hounsfield unit, silently.
    """
    words = {
        "BitsAllocated": number_of(frame.header, "BitsAllocated"),
        "BitsStored": number_of(frame.header, "BitsStored"),
        "HighBit": number_of(frame.header, "HighBit"),
        "PixelRepresentation": number_of(frame.header, "PixelRepresentation"),
    }
    allocated, stored, high, sign = words.values()
    sound = (
        allocated in BITS_ALLOCATED
        and stored is not None
        and 1 <= stored <= allocated
        and high in (None, stored - 1)
        and sign in (0, 1)
    )
    if allocated is None or stored is None or not sound:
        listed = ", ".join(f"{keyword} {value}" for keyword, value in words.items())
        raise PixelDataError(f"the pixels' description makes no sense: {listed}{frame.where()}")
    photometric = frame.text("PhotometricInterpretation")
    if photometric and photometric not in MONOCHROME:
        raise PixelDataError(f"Photometric Interpretation is {photometric}{frame.where()}")
    return _Stored(allocated, stored, bool(sign))


def _uid(frame: _Frame, keyword: str) -> str:
    """A UID; an invalid one is not repeated, since it may be anything, a name too."""
    uid = frame.text(keyword)
    if not is_uid(uid):
        raise UnidentifiedError(f"{keyword} is missing or no UID{frame.where()}")
    return uid


def _size(frame: _Frame, keyword: str) -> int:
    size = int(frame.numbers(keyword, 1)[0])
    if not 1 <= size <= SIDE_LIMIT:
        raise GeometryError(f"{keyword} is {size}, not 1 to {SIDE_LIMIT}{frame.where()}")
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
    low, high = (
        SLOPE_LIMITS if keyword == "RescaleSlope" else (-INTERCEPT_LIMIT, INTERCEPT_LIMIT)
    )
    if not low <= value <= high:
        raise GeometryError(f"{keyword} is {value:g}{frame.where()}")
    return value


def _optional_number(frame: _Frame, keyword: str) -> float | None:
    try:
        return float(frame.numbers(keyword, 1)[0])
    except GeometryError:
        return None


def _thickness(frame: _Frame) -> float | None:
    thickness = _optional_number(frame, "SliceThickness")
    if thickness is None or not 0 < thickness <= THICKNESS_LIMIT_MM:
        return None
    return thickness


def _acquisition(frame: _Frame) -> dict[str, str]:
    stated = {keyword: frame.text(keyword) for keyword in frame.keywords(ACQUISITION_TAGS)}
    if frame_type := frame.text("FrameType"):
        stated["ImageType"] = frame_type
    return {keyword: text for keyword, text in stated.items() if text}


def _padding(header: Dataset, stored: _Stored) -> tuple[int, int] | None:
    """Stored values that mean "no pixel here" (PS3.3 C.7.5.1.1.2), signed as they are."""
    value = value_of(header, "PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = value_of(header, "PixelPaddingRangeLimit")
    bounds = [value, limit if isinstance(limit, int) else value]
    low, high = sorted(_with_sign(bound, stored) for bound in bounds)
    return low, high


def _with_sign(value: int, stored: _Stored) -> int:
    """A padding value written with the wrong VR, read as the pixels are."""
    bits = stored.bits_allocated
    wrapped = value % (1 << bits)
    negative = stored.signed and wrapped >= 1 << (bits - 1)
    return wrapped - (1 << bits) if negative else wrapped


def stated_values(header: Dataset, frame_number: int | None) -> dict[str, str]:
    """Every public attribute of an image as text, by keyword, its frame's own before others.

    Several values are parted by backslashes. Sequences and binary values are passed over.
    """
    found: dict[str, str] = {}
    with named_damage("a header cannot be read"):
        for holder in (*_functional_groups(header, frame_number), header):
            # A Dataset iterates over its elements, each decoded for it.
            tags = [tag for tag in holder.keys() if not tag.is_private]  # noqa: SIM118 - see above
            words = [keyword for tag in tags if (keyword := _comparable(tag))]
            decoded = texts_of(holder, words)
            for keyword in words:
                # What is not in the declared character set may still be told by its letters.
                text = decoded[keyword] or _Frame(holder, None).text(keyword)
                found.setdefault(keyword, text[:VALUE_LIMIT])
    return found


def _comparable(tag: BaseTag) -> str:
    """The keyword of an attribute that has a text or numbers; empty for others."""
    if not dictionary_has_tag(tag):
        return ""
    of_bytes = BYTES_VR | AMBIGUOUS_VR | {"SQ"}
    return "" if dictionary_VR(tag) in of_bytes else keyword_for_tag(tag)


def value_of(dataset: Dataset, keyword: str | BaseTag) -> Any:
    """The value of an element, or None where it is missing or cannot be converted.

    pydicom converts a value when it is first asked for, with any of a dozen errors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dataset.get(keyword) if isinstance(keyword, str) else dataset[keyword].value
    except Exception:  # noqa: BLE001 - what cannot be converted counts as missing
        return None


def number_of(dataset: Dataset, keyword: str) -> int | None:
    """The value of an element as one whole number, or None where it is not one."""
    value = value_of(dataset, keyword)
    try:
        return None if isinstance(value, (bytes, bytearray)) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def items_of(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence; none where it is missing, or no sequence."""
    value = value_of(dataset, keyword)
    return value if isinstance(value, pydicom.Sequence) else ()
