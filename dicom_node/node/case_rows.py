"""The row of an answer in the table of results, and the earlier scans of its patient.

A row holds the report as `msk-node segment` writes it, and the source beside it. Whose scan
it is stands there as a digest under a secret of the spool, so that the database alone names
nobody; the Patient ID itself only where the settings ask for it.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace

import structlog

from dicom_node.analysis.request import Outcome
from dicom_node.case_files.report_json import Report, report_json
from dicom_node.case_files.source_json import CaseSource, source_json
from dicom_node.cohort.changes import changes_since_last
from dicom_node.cohort.reading import DAMAGED, record_of_row
from dicom_node.cohort.records import CaseRecord
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import CaseRow, SeriesState
from dicom_node.results.changes import Changes
from dicom_node.series.scan_facts import PatientNumber, ScanFacts
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.digest_key import digest_key

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Statement:
    """What an answer says of a scan, for the table of results.

    state: what becomes of the series.
    report: as a folder of `msk-node segment` has it.
    scan, patient: what the images say; empty where they do not agree.
    """

    state: SeriesState
    report: Report
    scan: ScanFacts
    patient: PatientNumber


@dataclass(frozen=True, slots=True)
class PatientHistory:
    """The earlier scans of patients, in a node's table of results."""

    ledger: Ledger
    config: NodeConfig

    def changes(
        self, statement: Statement, arrival: SeriesArrival, outcome: Outcome
    ) -> Changes:
        """What has changed since the last scan of a patient.

        A scan that comes in before an older one was analysed is not compared with it.
        """
        row = case_row(statement, arrival, outcome, self.config)
        if not row.patient_key or row.study_date is None:
            return Changes()
        earlier = self.ledger.cases_of_patient(row.patient_key, row.study_date)
        readable = (_readable(each) for each in earlier)
        return changes_since_last(record_of_row(row), filter(None, readable))


def case_row(
    statement: Statement, arrival: SeriesArrival, outcome: Outcome, config: NodeConfig
) -> CaseRow:
    """The row of an answer in the table of results; the same at every try."""
    patient, scan, case = statement.patient, statement.scan, statement.report.case
    refused = statement.report.refused
    source = CaseSource(
        patient_key=_patient_key(patient, config),
        patient_id=patient.patient_id if config.cases.patient_id else "",
        revision=arrival.revision,
        sender=arrival.calling_ae_title,
        analysed_at=outcome.finished_at,
        settings=outcome.model_settings or outcome.settings_hash,
        state=statement.state.value,
        is_test=_is_test(patient, config),
        # Of a refused series, too, the spool knows which one it is.
        scan=replace(
            scan,
            series_instance_uid=arrival.series_instance_uid,
            study_instance_uid=scan.study_instance_uid or arrival.study_instance_uid,
        ),
    )
    return CaseRow(
        series_instance_uid=arrival.series_instance_uid,
        revision=arrival.revision,
        study_instance_uid=source.scan.study_instance_uid,
        state=statement.state.value,
        analysed_at=outcome.finished_at,
        source=source_json(source).decode(),
        report=gzip.compress(report_json(statement.report), mtime=0),
        verdict=case.verdict.value if case else "",
        code=refused.code if refused else "",
        bundle=f"{case.model.name} {case.model.version}" if case else "",
        sender=arrival.calling_ae_title,
        patient_key=source.patient_key,
        study_date=scan.study_date,
    )


def _is_test(patient: PatientNumber, config: NodeConfig) -> bool:
    """True for a phantom of quality control, and for the test patient of acceptances."""
    return patient.is_quality_control or patient.patient_id == config.acceptance.patient_id


def _patient_key(patient: PatientNumber, config: NodeConfig) -> str:
    """The digest that stands for a patient; empty where none is named, or without a secret."""
    if not patient.patient_id:
        return ""
    try:
        key = digest_key(config.node.spool)
    except OSError as error:
        # No reason not to answer; the case is then nobody's.
        log.warning("case.without_patient_key", error=type(error).__name__)
        return ""
    return key.patient_key(patient.issuer, patient.patient_id)


def _readable(row: CaseRow) -> CaseRecord | None:
    """The case in a row; None where it is damaged: an old row must not hold up a new case."""
    try:
        return record_of_row(row)
    except DAMAGED as error:
        log.warning(
            "case.unreadable",
            series_instance_uid=row.series_instance_uid,
            revision=row.revision,
            error=type(error).__name__,
        )
        return None
