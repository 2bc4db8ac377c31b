"""Claims about what the acceptance reads of a series in the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.node.acceptance.answer import read_answer
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import EventRow, SeriesEvent, SeriesRow

NOW = datetime(2026, 11, 30, 14, 0, tzinfo=UTC)


def test_moments_are_those_of_the_events_of_the_latest_revision(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'db'}")
    for revision in (1, 2):
        row = SeriesRow("1.2.3", revision, "1.2", "CT1", "MSK", 9, "f" * 64, NOW, NOW)
        at = NOW + timedelta(hours=revision)
        events = (
            EventRow("1.2.3", revision, "a", SeriesEvent.ANALYSIS_STARTED, at),
            EventRow("1.2.3", revision, "b", SeriesEvent.SENT, at, "pacs"),
            EventRow(
                "1.2.3", revision, "c", SeriesEvent.SENT, at + timedelta(seconds=5), "pacs"
            ),
        )
        ledger.save(row, *events)
    answer = read_answer(ledger, "1.2.3")
    ledger.close()

    assert answer.happened(SeriesEvent.ANALYSIS_STARTED) == NOW + timedelta(hours=2)
    assert answer.happened(SeriesEvent.SENT, "pacs") == NOW + timedelta(hours=2, seconds=5)
    assert answer.happened(SeriesEvent.SENT, "other") is None
    assert answer.happened(SeriesEvent.CONFIRMED, "pacs") is None
