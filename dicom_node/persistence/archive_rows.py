"""Rows of the ledger about archives: runs, windows, series; troubles and pauses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

EVERY_ARCHIVE: Final = "*"
"""Stands for all archives in a pause; no archive is called so."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a schedule: the archive is asked for the studies of some dates.

    run: its name, the same whoever begins it: its date or moment.
    due_at: when it was to begin.
    first, last: study dates in ISO 8601, both included; empty where there were none.
    watermark: the first study date that the schedule has not listed whole, as far as this run
        and those before it came; empty while none has.
    listed_at: when its last window came to its end.
    ended_at: when nothing of it was left to be done, and it was told of.
    """

    schedule: str
    run: str
    due_at: datetime
    changed_at: datetime
    first: str = ""
    last: str = ""
    watermark: str = ""
    listed_at: datetime | None = None
    ended_at: datetime | None = None


class WindowState(StrEnum):
    """The state of a window.

    SPLIT: the answer was not whole; smaller windows stand for it.
    CUT: it was not whole either, and the window cannot be made smaller.
    FAILED: the archive would not answer.
    """

    WAITING = "waiting"
    LISTED = "listed"
    SPLIT = "split"
    CUT = "cut"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One window of study dates of a run.

    window: its key (`archive/windows.py`).
    studies: how many were listed; `left_out` of them hold no series that the rules may take.
    attempts: how often it was asked for in vain.
    visit: the number of the job that last dealt with it; see `archive/jobs.py`.
    next_at: when it is due; None when it is done.
    """

    schedule: str
    run: str
    window: str
    archive: str
    changed_at: datetime
    state: WindowState = WindowState.WAITING
    reason: str = ""
    studies: int = 0
    left_out: int = 0
    attempts: int = 0
    visit: int = 0
    next_at: datetime | None = None


class ArchiveState(StrEnum):
    """The state of a series that an archive listed, for one schedule.

    FOUND: listed, but its study's series in part only: nothing is decided yet.
    HAD: the node has it, or another schedule fetches it.
    WANTED: to be fetched.
    FETCHED: here, whole by its geometry. What became of it is in the table of series.
    INCOMPLETE: here, and not whole; it is asked for no more.
    REFUSED: the rules do not take it.
    FAILED: nothing of it came; it is asked for no more.
    """

    FOUND = "found"
    HAD = "had"
    WANTED = "wanted"
    FETCHED = "fetched"
    INCOMPLETE = "incomplete"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ArchiveSeriesRow:
    """One series that an archive listed, for one schedule.

    run: the run that last changed its mind about it.
    reason: why it is in its state, in words without patient data.
    listed: how many images the archive counts, if it does.
    instances: how many are here.
    offline: whether its images are not at hand for the archive itself.
    attempts: how often it was asked for since it became wanted.
    visit: the number of the job that last dealt with its study.
    asked_at: when it was first asked for, since it became wanted.
    next_at: when it is due; None when it is done.
    """

    schedule: str
    series_instance_uid: str
    study_instance_uid: str
    archive: str
    run: str
    found_at: datetime
    changed_at: datetime
    state: ArchiveState = ArchiveState.FOUND
    reason: str = ""
    listed: int | None = None
    instances: int = 0
    offline: bool = False
    attempts: int = 0
    visit: int = 0
    asked_at: datetime | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TroubleRow:
    """What is to be minded with one archive.

    failures: how often in a row it, or the way to it, failed.
    reason: of the last one.
    quiet_until: until when it is left alone.
    next_study_at: before which no further study is asked for, be it well or not.
    """

    archive: str
    changed_at: datetime
    failures: int = 0
    reason: str = ""
    quiet_until: datetime | None = None
    next_study_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PauseRow:
    """Whether a person has paused an archive, or all of them (`EVERY_ARCHIVE`)."""

    archive: str
    paused: bool
    changed_at: datetime
