"""The events that the steps of a series leave in the ledger; each named after its step.

A step that is done twice gives the same event, for its name is derived. Events of a series
stay as long as its row, which is for ever; of failed deliveries only so many are told one by
one (`delivery/events.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

from dicom_node.delivery.events import group_event
from dicom_node.persistence.rows import (
    AWAITS_RULES,
    DeliveryRow,
    EventRow,
    OrderRow,
    SeriesEvent,
    SeriesRow,
)
from dicom_node.spool.arrivals import SeriesArrival


def event(  # noqa: PLR0913 - the fields of a row
    row: SeriesRow,
    kind: SeriesEvent,
    at: datetime,
    *,
    name: str = "",
    code: str = "",
    reason: str = "",
) -> EventRow:
    """Something that happened to a revision; without a name there is one of its kind."""
    return EventRow(
        series_instance_uid=row.series_instance_uid,
        revision=row.revision,
        name=name or kind.value.replace(" ", "-"),
        kind=kind,
        at=at,
        code=code,
        reason=reason,
    )


def arrival_events(arrival: SeriesArrival, row: SeriesRow) -> tuple[EventRow, ...]:
    """How a series came, from its first image to its place in the ledger."""
    came = (
        (SeriesEvent.FIRST_IMAGE, arrival.first_image_s, "", ""),
        (SeriesEvent.LAST_IMAGE, arrival.last_image_s, "", ""),
        (SeriesEvent.COMPLETE, arrival.closed_s, arrival.rule, arrival.reason),
    )
    events = [
        event(row, kind, datetime.fromtimestamp(at_s, UTC), code=code, reason=reason)
        for kind, at_s, code, reason in came
        if at_s > 0
    ]
    images = "1 image" if row.instances == 1 else f"{row.instances} images"
    events.append(event(row, SeriesEvent.ACCEPTED, row.received_at, reason=images))
    if row.code == AWAITS_RULES:
        events.append(event(row, SeriesEvent.WAITS_FOR_RULES, row.received_at))
    return tuple(events)


def left_out_event(row: SeriesRow, name: str) -> EventRow:
    """That rules did not take a series, with every reason."""
    return event(
        row,
        SeriesEvent.LEFT_OUT,
        row.changed_at,
        name=name,
        code=row.code,
        reason=row.reason,
    )


def answered_event(row: SeriesRow) -> EventRow:
    """That a series was answered, and with what."""
    words = f"{row.state}: {row.reason}" if row.reason else row.state.value
    return event(row, SeriesEvent.ANSWERED, row.changed_at, code=row.code, reason=words)


def held_events(deliveries: Sequence[DeliveryRow]) -> tuple[EventRow, ...]:
    """That a person wants results held, as they come to be."""
    held = [row for row in deliveries if row.is_held_by_person]
    groups = itertools.groupby(held, key=lambda row: row.group)
    each = (tuple(rows) for _, rows in groups)
    return tuple(
        group_event(rows, SeriesEvent.HELD, 0, rows[0].changed_at, rows[0].reason)
        for rows in each
    )


def ordered(order: OrderRow) -> EventRow:
    """That a person has ordered something."""
    to = f" to {order.destination}" if order.destination else ""
    return EventRow(
        series_instance_uid=order.series_instance_uid,
        revision=order.revision,
        name=f"order:{order.order_uid}",
        kind=SeriesEvent.ORDERED,
        at=order.ordered_at,
        destination=order.destination,
        code=order.kind.value,
        reason=f"{order.kind.value}{to}, by {order.ordered_by}",
    )
