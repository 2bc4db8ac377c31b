"""Runs of a schedule: which study dates, and how far the watermark came; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from dicom_node.archive.windows import parse_window, windows_between
from dicom_node.persistence.archive_rows import RunRow, WindowRow, WindowState
from dicom_node.settings.schedules import Schedule

CLOCKS_DIFFER_BY: Final = timedelta(hours=1)
BEGUN: Final = "begun"
"""The name of the row that says since when a schedule is known; it is no run."""


def run_name(schedule: Schedule, due_at: datetime, zone: tzinfo) -> str:
    """The name of a run, the same for all that the clock begins for one moment.

    A daily one is called by its date, so that an hour that the wall shows twice begins one.
    """
    if schedule.at is not None:
        return due_at.astimezone(zone).strftime("%Y%m%d")
    return due_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def plan(
    schedule: Schedule, run: str, due_at: datetime, before: Iterable[RunRow], zone: tzinfo
) -> tuple[RunRow, tuple[WindowRow, ...]]:
    """A run with its windows: from the watermark, less what is looked back, to yesterday.

    From the beginning, where that was set back to before all that was ever listed.
    """
    runs = up_to(before, due_at)
    watermark = latest_watermark(runs)
    begun = min((each.first for each in runs if each.first), default="")
    first = schedule.since
    if watermark is not None and begun <= schedule.since.isoformat():
        first = max(first, watermark - timedelta(days=schedule.look_back_d))
    yesterday = due_at.astimezone(zone).date() - timedelta(days=1)
    last = min(schedule.until or yesterday, yesterday)
    row = RunRow(
        schedule=schedule.name,
        run=run,
        due_at=due_at,
        changed_at=due_at,
        first=first.isoformat() if first <= last else "",
        last=last.isoformat() if first <= last else "",
        watermark=watermark.isoformat() if watermark is not None else "",
    )
    windows = tuple(
        WindowRow(
            schedule=schedule.name,
            run=run,
            window=window.key,
            archive=schedule.archive,
            changed_at=due_at,
            next_at=due_at,
        )
        for window in windows_between(first, last, schedule.window)
    )
    return row, windows


def up_to(runs: Iterable[RunRow], now: datetime) -> tuple[RunRow, ...]:
    """The runs without those that were due later than now: the clock was wrong then.

    The clocks of several machines may differ a little.
    """
    return tuple(each for each in runs if each.due_at <= now + CLOCKS_DIFFER_BY)


def latest_watermark(runs: Iterable[RunRow]) -> date | None:
    """The first study date that was not listed whole, by the run that was listed last."""
    told = [each for each in runs if each.watermark]
    last = max(told, key=lambda each: each.due_at, default=None)
    return date.fromisoformat(last.watermark) if last is not None else None


def listed(run: RunRow, windows: Sequence[WindowRow], now: datetime) -> RunRow:
    """A run of which every window came to its end: the watermark walks on.

    It stops at the first date whose window failed, or goes back to it: that is asked for again
    next time. A window that was cut short at its smallest is not: it would be the same again.
    """
    failed = [parse_window(each.window).first for each in windows if _failed(each)]
    reached = [date.fromisoformat(run.watermark)] if run.watermark else []
    if run.last:
        reached.append(date.fromisoformat(run.last) + timedelta(days=1))
    told = min(failed) if failed else max(reached, default=None)
    watermark = told.isoformat() if told is not None else ""
    return replace(run, watermark=watermark, listed_at=now, changed_at=now)


def _failed(window: WindowRow) -> bool:
    return window.state is WindowState.FAILED
