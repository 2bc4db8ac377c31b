"""Hours of the week as `node.toml` gives them: `Mon-Fri 20:00-06:00`, `Sat,Sun`, `22:00-24:00`.

What they mean on a wall clock is in `archive/hours.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_OF_DAY: Final = 24 * 60

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
