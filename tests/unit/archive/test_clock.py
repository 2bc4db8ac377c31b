"""Claims about when runs are due: across the change of clocks, and after a downtime."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from dicom_node.archive.clock import last_due, next_due
from dicom_node.archive.politeness import wait_after
from dicom_node.archive.runs import listed, plan, run_name
from dicom_node.persistence.archive_rows import RunRow, WindowRow, WindowState
from dicom_node.settings.schedules import Schedule

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(**values: Any) -> Schedule:
    return Schedule.model_validate(
        {"name": "n", "archive": "a", "since": date(2026, 1, 1), **values}
    )


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "due"),
    [
        ("2026-03-28 12:00", "2026-03-29 01:30"),  # 02:30 is skipped: an hour later
        ("2026-03-29 12:00", "2026-03-30 00:30"),
        ("2026-10-24 12:00", "2026-10-25 00:30"),
        ("2026-10-25 12:00", "2026-10-26 01:30"),
    ],
)
def test_a_daily_run_is_due_once_a_day_by_the_archive_s_clock(after: str, due: str) -> None:
    assert next_due(schedule(at="02:30"), BERLIN, utc(after)) == utc(due)


def test_an_hour_that_comes_twice_begins_one_run() -> None:
    """The library calls twice, at 00:30Z and 01:30Z; both have the name of the date."""
    daily = schedule(at="02:30")
    again = next_due(daily, BERLIN, utc("2026-10-25 00:30"))

    assert again == utc("2026-10-25 01:30")
    names = {run_name(daily, utc(f"2026-10-25 {at}"), BERLIN) for at in ("00:30", "01:30")}
    assert names == {"20261025"}


def test_of_the_runs_that_were_missed_the_latest_is_made_up_for() -> None:
    """Down from Monday to Friday noon: one run, of Thursday's evening."""
    nightly = schedule(at="20:00", days="Mon-Fri")
    known = utc("2026-01-05 19:00")

    assert last_due(nightly, BERLIN, known, utc("2026-01-09 11:00")) == utc("2026-01-08 19:00")
    assert last_due(nightly, BERLIN, known, utc("2026-01-06 18:59")) is None


def test_days_may_go_across_the_end_of_the_week() -> None:
    nightly, moment, days = schedule(at="20:00", days="Sat-Mon"), utc("2026-01-06 12:00"), []
    for _ in range(4):
        found = next_due(nightly, BERLIN, moment)
        assert found is not None
        moment = found
        days.append(f"{moment:%a}")

    assert days == ["Sat", "Sun", "Mon", "Sat"]


def test_an_interval_is_counted_from_the_last_run() -> None:
    often = schedule(every_h=6)

    assert next_due(often, UTC, utc("2026-01-05 03:00")) == utc("2026-01-05 09:00")
    assert last_due(often, UTC, utc("2026-01-05 03:00"), utc("2026-01-06 10:00")) == utc(
        "2026-01-06 09:00"
    )


def test_a_schedule_without_a_time_is_due_never() -> None:
    assert next_due(schedule(), UTC, utc("2026-01-05 03:00")) is None


def planned(
    before: list[RunRow], due: str = "2026-01-10 19:00", **values: Any
) -> tuple[str, str]:
    row, _ = plan(schedule(**values), "r", utc(due), before, BERLIN)
    return row.first, row.last


def ran(first: str, watermark: str) -> RunRow:
    moment = utc("2026-01-05 19:00")
    return RunRow("n", "before", moment, moment, first=first, watermark=watermark)


def test_a_run_is_from_the_watermark_to_yesterday_at_the_archive() -> None:
    """19:00Z on the 9th is the 9th in Berlin; 23:30Z is the 10th there."""
    before = [ran("2026-01-01", "2026-01-05")]

    assert planned([]) == ("2026-01-01", "2026-01-09")
    assert planned(before, look_back_d=2) == ("2026-01-03", "2026-01-09")
    assert planned(before, look_back_d=0) == ("2026-01-05", "2026-01-09")
    assert planned(before, due="2026-01-09 23:30", look_back_d=0)[1] == "2026-01-09"
    assert planned(before, until=date(2026, 1, 6), look_back_d=0) == (
        "2026-01-05",
        "2026-01-06",
    )
    assert planned([ran("2026-01-01", "2026-01-20")], look_back_d=0) == ("", "")


def test_a_beginning_that_is_set_back_is_listed_from_there() -> None:
    before = [ran("2026-01-01", "2026-01-05")]

    assert planned(before, since=date(2025, 12, 1))[0] == "2025-12-01"


def test_the_watermark_stops_at_what_failed_and_goes_back_to_it() -> None:
    def window(day: str, state: WindowState) -> WindowRow:
        return WindowRow("n", "r", f"{day}-{day}", "a", utc("2026-01-09 20:00"), state)

    now = utc("2026-01-09 21:00")
    run = RunRow("n", "r", now, now, "2026-01-05", "2026-01-07", "2026-01-06")
    cut = window("20260105", WindowState.CUT)
    fine, bad = window("20260107", WindowState.LISTED), window("20260107", WindowState.FAILED)
    early = window("20260105", WindowState.FAILED)

    assert listed(run, [cut, fine], now).watermark == "2026-01-08"
    assert listed(run, [cut, bad], now).watermark == "2026-01-07"
    assert listed(run, [early, fine], now).watermark == "2026-01-05"


def test_waits_double_to_a_limit_with_a_quarter_by_chance() -> None:
    """60, 120, 240 ... 3600 s, and a service's own wish at the least."""
    wanted = schedule()
    waits = [wait_after(n, wanted, 0.5).total_seconds() for n in (1, 2, 3, 7, 500)]

    assert waits == [60, 120, 240, 3600, 3600]
    assert wait_after(1, wanted, 0.0).total_seconds() == 45
    assert wait_after(1, wanted, 1.0).total_seconds() == 75
    assert wait_after(1, wanted, 0.5, at_least_s=900).total_seconds() == 900


def test_what_failed_after_since_was_set_back_is_asked_for_in_the_next_run() -> None:
    """The watermark of the run that was listed last counts, not the furthest one."""
    now = utc("2026-01-09 20:00")
    first = RunRow("n", "1", now, now, "2026-01-05", "2026-01-08", "2026-01-09", now, now)
    later = utc("2026-01-10 20:00")
    back = RunRow("n", "2", later, later, "2025-12-01", "2026-01-09", "2026-01-09")
    bad = WindowRow("n", "2", "20251203-20251203", "a", later, WindowState.FAILED)
    after = listed(back, [bad], later)

    assert after.watermark == "2025-12-03"
    assert planned([first, after], since=date(2025, 12, 1))[0] <= "2025-12-03"


@pytest.mark.parametrize("days", ["Mon-Wed-Fri", "Mo-Fr", "", "Mon,", "Mon Tue"])
def test_days_that_cannot_be_read_are_refused_by_the_settings(days: str) -> None:
    with pytest.raises(ValidationError):
        schedule(days=days)
