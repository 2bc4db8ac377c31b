"""What every job that asks an archive needs: settings, ledger, clock, and who is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from dicom_node.archive.politeness import (
    Gate,
    after_success,
    after_trouble,
    gate,
    no_trouble,
    wait_after,
)
from dicom_node.archive.selection import Selection, selection_of
from dicom_node.errors import PeerBusyError, PeerError
from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome, open_trail
from dicom_node.peers.archives import Archive, Retrieval, RetrievalEnd, Wanted
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import ArchiveSeriesRow
from dicom_node.settings.archives import ArchiveSettings, retrieval_of
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.schedules import Schedule
from dicom_node.spool.spool import Spool

log = structlog.get_logger()

Retrieve = Callable[[Archive, ArchiveSettings, Collection[Wanted]], Mapping[Wanted, Retrieval]]
"""An archive, its settings, and what is wanted, to what each retrieval came to."""


@dataclass(frozen=True, slots=True)
class Asking:
    """All that asking archives takes.

    call: the way to one archive.
    retrieve: has an archive give what is wanted, and keeps what comes back as an answer.
    title: the AE title under which what an archive gives is in the spool.
    no_room: why this node's spool has no room for what would come; empty where it has.
    clock: tells the time, with its zone.
    jitter: chance, from 0 to 1.
    """

    config: NodeConfig
    ledger: ArchiveLedger
    call: Callable[[ArchiveSettings], Archive]
    retrieve: Retrieve
    title: Callable[[ArchiveSettings], str]
    no_room: Callable[[], str] = lambda: ""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    jitter: Callable[[], float] = random.random

    @property
    def spool(self) -> Spool:
        """The spool, to look at."""
        return Spool(self.config.node.spool, only_look=True)

    def selection(self, schedule: Schedule) -> Selection:
        """What a schedule takes."""
        return selection_of(self.config, schedule)

    def of(self, schedule: str) -> tuple[Schedule, ArchiveSettings] | None:
        """A schedule with its archive; None where the settings have them no more."""
        found = self.config.schedule(schedule)
        archive = self.config.archive(found.archive) if found is not None else None
        return (found, archive) if found is not None and archive is not None else None

    def others(
        self, schedule: str, rows: Iterable[ArchiveSeriesRow]
    ) -> tuple[ArchiveSeriesRow, ...]:
        """Those rows that are another schedule's, of those in the settings."""
        return tuple(row for row in rows if row.schedule != schedule and self.of(row.schedule))

    def gate(self, archive: ArchiveSettings) -> Gate:
        """Whether an archive may be asked now."""
        trouble = self.ledger.trouble(archive.name)
        return gate(archive, trouble, self.ledger.pauses(), self.clock())

    def trouble(
        self, archive: ArchiveSettings, schedule: Schedule, words: str, at_least_s: float = 0.0
    ) -> datetime:
        """Leave an archive alone for a while; until when."""
        row, now = self.ledger.trouble(archive.name) or no_trouble(archive.name), self.clock()
        pause = wait_after(row.failures + 1, schedule, self.jitter(), at_least_s)
        self.ledger.save_trouble(after_trouble(row, words, pause, now))
        log.warning(
            "archive.trouble",
            archive=archive.name,
            count=row.failures + 1,
            wait_s=round(pause.total_seconds()),
            reason=words,
        )
        return now + pause

    def trouble_of(
        self, archive: ArchiveSettings, schedule: Schedule, error: PeerError
    ) -> datetime:
        """Leave an archive alone that did not answer a query; until when."""
        wished_s = error.again_after_s if isinstance(error, PeerBusyError) else 0.0
        return self.trouble(archive, schedule, str(error), wished_s)

    def tell_query(self, archive: ArchiveSettings, words: str, count: int) -> None:
        """Tell the audit trail that an archive was asked, and how much it answered."""
        address = archive.address(self.config.destinations)
        event = AuditEvent(
            AuditKind.QUERY,
            peer=archive.name,
            peer_host=address.host_name,
            instances=count,
            words=f"{address.query_service} {words}",
        )
        open_trail(self.config, "work").record(event)

    def tell_retrieval(
        self, archive: ArchiveSettings, ended: Mapping[Wanted, Retrieval], study: str
    ) -> None:
        """Tell the audit trail which series of a study an archive was asked to give."""
        ends = [each for each in ended.values() if each.end is not RetrievalEnd.DONE]
        failed = next((each.words or each.end.value for each in ends), "")
        address = archive.address(self.config.destinations)
        event = AuditEvent(
            AuditKind.INSTANCES_RECEIVED,
            AuditOutcome.MINOR_FAILURE if failed else AuditOutcome.SUCCESS,
            user=archive.name,
            host=address.host_name,
            study_instance_uids=(study,),
            series_instance_uids=tuple(each.series_instance_uid for each in ended),
            words=failed or f"retrieved by {retrieval_of(archive, address)}",
        )
        open_trail(self.config, "work").record(event)

    def well(self, archive: ArchiveSettings, *, pause: bool = False) -> None:
        """Note that an archive did what it was asked for; the next study may have to wait."""
        row, now = self.ledger.trouble(archive.name), self.clock()
        if row is not None and row.failures:
            log.info("archive.well", archive=archive.name, count=row.failures)
        if pause or (row is not None and row.failures):
            done = after_success(row or no_trouble(archive.name), now)
            next_at = now + timedelta(seconds=archive.pause_s) if pause else done.next_study_at
            self.ledger.save_trouble(replace(done, next_study_at=next_at))
