"""Windows of study dates, in which an archive is asked for studies; pure.

A window is a run of whole days, or a part of one day. Whole days are asked for by Study Date
alone, so that studies without a time are found too. Where an answer is not whole the window is
halved: days first, then half a day, down to 30 minutes. Archives match Study Time within a day
(PS3.4 C.2.2.2.5 leaves combined matching to negotiation), so no part crosses midnight.

No range of times matches a study without Study Time. So a day that has to be cut is asked for
once more, by its date and the first characters of Patient ID, as many as it takes; of those
answers only the studies without a time count.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, Literal

from dicom_node.peers.archives import Level, Query

SLOT_MINUTES: Final = 30
SLOTS: Final = 24 * 60 // SLOT_MINUTES
"""The finest parts of a day."""
UNTIMED: Final = "untimed"
OF_PATIENT_ID: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase + "-._/ "
"""The characters by which Patient IDs are told apart where a day has too many studies."""
MOST_CHARACTERS: Final = 10
"""Longer beginnings of Patient IDs are not asked for."""

Length = Literal["day", "week"]


@dataclass(frozen=True, slots=True)
class StudyWindow:
    """Study dates, both ends included; or a part of one of them.

    slots: first and one past the last half hour of a part of a day; None of whole days.
    untimed: whether it is the studies of one day that have no time.
    """

    first: date
    last: date
    slots: tuple[int, int] | None = None
    untimed: bool = False

    @property
    def key(self) -> str:
        """Its name in the ledger: `20260105-20260111`, `20260105@1200-1230`."""
        if self.untimed:
            return f"{self.first:%Y%m%d}@{UNTIMED}"
        if self.slots is not None:
            begins, ends = map(_minutes, self.slots)
            return f"{self.first:%Y%m%d}@{begins}-{ends}"
        return f"{self.first:%Y%m%d}-{self.last:%Y%m%d}"

    def __str__(self) -> str:
        """As people write it."""
        if self.untimed:
            return f"{self.first} (studies without a time)"
        if self.slots is not None:
            begins, ends = map(_minutes, self.slots)
            return f"{self.first} {begins[:2]}:{begins[2:]} to {ends[:2]}:{ends[2:]}"
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"

    def halves(self) -> tuple[StudyWindow, ...]:
        """The windows that hold all of this one; empty where it cannot be cut further."""
        if self.untimed:
            return ()
        days = (self.last - self.first).days + 1
        if days > 1:
            middle = self.first + timedelta(days=(days + 1) // 2)
            until = middle - timedelta(days=1)
            return replace(self, last=until), replace(self, first=middle)
        begins, ends = self.slots or (0, SLOTS)
        if ends - begins <= 1:
            return ()
        middle_slot = begins + (ends - begins + 1) // 2
        parts = (
            replace(self, slots=(begins, middle_slot)),
            replace(self, slots=(middle_slot, ends)),
        )
        return parts if self.slots else (*parts, replace(self, untimed=True))

    def queries(self, more: Sequence[tuple[str, str]]) -> tuple[Query, ...]:
        """The questions at study level, with the other keys of the schedule.

        A time that is written to the minute ("1230") sorts before the same one with seconds:
        a part begins and ends on the half hour, both included, so that it is in one of two.
        """
        dates = f"{self.first:%Y%m%d}"
        if self.last != self.first:
            dates += f"-{self.last:%Y%m%d}"
        keys = {**dict(more), "StudyDate": dates}
        if self.slots is not None:
            keys["StudyTime"] = "-".join(map(_clock, self.slots))
        return (Query(Level.STUDY, keys),)

    def narrower(self, query: Query) -> tuple[Query, ...]:
        """The same question by one more character of Patient ID; empty after too many.

        The ID that is just what was asked for so far is asked for too.
        """
        begins = query.keys.get("PatientID", "").rstrip("*")
        if not self.untimed or len(begins) >= MOST_CHARACTERS:
            return ()
        ids = [f"{begins}{each}*" for each in OF_PATIENT_ID] + [begins] * bool(begins)
        return tuple(Query(query.level, {**query.keys, "PatientID": each}) for each in ids)

    def takes(self, study_date: str | None, study_time: str | None) -> bool:
        """True if a study that was listed counts: there are archives that ignore a date.

        Of one without time, where none is asked. What is not listed decides nothing.
        """
        if _is_date(study_date) and not self.first <= _day(str(study_date)) <= self.last:
            return False
        return not self.untimed or not (study_time or "").strip()


def parse_window(key: str) -> StudyWindow:
    """The window of a key of the ledger."""
    day, _, part = key.partition("@")
    if not part:
        first, last = day.split("-")
        return StudyWindow(_day(first), _day(last))
    if part == UNTIMED:
        return StudyWindow(_day(day), _day(day), untimed=True)
    begins, ends = (
        (int(text[:2]) * 60 + int(text[2:4])) // SLOT_MINUTES for text in part.split("-")
    )
    return StudyWindow(_day(day), _day(day), slots=(begins, ends))


def windows_between(first: date, last: date, length: Length) -> Iterator[StudyWindow]:
    """The windows of a run, oldest first; weeks begin with the first day."""
    step = timedelta(days=7 if length == "week" else 1)
    while first <= last:
        yield StudyWindow(first, min(first + step - timedelta(days=1), last))
        first += step


def _clock(slot: int) -> str:
    """A time of the day as DICOM writes it; the end of the day is its last microsecond."""
    if slot == SLOTS:
        return "235959.999999"
    return f"{_minutes(slot)}00"


def _minutes(slot: int) -> str:
    """The beginning of a slot as hours and minutes; the end of the day is `2400`."""
    minutes = slot * SLOT_MINUTES
    return f"{minutes // 60:02d}{minutes % 60:02d}"


def _is_date(text: str | None) -> bool:
    """True of a date that the calendar has (PS3.5 6.2, DA)."""
    try:
        return text is not None and len(text.strip()) == 8 and bool(_day(text.strip()))
    except ValueError:
        return False


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
