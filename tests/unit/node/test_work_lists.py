"""Claims about work lists: filters, batches with counts, pages by key, what was sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest
from support.postgres import running_postgres

from dicom_node.node.work_lists import (
    BatchBy,
    WorkFilter,
    batches,
    day_start,
    key_of,
    matching,
    sent_to,
)
from dicom_node.persistence.archive_rows import ArchiveSeriesRow
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    CANCELLED_CODE,
    NOT_BEST,
    CaseRow,
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
STATES = (
    (SeriesState.REPORTED, ""),
    (SeriesState.FAILED, "analysis-failed"),
    (SeriesState.LEFT_OUT, NOT_BEST),
    (SeriesState.CANCELLED, CANCELLED_CODE),
    (SeriesState.REFUSED, "not-axial"),
)


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def ledger(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ledger]:
    """Ten series of two days and two senders; of each day one in each state."""
    if request.param == "sqlite":
        with closing(filled(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/db")) as ledger:
            yield ledger
        return
    with running_postgres() as server, closing(filled(server.url)) as ledger:
        yield ledger


def filled(url: str) -> Ledger:
    ledger = Ledger(url)
    for n in range(10):
        (state, code), day = STATES[n % 5], n // 5
        at, uid = NOON + DAY * day + timedelta(seconds=n), f"1.2.{n}"
        sender = "CT1" if n % 2 else "CT2"
        ledger.save(
            SeriesRow(uid, 1, f"1.{day}", sender, "MSKNODE", 9, f"{n:064}", at, at, state, code)
        )
        if state is SeriesState.REPORTED:
            sent = DeliveryState.HELD if day else DeliveryState.SENT
            ledger.save(
                ResultRow(f"9.{n}", "1.1", "SR", "8.1", uid, 1, "a.dcm", "0" * 64, at),
                DeliveryRow(f"9.{n}", "pacs", uid, 1, at, state=sent, sent_at=at),
                CaseRow(uid, 1, "1.0", "reported", at, "{}", b"", verdict="accepted"),
                ArchiveSeriesRow("night", uid, "1.0", "old", "2026-11-30", at, at),
            )
    return ledger


def uids(ledger: Ledger, **chosen: object) -> list[str]:
    return [row.series_instance_uid for row in matching(ledger, WorkFilter(**chosen))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({"states": ("reported",)}, ["1.2.5", "1.2.0"]),
        ({"states": ("refused",)}, ["1.2.9", "1.2.4"]),
        ({"states": ("left out", "cancelled")}, ["1.2.8", "1.2.7", "1.2.3", "1.2.2"]),
        ({"states": ("held",)}, ["1.2.5"]),
        ({"states": ("held",), "destination": "other"}, []),
        ({"states": ("reported",), "destination": "pacs", "until": NOON + DAY}, ["1.2.0"]),
        ({"destination": "pacs"}, ["1.2.5", "1.2.0"]),
        ({"code": "not-axial", "since": NOON + DAY}, ["1.2.9"]),
        ({"verdict": "accepted", "study": "1.1"}, ["1.2.5"]),
        ({"run": "night/2026-11-30", "series": ("1.2.0", "1.2.1")}, ["1.2.0"]),
        ({"search": "1.2.3"}, ["1.2.3"]),
        ({"search": "1.1", "states": ("failed",)}, ["1.2.6"]),
        ({"calling_ae_title": "CT1", "states": ("failed",)}, ["1.2.1"]),
        ({"calling_ae_title": "%"}, []),
    ],
    ids=str,
)
def test_a_filter_means_what_it_says(
    ledger: Ledger, chosen: dict[str, object], wanted: list[str]
) -> None:
    assert uids(ledger, **chosen) == wanted


def test_pages_by_key_are_all_there_is_and_nothing_twice(ledger: Ledger) -> None:
    seen: list[str] = []
    after = None
    while page := matching(ledger, WorkFilter(), 3, after):
        seen += [row.series_instance_uid for row in page]
        after = key_of(page[-1])

    assert seen == [f"1.2.{n}" for n in reversed(range(10))]


@pytest.mark.parametrize("by", BatchBy)
def test_a_batch_has_the_counts_of_just_what_its_own_filter_means(
    ledger: Ledger, by: BatchBy
) -> None:
    found = batches(ledger, WorkFilter(), by=by)

    assert found
    for batch in found:
        if batch.title:  # a series without a code is in no batch of one
            rows = matching(ledger, batch.chosen)
            assert batch.total == len(rows)
            assert {row.state.value for row in rows} == set(batch.counts)
            times = [row.received_at for row in rows]
            assert (batch.first_at, batch.last_at) == (min(times), max(times))


def test_a_day_has_each_state_counted_also_those_that_are_stored_as_refused(
    ledger: Ledger,
) -> None:
    latest, earliest = batches(ledger, WorkFilter())

    assert latest.counts == {state.value: 1 for state, _ in STATES} == earliest.counts
    assert latest.first_at > earliest.last_at


def test_what_was_sent_to_a_destination_in_a_time(ledger: Ledger) -> None:
    (sent,) = sent_to(ledger, "pacs", NOON, NOON + timedelta(hours=1))

    assert (sent.series_instance_uid, sent.kind, sent.sent_at) == ("1.2.0", "SR", NOON)
    assert sent_to(ledger, "other") == ()
    assert len(sent_to(ledger, "pacs", most=1)) == 1


def test_a_day_of_23_hours_begins_at_its_own_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks go forward at 02:00: the day begins an hour further from UTC than it ends."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        day = date(2026, 3, 29)
        begins, ends = day_start(day), day_start(day + timedelta(days=1))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert begins == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert ends == datetime(2026, 3, 29, 22, tzinfo=UTC)
