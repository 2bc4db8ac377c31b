"""What was measured on a series, and what has changed since the patient's last scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.cohort.changes import changes_since_last
from dicom_node.cohort.reading import DAMAGED, record_of_row
from dicom_node.cohort.records import CaseRecord
from dicom_node.errors import SeriesError
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import CaseRow
from dicom_node.results.changes import Changes, StructureChange
from dicom_node.series.bounded_files import NotDicomError, read_until_pixels
from dicom_node.spool.spool import Spool

SHOWN_OF_PATIENT = ("PatientID", "AccessionNumber")
LONGEST_VALUE = 64


@dataclass(frozen=True, slots=True)
class MeasuredSeries:
    """The case of one revision of a series, with its changes."""

    record: CaseRecord
    changes: Changes = field(default_factory=Changes)

    def change_of(self, key: str) -> StructureChange | None:
        """The change of one structure, by its segment's key."""
        return next((one for one in self.changes.structures if one.segment.key == key), None)


def measured_series(
    ledger: Ledger, series_instance_uid: str, revision: int
) -> MeasuredSeries | None:
    """What a revision of a series was answered with; None where nothing can be read of it."""
    rows = ledger.cases(series=[series_instance_uid], all_revisions=True)
    row = next((each for each in rows if each.revision == revision), None)
    if row is None:
        return None
    try:
        record = record_of_row(row)
    except DAMAGED:
        return None
    return MeasuredSeries(record, changes_since_last(record, _earlier(ledger, row)))


def patient_of_series(spool: Path, series_instance_uid: str) -> dict[str, str]:
    """What names the patient and the study, for who may see it; empty where nothing is kept."""
    for entry in Spool(spool, only_look=True).entries(series_instance_uid):
        try:
            header = read_until_pixels(entry.path, SHOWN_OF_PATIENT)
        except (NotDicomError, SeriesError, OSError):
            continue
        return {each: str(header.get(each) or "")[:LONGEST_VALUE] for each in SHOWN_OF_PATIENT}
    return {}


def _earlier(ledger: Ledger, row: CaseRow) -> Iterator[CaseRecord]:
    """The cases of earlier days of the same patient that can be read."""
    if not row.patient_key or row.study_date is None:
        return
    for each in ledger.cases_of_patient(row.patient_key, row.study_date):
        try:
            yield record_of_row(each)
        except DAMAGED:
            continue
