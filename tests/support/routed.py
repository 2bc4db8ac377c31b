"""Series of one study in a spool, and jobs done as the engine does them, on a clock of ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_node.node.workflow import Workflow
from dicom_node.persistence.jobs import JobRequest
from dicom_node.spool.arrivals import SeriesArrival, arrival_of
from dicom_node.spool.revisions import Revision, write_marker
from dicom_node.spool.spool import Spool
from support.cases import source_datasets
from support.ct import STUDY_UID

SOFT, BONE = "B30f", "B70f"


def series_datasets(number: int, kernel: str = SOFT, **elements: Any) -> list[Dataset]:
    """The twelve slices of `support.cases`, as a series of its own in their study."""
    datasets = source_datasets()
    for each in datasets:
        each.SeriesInstanceUID = series_uid(number)
        each.SeriesNumber = number
        each.ConvolutionKernel = kernel
        each.Manufacturer = "SIEMENS"
        each.SOPInstanceUID = generate_uid(entropy_srcs=[each.SOPInstanceUID, str(number)])
        each.file_meta.MediaStorageSOPInstanceUID = each.SOPInstanceUID
        for keyword, value in elements.items():
            setattr(each, keyword, value)
    return datasets


def series_uid(number: int) -> str:
    """The UID of the series of that number."""
    return f"{STUDY_UID}.77.{number}"


def spooled(
    spool: Path,
    number: int,
    kernel: str = SOFT,
    *,
    called: str = "MSKNODE",
    revision: int = 1,
    **elements: Any,
) -> SeriesArrival:
    """A series in the spool, complete and handed over."""
    datasets = series_datasets(number, kernel, **elements)
    folder = Spool(spool).folder / series_uid(number)
    folder.mkdir(exist_ok=True)
    for each in datasets:
        each.file_meta.SendingApplicationEntityTitle = "CT1"
        each.file_meta.ReceivingApplicationEntityTitle = called
        each.save_as(folder / f"{each.SOPInstanceUID}.dcm", enforce_file_format=True)
    files = tuple(sorted(path.name for path in folder.glob("*.dcm")))
    record = Revision(revision, files, "quiet, and the slices leave no gap", done=True)
    write_marker(folder, [record])
    return arrival_of(folder, record)


@dataclass(slots=True)
class Clock:
    """A clock that moves when nothing is left to do."""

    now: datetime = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.now


@dataclass(slots=True)
class Jobs:
    """The jobs of a workflow, done in the order in which they are due.

    analyses: whether more than the rules' own jobs are done; else one that is put is enough.
    doubled: do the rules' jobs and publications a second time, as after a kill between
        their effect and their record.
    """

    workflow: Workflow
    clock: Clock
    analyses: bool = True
    doubled: bool = False
    done: list[str] = field(default_factory=list)
    _waiting: list[tuple[datetime, JobRequest]] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def put(self, *jobs: JobRequest) -> None:
        """Put jobs; a known key does nothing."""
        for job in jobs:
            if job.key not in self._known:
                self._known.add(job.key)
                due = self.clock.now + timedelta(seconds=job.delay_s)
                self._waiting.append((due, job))

    def run(self, until: timedelta = timedelta(hours=1)) -> None:
        """Do what is due, and what will be, until nothing is left."""
        end = self.clock.now + until
        kinds = self.workflow.kinds()
        while self._waiting:
            due, job = min(self._waiting, key=lambda each: each[0])
            if due > end:
                break
            self._waiting.remove((due, job))
            self.clock.now = max(self.clock.now, due)
            self.done.append(job.key)
            if job.kind != "select" and not self.analyses:
                continue
            followers = kinds[job.kind].run(job.payload)
            if self.doubled and job.kind in {"select", "publish"}:
                followers = kinds[job.kind].run(job.payload)
            self.put(*followers)

    def analysed(self) -> list[tuple[int, int]]:
        """The number and revision of each series whose analysis was put."""
        keys = [key.split(":") for key in self.done if key.startswith("segment:")]
        return [(int(uid.rpartition(".")[2]), int(revision)) for _, uid, revision, _ in keys]
