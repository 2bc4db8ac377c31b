"""Deliveries that a person holds: pure changes of rows.

What is held so stays held when the node starts and when its destination answers again, until a
person releases it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from dicom_node.persistence.rows import HELD_BY, DeliveryRow, DeliveryState


def hold(
    rows: Sequence[DeliveryRow], group: Sequence[DeliveryRow], by: str, now: datetime
) -> tuple[DeliveryRow, ...]:
    """Deliveries that are not to be sent before somebody releases them.

    They take the number of the attempt that may be under way: what that sends is sent.

    Args:
        rows: those to hold.
        group: all of their group.
        by: who wants that.
        now: the time.
    """
    number = max(row.visit for row in group) + 1
    return tuple(
        replace(
            row,
            state=DeliveryState.HELD,
            visit=number,
            changed_at=now,
            reason=f"{HELD_BY}{by}",
            next_attempt_at=None,
            resumes=False,
        )
        for row in rows
    )


def held_back(rows: Sequence[DeliveryRow], held: Mapping[str, str]) -> tuple[DeliveryRow, ...]:
    """New deliveries, held where a person wanted that before there were any.

    held: by destination, or "" for every one, who wanted it.
    """
    return tuple(
        hold([row], [row], by, row.changed_at)[0]
        if (by := held.get(row.destination, held.get("")))
        else row
        for row in rows
    )
