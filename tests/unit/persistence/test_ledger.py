"""Claims about the ledger's rows and tables, on an SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError, SeriesError
from dicom_node.node.publication import NOT_HIP_TO_KNEE
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import (
    AWAITS_RULES,
    LEFT_OUT_CODES,
    RELEASED,
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/node.sqlite")
    yield ledger
    ledger.close()


def test_whoever_only_looks_is_soon_told_that_the_file_is_locked(
    ledger: Ledger, tmp_path: Path
) -> None:
    """A page or a monitor that hangs for long is taken for a node that is away."""
    ledger.close()
    path = tmp_path / "node.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("SELECT 1 FROM series").fetchall()
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        began_s = time.monotonic()
        with pytest.raises(ConfigurationError, match="locked"):
            existing_ledger(f"sqlite:///{path}", only_read=True)

    assert time.monotonic() - began_s < 4.0


def series_row(revision: int = 1) -> SeriesRow:
    return SeriesRow("1.2.3", revision, "1.2", "CT1", "MSKNODE", 120, "f" * 64, NOW, NOW)


def result_row(kind: str = "SEG") -> ResultRow:
    return ResultRow(
        f"2.25.{len(kind)}", "1.1", kind, "2.25.9", "1.2.3", 1, "a.dcm", "0" * 64, NOW
    )


def delivery_row(destination: str = "pacs") -> DeliveryRow:
    return DeliveryRow("2.25.3", destination, "1.2.3", 1, NOW)


def test_a_row_comes_back_as_it_was_saved(ledger: Ledger) -> None:
    ledger.save(series_row(), result_row(), delivery_row())

    assert ledger.series("1.2.3", 1) == series_row()
    assert ledger.results("1.2.3", 1) == (result_row(),)
    assert ledger.deliveries() == (delivery_row(),)


def test_saving_twice_changes_nothing(ledger: Ledger) -> None:
    ledger.save(series_row(), delivery_row())
    ledger.save(series_row(), delivery_row())

    assert ledger.all_series() == (series_row(),)
    assert ledger.deliveries() == (delivery_row(),)


def test_a_later_row_replaces_an_earlier_one(ledger: Ledger) -> None:
    ledger.save(series_row())
    refused = series_row().become(SeriesState.REFUSED, LATER, code="gantry-tilt", reason="tilt")
    ledger.save(refused)

    assert ledger.series("1.2.3", 1) == refused


def test_a_row_that_is_only_added_does_not_overwrite_progress(ledger: Ledger) -> None:
    """A step that runs twice adds its deliveries twice; one may have been sent meanwhile."""
    sent = replace(delivery_row(), state=DeliveryState.SENT, attempts=1)
    ledger.save(sent)
    ledger.add(delivery_row())

    assert ledger.deliveries() == (sent,)


def test_an_answer_is_never_taken_back() -> None:
    reported = series_row().become(SeriesState.REPORTED, NOW)

    assert reported.become(SeriesState.SEGMENTED, LATER) == reported


def left_out(uid: str = "1.2.3") -> SeriesRow:
    row = replace(series_row(), series_instance_uid=uid)
    return row.become(SeriesState.LEFT_OUT, LATER, code="not-best", reason="thinner slices")


def test_a_series_that_was_left_out_comes_back_so_and_waits_for_nothing(ledger: Ledger) -> None:
    refused = replace(series_row(2), state=SeriesState.REFUSED, code="gantry-tilt")
    ledger.save(left_out(), refused)

    assert ledger.revisions("1.2.3") == (left_out(), refused)
    assert ledger.unanswered() == ()


def test_a_series_that_was_left_out_may_be_taken_after_all() -> None:
    assert left_out().become(SeriesState.RECEIVED, LATER).state is SeriesState.RECEIVED


def test_no_refusal_is_taken_for_a_series_that_was_left_out() -> None:
    """The codes alone tell them apart in the table."""
    refusals = {each.code for each in all_below(SeriesError)}

    assert len(refusals) > 15
    assert not (refusals | {NOT_HIP_TO_KNEE}) & set(LEFT_OUT_CODES)


def all_below(error: type[SeriesError]) -> set[type[SeriesError]]:
    """A class and all that derive from it."""
    return {error}.union(*(all_below(each) for each in error.__subclasses__()))


def test_a_study_s_series_and_those_with_a_code_are_found(ledger: Ledger) -> None:
    waits = replace(series_row(), code=AWAITS_RULES)
    other = replace(waits, series_instance_uid="1.2.4", study_instance_uid="1.3")
    ledger.save(waits, other, left_out("1.2.5"))

    assert ledger.of_study("1.2") == (waits, left_out("1.2.5"))
    assert ledger.received(AWAITS_RULES) == (waits, other)
    assert ledger.received(RELEASED) == ()


def test_the_revisions_of_a_series_come_oldest_first(ledger: Ledger) -> None:
    ledger.save(series_row(2), series_row(1), replace(series_row(), series_instance_uid="4"))

    assert ledger.revisions("1.2.3") == (series_row(1), series_row(2))


def test_an_unknown_series_is_none(ledger: Ledger) -> None:
    assert ledger.series("9.9", 1) is None


def test_deliveries_are_narrowed_by_destination_and_state(ledger: Ledger) -> None:
    held = replace(delivery_row("archive"), state=DeliveryState.HELD, reason="refused")
    ledger.save(delivery_row("pacs"), held)

    assert ledger.deliveries(destination="archive") == (held,)
    assert ledger.deliveries(states=[DeliveryState.WAITING]) == (delivery_row("pacs"),)


def test_a_ledger_of_the_time_before_profiles_is_read(ledger: Ledger) -> None:
    """Kinds and states are words, so a new one of either asks nothing of the tables."""
    replaced = replace(delivery_row(), state=DeliveryState.REPLACED, reason="not supported")
    ledger.save(result_row("SEG"), result_row("SEG-LABELMAP"), replaced)

    assert {row.kind for row in ledger.all_results()} == {"SEG", "SEG-LABELMAP"}
    assert ledger.deliveries(states=[DeliveryState.REPLACED]) == (replaced,)


def test_a_moment_without_a_time_zone_is_refused(ledger: Ledger) -> None:
    naive = replace(series_row(), received_at=NOW.replace(tzinfo=None))

    with pytest.raises(Exception, match="needs a time zone"):
        ledger.save(naive)


def test_many_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """The worker and `msk-node status` may both be the first."""
    with ThreadPoolExecutor(8) as pool:
        url = f"sqlite:///{tmp_path}/node.sqlite"
        ledgers = list(pool.map(Ledger, [url] * 8))
    found = [each.all_series() for each in ledgers]
    for each in ledgers:
        each.close()

    assert found == [()] * 8


def test_the_tables_outlive_the_process(tmp_path: Path) -> None:
    first = Ledger(f"sqlite:///{tmp_path}/node.sqlite")
    first.save(series_row())
    first.close()
    second = Ledger(f"sqlite:///{tmp_path}/node.sqlite")
    found = second.all_series()
    second.close()

    assert found == (series_row(),)


def test_a_visit_that_was_overtaken_writes_nothing(ledger: Ledger) -> None:
    """Two visits at once: the later one's word stands, whichever writes last."""
    later = replace(delivery_row(), state=DeliveryState.SENT, visit=3)
    ledger.save(later)
    ledger.advance(replace(delivery_row(), state=DeliveryState.WAITING, visit=2))
    assert ledger.deliveries() == (later,)

    same = replace(later, state=DeliveryState.HELD)
    ledger.advance(same)
    assert ledger.deliveries() == (same,)


def test_a_confirmation_is_not_taken_back_by_a_visit_that_is_still_asking(
    ledger: Ledger,
) -> None:
    """The report came on another association before the request was noted."""
    confirmed = replace(delivery_row(), state=DeliveryState.CONFIRMED, visit=2)
    ledger.save(confirmed)
    ledger.advance(replace(confirmed, state=DeliveryState.SENT, next_attempt_at=LATER))

    assert ledger.deliveries() == (confirmed,)


def test_only_what_is_due_is_due(ledger: Ledger) -> None:
    due = replace(delivery_row("a"), next_attempt_at=NOW)
    ledger.save(due, replace(delivery_row("b"), next_attempt_at=LATER), delivery_row("c"))

    assert ledger.due(NOW) == (due,)


def test_a_ledger_of_an_older_version_is_brought_up_to_this_one(tmp_path: Path) -> None:
    """The table of deliveries as it was before there was a confirmation, with a row."""
    path = tmp_path / "node.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.execute(
            "CREATE TABLE deliveries (sop_instance_uid VARCHAR(64), destination VARCHAR(64),"
            " series_instance_uid VARCHAR(64), revision INTEGER, state VARCHAR(64),"
            " attempts INTEGER, reason TEXT, changed_at DATETIME, next_attempt_at DATETIME,"
            " PRIMARY KEY (sop_instance_uid, destination))"
        )
        old.execute(
            "INSERT INTO deliveries VALUES ('2.25.3', 'pacs', '1.2.3', 1, 'sent', 2, '',"
            " '2026-11-22 16:00:00', NULL)"
        )
        old.commit()
    ledger = Ledger(f"sqlite:///{path}")
    found = ledger.deliveries()
    ledger.close()

    assert found == (replace(delivery_row(), state=DeliveryState.SENT, attempts=2),)
