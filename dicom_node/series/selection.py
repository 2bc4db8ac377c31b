"""The selection of a series' images: axial CT, and why the others were left out.

Most images tell alone whether they count (`reason_to_leave_out`). Two kinds depend on their
company (`exclusions`): an image that calls itself derived stands in for no original one, and
a coronal or sagittal one among axial ones is not of their stack. Pure rules on header values;
nothing here opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicom_node.uids import is_uid

CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2.2"

CT_SOP_CLASSES: Final = frozenset(
    {
        CT_IMAGE_STORAGE,
        ENHANCED_CT_IMAGE_STORAGE,
        LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE,
    }
)
"""The SOP classes (PS3.4 B.5) whose pixels can be Hounsfield units on a patient grid."""

LOCALIZER_WORDS: Final = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM"})
"""Words in Image Type (PS3.3 C.8.2.1.1.1 and what scanners write) for a planning view."""

HOUNSFIELD_RESCALE_TYPES: Final = frozenset({"", "HU", "HU_MOD", "US"})
"""Rescale Type (PS3.3 C.11.1.1.2) of images in HU; absent means HU in CT Image Storage."""

UNSPECIFIED: Final = "US"
"""Rescale Type of no stated unit. What a scanner made is in HU all the same; of what was
computed the values must show it (ITK's writer states no unit, and means HU)."""

_PROJECTIONS: Final = (
    "MIP MINIP MAXIP IP MAXIMUM MINIMUM AVERAGE AVG AIP MEAN PROJECTION RAYSUM DRR VR VRT"
    " RENDER RENDERED RENDERING SSD"
)
_REFORMATS: Final = (
    "MPR MPVR CPR REFORMAT REFORMATS REFORMATTED CURVED CORONAL SAGITTAL PANORAMIC"
    " CSAPARALLEL CSAMANIPULATED CSAREFORMAT"
)
_ARITHMETIC: Final = (
    "SUBTRACTION SUBTRACTED SUBTRACT DIFFERENCE ADDITION DIVISION MULTIPLICATION MASKED"
    " DEVIATION QUANTITY FUSED FUSION OVERLAY PERFUSION CBF CBV MTT TTP TMAX PBV"
)
_MATERIALS: Final = (
    "IODINE VNC VUE WATER CALCIUM MATERIAL ZEFF ATOMIC RHO ELECTRON MONO MONOE KEV"
    " MONOENERGETIC"
)

COMPUTED_WORDS: Final = frozenset(
    f"{_PROJECTIONS} {_REFORMATS} {_ARITHMETIC} {_MATERIALS}".split()
)
"""Words for images whose pixels are no CT of a slice as it was scanned: projections, reformats,
sums and differences, maps of materials (PS3.3 C.8.16.1.4, and what scanners write)."""

GIVEN: Final = re.compile(r"CONTRAST\W+MATERIAL|ORAL\W+WATER|WATER\W+(PER\W+)?(ORAL|OS|PO)\b")
"""What a patient was given: a material and water of which nothing was computed."""

DERIVED: Final = "derived image (Image Type says DERIVED)"
NOT_AXIAL: Final = "not axial, among axial images"

_LETTERS: Final = re.compile(r"[A-Z]+")
_CODE: Final = re.compile(r"[A-Z0-9_]{1,16}")


@dataclass(frozen=True, slots=True)
class ImageKind:
    """The kind of image that a header states.

    image_type: Image Type of the instance, or Frame Type of one frame; upper case, may be
        empty.
    descriptions: Derivation and Series Description, upper case.
    orientation: Image Orientation (Patient); empty where it is missing or no numbers.
    is_measured: whether position, pixel spacing and rescale are stated too.
    is_rescaled: whether it says anything of how its values become Hounsfield units.
    is_lossy: whether Lossy Image Compression says so.
    """

    sop_instance_uid: str
    sop_class_uid: str
    modality: str = "CT"
    image_type: tuple[str, ...] = ()
    samples_per_pixel: int = 1
    rescale_type: str = ""
    frame_number: int | None = None
    descriptions: tuple[str, ...] = ()
    orientation: tuple[float, ...] = ()
    is_measured: bool = False
    is_rescaled: bool = True
    is_lossy: bool = False

    @property
    def is_derived(self) -> bool:
        """True where the image calls itself derived for more than a lossy compression.

        The standard wants DERIVED of an image that was only compressed, too (PS3.3
        C.7.6.1.1.2).
        """
        only_compressed = self.is_lossy and self.image_type[1:2] == ("PRIMARY",)
        return self.image_type[:1] == ("DERIVED",) and not (
            only_compressed and self._computed_by is None
        )

    @property
    def _computed_by(self) -> str | None:
        """A word that says that the pixels were computed of other images, and how."""
        said = GIVEN.sub(" ", " ".join((*self.image_type, *self.descriptions)))
        return min(COMPUTED_WORDS.intersection(_LETTERS.findall(said)), default=None)

    @property
    def is_axial(self) -> bool | None:
        """True where the image lies across the body more than along it; None if unknown."""
        return _is_axial(self.orientation)

    @property
    def is_of_unknown_unit(self) -> bool:
        """True of a derived image that does not say in which unit its values are."""
        return self.is_derived and self.rescale_type == UNSPECIFIED

    @property
    def reason_against_derived(self) -> str | None:
        """The reason why a derived image cannot be taken for the CT slice that it shows."""
        if word := self._computed_by:
            return f"derived image ({word})"
        if not self.is_axial or not self.is_measured:
            return DERIVED
        return None


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that does not count, and the reason as text.

    sop_instance_uid: empty for a file that is not DICOM.
    """

    sop_instance_uid: str
    reason: str


def reason_to_leave_out(kind: ImageKind) -> str | None:
    """The reason why an image does not count, or None when it can be an axial CT image.

    An empty Image Type counts: it is required, but its absence says nothing against the
    image, and geometry is checked anyway.
    """
    return next(_reasons(kind), None)


def _reasons(kind: ImageKind) -> Iterator[str]:
    """Every reason against an image, the plainest first."""
    image_type = kind.image_type
    if kind.sop_class_uid not in CT_SOP_CLASSES:
        yield f"not a CT image: SOP class {_told(kind.sop_class_uid, is_uid)}"
    if kind.modality != "CT":
        yield f"modality {_told(kind.modality, _is_code)}, not CT"
    if found := LOCALIZER_WORDS.intersection(image_type):
        yield f"localizer (Image Type says {min(found)})"
    if kind.is_derived and (reason := kind.reason_against_derived):
        yield reason
    if image_type[:1] != ("DERIVED",) and image_type[1:2] == ("SECONDARY",):
        yield "secondary image (Image Type says SECONDARY)"
    if kind.samples_per_pixel != 1:
        yield "colour image"
    if kind.rescale_type not in HOUNSFIELD_RESCALE_TYPES:
        yield f"not in Hounsfield units (Rescale Type {_told(kind.rescale_type, _is_code)})"


def _told(text: str, is_one: Callable[[str], bool]) -> str:
    """A value for a message; what is not what it should be may be anything, a name too."""
    return text if is_one(text) else "missing" if not text else "that is none"


def _is_code(text: str) -> bool:
    """True for one short word in capitals, as codes are (PS3.5 6.2, CS)."""
    return bool(_CODE.fullmatch(text))


def exclusions(kinds: Sequence[ImageKind]) -> list[ExcludedImage | None]:
    """The reason against each image of a series, None for those that count.

    Derived images count where there is no original axial one; what lies along the body is
    left out where most images lie across it.
    """
    reasons = [reason_to_leave_out(kind) for kind in kinds]
    stack = [kind for kind, reason in zip(kinds, reasons, strict=True) if reason is None]
    if any(kind.is_axial and not kind.is_derived for kind in stack):
        _leave_out(lambda kind: kind.is_derived, DERIVED, kinds, reasons)
        stack = [kind for kind in stack if not kind.is_derived]
    across = sum(kind.is_axial is True for kind in stack)
    along = sum(kind.is_axial is False for kind in stack)
    if across > along:
        _leave_out(lambda kind: kind.is_axial is False, NOT_AXIAL, kinds, reasons)
    return [_excluded(kind, reason) for kind, reason in zip(kinds, reasons, strict=True)]


def derived_notes(counted: Sequence[ImageKind]) -> tuple[str, ...]:
    """A note where images that count call themselves derived."""
    derived = [kind for kind in counted if kind.image_type[:1] == ("DERIVED",)]
    if not derived:
        return ()
    number = f"{len(derived)} of {len(counted)} images call themselves derived"
    if not any(kind.is_derived for kind in derived):
        return (f"{number}: by their lossy compression",)
    return (f"{number}: read as the axial slices in Hounsfield units that they show",)


def _leave_out(
    concerned: Callable[[ImageKind], bool],
    reason: str,
    kinds: Sequence[ImageKind],
    reasons: list[str | None],
) -> None:
    """Give the images concerned this reason, where there is none against them yet."""
    for index, kind in enumerate(kinds):
        if reasons[index] is None and concerned(kind):
            reasons[index] = reason


def _excluded(kind: ImageKind, reason: str | None) -> ExcludedImage | None:
    """The reason as a value, naming the frame of a multi-frame image."""
    if reason is None:
        return None
    if kind.frame_number is not None:
        reason = f"frame {kind.frame_number}: {reason}"
    return ExcludedImage(kind.sop_instance_uid, reason)


def exclusion_of(kind: ImageKind) -> ExcludedImage | None:
    """The reason against an image, whatever company it is in."""
    return _excluded(kind, reason_to_leave_out(kind))


def _is_axial(orientation: Sequence[float]) -> bool | None:
    if len(orientation) != 6 or not np.isfinite(orientation).all():
        return None
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    return bool(normal.argmax() == 2) if normal.max() > 0.5 else None
