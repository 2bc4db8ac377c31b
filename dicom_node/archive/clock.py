"""The clock of schedules: when a run is due. Nobody else knows APScheduler.

A run that was due while nobody looked is made up for once, however many were missed: the
library's scheduler would leave them out (its grace is a second) or, told otherwise, do each. So
the ledger says when the last one was due, and the library's triggers what comes next; its
scheduler is not run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from dicom_node.settings.opening_hours import parse_days
from dicom_node.settings.schedules import Schedule


def next_due(schedule: Schedule, zone: tzinfo, after: datetime) -> datetime | None:
    """When a run is due next, after one that was; None where no clock begins any."""
    trigger = _trigger(schedule, zone, after)
    if trigger is None:
        return None
    found: datetime | None = trigger.get_next_fire_time(None, after + timedelta(seconds=1))
    return found.astimezone(UTC) if found is not None else None


def last_due(
    schedule: Schedule, zone: tzinfo, after: datetime, now: datetime
) -> datetime | None:
    """The latest moment since a run was due at which the next one was; None where none was."""
    found, due = None, next_due(schedule, zone, after)
    while due is not None and due <= now:
        found, due = due, next_due(schedule, zone, due)
    return found


def _trigger(schedule: Schedule, zone: tzinfo, last_due_at: datetime) -> BaseTrigger | None:
    """What the library calls a schedule."""
    if schedule.every_h is not None:
        every_s = round(schedule.every_h * 3600)
        start = last_due_at.astimezone(UTC) + timedelta(seconds=every_s)
        return IntervalTrigger(seconds=every_s, start_date=start, timezone=UTC)
    if schedule.at is None:
        return None
    hour, minute = schedule.at.split(":")
    # Its own ranges may not go across the end of the week.
    days = ",".join(str(day) for day in sorted(parse_days(schedule.days)))
    return CronTrigger(hour=int(hour), minute=int(minute), day_of_week=days, timezone=zone)
