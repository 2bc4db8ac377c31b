"""The hours in which an archive may be asked, by the clock on its own wall.

`Mon-Fri 20:00-06:00` belongs to the day on which it begins, and goes on across midnight.
Whether a moment is inside is asked of the wall clock alone: an hour that the wall shows twice
is open twice, one that it never shows is not open at all, and who is inside when the clock is
set stays inside. Pure; the moment is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_OF_DAY: Final = 24 * 60
LOOK_AHEAD: Final = timedelta(days=9)
"""A week, and a day on either side of it: hours that come at all come within."""

_TEXT: Final = re.compile(
    r"(?:(?P<days>[A-Za-z]{3}(?:[-,][A-Za-z]{3})*))?\s*"
    r"(?:(?P<begins>\d{1,2}:\d{2})\s*-\s*(?P<ends>\d{1,2}:\d{2}))?"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of some days of the week.

    days: those on which they begin; Monday is 0.
    begins, ends: minutes after midnight; hours that end no later than they begin go on into
        the next day.
    """

    days: frozenset[int]
    begins: int
    ends: int

    def holds(self, weekday: int, minute: int) -> bool:
        """True if the wall clock is inside, `minute` minutes after midnight."""
        if self.begins < self.ends:
            return weekday in self.days and self.begins <= minute < self.ends
        return (weekday in self.days and minute >= self.begins) or (
            (weekday - 1) % 7 in self.days and minute < self.ends
        )


def parse_hours(text: str) -> Hours:
    """Read `Mon-Fri 20:00-06:00`, `Sat,Sun` (all day) or `22:00-24:00` (every day).

    Raises:
        ValueError: it is none of these.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None or not text.strip():
        raise ValueError(f"{text!r} are no hours: give them as 'Mon-Fri 20:00-06:00'")
    days = parse_days(found["days"]) if found["days"] else frozenset(range(7))
    if found["begins"] is None:
        return Hours(days, 0, MINUTES_OF_DAY)
    begins, ends = _minute(found["begins"]), _minute(found["ends"])
    if begins in (MINUTES_OF_DAY, ends):
        raise ValueError(f"{text!r} has no hours in it; leave the hours out for a whole day")
    return Hours(days, begins, ends)


def parse_days(text: str) -> frozenset[int]:
    """Read `Mon-Fri` or `Sat,Sun`; Monday is 0. `Fri-Mon` goes across the week's end.

    Raises:
        ValueError: a day is not one of the seven.
    """
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _weekday(first), _weekday(last or first)
        days |= {(begin + step) % 7 for step in range((end - begin) % 7 + 1)}
    return frozenset(days)


def is_open(hours: Sequence[Hours], zone: tzinfo, moment: datetime) -> bool:
    """True if an archive with these hours may be asked; without any, it always may."""
    if not hours:
        return True
    wall = moment.astimezone(zone)
    minute = wall.hour * 60 + wall.minute
    return any(each.holds(wall.weekday(), minute) for each in hours)


def next_open(hours: Sequence[Hours], zone: tzinfo, moment: datetime) -> datetime:
    """The first moment from this one on at which an archive may be asked, in UTC."""
    moment = moment.astimezone(UTC)
    if is_open(hours, zone, moment):
        return moment
    changes = (each for each in _changes(hours, zone, moment) if each > moment)
    return next(each for each in sorted(changes) if is_open(hours, zone, each))


def _changes(hours: Sequence[Hours], zone: tzinfo, moment: datetime) -> Iterator[datetime]:
    """The moments at which a day's hours may begin: as the wall says, and when it is set."""
    today = moment.astimezone(zone).date()
    for ahead in range(-1, LOOK_AHEAD.days):
        day = today + timedelta(days=ahead)
        for minute in {each.begins for each in hours} | {0}:
            for fold in (0, 1):
                yield _at(day, minute, zone, fold)
        yield from _clock_set(day, zone)


def _clock_set(day: date, zone: tzinfo) -> Iterator[datetime]:
    """The moment at which the clocks are set on a day, to the minute, if they are."""
    first, last = _at(day, 0, zone), _at(day + timedelta(days=1), 0, zone)
    before = first.astimezone(zone).utcoffset()
    if last.astimezone(zone).utcoffset() == before:
        return
    while last - first > timedelta(minutes=1):
        middle = first + timedelta(minutes=(last - first) // timedelta(minutes=2))
        if middle.astimezone(zone).utcoffset() == before:
            first = middle
        else:
            last = middle
    yield last


def _at(day: date, minute: int, zone: tzinfo, fold: int = 0) -> datetime:
    """The moment at which the wall clock shows so many minutes after midnight, in UTC."""
    wall = datetime.combine(day, time(minute // 60, minute % 60, fold=fold), zone)
    return wall.astimezone(UTC)


def _weekday(text: str) -> int:
    if text.title() not in DAYS:
        raise ValueError(f"{text!r} is no day of the week; they are {', '.join(DAYS)}")
    return DAYS.index(text.title())


def _minute(text: str) -> int:
    """Minutes after midnight of `20:00`; `24:00` is the end of the day."""
    hour, minute = map(int, text.split(":"))
    if hour * 60 + minute > MINUTES_OF_DAY or minute > 59:
        raise ValueError(f"{text!r} is no time of the day")
    return hour * 60 + minute
