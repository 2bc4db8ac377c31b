"""The publication of a series: from its analysis's outcome to objects, and who gets which.

A case is answered with what its destinations want, each by its profile. A series that was
refused, or whose analysis failed, is answered with a picture and a key object that give
the reason, and every destination gets both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from dicom_node.analysis.case_store import load_case, load_series
from dicom_node.analysis.request import Outcome
from dicom_node.case_files.case_report import case_report, described_series, refusal_report
from dicom_node.case_files.report_json import CalibratedOn
from dicom_node.errors import ResultError
from dicom_node.node.case_rows import PatientHistory, Statement
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.results.builders import Refusal, publish_case, publish_refusal
from dicom_node.results.case_facts import PublishContext
from dicom_node.results.kinds import REPORTS, ResultKind, kinds_for, with_fallbacks
from dicom_node.results.result_files import ResultObject, write_results
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from dicom_node.series.scan_facts import facts_of_refused, facts_of_series, patient_of
from dicom_node.series.study_header import SourceStudy, read_studies
from dicom_node.settings.destinations import Destination
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.uids import device_observer_uid
from inference.anatomy.coverage import chest_words, lower_legs_words, stump_words
from inference.pictures.captions import sentence
from inference.results import CaseResult, Region, Verdict
from sr_templates.context import InstanceInSeries
from sr_templates.words import metal_words

log = structlog.get_logger()

SOFTWARE_VERSION: Final = version("msk-node")
NOT_HIP_TO_KNEE: Final = "not-hip-to-knee"
NOT_WHOLE: Final = (Region.PARTIAL, Region.ELSEWHERE)
"""Of an unknown region nobody can say that it is less than hip to knee."""


@dataclass(frozen=True, slots=True, eq=False)
class Publication:
    """The objects that answer a series.

    state, code, reason: what becomes of the series, and why; of one with a report, what is
        remarkable about it.
    objects: what others refer to comes first; more than is shared out where an object may
        have to stand in for another.
    per_destination: which of them each destination gets, by its name.
    statement: what the table of results keeps of it.
    label_map: what is kept as NIfTI beside them, if that is wanted.
    """

    state: SeriesState
    objects: tuple[ResultObject, ...]
    statement: Statement
    per_destination: Mapping[str, Collection[ResultKind]]
    code: str = ""
    reason: str = ""
    label_map: LabelMap | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """The segments of a series, to be kept as a file beside its objects."""

    series: CtSeries
    segments: NDArray[np.uint8]

    def write(self, folder: Path) -> None:
        """`labels.nii.gz`, and `labels.json` with the segments' names."""
        # Here, for few nodes keep it: the others need not load a library for it.
        from dicom_node.case_files.labelled_cases import write_segments  # noqa: PLC0415

        folder.mkdir(parents=True, exist_ok=True)
        write_segments(folder / "labels.nii.gz", self.series, self.segments)


@dataclass(frozen=True, slots=True)
class EarlierRevisions:
    """The results of the revisions before this one, back to the latest that has a report.

    What came before that one has been replaced by it.
    """

    results: tuple[ResultRow, ...] = ()
    deliveries: tuple[DeliveryRow, ...] = ()

    @property
    def reports(self) -> Mapping[ResultKind, InstanceInSeries]:
        """The reports by kind; those with all figures before that of the key slices."""
        kinds = {ResultKind(result.kind): result for result in self.results}
        return {
            kind: _instance(kinds[kind]) for kind in ResultKind if kind in REPORTS & set(kinds)
        }

    def meant_for(self, destinations: Collection[str]) -> tuple[InstanceInSeries, ...]:
        """The objects that any of these got or is to get, less rejections.

        One key object is built for the series, not one for each destination; so it lists
        what any of those that want one was meant to get.
        """
        uids = {
            row.sop_instance_uid
            for row in self.deliveries
            if row.destination in destinations and row.state is not DeliveryState.REPLACED
        }
        return tuple(
            _instance(result)
            for result in self.results
            if result.sop_instance_uid in uids and result.kind != ResultKind.KO_REJECTED
        )


def earlier_revisions(arrival: SeriesArrival, ledger: Ledger) -> EarlierRevisions:
    """The earlier revisions of a series, as the ledger knows them."""
    uid = arrival.series_instance_uid
    results: list[ResultRow] = []
    deliveries: list[DeliveryRow] = []
    for row in reversed(ledger.revisions(uid)):
        of_revision = ledger.results(uid, row.revision)
        if row.revision >= arrival.revision or not _of_one_study(row, of_revision, arrival):
            continue
        results += of_revision
        deliveries += ledger.deliveries(series_instance_uid=uid, revision=row.revision)
        if REPORTS.intersection(result.kind for result in of_revision):
            break
    return EarlierRevisions(tuple(results), tuple(deliveries))


def _of_one_study(row: SeriesRow, results: Sequence[ResultRow], arrival: SeriesArrival) -> bool:
    """True if all results of a revision belong to the study that is answered now.

    A series that mixed patients was answered in each study, so with two objects of a kind;
    nothing of one patient may be named in another's.
    """
    alone = len({result.kind for result in results}) == len(results)
    return alone and row.study_instance_uid == arrival.study_instance_uid


def publish_series(  # noqa: PLR0913, PLR0917 - all that an answer depends on
    arrival: SeriesArrival,
    outcome: Outcome,
    case_folder: Path,
    config: NodeConfig,
    earlier: EarlierRevisions,
    history: PatientHistory,
) -> Publication:
    """Build the answer to a series.

    Args:
        arrival: the series.
        outcome: of its analysis.
        case_folder: where the case is stored, if there is one.
        config: of the node.
        earlier: what earlier revisions left.
        history: the earlier scans of patients.

    Raises:
        ResultError: an object could not be built.
    """
    destinations = config.destinations_for(arrival.calling_ae_title, arrival.called_ae_title)
    context = _context(arrival, outcome, config, _rejected(destinations, earlier), earlier)
    if outcome.kind != "analysed":
        state = SeriesState.REFUSED if outcome.kind == "refused" else SeriesState.FAILED
        words = _with_notes(outcome.words, arrival)
        refusal = Refusal(outcome.code, words, read_studies(arrival.paths))
        return _refuse(refusal, state, context, destinations)
    case = load_case(case_folder)
    # An older node kept the case alone: the series is read once more.
    series = load_series(case_folder) or read_series(arrival.paths)
    if config.analysis.partial == "refuse" and case.coverage.region in NOT_WHOLE:
        refusal = _partial(case, series)
        refusal = replace(refusal, words=_with_notes(refusal.words, arrival))
        return _refuse(refusal, SeriesState.REFUSED, context, destinations)
    is_good = case.verdict is Verdict.ACCEPTED and not arrival.notes
    per_destination = _per_destination(destinations, earlier, is_good=is_good)
    if per_destination:
        wanted = with_fallbacks(one for share in per_destination.values() for one in share)
    else:
        wanted = frozenset(kinds_for(config.profile, accepted=is_good, replaces=False))
    statement = Statement(
        SeriesState.REPORTED,
        case_report(case, described_series(series, series.patient), _calibrated_on(outcome)),
        facts_of_series(series),
        patient_of(series.header),
    )
    if ResultKind.PDF in wanted and _wants_changes(destinations, config):
        context = replace(context, changes=history.changes(statement, arrival, outcome))
    objects = publish_case(series, case, context, wanted)
    words = " ".join(filter(None, (*map(sentence, arrival.notes), remark(case))))
    return Publication(
        SeriesState.REPORTED,
        objects,
        statement,
        per_destination,
        reason=words,
        label_map=LabelMap(series, case.segments) if config.objects.nifti else None,
    )


def _calibrated_on(outcome: Outcome) -> CalibratedOn | None:
    """What the bundle's limits were fitted on, as the analysis has left it."""
    if not outcome.calibrated_on:
        return None
    return CalibratedOn(outcome.calibrated_on, outcome.calibrated_at)


def _wants_changes(destinations: Sequence[Destination], config: NodeConfig) -> bool:
    """True if any destination wants to see what has changed; without any, as the node does."""
    profiles = [each.profile for each in destinations] or [config.profile]
    return any(each.pdf_summary and each.pdf_changes for each in profiles)


def _with_notes(words: str, arrival: SeriesArrival) -> str:
    """The reason for a refusal, with what the node itself has to do with it."""
    return "; ".join((words, *arrival.notes))


def remark(case: CaseResult) -> str:
    """The node's remark on a series with a report.

    That its header is contradicted; or femora without a knee, what was cut off, and metal.
    """
    shown = case.coverage
    words = (
        shown.words if shown.against_header else "",
        stump_words(shown.stump),
        lower_legs_words(shown.lower_legs),
        chest_words(shown.chest),
        metal_words(case),
    )
    return " ".join(filter(None, words))


def _per_destination(
    destinations: Sequence[Destination], earlier: EarlierRevisions, *, is_good: bool
) -> dict[str, Collection[ResultKind]]:
    """The kinds of objects for each destination of a case, by its name.

    is_good: whether nobody need look: it is accepted, and there is nothing to tell of how its
        images came.
    """
    return {
        each.name: _taken(
            each,
            kinds_for(
                each.profile, accepted=is_good, replaces=bool(earlier.meant_for([each.name]))
            ),
        )
        for each in destinations
    }


def _taken(destination: Destination, kinds: Sequence[ResultKind]) -> tuple[ResultKind, ...]:
    """The kinds that a destination takes: one that is no archive takes reports alone."""
    alone = destination.takes_reports_alone
    return tuple(each for each in kinds if not alone or each in REPORTS)


def _rejected(
    destinations: Sequence[Destination], earlier: EarlierRevisions
) -> tuple[InstanceInSeries, ...]:
    """The earlier objects that a key object rejects."""
    return earlier.meant_for(
        [each.name for each in destinations if each.profile.reject_replaced]
    )


def _context(
    arrival: SeriesArrival,
    outcome: Outcome,
    config: NodeConfig,
    rejected: tuple[InstanceInSeries, ...],
    earlier: EarlierRevisions,
) -> PublishContext:
    """The objects' statements on their making; the same at every try."""
    installation = f"{config.node.ae_title}@{config.node.results}"
    return PublishContext(
        settings_hash=outcome.settings_hash,
        created=outcome.finished_at,
        device_observer_uid=device_observer_uid(installation, SOFTWARE_VERSION),
        software_version=SOFTWARE_VERSION,
        revision=arrival.revision,
        station_name=config.objects.station_name,
        institution_name=config.objects.institution_name,
        predecessors=earlier.reports,
        replaced=rejected,
        closed_by=arrival.reason,
        notes=arrival.notes,
    )


def _refuse(
    refusal: Refusal,
    state: SeriesState,
    context: PublishContext,
    destinations: Sequence[Destination],
) -> Publication:
    """The answer that gives a reason; no objects where no image says which study it is of."""
    try:
        objects = publish_refusal(refusal, context)
    except ResultError:
        log.exception("refusal.unanswerable", code=refusal.code)
        objects = ()
    per_destination = {each.name: _taken(each, tuple(ResultKind)) for each in destinations}
    report = refusal_report(refusal.code, refusal.words)
    scan, patient = facts_of_refused(refusal.studies, refusal.code)
    statement = Statement(state, report, scan, patient)
    return Publication(state, objects, statement, per_destination, refusal.code, refusal.words)


def _partial(case: CaseResult, series: CtSeries) -> Refusal:
    """The refusal of a scan that shows only part."""
    words = case.coverage.words or case.coverage.region.value
    reason = f"the scan does not show hip to knee: {words}"
    study = SourceStudy(series.header, series.instances)
    return Refusal(NOT_HIP_TO_KNEE, reason, (study,), series.volume)


def _instance(result: ResultRow) -> InstanceInSeries:
    return InstanceInSeries(
        result.sop_class_uid, result.sop_instance_uid, result.own_series_instance_uid
    )


def keep_results(
    arrival: SeriesArrival,
    objects: Sequence[ResultObject],
    folder: Path,
    made_at: datetime,
) -> list[ResultRow]:
    """Keep result objects as files; their rows for the ledger."""
    return [
        ResultRow(
            sop_instance_uid=each.sop_instance_uid,
            sop_class_uid=each.sop_class_uid,
            kind=each.kind.value,
            own_series_instance_uid=each.series_instance_uid,
            series_instance_uid=arrival.series_instance_uid,
            revision=arrival.revision,
            path=str(path),
            sha256=_sha256(path),
            made_at=made_at,
        )
        for each, path in zip(objects, write_results(objects, folder), strict=True)
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
