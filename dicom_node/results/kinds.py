"""The one table of result objects: what each is, and which of them a destination gets.

A *rendering* is one way to put an answer into an object. Most answers have one; the
segmentation has several *forms*, because archives and viewers differ in what they take, and
each form has a report of its own that refers to it. Tracking UIDs and numbers are the same
in every form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, Protocol

from dicom_node.settings.profile import QcPolicy
from inference.structures import Group

SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
COMPREHENSIVE_3D_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.7"
TRUE_COLOUR_SECONDARY_CAPTURE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.7.4"
PARAMETRIC_MAP_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.30"
ENCAPSULATED_PDF_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.104.1"
KEY_OBJECT_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.59"


class Rendering(StrEnum):
    """One kind of result object; the value is how ledger, files and logs call it."""

    SEG = "SEG"
    SEG_LABELMAP = "SEG-LABELMAP"
    SEG_BONES = "SEG-BONES"
    SEG_HIP = "SEG-HIP"
    SEG_THIGH = "SEG-THIGH"
    SR = "SR"
    SR_LABELMAP = "SR-LABELMAP"
    SR_GROUPS = "SR-GROUPS"
    SR_KEY_SLICE = "SR-KEYSLICE"
    SC = "SC"
    SC_DENSITY = "SC-DENSITY"
    SC_DENSITY_SLICES = "SC-DENSITY-SLICES"
    PM = "PM"
    PDF = "PDF"
    KO = "KO"
    KO_REJECTED = "KO-REJECTED"

    @property
    def traits(self) -> Traits:
        """What an object of this kind says it is."""
        return TRAITS[self]


@dataclass(frozen=True, slots=True)
class Traits:
    """What an object says it is.

    title: its series in a reader's words.
    slot: the last digit of its series number; the segmentations, and the reports that refer
        to them, share one.
    """

    modality: str
    sop_class_uid: str
    title: str
    slot: int


def _seg(title: str, sop_class_uid: str = SEGMENTATION_STORAGE) -> Traits:
    return Traits("SEG", sop_class_uid, title, 1)


def _sr(title: str, slot: int = 2) -> Traits:
    return Traits("SR", COMPREHENSIVE_3D_SR_STORAGE, title, slot)


TRAITS: Final = MappingProxyType(
    {
        Rendering.SEG: _seg("MSK segmentation"),
        Rendering.SEG_LABELMAP: _seg("MSK segmentation", LABEL_MAP_SEGMENTATION_STORAGE),
        Rendering.SEG_BONES: _seg("MSK bones"),
        Rendering.SEG_HIP: _seg("MSK hip muscles"),
        Rendering.SEG_THIGH: _seg("MSK thigh muscles"),
        Rendering.SR: _sr("MSK measurements"),
        Rendering.SR_LABELMAP: _sr("MSK measurements"),
        Rendering.SR_GROUPS: _sr("MSK measurements"),
        Rendering.SR_KEY_SLICE: _sr("MSK key slices", 5),
        Rendering.SC: Traits("OT", SECONDARY_CAPTURE_STORAGE, "MSK quality image", 3),
        Rendering.SC_DENSITY: Traits("OT", SECONDARY_CAPTURE_STORAGE, "MSK muscle density", 6),
        Rendering.SC_DENSITY_SLICES: Traits(
            "OT", TRUE_COLOUR_SECONDARY_CAPTURE_STORAGE, "MSK muscle density slices", 0
        ),
        Rendering.PM: Traits("CT", PARAMETRIC_MAP_STORAGE, "MSK uncertainty", 7),
        Rendering.PDF: Traits("DOC", ENCAPSULATED_PDF_STORAGE, "MSK summary", 8),
        Rendering.KO: Traits("KO", KEY_OBJECT_STORAGE, "MSK quality issue", 4),
        Rendering.KO_REJECTED: Traits("KO", KEY_OBJECT_STORAGE, "MSK replaced results", 9),
    }
)
"""Every object is alone in its series: viewers list series by their descriptions."""


class Form(StrEnum):
    """In which form a destination gets the segmentation, with the report that refers to it."""

    BINARY = "binary"
    LABELMAP = "labelmap"
    GROUPS = "groups"

    @property
    def segmentations(self) -> tuple[Rendering, ...]:
        """The segmentation objects of this form."""
        return _SEGMENTATIONS[self]

    @property
    def report(self) -> Rendering:
        """The report that refers to them."""
        return _REPORTS[self]

    @property
    def falls_back_to(self) -> Form | None:
        """What a destination gets that does not know this form's SOP class."""
        return Form.BINARY if self is Form.LABELMAP else None


_SEGMENTATIONS: Final = {
    Form.BINARY: (Rendering.SEG,),
    Form.LABELMAP: (Rendering.SEG_LABELMAP,),
    Form.GROUPS: (Rendering.SEG_BONES, Rendering.SEG_HIP, Rendering.SEG_THIGH),
}
_REPORTS: Final = {
    Form.BINARY: Rendering.SR,
    Form.LABELMAP: Rendering.SR_LABELMAP,
    Form.GROUPS: Rendering.SR_GROUPS,
}

GROUP_OF: Final = MappingProxyType(
    {
        Rendering.SEG_BONES: Group.BONE,
        Rendering.SEG_HIP: Group.HIP_MUSCLE,
        Rendering.SEG_THIGH: Group.THIGH_MUSCLE,
    }
)
"""Which structures the segmentations of the form GROUPS hold."""

FORMS: Final = MappingProxyType(
    {rendering: form for form in Form for rendering in (*form.segmentations, form.report)}
)
"""Of which form a segmentation or a report is; the others are of none."""

SEGMENTATIONS: Final = frozenset(one for form in Form for one in form.segmentations)
REPORTS: Final = frozenset({*(form.report for form in Form), Rendering.SR_KEY_SLICE})


def needed_before(rendering: Rendering) -> frozenset[Rendering]:
    """What a destination must have, of what it is to get, before an object of this kind.

    A report comes after the segmentations it refers to, and earlier results are rejected
    when those that replace them are there.
    """
    if rendering is Rendering.KO_REJECTED:
        return SEGMENTATIONS | REPORTS
    form = FORMS.get(rendering)
    if form is None or rendering in form.segmentations:
        return frozenset()
    return frozenset(form.segmentations)


class Wishes(Protocol):
    """What a destination wants of a case (`config.Profile`)."""

    @property
    def segmentation(self) -> Literal["binary", "labelmap", "groups"]:
        """The form of the segmentation."""

    @property
    def report(self) -> Literal["record", "key_slice", "both"]:
        """Which reports."""

    @property
    def qc_image(self) -> QcPolicy:
        """When the quality image goes out."""

    @property
    def density_picture(self) -> bool:
        """Whether it wants the muscle density picture."""

    @property
    def density_slices(self) -> bool:
        """Whether it wants the muscles' density on the source slices."""

    @property
    def uncertainty_map(self) -> bool:
        """Whether it wants the uncertainty of every voxel."""

    @property
    def pdf_summary(self) -> bool:
        """Whether it wants the summary as a document."""

    @property
    def reject_replaced(self) -> bool:
        """Whether it is told that an earlier revision's objects are replaced."""


def renderings_for(wishes: Wishes, *, accepted: bool, replaces: bool) -> tuple[Rendering, ...]:
    """What a destination gets of a case, what others refer to first.

    Args:
        wishes: its profile.
        accepted: whether the case's verdict is "accepted".
        replaces: whether an earlier revision has results.
    """
    form = Form(wishes.segmentation)
    wanted = list(form.segmentations)
    if wishes.report in {"record", "both"}:
        wanted.append(form.report)
    if wishes.report in {"key_slice", "both"}:
        wanted.append(Rendering.SR_KEY_SLICE)
    if wishes.qc_image == "always" or (wishes.qc_image == "on_failure" and not accepted):
        wanted.append(Rendering.SC)
    optional = {
        Rendering.SC_DENSITY: wishes.density_picture,
        Rendering.SC_DENSITY_SLICES: wishes.density_slices,
        Rendering.PM: wishes.uncertainty_map,
        Rendering.PDF: wishes.pdf_summary,
        Rendering.KO: not accepted and wishes.qc_image != "never",
        Rendering.KO_REJECTED: replaces and wishes.reject_replaced,
    }
    return (*wanted, *(rendering for rendering, wished in optional.items() if wished))


def instead_of(rendering: Rendering) -> frozenset[Rendering]:
    """What goes to a destination that does not know the form of a segmentation or report.

    Empty where there is no other form.
    """
    form = FORMS.get(rendering)
    if form is None or form.falls_back_to is None:
        return frozenset()
    if rendering is form.report:
        return frozenset({form.falls_back_to.report})
    return frozenset(form.falls_back_to.segmentations)


def with_fallbacks(wanted: Iterable[Rendering]) -> frozenset[Rendering]:
    """What is wanted, and what may have to go instead: the case is gone once it is built."""
    wanted = frozenset(wanted)
    return wanted.union(*map(instead_of, wanted))
