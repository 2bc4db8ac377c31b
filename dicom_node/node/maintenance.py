"""Maintenance tasks: a worker's work beside its jobs, each on a thread, at a pace of its own.

    poll           every two seconds: reports of storage commitment, deliveries that are due,
                   what persons have ordered, and series that a person released
    probe          is a destination back that could not be reached for long?
    raise_alarms   what was not taken, or sent and not confirmed, for too long
    purge          every hour: files that are no longer needed (`retention.py`), and records of
                   jobs that were done a week ago

None keeps anything in memory that a restart would miss. Where nodes share a database, one
of them does the tasks (`is_first`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import structlog

from dicom_node.delivery.attempts import is_slow
from dicom_node.delivery.confirmation import is_overdue
from dicom_node.delivery.jobs import DeliveryJobs, Group
from dicom_node.delivery.release import STUCK, resume
from dicom_node.errors import PeerError
from dicom_node.node.retention import purge
from dicom_node.peers.transports import transport_for
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.rows import DeliveryRow, DeliveryState

log = structlog.get_logger()

LOOK_EVERY_S: Final = 2.0
WARN_EVERY_S: Final = 60.0
PURGE_EVERY_S: Final = 3600.0
Pace: TypeAlias = "float | Callable[[], float]"
"""Seconds between two times; a function where the settings may say something else later."""
JOBS_KEPT: Final = timedelta(days=7)


Note: TypeAlias = Callable[[str, float], None]


def say_nothing(_loop: str, _every_s: float) -> None:
    """Nobody wants to know that a task moves."""


@dataclass(slots=True)
class MaintenanceTasks:
    """The maintenance tasks of one worker.

    put: hands a job to the engine.
    is_first: whether this worker is the one, of all nodes' workers, that does them.
    forget: deletes some records of jobs that were done before a moment; how many.
    released: the jobs for series that rules had left out, and a person wants analysed.
    carry_out: carries out what persons have ordered; the jobs that it takes.
    note: notes that a task moves, and in how many seconds it does again.
    """

    delivery_jobs: DeliveryJobs
    put: Callable[[JobRequest], None]
    is_first: Callable[[], bool] = lambda: True
    forget: Callable[[datetime], int] = lambda _before: 0
    released: Callable[[], Iterable[JobRequest]] = tuple
    carry_out: Callable[[], Iterable[JobRequest]] = tuple
    note: Note = say_nothing
    _warned: dict[str, set[Group]] = field(default_factory=dict, init=False)
    _put: set[str] = field(default_factory=set, init=False)

    def change(
        self, delivery_jobs: DeliveryJobs, released: Callable[[], Iterable[JobRequest]]
    ) -> None:
        """Do what is done from now on by other settings."""
        self.delivery_jobs, self.released = delivery_jobs, released

    def run(self, stop: threading.Event) -> list[threading.Thread]:
        """Start a thread for each, which ends when told to stop."""
        tasks: tuple[tuple[Callable[[], None], Pace], ...] = (
            (self.poll, LOOK_EVERY_S),
            (self.probe, lambda: self.delivery_jobs.config.delivery.echo_every_s),
            (self.raise_alarms, WARN_EVERY_S),
            (self.purge, PURGE_EVERY_S),
        )
        return start_repeating(tasks, self.is_first, stop, self.note)

    def poll(self) -> None:
        """Enter what was reported, and put what is due."""
        self.delivery_jobs.take_reports()
        due = self.delivery_jobs.due()
        # One that runs for long is due all the while; to put it again is a write.
        self._put &= {job.key for job in due}
        for job in due:
            if job.key not in self._put:
                self.put(job)
                self._put.add(job.key)
        for job in (*self.carry_out(), *self.released()):
            self.put(job)

    def probe(self) -> None:
        """Release what waits for a destination that answers C-ECHO or QIDO now."""
        delivery_jobs = self.delivery_jobs
        stuck = delivery_jobs.ledger.deliveries(states=STUCK)
        for name in sorted({row.destination for row in stuck if row.resumes}):
            destination = delivery_jobs.config.destination(name)
            if destination is None:
                continue
            try:
                transport_for(delivery_jobs.config, destination).verify()
            except PeerError:
                continue
            log.info("destination.returned", destination=name)
            resume(delivery_jobs.ledger, delivery_jobs.clock(), name)

    def raise_alarms(self) -> None:
        """Raise the alarm, once for each group and start, about what has not arrived."""
        now, config = self.delivery_jobs.clock(), self.delivery_jobs.config
        ledger = self.delivery_jobs.ledger
        waits = ledger.deliveries(states=[DeliveryState.WAITING])
        slow = [row for row in waits if is_slow(row, config.delivery)]
        sent = ledger.unconfirmed()
        overdue = [row for row in sent if is_overdue(row, now, config.confirmation)]
        self._raise("delivery.stalled", slow)
        self._raise("delivery.unconfirmed", overdue)

    def _raise(self, alarm: str, rows: Sequence[DeliveryRow]) -> None:
        """Raise one kind of alarm for groups that it was not raised for yet."""
        warned = self._warned.setdefault(alarm, set())
        counts = Counter(row.group for row in rows)
        for row in rows:
            if row.group not in warned:
                warned.add(row.group)
                log.error(
                    alarm,
                    series_instance_uid=row.series_instance_uid,
                    revision=row.revision,
                    destination=row.destination,
                    count=counts[row.group],
                    attempt=row.attempts,
                    reason=row.reason,
                )
        warned &= set(counts)

    def purge(self) -> None:
        """Delete what is no longer needed."""
        now, count = self.delivery_jobs.clock(), 0
        while forgotten := self.forget(now - JOBS_KEPT):
            count += forgotten
        if count:
            log.info("queue.purged", count=count)
        purge(self.delivery_jobs.config, self.delivery_jobs.ledger, now)


def start_repeating(
    tasks: Iterable[tuple[Callable[[], None], Pace]],
    is_first: Callable[[], bool],
    stop: threading.Event,
    note: Note = say_nothing,
) -> list[threading.Thread]:
    """Start a thread for each task, which does it at a pace until told to stop.

    Args:
        tasks: each with the seconds between two times.
        is_first: whether this worker is to do them.
        stop: set when they are to end.
        note: notes that a task moves.
    """
    threads = [
        threading.Thread(
            target=_repeat,
            args=(task, every_s, is_first, stop, note),
            name=task.__name__,
            daemon=True,
        )
        for task, every_s in tasks
    ]
    for thread in threads:
        thread.start()
    return threads


def _repeat(
    task: Callable[[], None],
    every_s: Pace,
    is_first: Callable[[], bool],
    stop: threading.Event,
    note: Note,
) -> None:
    """Do a task again and again; one that fails is done again."""
    while True:
        pace_s = every_s() if callable(every_s) else every_s
        note(task.__name__, pace_s)
        if stop.wait(pace_s):
            return
        note(task.__name__, pace_s)
        try:
            if is_first():
                task()
        except Exception:
            # A database or disk that is away comes back; the worker must not end with it.
            log.exception("task.failed", kind=task.__name__)
