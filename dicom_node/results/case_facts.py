"""The facts from which all result objects of one case are made, gathered once.

Whatever names something derives from here: UIDs from the source instances, the bundle, the
settings and the revision; the segments' numbers from what was found. So every object says
the same of the others, in whatever order they are built.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_node.results.changes import Changes
from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.kinds import FORMS, GROUP_OF, ResultKind
from dicom_node.results.seg.segmentation import segment_numbers
from dicom_node.series.ct_series import CtSeries, InstanceReference, SourceGrid, instances_of
from dicom_node.uids import Provenance, tracking_uid
from inference.results import CaseResult
from inference.structures import SEGMENTS
from sr_templates.context import InstanceInSeries
from sr_templates.terms import BODY_PART_EXAMINED


@dataclass(frozen=True, slots=True)
class PublishContext:
    """The facts that objects state and depend on beside the case.

    settings_hash: of the settings that change results.
    created: with a time zone; every date and time of the objects is this one, so that a
        step that runs twice gives the same bytes.
    device_observer_uid: of this installation of this version (`uids.device_observer_uid`).
    revision: 1, and one more for each time late images changed the series.
    predecessors: the reports of the revision before this one, the best stand-in first.
    replaced: the objects of earlier revisions to be rejected.
    closed_by: the rule that closed the series, as text.
    notes: what a reader must know of how the images came: those that the node refused, a
        patient that changed.
    changes: since the patient's last scan; None where nobody wants to know.
    """

    settings_hash: str
    created: datetime
    device_observer_uid: str
    software_version: str
    revision: int = 1
    station_name: str | None = None
    institution_name: str | None = None
    predecessors: Mapping[ResultKind, InstanceInSeries] = field(default_factory=dict)
    replaced: tuple[InstanceInSeries, ...] = ()
    closed_by: str | None = None
    notes: tuple[str, ...] = ()
    changes: Changes | None = None

    def predecessor_of(self, report: ResultKind) -> InstanceInSeries | None:
        """The report that one replaces: of its own kind, or else any."""
        return self.predecessors.get(report) or next(iter(self.predecessors.values()), None)


@dataclass(frozen=True, slots=True, eq=False)
class CaseFacts:
    """The facts that the objects of one case have in common.

    header: that of the series, with the part of the body where the source names none.
    sources: the instances that hold the slices.
    numbers: of the segments in each segmentation, by `Segment.number`; nothing in one that
        has none.
    tracking_uids: by `Segment.number`.
    """

    series: CtSeries
    case: CaseResult
    context: PublishContext
    header: Dataset
    grid: SourceGrid
    sources: tuple[InstanceReference, ...]
    provenance: Provenance
    equipment: Equipment
    numbers: Mapping[ResultKind, Mapping[int, int]]
    tracking_uids: Mapping[int, str]

    def object_header(self, kind: ResultKind) -> ObjectHeader:
        """The header of an object."""
        return ObjectHeader(self.header, identity_of(kind, self.provenance), self.equipment)

    def instance(self, kind: ResultKind) -> InstanceInSeries:
        """The reference by which other objects refer to one of this case."""
        identity = identity_of(kind, self.provenance)
        return InstanceInSeries(
            kind.traits.sop_class_uid,
            identity.sop_instance_uid,
            identity.series_instance_uid,
        )


def case_facts(
    series: CtSeries, case: CaseResult, context: PublishContext, wanted: Collection[ResultKind]
) -> CaseFacts:
    """The facts that the wanted objects of a case need."""
    header = Dataset(series.header)
    if not header.get("BodyPartExamined"):
        header.BodyPartExamined = BODY_PART_EXAMINED
    sources = instances_of(series.slices)
    model = case.model
    return CaseFacts(
        series=series,
        case=case,
        context=context,
        header=header,
        grid=series.grid,
        sources=sources,
        provenance=provenance_of(sources, model.weights_sha256, context),
        equipment=equipment_of(context, f"{model.name} {model.version}"),
        numbers=_numbers(case, wanted),
        tracking_uids={
            segment.number: tracking_uid(header.SeriesInstanceUID, segment.key)
            for segment in SEGMENTS
        },
    )


def provenance_of(
    sources: Sequence[InstanceReference], weights_sha256: str, context: PublishContext
) -> Provenance:
    """The provenance from which the UIDs of objects about these images derive."""
    return Provenance(
        source_sop_instance_uids=tuple(source.sop_instance_uid for source in sources),
        weights_sha256=weights_sha256,
        settings_hash=context.settings_hash,
        revision=context.revision,
    )


def equipment_of(context: PublishContext, *more_versions: str) -> Equipment:
    """The node as the maker of objects, with the versions of what took part."""
    return Equipment(
        created=context.created,
        device_uid=context.device_observer_uid,
        software_versions=(context.software_version, *more_versions),
        station_name=context.station_name,
        institution_name=context.institution_name,
    )


def identity_of(kind: ResultKind, provenance: Provenance) -> Identity:
    """The UIDs of the object of a kind."""
    return Identity(
        kind=kind,
        sop_instance_uid=provenance.instance_uid(kind.value),
        series_instance_uid=provenance.series_uid(kind.value),
        revision=provenance.revision,
    )


def _numbers(
    case: CaseResult, wanted: Iterable[ResultKind]
) -> dict[ResultKind, Mapping[int, int]]:
    """The segments' numbers in every segmentation that is wanted or referred to.

    To count through all voxels takes long, so segmentations of the same segments share it.
    """
    forms = {FORMS[kind] for kind in wanted if kind in FORMS}
    needed = [segmentation for form in forms for segmentation in form.segmentations]
    groups = {GROUP_OF.get(segmentation) for segmentation in needed}
    by_group = {group: segment_numbers(case, group) for group in groups}
    return {segmentation: by_group[GROUP_OF.get(segmentation)] for segmentation in needed}
