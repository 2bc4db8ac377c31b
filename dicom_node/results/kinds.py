"""The one table of result objects: what each is, and which of them a destination gets.

A *rendering* is one way to put an answer into an object. Most answers have one; the
segmentation has several *forms*, because archives and viewers differ in what they take, and
each form has a report of its own that refers to it. Tracking UIDs and numbers are the same
in every form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from dicom_node.settings.profile import Profile
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
    number: the last two digits of its series number, 1 to 99, which no other kind has. A
        number that was given once stays: a new kind takes the next one.
    """

    modality: str
    sop_class_uid: str
    title: str
    number: int


def _seg(number: int, title: str, sop_class_uid: str = SEGMENTATION_STORAGE) -> Traits:
    return Traits("SEG", sop_class_uid, title, number)


def _sr(number: int, title: str = "MSK measurements") -> Traits:
    return Traits("SR", COMPREHENSIVE_3D_SR_STORAGE, title, number)


TRAITS: Final = MappingProxyType(
    {
        Rendering.SEG: _seg(1, "MSK segmentation"),
        Rendering.SEG_LABELMAP: _seg(11, "MSK segmentation", LABEL_MAP_SEGMENTATION_STORAGE),
        Rendering.SEG_BONES: _seg(13, "MSK bones"),
        Rendering.SEG_HIP: _seg(14, "MSK hip muscles"),
        Rendering.SEG_THIGH: _seg(15, "MSK thigh muscles"),
        Rendering.SR: _sr(2),
        Rendering.SR_LABELMAP: _sr(12),
        Rendering.SR_GROUPS: _sr(16),
        Rendering.SR_KEY_SLICE: _sr(5, "MSK key slices"),
        Rendering.SC: Traits("OT", SECONDARY_CAPTURE_STORAGE, "MSK quality image", 3),
        Rendering.SC_DENSITY: Traits("OT", SECONDARY_CAPTURE_STORAGE, "MSK muscle density", 6),
        Rendering.SC_DENSITY_SLICES: Traits(
            "OT", TRUE_COLOUR_SECONDARY_CAPTURE_STORAGE, "MSK muscle density slices", 10
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


@dataclass(frozen=True, slots=True)
class Occasion:
    """What decides which objects of a case go to a destination.

    profile: what the destination asks for.
    accepted: whether the case's verdict is "accepted".
    replaces: whether an earlier revision has results.
    """

    profile: Profile
    accepted: bool
    replaces: bool


def _segmentation(form: Form) -> Callable[[Occasion], bool]:
    return lambda this: this.profile.segmentation == form


def _record(form: Form) -> Callable[[Occasion], bool]:
    return lambda this: (
        this.profile.segmentation == form and this.profile.report in {"record", "both"}
    )


def _quality_image(this: Occasion) -> bool:
    policy = this.profile.qc_image
    return policy == "always" or (policy == "on_failure" and not this.accepted)


GOES_OUT: Final[Mapping[Rendering, Callable[[Occasion], bool]]] = MappingProxyType(
    {
        Rendering.SEG: _segmentation(Form.BINARY),
        Rendering.SEG_LABELMAP: _segmentation(Form.LABELMAP),
        Rendering.SEG_BONES: _segmentation(Form.GROUPS),
        Rendering.SEG_HIP: _segmentation(Form.GROUPS),
        Rendering.SEG_THIGH: _segmentation(Form.GROUPS),
        Rendering.SR: _record(Form.BINARY),
        Rendering.SR_LABELMAP: _record(Form.LABELMAP),
        Rendering.SR_GROUPS: _record(Form.GROUPS),
        Rendering.SR_KEY_SLICE: lambda this: this.profile.report in {"key_slice", "both"},
        Rendering.SC: _quality_image,
        Rendering.SC_DENSITY: lambda this: this.profile.density_picture,
        Rendering.SC_DENSITY_SLICES: lambda this: this.profile.density_slices,
        Rendering.PM: lambda this: this.profile.uncertainty_map,
        Rendering.PDF: lambda this: this.profile.pdf_summary,
        Rendering.KO: lambda this: not this.accepted and this.profile.qc_image != "never",
        Rendering.KO_REJECTED: lambda this: this.replaces and this.profile.reject_replaced,
    }
)
"""When an object of each kind goes to a destination."""


def renderings_for(
    profile: Profile, *, accepted: bool, replaces: bool
) -> tuple[Rendering, ...]:
    """What a destination gets of a case, what others refer to first; see `Occasion`."""
    this = Occasion(profile, accepted=accepted, replaces=replaces)
    return tuple(rendering for rendering in Rendering if GOES_OUT[rendering](this))


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
