"""Releasing deliveries: `msk-node release`, a start of the node, a destination's return.

What is held goes on, and what is tried slowly does so at once. Only the ledger is changed, in
whatever process: a running node looks there for what is due, and one that starts does so
too. A released delivery gets all its attempts anew. What a person holds only a person lets go
on, by `msk-node release`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from dicom_node.delivery.attempts import is_slow
from dicom_node.delivery.events import group_event
from dicom_node.errors import UnknownNameError
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import DeliveryRow, DeliveryState, EventRow, SeriesEvent
from dicom_node.settings.destinations import Delivery
from dicom_node.settings.loading import load_config

log = structlog.get_logger()

STUCK: Final = (DeliveryState.HELD, DeliveryState.WAITING)
"""States in which a delivery may have come to a stop, or nearly."""


def release_held(
    config: Path | None,
    *,
    destination: str | None,
    series_instance_uid: str | None,
    by: str = "",
) -> int:
    """Let held deliveries of a node continue, beside it or without it; answers how many.

    by: who wants that.

    Raises:
        ConfigurationError: the file cannot be used, or the ledger is of another version.
        UnknownNameError: the file has no such destination, or the ledger no such series.
    """
    settings = load_config(config)
    if destination is not None and settings.destination(destination) is None:
        raise UnknownNameError(
            f"there is no destination {destination!r} in the settings; "
            "what is held for it goes on when there is one of that name again"
        )
    ledger = existing_ledger(settings.node.database_url)
    try:
        if series_instance_uid is not None:
            _check_series(ledger, series_instance_uid)
        if ledger is None:
            return 0
        return release(
            ledger,
            datetime.now(UTC),
            destination=destination,
            series_instance_uid=series_instance_uid,
            slow_by=settings.delivery,
            by=by or "the command line",
        )
    finally:
        if ledger is not None:
            ledger.close()


def _check_series(ledger: Ledger | None, series_instance_uid: str) -> None:
    """Raise where no series of this UID has ever been complete here."""
    if ledger is None or not ledger.revisions(series_instance_uid):
        raise UnknownNameError(f"no series {series_instance_uid!r} has been taken up here")


def release(  # noqa: PLR0913 - each narrows what is let go
    ledger: Ledger,
    now: datetime,
    *,
    destination: str | None = None,
    series_instance_uid: str | None = None,
    slow_by: Delivery | None = None,
    by: str = "",
) -> int:
    """Let held deliveries continue; answers how many there were.

    Args:
        ledger: where they are.
        now: the time.
        destination: only those to this one.
        series_instance_uid: only those of this series.
        slow_by: with these rules, those that are tried slowly, too.
        by: the person who wants that; without one, what persons hold stays held.
    """
    stuck = ledger.deliveries(
        destination=destination, series_instance_uid=series_instance_uid, states=STUCK
    )
    chosen = [
        row
        for row in stuck
        if is_releasable(row, slow_by) and (by or not row.is_held_by_person)
    ]
    return _let_go(ledger, chosen, now, by)


def is_releasable(row: DeliveryRow, slow_by: Delivery | None) -> bool:
    """True if a delivery is held, or with these rules, tried slowly."""
    is_held = row.state is DeliveryState.HELD
    return is_held or (slow_by is not None and is_slow(row, slow_by))


def resume(ledger: Ledger, now: datetime, destination: str) -> int:
    """Let go on what waits for a destination that could not be reached; how many there were.

    Versions before this one held such a delivery.
    """
    stuck = ledger.deliveries(destination=destination, states=STUCK)
    return _let_go(ledger, [row for row in stuck if row.resumes], now)


def _let_go(ledger: Ledger, chosen: Sequence[DeliveryRow], now: datetime, by: str = "") -> int:
    """Make deliveries due, with all their attempts; how many there are."""
    groups: dict[tuple[str, int, str], list[DeliveryRow]] = {}
    for row in chosen:
        groups.setdefault(row.group, []).append(row)
    for (uid, revision, name), rows in groups.items():
        all_rows = ledger.deliveries(
            series_instance_uid=uid, revision=revision, destination=name
        )
        released = due_again(rows, all_rows, now)
        ledger.advance(*released, told=[released_event(released, now, by)])
        log.info(
            "delivery.released",
            series_instance_uid=uid,
            revision=revision,
            destination=name,
            count=len(released),
        )
    return len(chosen)


def due_again(
    rows: Sequence[DeliveryRow], group: Sequence[DeliveryRow], now: datetime
) -> tuple[DeliveryRow, ...]:
    """Deliveries that are to be sent now, with all their attempts.

    Args:
        rows: those that are.
        group: all of their group.
        now: the time.
    """
    # A number of its own: the next delivery job may be there already, for later.
    number = max(row.visit for row in group) + 1
    return tuple(
        replace(
            row,
            state=DeliveryState.WAITING,
            visit=number,
            attempts=0,
            losses=0,
            resumes=False,
            changed_at=now,
            next_attempt_at=now,
        )
        for row in rows
    )


def released_event(released: Sequence[DeliveryRow], now: datetime, by: str) -> EventRow:
    """The event that tells of it."""
    words = f"by {by}" if by else "by the node itself"
    number = max(row.visit for row in released)
    return group_event(released, SeriesEvent.RELEASED, number, now, words)
