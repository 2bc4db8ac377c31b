"""Releasing held deliveries: `msk-node release`, a start of the node, a destination's return.

Only the ledger is changed, in whatever process: a running node looks there for what is due,
and one that starts does so too. A released delivery gets all its attempts anew.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from dicom_node.errors import ConfigurationError
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.settings.loading import load_config

log = structlog.get_logger()


def release_held(
    config: Path | None, *, destination: str | None, series_instance_uid: str | None
) -> int:
    """Let held deliveries of a node continue, beside it or without it; answers how many.

    Raises:
        ConfigurationError: the file cannot be used, or has no such destination; or the ledger
            is of another version.
    """
    settings = load_config(config)
    if destination is not None and settings.destination(destination) is None:
        raise ConfigurationError(f"there is no destination {destination!r}")
    ledger = existing_ledger(settings.node.database_url)
    if ledger is None:
        return 0
    try:
        return release(
            ledger,
            datetime.now(UTC),
            destination=destination,
            series_instance_uid=series_instance_uid,
        )
    finally:
        ledger.close()


def release(
    ledger: Ledger,
    now: datetime,
    *,
    destination: str | None = None,
    series_instance_uid: str | None = None,
    by_return: bool = False,
) -> int:
    """Let held deliveries continue; answers how many there were.

    Args:
        ledger: where they are.
        now: the time.
        destination: only those to this one.
        series_instance_uid: only those of this series.
        by_return: only those that are held because the destination could not be reached.
    """
    held = ledger.deliveries(
        destination=destination,
        series_instance_uid=series_instance_uid,
        states=[DeliveryState.HELD],
    )
    chosen = [row for row in held if row.resumes or not by_return]
    for group in dict.fromkeys(row.group for row in chosen):
        uid, revision, name = group
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
            for row in chosen
            if row.group == group
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
