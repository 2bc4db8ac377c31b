"""The selection of a series' images: original axial CT, and why the others were left out.

Pure rules on header values; nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True)
class ImageKind:
    """The kind of image that a header states.

    image_type: Image Type of the instance, or Frame Type of one frame; upper case, may be
        empty.
    """

    sop_instance_uid: str
    sop_class_uid: str
    modality: str = "CT"
    image_type: tuple[str, ...] = ()
    samples_per_pixel: int = 1
    rescale_type: str = ""
    frame_number: int | None = None


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that does not count, and the reason as text.

    sop_instance_uid: empty for a file that is not DICOM.
    """

    sop_instance_uid: str
    reason: str


def reason_to_leave_out(kind: ImageKind) -> str | None:
    """The reason why an image does not count, or None when it is an original axial CT image.

    An empty Image Type counts: it is required, but its absence says nothing against the
    image, and geometry is checked anyway.
    """
    return next(_reasons(kind), None)


def _reasons(kind: ImageKind) -> Iterator[str]:
    """Every reason against an image, the plainest first."""
    image_type = kind.image_type
    if kind.sop_class_uid not in CT_SOP_CLASSES:
        yield f"not a CT image: SOP class {kind.sop_class_uid or 'missing'}"
    if kind.modality != "CT":
        yield f"modality {kind.modality or 'missing'}, not CT"
    if found := LOCALIZER_WORDS.intersection(image_type):
        yield f"localizer (Image Type says {min(found)})"
    if image_type and image_type[0] == "DERIVED":
        yield "derived image (Image Type says DERIVED)"
    if len(image_type) > 1 and image_type[1] == "SECONDARY":
        yield "secondary image (Image Type says SECONDARY)"
    if kind.samples_per_pixel != 1:
        yield "colour image"
    if kind.rescale_type not in HOUNSFIELD_RESCALE_TYPES:
        yield f"not in Hounsfield units (Rescale Type {kind.rescale_type})"


def exclusion_of(kind: ImageKind) -> ExcludedImage | None:
    """The reason as a value, naming the frame of a multi-frame image."""
    reason = reason_to_leave_out(kind)
    if reason is None:
        return None
    if kind.frame_number is not None:
        reason = f"frame {kind.frame_number}: {reason}"
    return ExcludedImage(kind.sop_instance_uid, reason)
