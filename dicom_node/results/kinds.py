"""The one table of result objects: what each is, and which of them a destination gets.

A `ResultKind` is one form of object for an answer. Most answers have one; the
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


class ResultKind(StrEnum):
    """One kind of result object; the value is how ledger, files and logs call it."""

    SEG = "SEG"
    SEG_LABELMAP = "SEG-LABELMAP"
    SEG_BONES = "SEG-BONES"
    SEG_HIP = "SEG-HIP"
    SEG_THIGH = "SEG-THIGH"
    SEG_EVEN = "SEG-EVEN"
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
    def traits(self) -> ObjectTraits:
        """The traits of an object of this kind."""
        return TRAITS[self]


@dataclass(frozen=True, slots=True)
class ObjectTraits:
    """The traits that an object states of itself.

    title: its series in a reader's words.
    number: the last two digits of its series number, 1 to 99, which no other kind has. A
        number that was given once stays: a new kind takes the next one.
    """

    modality: str
    sop_class_uid: str
    title: str
    number: int


def _seg(number: int, title: str, sop_class_uid: str = SEGMENTATION_STORAGE) -> ObjectTraits:
    return ObjectTraits("SEG", sop_class_uid, title, number)


def _sr(number: int, title: str = "MSK measurements") -> ObjectTraits:
    return ObjectTraits("SR", COMPREHENSIVE_3D_SR_STORAGE, title, number)


TRAITS: Final = MappingProxyType(
    {
        ResultKind.SEG: _seg(1, "MSK segmentation"),
        ResultKind.SEG_LABELMAP: _seg(11, "MSK segmentation", LABEL_MAP_SEGMENTATION_STORAGE),
        ResultKind.SEG_BONES: _seg(13, "MSK bones"),
        ResultKind.SEG_HIP: _seg(14, "MSK hip muscles"),
        ResultKind.SEG_THIGH: _seg(15, "MSK thigh muscles"),
        ResultKind.SEG_EVEN: _seg(17, "MSK segmentation, even slices"),
        ResultKind.SR: _sr(2),
        ResultKind.SR_LABELMAP: _sr(12),
        ResultKind.SR_GROUPS: _sr(16),
        ResultKind.SR_KEY_SLICE: _sr(5, "MSK key slices"),
        ResultKind.SC: ObjectTraits("OT", SECONDARY_CAPTURE_STORAGE, "MSK quality image", 3),
        ResultKind.SC_DENSITY: ObjectTraits(
            "OT", SECONDARY_CAPTURE_STORAGE, "MSK muscle density", 6
        ),
        ResultKind.SC_DENSITY_SLICES: ObjectTraits(
            "OT", TRUE_COLOUR_SECONDARY_CAPTURE_STORAGE, "MSK muscle density slices", 10
        ),
        ResultKind.PM: ObjectTraits("CT", PARAMETRIC_MAP_STORAGE, "MSK uncertainty", 7),
        ResultKind.PDF: ObjectTraits("DOC", ENCAPSULATED_PDF_STORAGE, "MSK summary", 8),
        ResultKind.KO: ObjectTraits("KO", KEY_OBJECT_STORAGE, "MSK quality issue", 4),
        ResultKind.KO_REJECTED: ObjectTraits(
            "KO", KEY_OBJECT_STORAGE, "MSK replaced results", 9
        ),
    }
)
"""Every object is alone in its series: viewers list series by their descriptions."""


class Form(StrEnum):
    """In which form a destination gets the segmentation, with the report that refers to it."""

    BINARY = "binary"
    LABELMAP = "labelmap"
    GROUPS = "groups"

    @property
    def segmentations(self) -> tuple[ResultKind, ...]:
        """The segmentation objects of this form."""
        return _SEGMENTATIONS[self]

    @property
    def report(self) -> ResultKind:
        """The report that refers to them."""
        return _REPORTS[self]

    @property
    def falls_back_to(self) -> Form | None:
        """The form for a destination that does not know this form's SOP class."""
        return Form.BINARY if self is Form.LABELMAP else None


_SEGMENTATIONS: Final = {
    Form.BINARY: (ResultKind.SEG,),
    Form.LABELMAP: (ResultKind.SEG_LABELMAP,),
    Form.GROUPS: (ResultKind.SEG_BONES, ResultKind.SEG_HIP, ResultKind.SEG_THIGH),
}
_REPORTS: Final = {
    Form.BINARY: ResultKind.SR,
    Form.LABELMAP: ResultKind.SR_LABELMAP,
    Form.GROUPS: ResultKind.SR_GROUPS,
}

GROUP_OF: Final = MappingProxyType(
    {
        ResultKind.SEG_BONES: Group.BONE,
        ResultKind.SEG_HIP: Group.HIP_MUSCLE,
        ResultKind.SEG_THIGH: Group.THIGH_MUSCLE,
    }
)
"""The structures that the segmentations of the form GROUPS hold."""

FORMS: Final = MappingProxyType(
    {kind: form for form in Form for kind in (*form.segmentations, form.report)}
)
"""Of which form a segmentation or a report is; the others are of none."""

SEGMENTATIONS: Final = frozenset(one for form in Form for one in form.segmentations)
"""Those that reports refer to; the one on even slices stands beside them."""

REPORTS: Final = frozenset({*(form.report for form in Form), ResultKind.SR_KEY_SLICE})


def needed_before(kind: ResultKind) -> frozenset[ResultKind]:
    """The kinds, of those for a destination, that it must have before an object of this kind.

    A report comes after the segmentations it refers to, and earlier results are rejected
    when those that replace them are there.
    """
    if kind is ResultKind.KO_REJECTED:
        return SEGMENTATIONS | REPORTS | {ResultKind.SEG_EVEN}
    form = FORMS.get(kind)
    if form is None or kind in form.segmentations:
        return frozenset()
    return frozenset(form.segmentations)


@dataclass(frozen=True, slots=True)
class Occasion:
    """The occasion that decides which objects of a case go to a destination.

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


GOES_OUT: Final[Mapping[ResultKind, Callable[[Occasion], bool]]] = MappingProxyType(
    {
        ResultKind.SEG: _segmentation(Form.BINARY),
        ResultKind.SEG_LABELMAP: _segmentation(Form.LABELMAP),
        ResultKind.SEG_BONES: _segmentation(Form.GROUPS),
        ResultKind.SEG_HIP: _segmentation(Form.GROUPS),
        ResultKind.SEG_THIGH: _segmentation(Form.GROUPS),
        ResultKind.SEG_EVEN: lambda this: this.profile.even_segmentation,
        ResultKind.SR: _record(Form.BINARY),
        ResultKind.SR_LABELMAP: _record(Form.LABELMAP),
        ResultKind.SR_GROUPS: _record(Form.GROUPS),
        ResultKind.SR_KEY_SLICE: lambda this: this.profile.report in {"key_slice", "both"},
        ResultKind.SC: _quality_image,
        ResultKind.SC_DENSITY: lambda this: this.profile.density_picture,
        ResultKind.SC_DENSITY_SLICES: lambda this: this.profile.density_slices,
        ResultKind.PM: lambda this: this.profile.uncertainty_map,
        ResultKind.PDF: lambda this: this.profile.pdf_summary,
        ResultKind.KO: lambda this: not this.accepted and this.profile.qc_image != "never",
        ResultKind.KO_REJECTED: lambda this: this.replaces and this.profile.reject_replaced,
    }
)
"""The condition under which an object of each kind goes to a destination."""


def kinds_for(profile: Profile, *, accepted: bool, replaces: bool) -> tuple[ResultKind, ...]:
    """The kinds for a destination of a case, what others refer to first; see `Occasion`."""
    this = Occasion(profile, accepted=accepted, replaces=replaces)
    return tuple(kind for kind in ResultKind if GOES_OUT[kind](this))


def instead_of(kind: ResultKind) -> frozenset[ResultKind]:
    """The kinds for a destination that does not know the form of a segmentation or report.

    Empty where there is no other form.
    """
    form = FORMS.get(kind)
    if form is None or form.falls_back_to is None:
        return frozenset()
    if kind is form.report:
        return frozenset({form.falls_back_to.report})
    return frozenset(form.falls_back_to.segmentations)


def with_fallbacks(wanted: Iterable[ResultKind]) -> frozenset[ResultKind]:
    """The kinds wanted, and those that may have to go instead: a built case is gone."""
    wanted = frozenset(wanted)
    return wanted.union(*map(instead_of, wanted))
