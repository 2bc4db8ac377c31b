"""A ledger with one answered series and its result files, without any analysis; and a clock."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.delivery.attempts import first_rows
from dicom_node.delivery.jobs import DeliveryJobs, delivery_job
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryRow, ResultRow, SeriesRow, SeriesState
from dicom_node.results.kinds import ResultKind
from dicom_node.settings.node import NodeConfig

SERIES = "1.2.3"
STUDY = "1.2"
SEG = "2.25.1"
SR = "2.25.2"
START = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)


@dataclass
class MovedClock:
    """A clock that stands still until the test moves it."""

    now: datetime = START

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def advance(self, **step: float) -> None:
        """Go on by this much, as `timedelta` takes it."""
        self.now += timedelta(**step)


@dataclass
class Site:
    """One node's ledger and files, with an answered series of two objects to deliver."""

    config: NodeConfig
    ledger: Ledger
    clock: MovedClock = field(default_factory=MovedClock)

    @property
    def delivery_jobs(self) -> DeliveryJobs:
        """The delivery jobs of a node with these settings."""
        return DeliveryJobs(self.config, self.ledger, self.clock)

    def answer(self) -> tuple[JobRequest, ...]:
        """Enter the series with its objects; the first delivery jobs to its destinations."""
        series = SeriesRow(SERIES, 1, STUDY, "CT1", "MSKNODE", 12, "f" * 64, START, START)
        folder = self.config.node.results / SERIES / "1"
        results = [
            _result(folder, SEG, ResultKind.SEG, "2.25.11"),
            _result(folder, SR, ResultKind.SR, "2.25.12"),
        ]
        names = [each.name for each in self.config.destinations]
        rows = [
            row
            for name in names
            for row in first_rows(results, {ResultKind.SEG, ResultKind.SR}, name, START)
        ]
        self.ledger.add(series.become(SeriesState.REPORTED, START), *results, *rows)
        return tuple(delivery_job((SERIES, 1, name), 1) for name in names)

    def do_jobs(self, puts: Sequence[JobRequest], *, most: int = 20) -> list[str]:
        """Do delivery jobs and those that follow, without waiting; their keys."""
        waiting, done = list(puts), []
        while waiting and len(done) < most:
            put = waiting.pop(0)
            self.clock.advance(seconds=put.delay_s)
            done.append(put.key)
            waiting += self.make(put)
        return done

    def make(self, put: JobRequest) -> tuple[JobRequest, ...]:
        """Make one visit; what follows."""
        payload = put.payload
        group = (payload["series_instance_uid"], payload["revision"], payload["destination"])
        return self.delivery_jobs.run(group, payload["attempt"])

    def row(self, uid: str, destination: str = "pacs") -> DeliveryRow:
        """How far one object has come."""
        rows = self.ledger.deliveries(destination=destination)
        return next(row for row in rows if row.sop_instance_uid == uid)


def _result(folder: Path, uid: str, kind: ResultKind, series: str) -> ResultRow:
    """A file that says what it is and nothing else, and its row."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = kind.traits.sop_class_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = kind.traits.sop_class_uid
    dataset.SOPInstanceUID = uid
    dataset.PatientID = "P1"
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = series
    dataset.Modality = kind.traits.modality
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind.value}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return ResultRow(
        sop_instance_uid=uid,
        sop_class_uid=kind.traits.sop_class_uid,
        kind=kind.value,
        own_series_instance_uid=series,
        series_instance_uid=SERIES,
        revision=1,
        path=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        made_at=START,
    )
