"""What the worker looks after beside its jobs, each on a thread and at a pace of its own.

    look    every two seconds: reports of storage commitment, and visits that are due
    probe   is a destination back whose deliveries are held because it could not be reached?
    warn    what was sent and not confirmed for too long
    purge   every hour: what is no longer needed (`retention.py`)

None keeps anything in memory that a restart would miss. Where nodes share a database, one
of them does the chores (`is_first`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from dicom_node.delivery.confirmation import is_overdue
from dicom_node.delivery.jobs import Group, Visits
from dicom_node.delivery.release import release
from dicom_node.errors import PeerError
from dicom_node.node.retention import purge
from dicom_node.peers.transports import way_to
from dicom_node.persistence.job_queue import Put
from dicom_node.persistence.rows import DeliveryState

log = structlog.get_logger()

LOOK_EVERY_S: Final = 2.0
WARN_EVERY_S: Final = 60.0
PURGE_EVERY_S: Final = 3600.0


@dataclass(slots=True)
class Chores:
    """The chores of one worker.

    put: hands a job to the engine.
    is_first: whether this worker is the one, of all nodes' workers, that does them.
    """

    visits: Visits
    put: Callable[[Put], None]
    is_first: Callable[[], bool] = lambda: True
    _warned: set[Group] = field(default_factory=set, init=False)
    _put: dict[str, str] = field(default_factory=dict, init=False)

    def run(self, stop: threading.Event) -> list[threading.Thread]:
        """Start a thread for each, which ends when told to stop."""
        echo_every_s = self.visits.config.delivery.echo_every_s
        chores = (
            (self.look, LOOK_EVERY_S),
            (self.probe, echo_every_s),
            (self.warn, WARN_EVERY_S),
            (self.purge, PURGE_EVERY_S),
        )
        threads = [
            threading.Thread(
                target=self._repeat,
                args=(chore, every_s, stop),
                name=chore.__name__,
                daemon=True,
            )
            for chore, every_s in chores
        ]
        for thread in threads:
            thread.start()
        return threads

    def look(self) -> None:
        """Enter what was reported, and put what is due."""
        self.visits.take_reports()
        for visit in self.visits.due():
            # One that runs for long is due all the while; to put it again is a write.
            group = visit.key.rpartition(":")[0]
            if self._put.get(group) != visit.key:
                self.put(visit)
                self._put[group] = visit.key

    def probe(self) -> None:
        """Release what is held for want of a destination that answers C-ECHO or QIDO now."""
        visits = self.visits
        held = visits.ledger.deliveries(states=[DeliveryState.HELD])
        for name in sorted({row.destination for row in held if row.resumes}):
            destination = visits.config.destination(name)
            if destination is None:
                continue
            try:
                way_to(visits.config, destination).answers()
            except PeerError:
                continue
            log.info("destination.returned", destination=name)
            release(visits.ledger, visits.clock(), destination=name, by_return=True)

    def warn(self) -> None:
        """Raise the alarm, once for each group and start, about what is not confirmed."""
        now, confirmation = self.visits.clock(), self.visits.config.confirmation
        overdue = [
            row
            for row in self.visits.ledger.unconfirmed()
            if is_overdue(row, now, confirmation)
        ]
        for row in overdue:
            if row.group not in self._warned:
                self._warned.add(row.group)
                log.error(
                    "delivery.unconfirmed",
                    series_instance_uid=row.series_instance_uid,
                    revision=row.revision,
                    destination=row.destination,
                    count=sum(1 for each in overdue if each.group == row.group),
                    reason=row.reason,
                )
        self._warned &= {row.group for row in overdue}

    def purge(self) -> None:
        """Delete what is no longer needed."""
        purge(self.visits.config, self.visits.ledger, self.visits.clock())

    def _repeat(self, chore: Callable[[], None], every_s: float, stop: threading.Event) -> None:
        """Do a chore again and again; one that fails is done again."""
        while not stop.wait(every_s):
            try:
                if self.is_first():
                    chore()
            except Exception:
                # A database or disk that is away comes back; the worker must not end with it.
                log.exception("chore.failed", kind=chore.__name__)
