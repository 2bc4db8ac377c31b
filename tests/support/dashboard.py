"""A node with something behind it, for tests of its pages: series in every state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    AGAINST_RULES,
    CANCELLED_CODE,
    CaseRow,
    DeliveryRow,
    DeliveryState,
    EventRow,
    ResultRow,
    SeriesEvent,
    SeriesRow,
    SeriesState,
)
from dicom_node.settings.node import NodeConfig
from support.case_records import row as case_row
from support.web_client import web_config

TABLES: Final[dict[str, Any]] = {
    "destinations": [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 9}],
    "rules": [{"name": "hips", "slices": {"at_least": 5}}],
    "archives": [{"name": "vna", "destination": "pacs", "retrieve": "get"}],
    "schedules": [{"name": "nightly", "archive": "vna", "at": "01:30", "since": "2026-01-01"}],
}
CODES: Final = {
    SeriesState.REFUSED: "gantry-tilt",
    SeriesState.FAILED: "analysis-failed",
    SeriesState.LEFT_OUT: AGAINST_RULES,
    SeriesState.CANCELLED: CANCELLED_CODE,
}


def uid_of(state: SeriesState) -> str:
    """The series in a state."""
    return f"1.2.3.{tuple(SeriesState).index(state) + 1}"


def dashboard_node(folder: Path, **tables: Any) -> NodeConfig:
    """A node that has a series in each state, the reported one with objects and figures."""
    audit = {"file": str(folder / "audit.jsonl")}
    config = web_config(folder, {**TABLES, "audit": audit, **tables})
    ledger = Ledger(config.node.database_url)
    now = datetime.now(UTC)
    for number, state in enumerate(SeriesState):
        at = now - timedelta(minutes=10 * number + 10)
        series = SeriesRow(
            series_instance_uid=uid_of(state),
            revision=1,
            study_instance_uid="1.2.3",
            calling_ae_title="CT1",
            called_ae_title="MSKNODE",
            instances=12,
            fingerprint=f"{number}" * 64,
            received_at=at,
            changed_at=at + timedelta(minutes=5),
            state=state,
            code=CODES.get(state, ""),
            reason=f"why it is {state}" if state in CODES else "",
        )
        ledger.save(series)
        if state is SeriesState.REPORTED:
            ledger.save(*_answer(series, folder))
    ledger.close()
    return config


def _answer(row: SeriesRow, folder: Path) -> list[Any]:
    """Objects, deliveries, events and figures."""
    uid, at = row.series_instance_uid, row.received_at
    case: CaseRow = case_row(uid, 1, sender="CT1")
    rows: list[Any] = [case]
    for number, (kind, state) in enumerate(
        (("SEG", DeliveryState.CONFIRMED), ("SR", DeliveryState.HELD))
    ):
        sop = f"{uid}.9.{number}"
        path = str(folder / f"{sop}.dcm")
        rows += [
            ResultRow(sop, "1.2", kind, f"{sop}.1", uid, 1, path, "0" * 64, row.changed_at),
            DeliveryRow(
                sop, "pacs", uid, 1, row.changed_at, state, 1, "0xA900", sent_at=row.changed_at
            ),
        ]
    stations = (
        (SeriesEvent.FIRST_IMAGE, 0, ""),
        (SeriesEvent.ACCEPTED, 60, ""),
        (SeriesEvent.ANALYSIS_STARTED, 61, ""),
        (SeriesEvent.ANSWERED, 255, ""),
        (SeriesEvent.SENT, 260, "pacs"),
    )
    rows += [
        EventRow(uid, 1, kind.value, kind, at + timedelta(seconds=after_s), to)
        for kind, after_s, to in stations
    ]
    return rows
