"""An archive that is asked without a network, and a site that asks it."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.archive.asking import Asking
from dicom_node.archive.dispatch import Dispatch, begin_run, kinds
from dicom_node.archive.keeping import Keeping
from dicom_node.peers.archives import (
    Answer,
    KeepInstance,
    Level,
    Listed,
    Query,
    Retrieval,
    RetrievalEnd,
    Wanted,
)
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import ArchiveSeriesRow
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.settings.loading import parse_config

START = datetime(2026, 1, 8, 20, 0, tzinfo=UTC)
UID_OF = {
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


@dataclass
class AskedArchive:
    """What it holds, and how it misbehaves.

    cap: the most answers to one query; it says when it is reached.
    ends: of successive retrievals; it gives all and says so when they run out.
    raises: by successive calls of `find`; answers when they run out.
    counts: what it counts of a series, where that is a lie.
    short_lists: how many lists of series, the first ones, lack the last and say so.
    does_not_count: whether it leaves out the counts of images; lists_no_images: and what it
        lists of a series by image.
    not_listed: attributes that it knows and does not answer.
    may_be_refused: whether what it gives may be; it says then that some failed.
    breaks_off_after: how many images successive retrievals bring before they break off.
    """

    held: list[Dataset] = field(default_factory=list)
    cap: int | None = None
    ends: list[Retrieval] = field(default_factory=list)
    raises: list[Exception] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    withholds: set[str] = field(default_factory=set)
    availability: dict[str, str] = field(default_factory=dict)
    short_lists: int = 0
    does_not_count: bool = False
    lists_no_images: bool = False
    not_listed: set[str] = field(default_factory=set)
    may_be_refused: bool = False
    breaks_off_after: list[int] = field(default_factory=list)
    name: str = "store"
    queries: list[Query] = field(default_factory=list)
    retrievals: list[Wanted] = field(default_factory=list)

    def find(self, queries: Sequence[Query]) -> tuple[Answer, ...]:
        """Answer what is asked, or raise."""
        if self.raises:
            raise self.raises.pop(0)
        return tuple(self._answer(each) for each in queries)

    def retrieve(
        self, wanted: Collection[Wanted], keep: KeepInstance
    ) -> Mapping[Wanted, Retrieval]:
        """Give what it does not withhold, or end as told."""
        return {each: self._given(each, keep) for each in wanted}

    def _given(self, wanted: Wanted, keep: KeepInstance) -> Retrieval:
        self.retrievals.append(wanted)
        if self.ends:
            return self.ends.pop(0)
        failed = 0
        most = self.breaks_off_after.pop(0) if self.breaks_off_after else None
        for each in self.held:
            uid = each.SOPInstanceUID
            asked = not wanted.sop_instance_uids or uid in wanted.sop_instance_uids
            asked = asked and each.SeriesInstanceUID == wanted.series_instance_uid
            if asked and uid not in self.withholds:
                if most == 0:
                    return Retrieval(RetrievalEnd.SILENT, "broke off")
                most = most and most - 1
                syntax = each.file_meta.TransferSyntaxUID
                status = keep(each.SOPClassUID, uid, syntax, encoded(each))
                assert status == 0 or self.may_be_refused
                failed += status != 0
        if failed:
            words = "0xB000, some images failed"
            return Retrieval(RetrievalEnd.PARTLY, words, 0xB000, failed=failed)
        return Retrieval(RetrievalEnd.DONE, status=0)

    def _answer(self, query: Query) -> Answer:
        self.queries.append(query)
        groups: dict[tuple[str, str], list[Dataset]] = {}
        for each in self.held:
            own = str(each[UID_OF[query.level]].value)
            groups.setdefault((str(each.StudyInstanceUID), own), []).append(each)
        if query.level is Level.IMAGE and self.lists_no_images:
            return Answer((), is_whole=False, words="0xA900")
        described = [self._described(query, group) for group in groups.values()]
        found = [each for each in described if each is not None]
        if query.level is Level.SERIES and self.short_lists:
            self.short_lists -= 1
            return Answer(tuple(found[:-1]), is_whole=False, words="broke off")
        is_whole = self.cap is None or len(found) < self.cap
        return Answer(
            tuple(found[: self.cap]), is_whole, "" if is_whole else f"{self.cap} answers"
        )

    def _described(self, query: Query, group: Sequence[Dataset]) -> Listed | None:
        first = group[0]
        values = {word: str(first.get(word, "") or "") for word in query.keys}
        series = str(first.SeriesInstanceUID)
        number = self.counts.get(series, len(group))
        if not self.does_not_count:
            values["NumberOfSeriesRelatedInstances"] = str(number)
        else:
            values.pop("NumberOfSeriesRelatedInstances", None)
        values["ModalitiesInStudy"] = str(first.Modality)
        values[UID_OF[query.level]] = str(first[UID_OF[query.level]].value)
        values["InstanceAvailability"] = self.availability.get(series, "ONLINE")
        values = {word: text for word, text in values.items() if word not in self.not_listed}
        for word, wanted in query.keys.items():
            if wanted and not _matches(values.get(word, ""), wanted):
                return None
        return Listed(values)


def _matches(value: str, wanted: str) -> bool:
    first, dash, last = wanted.partition("-")
    if dash:
        return first <= value <= (last or "9")
    return fnmatch.fnmatchcase(value, wanted)


def encoded(dataset: Dataset) -> bytes:
    """The bytes of a data set in its own transfer syntax."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


@dataclass
class Site:
    """A node's ledger and spool, an archive, and a clock that a test moves."""

    asking: Asking
    archives: dict[str, AskedArchive]
    now: list[datetime]
    jobs: dict[str, JobRequest] = field(default_factory=dict)
    under_way: set[str] = field(default_factory=set)
    dispatch: Dispatch = field(init=False)

    def __post_init__(self) -> None:
        """What a worker does every second; what is under way a test says."""
        self.dispatch = Dispatch(self.asking, self._under_way)

    @classmethod
    def make(
        cls,
        folder: Path,
        *archives: AskedArchive,
        schedules: Sequence[Mapping[str, Any]] = ({},),
        rules: Sequence[Mapping[str, Any]] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Site:
        """A site with these archives and rules, and schedules that differ so from the usual."""
        table = {
            "node": {"spool": "spool", "work": "w", "results": "r", "database": "db"},
            "receive": {"free_reserve_mb": 0},
            "archives": [
                {
                    "name": each.name,
                    "ae_title": each.name.upper(),
                    "host": "127.0.0.1",
                    "port": 104,
                    "timezone": "UTC",
                    "pause_s": 0.0,
                    **(settings or {}),
                }
                for each in archives
            ],
            "rules": list(rules),
            "schedules": [
                {
                    "name": "nightly",
                    "archive": archives[0].name,
                    "since": "2026-01-05",
                    "attempts": 3,
                    **each,
                }
                for each in schedules
            ],
        }
        config = parse_config(table, source="test", folder=folder)
        by_name = {each.name: each for each in archives}
        now = [START]
        asking = Asking(
            config=config,
            ledger=ArchiveLedger(Ledger(config.node.database_url)),
            call=lambda archive: by_name[archive.name],
            retrieve=Keeping(config).retrieve,
            title=lambda archive: archive.ae_title,
            clock=lambda: now[0],
            jitter=lambda: 0.5,
        )
        return cls(asking, by_name, now)

    def pass_time(self, **by: float) -> None:
        """Let the clock go on."""
        self.now[0] += timedelta(**by)

    def begin(self, schedule: str = "nightly") -> bool:
        """Begin the run that is due now."""
        found = self.asking.config.schedule(schedule)
        assert found is not None
        return begin_run(self.asking.config, self.asking.ledger, found, self.now[0])

    def step(self) -> tuple[str, ...]:
        """Do what is due, once; the keys of the jobs."""
        due = self.dispatch.due()
        for job in due:
            # As the engine: a key that was put before is the same work.
            if job.key not in self.jobs:
                self.jobs[job.key] = job
                assert kinds(self.asking)[job.kind].run(job.payload) == ()
        self.dispatch.look_after()
        return tuple(job.key for job in due)

    def run(self, **schedule: Any) -> None:
        """Begin a run, and do all that is due while time passes, until nothing is left."""
        self.begin(**schedule)
        self.finish()

    def finish(self, most: int = 400) -> None:
        """Do all that is due while time passes, until nothing is left."""
        for _ in range(most):
            if not self.step():
                listed = all(run.listed_at is not None for run in self._runs())
                if listed and not self._wanted():
                    return
                self.pass_time(minutes=10)
        raise AssertionError(f"not over after {most} steps")

    def rows(self, schedule: str = "nightly") -> dict[str, ArchiveSeriesRow]:
        """The series of a schedule by their UIDs."""
        found = self.asking.ledger.series(schedule)
        return {row.series_instance_uid: row for row in found}

    def states(self, schedule: str = "nightly") -> dict[str, str]:
        """Their states."""
        return {uid: row.state.value for uid, row in self.rows(schedule).items()}

    def _under_way(self, prefix: str) -> frozenset[str]:
        return frozenset(key for key in self.under_way if key.startswith(prefix))

    def _runs(self) -> Iterator[Any]:
        for schedule in self.asking.config.schedules:
            yield from self.asking.ledger.runs(schedule.name)

    def _wanted(self) -> bool:
        return any(
            row.next_at is not None
            for schedule in self.asking.config.schedules
            for row in self.asking.ledger.series(schedule.name)
        )
