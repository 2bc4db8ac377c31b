"""Claims about opening hours, on the days on which the clocks in Berlin change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dicom_node.archive.hours import is_open, next_open
from dicom_node.settings.opening_hours import parse_hours

BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def open_minutes(hours: str, first: str, last: str) -> list[datetime]:
    begin, end = utc(first), utc(last)
    parsed = [parse_hours(hours)]
    minutes = range(int((end - begin).total_seconds() // 60))
    moments = (begin + timedelta(minutes=each) for each in minutes)
    return [each for each in moments if is_open(parsed, BERLIN, each)]


@pytest.mark.parametrize(
    ("first", "begins", "length_h"),
    [
        ("2026-03-21", "2026-03-21 21:00", 6),
        ("2026-03-28", "2026-03-28 21:00", 5),  # 02:00 becomes 03:00
        ("2026-10-24", "2026-10-24 20:00", 7),  # 03:00 becomes 02:00
    ],
)
def test_a_night_is_as_long_as_the_wall_clock_says(
    first: str, begins: str, length_h: int
) -> None:
    """Saturday 22:00 to Sunday 04:00: CET is UTC+1, CEST UTC+2."""
    end = (utc(f"{first} 12:00") + timedelta(days=1)).isoformat(" ")[:16]
    found = open_minutes("Sat 22:00-04:00", f"{first} 12:00", end)

    assert (found[0], len(found)) == (utc(begins), length_h * 60)
    assert found[-1] - found[0] == timedelta(hours=length_h, minutes=-1), "without a break"


def test_an_hour_that_the_wall_shows_twice_is_open_twice() -> None:
    """02:00 to 03:00 in Berlin on 2026-10-25 is 00:00Z to 02:00Z."""
    found = open_minutes("Sun 02:00-03:00", "2026-10-24 12:00", "2026-10-25 12:00")

    assert (found[0], len(found)) == (utc("2026-10-25 00:00"), 120)


def test_hours_that_the_wall_skips_are_not_open() -> None:
    found = open_minutes("Sun 02:00-03:00", "2026-03-28 12:00", "2026-03-29 12:00")

    assert found == []


@pytest.mark.parametrize(
    ("hours", "moment", "opens"),
    [
        ("20:00-06:00", "2026-03-28 23:30", "2026-03-28 23:30"),  # open already
        ("20:00-06:00", "2026-03-28 12:00", "2026-03-28 19:00"),  # the evening before, CET
        ("20:00-06:00", "2026-03-29 12:00", "2026-03-29 18:00"),  # the evening after, CEST
        ("20:00-06:00", "2026-10-25 12:00", "2026-10-25 19:00"),
        ("Sun 02:30-05:00", "2026-03-28 12:00", "2026-03-29 01:00"),  # as 03:00 appears
        ("Sun 02:00-03:00", "2026-03-28 12:00", "2026-04-05 00:00"),  # a week later
        ("Sun 02:15-02:45", "2026-10-25 00:50", "2026-10-25 01:15"),  # the second time
        ("Mon-Fri 20:00-06:00", "2026-10-24 12:00", "2026-10-26 19:00"),
        ("Fri-Mon", "2026-10-28 12:00", "2026-10-29 23:00"),
        ("Sat,Sun 22:00-24:00", "2026-10-26 12:00", "2026-10-31 21:00"),
    ],
)
def test_the_next_open_moment_is_found_to_the_minute(
    hours: str, moment: str, opens: str
) -> None:
    found = next_open([parse_hours(hours)], BERLIN, utc(moment))

    assert found == utc(opens)
    assert is_open([parse_hours(hours)], BERLIN, found)


def test_the_next_open_moment_is_the_first_open_minute_around_both_changes() -> None:
    """Against a search of every minute, for hours that lie on the change."""
    for text in ("20:00-06:00", "Sun 02:30-03:30", "01:30-02:30", "Sat 23:00-02:15"):
        hours = [parse_hours(text)]
        for start in ("2026-03-28 20:00", "2026-10-24 20:00"):
            moments = [utc(start) + timedelta(minutes=each) for each in range(0, 900, 7)]
            minutes = [utc(start) + timedelta(minutes=each) for each in range(3 * 1440)]
            opened = [each for each in minutes if is_open(hours, BERLIN, each)]
            for moment in moments:
                expected = next((each for each in opened if each >= moment), None)
                assert expected is None or next_open(hours, BERLIN, moment) == expected


def test_without_hours_an_archive_is_always_open() -> None:
    assert is_open([], BERLIN, utc("2026-01-01 12:00"))


@pytest.mark.parametrize(
    "text", ["", "Mo 20:00-06:00", "Mon 25:00-26:00", "20:00-20:00", "20-6", "Mon 20:61-22:00"]
)
def test_what_are_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no hours|no day|no time"):
        parse_hours(text)


def test_hours_that_the_clock_skips_come_two_weeks_later() -> None:
    """Closed on 22 March; at 02:15 of the 29th the clock already shows 03:15."""
    hours = [parse_hours("Sun 02:15-02:45")]

    assert next_open(hours, BERLIN, utc("2026-03-22 12:00")) == utc("2026-04-05 00:15")
