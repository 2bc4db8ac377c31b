"""Fetching the images of a series once more, for an order that needs them.

Each archive of the settings is asked in turn, when it may be asked (`archive/politeness.py`),
until the images are in the spool; the order goes on by itself then. What was not given is
asked for again every few minutes, for as long as the order lives (`orders.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from dicom_node.archive.asking import Asking
from dicom_node.node.orders import ORDER_LIFE
from dicom_node.node.selection import arrival_in_spool
from dicom_node.peers.archives import Wanted
from dicom_node.persistence.jobs import JobKind, JobRequest, Payload
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import OrderRow, SeriesRow
from dicom_node.settings.archives import ArchiveSettings

log = structlog.get_logger()

KIND: Final = "fetch-again"
QUEUE: Final = "fetch-again"
AGAIN_AFTER_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Refetch:
    """The jobs that fetch the images of a series for an order."""

    asking: Asking

    def kinds(self) -> dict[str, JobKind]:
        """The one kind of job, for the engine."""
        return {KIND: JobKind(self.run, QUEUE)}

    def queues(self) -> dict[str, int]:
        """Its queue: one series at a time, not to burden an archive."""
        return {QUEUE: 1}

    def job(self, order: OrderRow, row: SeriesRow, tries: int = 1) -> JobRequest:
        """The job that fetches a series."""
        payload = {
            "order_uid": order.order_uid,
            "series_instance_uid": row.series_instance_uid,
            "revision": row.revision,
            "tries": tries,
        }
        delay_s = 0.0 if tries == 1 else AGAIN_AFTER_S
        return JobRequest(KIND, f"{KIND}:{order.order_uid}:{tries}", payload, delay_s)

    def run(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Ask every archive for a series, once; ask again later for what did not come."""
        ledger = self.asking.ledger.ledger
        uid, revision = payload["series_instance_uid"], payload["revision"]
        row, operation = ledger.series(uid, revision), OperationLedger(ledger)
        orders = operation.orders(uid, revision)
        order = next((each for each in orders if each.order_uid == payload["order_uid"]), None)
        if order is None or order.done_at is not None or row is None:
            return ()
        words = [
            self._ask(each, row) for each in self.asking.config.archives if self._lacks(row)
        ]
        if not self._lacks(row) or self.asking.clock() - order.ordered_at > ORDER_LIFE:
            return ()
        operation.note(order, "its images did not come: " + "; ".join(words))
        return (self.job(order, row, payload["tries"] + 1),)

    def _lacks(self, row: SeriesRow) -> bool:
        """True if not all images of a series are in the spool."""
        return arrival_in_spool(self.asking.config.node.spool, row) is None

    def _ask(self, archive: ArchiveSettings, row: SeriesRow) -> str:
        """Ask one archive for a series; what it said."""
        gate = self.asking.gate(archive)
        if words := gate.reason or self.asking.no_room():
            return f"{archive.name}: {words}"
        wanted = Wanted(row.study_instance_uid, row.series_instance_uid)
        ends = self.asking.retrieve(self.asking.call(archive), archive, [wanted])
        end = ends.get(wanted)
        words = "nothing" if end is None else end.words or end.end.value
        log.info(
            "order.fetched",
            archive=archive.name,
            series_instance_uid=row.series_instance_uid,
            reason=words,
        )
        return f"{archive.name}: {words}"
