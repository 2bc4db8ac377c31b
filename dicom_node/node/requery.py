"""Asking archives, as a part of the running node: a worker's tasks, and their jobs.

    dispatch     every second: jobs for what is due, as many as each archive takes
    look_after   every ten seconds: runs that are due or were missed, runs that ended, what is
                 given up

Where nodes share a database one of them does the tasks (`is_first`); the jobs are done by all.
Nothing is in memory that a restart would miss.
"""

# ruff: noqa: PLC0415 - a node without schedules need not wait for what asks archives
from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from dicom_node.archive.asking import Asking
from dicom_node.archive.dispatch import Dispatch, begin_run, kinds, queues
from dicom_node.archive.politeness import zone_of
from dicom_node.node.maintenance import Note, say_nothing, start_repeating
from dicom_node.peers.archives import Archive, Retrieval, Wanted
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.settings.archives import ArchiveSettings, sender_title
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.schedules import Schedule

if TYPE_CHECKING:
    from dicom_node.archive.keeping import Keeping

__all__ = ["RequeryTasks", "asking_of", "kinds", "queues"]

DISPATCH_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 10.0


def asking_of(config: NodeConfig, ledger: Ledger) -> Asking:
    """All that asking archives takes, by the settings."""

    def call(archive: ArchiveSettings) -> Archive:
        from dicom_node.peers.archive_transports import archive_for

        return archive_for(config, archive)

    keeping = _OneKeeping(config)
    return Asking(
        config=config,
        ledger=ArchiveLedger(ledger),
        call=call,
        retrieve=keeping.retrieve,
        no_room=keeping.no_room,
        title=lambda archive: sender_title(archive, archive.address(config.destinations)),
    )


def asked_by(config: NodeConfig, asking: Asking) -> Asking:
    """The same by other settings; what is kept is kept by the one that measures the spool."""
    fresh = asking_of(config, asking.ledger.ledger)
    return replace(fresh, retrieve=asking.retrieve, no_room=asking.no_room)


@dataclass(slots=True)
class _OneKeeping:
    """The process's one `Keeping`, made when something is kept: it measures the spool."""

    config: NodeConfig
    _made: list[Keeping] = field(default_factory=list, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def retrieve(
        self, archive: Archive, settings: ArchiveSettings, wanted: Collection[Wanted]
    ) -> Mapping[Wanted, Retrieval]:
        """Have an archive give what is wanted; what each retrieval came to."""
        return self._one().retrieve(archive, settings, wanted)

    def no_room(self) -> str:
        """The reason why nothing more can be kept; mostly empty."""
        return self._one().no_room()

    def _one(self) -> Keeping:
        with self._lock:
            if not self._made:
                from dicom_node.archive.keeping import Keeping

                # It measures until the process ends, as the role does.
                self._made.append(Keeping(self.config).__enter__())
        return self._made[0]


@dataclass(slots=True)
class RequeryTasks:
    """The tasks of one worker about archives.

    put: hands a job to the engine.
    under_way: the beginning of a key to the keys of jobs that are not finished.
    is_first: whether this worker is the one, of all nodes' workers, that does them.
    note: notes that a task moves, and in how many seconds it does again.
    """

    asking: Asking
    put: Callable[[JobRequest], None]
    under_way: Callable[[str], Collection[str]]
    is_first: Callable[[], bool] = lambda: True
    note: Note = say_nothing
    _dispatch: Dispatch = field(init=False)
    _stop: threading.Event | None = field(default=None, init=False)
    _threads: list[threading.Thread] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Remember what was put from one second to the next."""
        self._dispatch = Dispatch(self.asking, self.under_way)

    def run(self, stop: threading.Event) -> list[threading.Thread]:
        """Start a thread for each task, which ends when told to stop."""
        self._stop = stop
        if self.asking.config.schedules:
            tasks = ((self.dispatch, DISPATCH_EVERY_S), (self.look_after, LOOK_EVERY_S))
            self._threads += start_repeating(tasks, self.is_first, stop, self.note)
        return self._threads

    def change(self, asking: Asking) -> None:
        """Ask as other settings say; with the first schedule, begin to."""
        self._dispatch = replace(self._dispatch, asking=asking)
        self.asking = asking
        if self._stop is not None and not self._threads:
            self.run(self._stop)

    def dispatch(self) -> None:
        """Put what is due."""
        for job in self._dispatch.due():
            self.put(job)

    def look_after(self) -> None:
        """Begin runs that are due, and see which have ended."""
        for schedule in self.asking.config.schedules:
            self.begin_if_due(schedule)
        self._dispatch.look_after()

    def begin_if_due(self, schedule: Schedule) -> None:
        """Begin a schedule's run, if one is due; of several that were missed the latest."""
        from dicom_node.archive.clock import last_due

        archive = self.asking.config.archive(schedule.archive)
        if archive is None:
            return
        known = self._dispatch.know(schedule)
        due = last_due(schedule, zone_of(archive), known, self.asking.clock())
        if due is not None:
            begin_run(self.asking.config, self.asking.ledger, schedule, due)
