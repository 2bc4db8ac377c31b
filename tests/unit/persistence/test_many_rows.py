"""Claims about a ledger of many rows: what is asked for again and again reads none in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    Alike,
    DeliveryRow,
    DeliveryState,
    SeriesRow,
    SeriesState,
)
from dicom_node.persistence.tables import METADATA

NOW = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SERIES = SeriesRow("1.2.1", 1, "1.2", "CT1", "MSKNODE", 120, "f" * 64, NOW, NOW, voxels=7)
SENT = DeliveryRow("2.25.1", "pacs", "1.2.1", 1, NOW, state=DeliveryState.SENT, visit=3)
Query = Callable[[Ledger], Any]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/db")
    yield ledger
    ledger.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: ledger.due(NOW),
        lambda ledger: ledger.due_after(NOW),
        lambda ledger: ledger.scheduled(),
        lambda ledger: ledger.unconfirmed(),
        lambda ledger: ledger.never_asked_for(["pacs"]),
        lambda ledger: ledger.last_visits([SENT]),
        lambda ledger: ledger.unanswered(20),
        lambda ledger: ledger.unanswered_alike(),
        lambda ledger: ledger.unmeasured(),
        lambda ledger: ledger.latest_series(SeriesState.REFUSED, 50),
        lambda ledger: ledger.latest_deliveries(50),
        lambda ledger: ledger.most_tried(DeliveryState.HELD, 50),
        lambda ledger: ledger.results_named(["2.25.1"]),
        lambda ledger: ledger.revisions("1.2.1"),
        lambda ledger: ArchiveLedger(ledger).due_windows("main", NOW, 5),
        lambda ledger: ArchiveLedger(ledger).due_series("main", NOW, 200),
        lambda ledger: ArchiveLedger(ledger).asked_before("main", NOW),
        lambda ledger: ArchiveLedger(ledger).counts("nightly", "20260105"),
        lambda ledger: ArchiveLedger(ledger).refusals("nightly", "20260105"),
        lambda ledger: ArchiveLedger(ledger).answers("nightly", "20260105"),
        lambda ledger: ArchiveLedger(ledger).known_to_node(["1.2.1"]),
        lambda ledger: ArchiveLedger(ledger).listed_studies("nightly", "20260105", ["1.2"]),
        lambda ledger: ArchiveLedger(ledger).series_of_uids(["1.2.1"]),
        lambda ledger: ArchiveLedger(ledger).series("nightly", latest=20),
        lambda ledger: ArchiveLedger(ledger).had_by_none("nightly", ["weekly"], "schedule ", 5),
    ],
)
def test_no_table_is_read_whole_for_what_a_worker_asks(ledger: Ledger, ask: Query) -> None:
    """SQLite says SCAN for a table, or an index, that it reads from end to end."""
    asked: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        asked.append((given[2], given[3]))

    sa.event.listen(ledger._engine, "before_cursor_execute", note)
    ask(ledger)
    sa.event.remove(ledger._engine, "before_cursor_execute", note)
    with ledger._engine.connect() as connection:
        plans = [
            row[3]
            for statement, values in asked
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]

    assert plans
    whole = tuple(f"SCAN {table}" for table in METADATA.tables)
    # The latest are the end of an index, which is left when there are enough.
    latest = "USING INDEX deliveries_changed"
    read = [each for each in plans if each.startswith(whole) and not each.endswith(latest)]
    assert read == []


def test_cases_of_one_size_are_counted_together(ledger: Ledger) -> None:
    """Three alike, one larger, one further on, one answered, one of a version before."""
    rows = [replace(SERIES, series_instance_uid=f"1.2.{n}") for n in range(7)]
    rows[2] = replace(rows[2], received_at=LATER)
    rows[3] = replace(rows[3], voxels=9)
    rows[4] = rows[4].become(SeriesState.SEGMENTED, NOW)
    rows[5] = rows[5].become(SeriesState.REFUSED, NOW)
    rows[6] = replace(rows[6], voxels=None)
    ledger.save(*rows)

    assert set(ledger.unanswered_alike()) == {
        Alike(SeriesState.RECEIVED, "MSKNODE", 7, 3, LATER),
        Alike(SeriesState.RECEIVED, "MSKNODE", 9, 1, NOW),
        Alike(SeriesState.SEGMENTED, "MSKNODE", 7, 1, NOW),
    }
    assert ledger.unmeasured() == (rows[6],)
    assert len(ledger.unanswered()) == 6


def test_what_was_sent_and_is_not_asked_for_is_told_from_what_is(ledger: Ledger) -> None:
    asked = replace(SENT, sop_instance_uid="2.25.2", next_attempt_at=NOW)
    elsewhere = replace(SENT, destination="other")
    waits = replace(asked, sop_instance_uid="2.25.3", state=DeliveryState.WAITING, visit=4)
    held = replace(asked, sop_instance_uid="2.25.4", state=DeliveryState.HELD)
    ledger.save(SENT, asked, elsewhere, waits, replace(held, next_attempt_at=None))

    assert ledger.never_asked_for(["pacs"]) == (SENT,)
    assert ledger.scheduled() == (asked, waits)
    assert ledger.last_visits([SENT, elsewhere]) == {
        ("1.2.1", 1, "pacs"): 4,
        ("1.2.1", 1, "other"): 3,
    }


def test_the_most_tried_and_the_latest_come_first(ledger: Ledger) -> None:
    rows = [
        replace(
            SENT, sop_instance_uid=f"2.25.{n}", attempts=n, changed_at=NOW - n * (LATER - NOW)
        )
        for n in range(5)
    ]
    ledger.save(*rows)

    assert ledger.most_tried(DeliveryState.SENT, 2) == (rows[4], rows[3])
    assert ledger.latest_deliveries(2) == (rows[0], rows[1])
    assert ledger.count_deliveries() == {DeliveryState.SENT: 5}
