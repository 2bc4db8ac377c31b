"""When an archive may be asked, and how long it is left alone after trouble; pure.

A pause doubles with each failure in a row, up to a limit, and is made longer or shorter by
chance, so that several nodes do not come back at once. The archive's own wish counts where it
says one. A success ends the trouble.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from dicom_node.archive.hours import next_open
from dicom_node.persistence.archive_rows import EVERY_ARCHIVE, PauseRow, TroubleRow
from dicom_node.settings.archives import ArchiveSettings
from dicom_node.settings.opening_hours import parse_hours
from dicom_node.settings.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether an archive may be asked now.

    opens_at: from when on; None while a person has paused it.
    reason: why not now; empty where it may.
    """

    opens_at: datetime | None
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """True if it may be asked."""
        return not self.reason


def gate(
    archive: ArchiveSettings,
    trouble: TroubleRow | None,
    pauses: Sequence[PauseRow],
    now: datetime,
) -> Gate:
    """Whether an archive may be asked: no pause, its hours, no trouble that is too fresh."""
    if any(each.paused and each.archive in (archive.name, EVERY_ARCHIVE) for each in pauses):
        return Gate(None, "paused")
    hours = [parse_hours(each) for each in archive.hours]
    opens_at = next_open(hours, zone_of(archive), now)
    if opens_at > now:
        return Gate(opens_at, f"closed until {shown(opens_at, archive)}")
    quiet = trouble.quiet_until if trouble is not None else None
    if trouble is not None and quiet is not None and quiet > now:
        return Gate(quiet, f"left alone until {shown(quiet, archive)}: {trouble.reason}")
    return Gate(now)


def zone_of(archive: ArchiveSettings) -> tzinfo:
    """The time zone of an archive; without one, this machine's, else UTC."""
    if archive.timezone is not None:
        return ZoneInfo(archive.timezone)
    with contextlib.suppress(OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is one
        if name := os.environ.get("TZ", "").removeprefix(":"):
            return ZoneInfo(name)
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file)
    return UTC


def shown(moment: datetime, archive: ArchiveSettings) -> str:
    """A moment as the archive's clock shows it."""
    return moment.astimezone(zone_of(archive)).strftime("%a %Y-%m-%d %H:%M")


def wait_after(
    failures: int, schedule: Schedule, jitter: float, at_least_s: float = 0.0
) -> timedelta:
    """The wait after so many failures in a row (1 is the first); `jitter` is from 0 to 1."""
    doubled_s = schedule.first_wait_s * 2.0 ** min(max(failures, 1) - 1, 40)
    wait_s = min(doubled_s, schedule.max_wait_s) * (0.75 + 0.5 * jitter)
    return timedelta(seconds=max(wait_s, at_least_s))


def after_trouble(row: TroubleRow, words: str, pause: timedelta, now: datetime) -> TroubleRow:
    """An archive after it, or the way to it, has failed once more."""
    return replace(
        row,
        failures=row.failures + 1,
        reason=words,
        quiet_until=now + pause,
        changed_at=now,
    )


def after_success(row: TroubleRow, now: datetime) -> TroubleRow:
    """An archive after it did what it was asked for."""
    return replace(row, failures=0, reason="", quiet_until=None, changed_at=now)


def no_trouble(archive: str) -> TroubleRow:
    """An archive of which nothing is known."""
    return TroubleRow(archive, datetime.fromtimestamp(0, UTC))
