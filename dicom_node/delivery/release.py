"""Releasing deliveries: `msk-node release`, a start of the node, a destination's return.

What is held goes on, and what is tried slowly does so at once. Only the ledger is changed, in
whatever process: a running node looks there for what is due, and one that starts does so
too. A released delivery gets all its attempts anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from dicom_node.delivery.attempts import is_slow
from dicom_node.errors import UnknownNameError
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import DeliveryRow, DeliveryState
from dicom_node.settings.destinations import Delivery
from dicom_node.settings.loading import load_config

log = structlog.get_logger()

STUCK: Final = (DeliveryState.HELD, DeliveryState.WAITING)
"""States in which a delivery may have come to a stop, or nearly."""


def release_held(
    config: Path | None, *, destination: str | None, series_instance_uid: str | None
) -> int:
    """Let held deliveries of a node continue, beside it or without it; answers how many.

    Raises:
        ConfigurationError: the file cannot be used, or the ledger is of another version.
        UnknownNameError: the file has no such destination, or the ledger no such series.
    """
    settings = load_config(config)
    if destination is not None and settings.destination(destination) is None:
        raise UnknownNameError(f"there is no destination {destination!r} in the settings")
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
        )
    finally:
        if ledger is not None:
            ledger.close()


def _check_series(ledger: Ledger | None, series_instance_uid: str) -> None:
    """Raise where no series of this UID has ever been complete here."""
    if ledger is None or not ledger.revisions(series_instance_uid):
        raise UnknownNameError(f"no series {series_instance_uid!r} has been taken up here")


def release(
    ledger: Ledger,
    now: datetime,
    *,
    destination: str | None = None,
    series_instance_uid: str | None = None,
    slow_by: Delivery | None = None,
) -> int:
    """Let held deliveries continue; answers how many there were.

    Args:
        ledger: where they are.
        now: the time.
        destination: only those to this one.
        series_instance_uid: only those of this series.
        slow_by: with these rules, those that are tried slowly, too.
    """
    stuck = ledger.deliveries(
        destination=destination, series_instance_uid=series_instance_uid, states=STUCK
    )
    chosen = [
        row
        for row in stuck
        if row.state is DeliveryState.HELD or (slow_by is not None and is_slow(row, slow_by))
    ]
    return _let_go(ledger, chosen, now)


def resume(ledger: Ledger, now: datetime, destination: str) -> int:
    """Let go on what waits for a destination that could not be reached; how many there were.

    Versions before this one held such a delivery.
    """
    stuck = ledger.deliveries(destination=destination, states=STUCK)
    return _let_go(ledger, [row for row in stuck if row.resumes], now)


def _let_go(ledger: Ledger, chosen: Sequence[DeliveryRow], now: datetime) -> int:
    """Make deliveries due, with all their attempts; how many there are."""
    groups: dict[tuple[str, int, str], list[DeliveryRow]] = {}
    for row in chosen:
        groups.setdefault(row.group, []).append(row)
    for (uid, revision, name), rows in groups.items():
        all_rows = ledger.deliveries(
            series_instance_uid=uid, revision=revision, destination=name
        )
        # A number of its own: the next delivery job may be there already, for later.
        number = max(row.visit for row in all_rows) + 1
        released = [
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
        ]
        ledger.advance(*released)
        log.info(
            "delivery.released",
            series_instance_uid=uid,
            revision=revision,
            destination=name,
            count=len(released),
        )
    return len(chosen)
