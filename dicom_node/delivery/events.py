"""The events that deliveries leave in the ledger: each attempt at a destination, and its end.

A destination that is away for weeks is tried for weeks. So the first attempts that failed are
told one by one, and of those after them the latest, with its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from dicom_node.persistence.rows import (
    LATEST,
    DeliveryRow,
    DeliveryState,
    EventRow,
    SeriesEvent,
)

TOLD_ONE_BY_ONE: Final = 10
"""Failed attempts in a row that are told each by itself."""

KINDS: Final[Mapping[DeliveryState, SeriesEvent]] = {
    DeliveryState.WAITING: SeriesEvent.NOT_TAKEN,
    DeliveryState.SENT: SeriesEvent.SENT,
    DeliveryState.CONFIRMED: SeriesEvent.CONFIRMED,
    DeliveryState.HELD: SeriesEvent.HELD,
    DeliveryState.REPLACED: SeriesEvent.NOT_TAKEN,
}


def delivery_events(rows: Sequence[DeliveryRow]) -> tuple[EventRow, ...]:
    """What a delivery job, or a report, has made of deliveries of one group.

    rows: as they are after it; those that came to one state are one event.
    """
    return tuple(_events(rows))


def _events(rows: Sequence[DeliveryRow]) -> Iterator[EventRow]:
    for state in DeliveryState:
        of_state = [row for row in rows if row.state is state and _is_told(row)]
        if of_state:
            yield _event(of_state)


def _is_told(row: DeliveryRow) -> bool:
    """False of what is due and was not tried, or was asked for and is not confirmed yet."""
    if row.state is DeliveryState.WAITING:
        return bool(row.reason)
    return not (row.is_unconfirmed and row.attempts)


def _event(rows: Sequence[DeliveryRow]) -> EventRow:
    """One event for deliveries of one group that came to one state."""
    first = max(rows, key=lambda row: row.attempts)
    name, words = f"deliver:{first.destination}:{first.visit}:{first.state}", ""
    if first.state is DeliveryState.WAITING and first.attempts > TOLD_ONE_BY_ONE:
        name, words = f"deliver:{first.destination}{LATEST}", f"attempt {first.attempts}: "
    status = first.status if first.state is DeliveryState.SENT else None
    reasons = "; ".join(sorted({row.reason for row in rows if row.reason}))
    objects = "1 object" if len(rows) == 1 else f"{len(rows)} objects"
    return EventRow(
        series_instance_uid=first.series_instance_uid,
        revision=first.revision,
        name=name,
        kind=KINDS[first.state],
        at=first.changed_at,
        destination=first.destination,
        code=f"0x{status:04X}" if status else "",
        reason=f"{words}{objects}" + (f": {reasons}" if reasons else ""),
    )


def group_event(
    rows: Sequence[DeliveryRow], kind: SeriesEvent, number: int, now: datetime, words: str
) -> EventRow:
    """What a person, or the node itself, has done with deliveries of one group."""
    first = rows[0]
    objects = "1 object" if len(rows) == 1 else f"{len(rows)} objects"
    return EventRow(
        series_instance_uid=first.series_instance_uid,
        revision=first.revision,
        name=f"{kind.value}:{first.destination}:{number}",
        kind=kind,
        at=now,
        destination=first.destination,
        reason=f"{objects}: {words}" if words else objects,
    )
