"""The node's answer to the phantom, as its ledger tells it while it comes about."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import (
    ANSWERED,
    AWAITS_RULES,
    CaseRow,
    DeliveryRow,
    DeliveryState,
    EventRow,
    ResultRow,
    SeriesEvent,
    SeriesRow,
    SeriesState,
)
from dicom_node.settings.destinations import Destination
from dicom_node.settings.node import NodeConfig

LOOK_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """All that the node's ledger knows of one series.

    row: None while it has not been handed over.
    case: its row in the table of results.
    events: what happened to the revision, with the times at which it did; empty where a node
        of a version before took it up.
    """

    row: SeriesRow | None = None
    results: tuple[ResultRow, ...] = ()
    deliveries: tuple[DeliveryRow, ...] = ()
    case: CaseRow | None = None
    events: tuple[EventRow, ...] = ()

    def happened(self, kind: SeriesEvent, destination: str = "") -> datetime | None:
        """When something last happened to the series, at one destination or here."""
        times = [
            each.at
            for each in self.events
            if each.kind is kind and each.destination == destination
        ]
        return max(times, default=None)

    def to(self, destination: str) -> tuple[DeliveryRow, ...]:
        """The deliveries to a destination."""
        return tuple(each for each in self.deliveries if each.destination == destination)

    def result(self, sop_instance_uid: str) -> ResultRow:
        """The object of a UID."""
        return next(one for one in self.results if one.sop_instance_uid == sop_instance_uid)


def read_answer(ledger: Ledger, series_instance_uid: str) -> Answer:
    """What the ledger says now, of the latest revision."""
    row = max(
        ledger.revisions(series_instance_uid), key=lambda each: each.revision, default=None
    )
    if row is None:
        return Answer()
    revision = row.revision
    cases = list(ledger.cases(series=[series_instance_uid]))
    return Answer(
        row,
        ledger.results(series_instance_uid, revision),
        ledger.deliveries(series_instance_uid=series_instance_uid, revision=revision),
        next((each for each in cases if each.revision == revision), None),
        tuple(
            each for each in _events(ledger, series_instance_uid) if each.revision == revision
        ),
    )


def _events(ledger: Ledger, series_instance_uid: str) -> tuple[EventRow, ...]:
    """The events of a series; a ledger of a version before has none."""
    operation = OperationLedger(ledger)
    return operation.events(series_instance_uid) if operation.is_there() else ()


def is_settled(answer: Answer, destinations: Sequence[Destination]) -> bool:
    """True if nothing more will happen by itself, or it has all arrived as it should."""
    row = answer.row
    if row is None or (row.state not in ANSWERED and row.state is not SeriesState.LEFT_OUT):
        return False
    return all(_has_arrived(answer.to(each.name), each) for each in destinations) or (
        row.state is SeriesState.LEFT_OUT
    )


def _has_arrived(rows: Sequence[DeliveryRow], destination: Destination) -> bool:
    """True if a destination has got what it was to get, or a person is needed."""
    ends = {DeliveryState.HELD, DeliveryState.CONFIRMED, DeliveryState.REPLACED}
    if destination.confirm == "no":
        ends.add(DeliveryState.SENT)
    return bool(rows) and all(each.state in ends for each in rows)


def wait_for_answer(
    ledger: Ledger,
    series_instance_uid: str,
    destinations: Sequence[Destination],
    timeout_s: float,
    told: Callable[[str], None],
) -> Answer:
    """Wait until a series is answered everywhere, or for so long; what is known then.

    told: hears of what is waited for, in words, each time it changes.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = read_answer(ledger, series_instance_uid)
        told(_waits_for(answer))
        if is_settled(answer, destinations) or time.monotonic() >= deadline:
            return answer
        time.sleep(LOOK_EVERY_S)


def _waits_for(answer: Answer) -> str:
    """What is waited for, in words."""
    row = answer.row
    if row is None:
        return "the series to be complete"
    if row.state is SeriesState.RECEIVED:
        return "the rules" if row.code == AWAITS_RULES else "the analysis"
    if row.state is SeriesState.SEGMENTED:
        return "the objects to be built"
    return "the deliveries"


def configured_destinations(
    config: NodeConfig, calling_ae_title: str, called_ae_title: str
) -> tuple[Destination, ...]:
    """Who gets the phantom's results, by the site's own routes."""
    return config.destinations_for(calling_ae_title, called_ae_title)
