"""The history of one series: every event with its time, and how long each hop took."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import (
    DeliveryRow,
    EventRow,
    OrderRow,
    ResultRow,
    SeriesEvent,
    SeriesRow,
)
from dicom_node.settings.node import NodeConfig

WAY: Final = (
    SeriesEvent.FIRST_IMAGE,
    SeriesEvent.LAST_IMAGE,
    SeriesEvent.COMPLETE,
    SeriesEvent.ACCEPTED,
    SeriesEvent.ANALYSIS_STARTED,
    SeriesEvent.ANALYSIS_ENDED,
    SeriesEvent.ANSWERED,
)
"""The stations of a series on its way; then come those of each destination."""
THERE: Final = (SeriesEvent.SENT, SeriesEvent.CONFIRMED)
NO_EVENTS: Final = "nothing is known of its way: it came before the node kept events"


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event, and how long after the one before it."""

    row: EventRow
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """The time between two stations; one that was not reached is passed over.

    destination: to which it leads; empty within the node.
    """

    begin: SeriesEvent
    end: SeriesEvent
    seconds: float
    destination: str = ""


@dataclass(frozen=True, slots=True)
class RevisionHistory:
    """All that the ledger has of one revision.

    deliveries: by destination.
    words: what has to be said of the events; mostly empty.
    """

    row: SeriesRow
    events: tuple[TimedEvent, ...]
    hops: tuple[Hop, ...]
    results: tuple[ResultRow, ...]
    deliveries: Mapping[str, tuple[DeliveryRow, ...]]
    orders: tuple[OrderRow, ...]
    words: str = ""


@dataclass(frozen=True, slots=True)
class SeriesHistory:
    """A series by its revisions, the oldest first; without any it was never taken up."""

    series_instance_uid: str
    revisions: tuple[RevisionHistory, ...]


def series_history(
    source: NodeConfig | Ledger, series_instance_uid: str, revision: int | None = None
) -> SeriesHistory:
    """The history of a series, as the ledger has it.

    Args:
        source: the ledger, or the settings of its node.
        series_instance_uid: of the series.
        revision: only this one.

    Raises:
        ConfigurationError: the ledger cannot be read.
    """
    if isinstance(source, Ledger):
        return _history(source, series_instance_uid, revision)
    ledger = existing_ledger(source.node.database_url, only_read=True)
    if ledger is None:
        return SeriesHistory(series_instance_uid, ())
    try:
        return _history(ledger, series_instance_uid, revision)
    finally:
        ledger.close()


def _history(ledger: Ledger, uid: str, revision: int | None) -> SeriesHistory:
    operation = OperationLedger(ledger)
    keeps_events = operation.is_there()
    events = operation.events(uid) if keeps_events else ()
    orders = operation.orders(uid) if keeps_events else ()
    rows = [row for row in ledger.revisions(uid) if revision in (None, row.revision)]
    return SeriesHistory(
        uid,
        tuple(
            _of_revision(
                ledger,
                row,
                [each for each in events if each.revision == row.revision],
                tuple(each for each in orders if each.revision == row.revision),
            )
            for row in rows
        ),
    )


def _of_revision(
    ledger: Ledger,
    row: SeriesRow,
    events: Sequence[EventRow],
    orders: tuple[OrderRow, ...],
) -> RevisionHistory:
    uid, number = row.series_instance_uid, row.revision
    deliveries: dict[str, list[DeliveryRow]] = {}
    for each in ledger.deliveries(series_instance_uid=uid, revision=number):
        deliveries.setdefault(each.destination, []).append(each)
    is_told = any(each.kind is SeriesEvent.ACCEPTED for each in events)
    in_order = in_order_of_time(events)
    return RevisionHistory(
        row=row,
        events=timed(in_order),
        hops=tuple(hops(in_order)),
        results=ledger.results(uid, number),
        deliveries={name: tuple(rows) for name, rows in deliveries.items()},
        orders=orders,
        words="" if is_told else NO_EVENTS,
    )


def in_order_of_time(events: Sequence[EventRow]) -> list[EventRow]:
    """Events in the order in which they happened; at one time, as they mostly do."""
    usual = list(SeriesEvent)
    return sorted(events, key=lambda each: (each.at, usual.index(each.kind), each.name))


def timed(events: Sequence[EventRow]) -> tuple[TimedEvent, ...]:
    """Events in their order, each with the seconds since the one before."""
    return tuple(
        TimedEvent(each, (each.at - events[place - 1].at).total_seconds() if place else None)
        for place, each in enumerate(events)
    )


def hops(events: Sequence[EventRow]) -> Iterator[Hop]:
    """How long each hop took, from the first image to the confirmation of each destination.

    Of several attempts at an analysis the first start counts, and of several at a destination
    the first that it took: what is sent again later is no part of the way.
    """
    times: dict[SeriesEvent, datetime] = {}
    for each in events:
        if each.kind in WAY:
            times.setdefault(each.kind, each.at)
    reached = [kind for kind in WAY if kind in times]
    for begin, end in itertools.pairwise(reached):
        yield Hop(begin, end, (times[end] - times[begin]).total_seconds())
    answered = times.get(SeriesEvent.ANSWERED)
    if answered is None:
        return
    for name in sorted({each.destination for each in events if each.kind in THERE}):
        yield from _to(name, events, answered)


def _to(name: str, events: Sequence[EventRow], answered: datetime) -> Iterator[Hop]:
    """The hops to one destination."""
    first: dict[SeriesEvent, datetime] = {}
    for each in events:
        if each.destination == name:
            first.setdefault(each.kind, each.at)
    sent, confirmed = first.get(SeriesEvent.SENT), first.get(SeriesEvent.CONFIRMED)
    if sent is not None:
        seconds = (sent - answered).total_seconds()
        yield Hop(SeriesEvent.ANSWERED, SeriesEvent.SENT, seconds, name)
    if sent is not None and confirmed is not None and confirmed >= sent:
        seconds = (confirmed - sent).total_seconds()
        yield Hop(SeriesEvent.SENT, SeriesEvent.CONFIRMED, seconds, name)
