"""A node whose ledger is full of values that nobody should believe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    AGAINST_RULES,
    CANCELLED_CODE,
    DeliveryRow,
    DeliveryState,
    EventRow,
    ResultRow,
    SeriesEvent,
    SeriesRow,
    SeriesState,
)
from dicom_node.settings.node import NodeConfig
from support.hostile_values import AE_TITLES, HOSTILE

NOW: Final = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
STATES: Final = tuple(SeriesState)
DELIVERIES: Final = tuple(DeliveryState)
CODES: Final = {SeriesState.LEFT_OUT: AGAINST_RULES, SeriesState.CANCELLED: CANCELLED_CODE}
"""Codes without which the ledger knows nothing of a state."""


def storable(value: str) -> str:
    """A value as a database takes it."""
    return value.replace("\x00", "")


def fill_ledger(config: NodeConfig) -> tuple[SeriesRow, ...]:
    """A series for each value, in every state, with results, deliveries and events."""
    ledger = Ledger(config.node.database_url)
    rows = []
    for number, value in enumerate(map(storable, HOSTILE.values())):
        row = _series(number, value)
        rows.append(row)
        ledger.save(row, *_of_series(row, number, value))
    # What no archive should send, and one does: UIDs that are none.
    odd = _series(len(HOSTILE), "none", uid='"><script>msk7hostile()</script>')
    ledger.save(odd)
    ledger.close()
    return (*rows, odd)


def _series(number: int, value: str, uid: str = "") -> SeriesRow:
    title = AE_TITLES[number % len(AE_TITLES)]
    state = STATES[number % len(STATES)]
    return SeriesRow(
        series_instance_uid=uid or f"1.2.826.0.1.{number}",
        revision=1,
        study_instance_uid=uid or f"1.2.826.0.2.{number}",
        calling_ae_title=title,
        called_ae_title="MSKNODE",
        instances=number,
        fingerprint="f" * 64,
        received_at=NOW + timedelta(minutes=number),
        changed_at=NOW + timedelta(minutes=number, seconds=30),
        state=state,
        code=CODES.get(state, ""),
        reason=value,
    )


def _of_series(row: SeriesRow, number: int, value: str) -> tuple[object, ...]:
    """A result, its delivery and an event, each with the value where it has words."""
    uid = f"1.2.826.0.3.{number}"
    series = (row.series_instance_uid, row.revision)
    state = DELIVERIES[number % len(DELIVERIES)]
    return (
        ResultRow(uid, "1.2.3", "SEG", f"{uid}.1", *series, value, "0" * 64, NOW),
        DeliveryRow(uid, "pacs", *series, NOW, state, number, value, sent_at=NOW),
        EventRow(*series, "received", SeriesEvent.FIRST_IMAGE, NOW, "", "", value),
        EventRow(*series, "deliver:pacs:1", SeriesEvent.NOT_TAKEN, NOW, "pacs", "x", value),
    )
