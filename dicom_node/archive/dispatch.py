"""What is due with archives, as jobs: as many at a time as each archive takes.

The rows of the ledger say what is to be done and when; a job is put when it is due, its archive
may be asked, and fewer of its kind than the settings allow are under way, in whichever worker.
So a pause, closing hours and an archive in trouble hold everything up at once, without a job
that waits. A job's key has the number of its row's next visit: put twice, it is one. A job that
ends moves its row on; should one not, what it is about is passed over and named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import structlog

from dicom_node.archive import query_jobs, retrieve_jobs
from dicom_node.archive.asking import Asking
from dicom_node.archive.night import log_night, night_of
from dicom_node.archive.orphans import take_home, take_over
from dicom_node.archive.politeness import zone_of
from dicom_node.archive.query_jobs import QueryJobs, query_job
from dicom_node.archive.retrieve_jobs import RetrieveJobs, retrieve_job
from dicom_node.archive.runs import BEGUN, listed, plan, run_name, up_to
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import RunRow, WindowState
from dicom_node.persistence.jobs import JobKind, JobRequest
from dicom_node.settings.archives import ArchiveSettings
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.schedules import Schedule

log = structlog.get_logger()

AT_LEAST_AT_ONCE: Final = 16
"""The width of the queues, where the archives of the moment take less."""
MOST_LOOKED_AT: Final = 200
"""Of what is due, so many rows are looked at in one go: series of a few studies."""

TAKE_OVER_EVERY: Final = timedelta(minutes=1)
"""All that a schedule had is gone through."""

UnderWay = Callable[[str], Collection[str]]
"""The beginning of a key to the keys of jobs that are not finished."""


def queues(config: NodeConfig) -> Mapping[str, int]:
    """The queues of a worker: each as wide as all archives together take, and some to spare.

    How much is under way at an archive is looked at before a job is put; a queue is never made
    wider while its worker runs, and archives may come with other settings.
    """
    queries = sum(each.queries_at_once for each in config.archives)
    retrievals = sum(each.retrievals_at_once for each in config.archives)
    return {
        query_jobs.KIND: max(queries, AT_LEAST_AT_ONCE),
        retrieve_jobs.KIND: max(retrievals, AT_LEAST_AT_ONCE),
    }


def kinds(asking: Asking) -> Mapping[str, JobKind]:
    """The kinds of jobs about archives, for the engine."""
    queries, retrievals = QueryJobs(asking), RetrieveJobs(asking)
    return {
        query_jobs.KIND: JobKind(queries.run, query_jobs.KIND, fallback=queries.give_back),
        retrieve_jobs.KIND: JobKind(
            retrievals.run, retrieve_jobs.KIND, fallback=retrievals.give_back
        ),
    }


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Puts what is due, and tells of runs that ended; one worker's of all.

    under_way: which jobs are not finished.
    last: the keys of what was put the last time.
    vain: those that ended without moving their rows, which would be put again for ever.
    no_room: why nothing can be kept here; mostly empty.
    gone_since: since when schedules are not in the settings that have something due.
    taken_over: when it was last looked for what one schedule left to another.
    """

    asking: Asking
    under_way: UnderWay
    last: set[str] = field(default_factory=set)
    vain: set[str] = field(default_factory=set)
    no_room: list[str] = field(default_factory=list)
    gone_since: dict[str, datetime] = field(default_factory=dict)
    taken_over: list[datetime] = field(default_factory=list)

    def know(self, schedule: Schedule) -> datetime:
        """When the last run of a schedule was due; of a new one, since when it is known.

        One that was known while the clock was ahead is known since now.
        """
        now = self.asking.clock()
        runs = up_to(self.asking.ledger.runs(schedule.name), now)
        if not runs:
            known = RunRow(schedule.name, BEGUN, now, now, listed_at=now, ended_at=now)
            self.asking.ledger.save_run(known)
            return now
        return max(each.due_at for each in runs)

    def due(self) -> tuple[JobRequest, ...]:
        """The jobs to put now."""
        jobs = tuple(
            job
            for archive in self.asking.config.archives
            if self.asking.gate(archive).is_open
            for job in (*self._queries(archive), *self._retrievals(archive))
        )
        self.last.clear()
        self.last.update(job.key for job in jobs)
        return jobs

    def look_after(self) -> None:
        """Note which runs are listed, which have ended; give up what was asked too long ago."""
        take_home(self.asking, self.gone_since)
        now = self.asking.clock()
        if not self.taken_over or abs(now - self.taken_over[0]) >= TAKE_OVER_EVERY:
            take_over(self.asking)
            self.taken_over[:] = [now]
        for run in self.asking.ledger.open_runs():
            self._look_after(run)
        for archive in self.asking.config.archives:
            RetrieveJobs(self.asking).expire(archive)

    def _look_after(self, run: RunRow) -> None:
        ledger, now = self.asking.ledger, self.asking.clock()
        if run.listed_at is None:
            windows = ledger.windows(run.schedule, run.run)
            if any(each.state is WindowState.WAITING for each in windows):
                return
            run = listed(run, windows, now)
            ledger.save_run(run)
            log.info(
                "requery.listed",
                schedule=run.schedule,
                run=run.run,
                count=len(windows),
                watermark=run.watermark,
            )
        night = night_of(ledger, run.schedule, run.run)
        newer = any(
            each.due_at > run.due_at and each.listed_at is not None
            for each in ledger.runs(run.schedule)
        )
        if night.is_over or newer:
            ledger.save_run(replace(run, ended_at=now, changed_at=now))
            log_night(night)

    def _queries(self, archive: ArchiveSettings) -> Iterator[JobRequest]:
        busy = self.under_way(f"{query_jobs.KIND}:{archive.name}:")
        free = archive.queries_at_once - len(busy)
        if free > 0:
            most = free + len(busy) + len(self.vain)
            rows = self.asking.ledger.due_windows(archive.name, self.asking.clock(), most)
            yield from self._to_put(map(query_job, rows), busy, free)

    def _retrievals(self, archive: ArchiveSettings) -> Iterator[JobRequest]:
        ledger, now = self.asking.ledger, self.asking.clock()
        trouble = ledger.trouble(archive.name)
        next_at = trouble.next_study_at if trouble is not None else None
        if next_at is not None and next_at > now:
            return
        busy = self.under_way(f"{retrieve_jobs.KIND}:{archive.name}:")
        free = archive.retrievals_at_once - len(busy)
        if free <= 0:
            return
        due = ledger.due_series(archive.name, now, MOST_LOOKED_AT)
        if due and self._has_no_room():
            return
        studies = dict.fromkeys((row.schedule, row.study_instance_uid) for row in due)
        jobs = (
            retrieve_job(archive.name, ledger.series(schedule, study_instance_uid=study))
            for schedule, study in studies
        )
        yield from self._to_put(jobs, busy, free)

    def _has_no_room(self) -> bool:
        """True while this node's spool takes nothing more; told of when that begins and ends.

        Other machines of a shared database have spools of their own: their jobs ask there.
        """
        if self.asking.config.node.database_path is None:
            return False
        words = self.asking.no_room()
        if words != "".join(self.no_room):
            log.warning("requery.no_room", reason=words or "there is room again")
            self.no_room[:] = [words] if words else []
        return bool(words)

    def _to_put(
        self, jobs: Iterable[JobRequest], busy: Collection[str], free: int
    ) -> Iterator[JobRequest]:
        """The first so many jobs, about what no job is about that is not finished.

        Whatever number that one has: a retry has another key, and a row may have been moved
        on under it. `busy` was asked for before the rows were, so what is due under the key
        of a job that has ended is what that job left as it was.
        """
        about = set(map(_about, busy))
        left = (job for job in jobs if _about(job.key) not in about)
        yield from islice((job for job in left if not self._is_vain(job.key)), free)

    def _is_vain(self, key: str) -> bool:
        """True if a job has ended without moving its row: it is known, and not done again."""
        if key in self.last and key not in self.vain:
            log.error("requery.in_vain", key=key)
            self.vain.add(key)
        return key in self.vain


def begin_run(
    config: NodeConfig,
    ledger: ArchiveLedger,
    schedule: Schedule,
    due_at: datetime,
    run: str = "",
) -> bool:
    """Begin a run; False where it is known, or the one before is still being listed.

    run: its name; without it, that of whatever the clock begins for this moment.
    """
    archive = config.archive(schedule.archive)
    if archive is None:
        return False
    zone = zone_of(archive)
    before = ledger.runs(schedule.name)
    name = run or run_name(schedule, due_at, zone)
    is_open = any(each.listed_at is None for each in up_to(before, due_at))
    if is_open or any(each.run == name for each in before):
        return False
    row, windows = plan(schedule, name, due_at, before, zone)
    ledger.begin(row, windows)
    log.info("requery.begun", schedule=schedule.name, run=name, count=len(windows))
    return True


def _about(key: str) -> str:
    """What a job is about: its key without its number, and without that of a retry."""
    return key.rpartition(":")[0]
