"""The hours in which an archive may be asked, by the clock on its own wall.

`Mon-Fri 20:00-06:00` belongs to the day on which it begins, and goes on across midnight.
Whether a moment is inside is asked of the wall clock alone: an hour that the wall shows twice
is open twice, one that it never shows is not open at all, and who is inside when the clock is
set stays inside. Pure; the moment is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from dicom_node.settings.opening_hours import Hours

LOOK_AHEAD: Final = timedelta(days=16)
"""Two weeks, and a day on either side: hours of one day a week may be skipped by the clock."""


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
