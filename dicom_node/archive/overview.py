"""Where each schedule stands, as values: for `status` and `requery status` alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dicom_node.archive.night import Night, night_of
from dicom_node.archive.politeness import gate, zone_of
from dicom_node.archive.runs import BEGUN, latest_watermark, up_to
from dicom_node.archive.windows import parse_window
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import ArchiveState, WindowState
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.schedules import Schedule

MOST_NAMED: Final = 20
"""Of windows and series that need a look, so many of a schedule are named."""


@dataclass(frozen=True, slots=True)
class Named:
    """A window or a series that is not as it should be, and why."""

    schedule: str
    what: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """Where a schedule stands.

    watermark: before this study date all was listed; empty while nothing was.
    last_run: the name of the latest run; empty before the first.
    next_due: when the next one is due; None where no clock begins any.
    gate: why its archive is not asked just now; empty where it may be.
    total: of all its runs. last: of the latest; None before the first.
    named: what needs a look.
    """

    schedule: str
    archive: str
    watermark: str
    last_run: str
    next_due: datetime | None
    gate: str
    total: Night
    last: Night | None
    named: tuple[Named, ...] = ()


def overview(
    config: NodeConfig, ledger: ArchiveLedger, now: datetime
) -> tuple[ScheduleStatus, ...]:
    """Where each schedule stands; none where an older node has made no tables for them."""
    if not config.schedules or not ledger.is_there():
        return ()
    return tuple(_status(config, ledger, each, now) for each in config.schedules)


def _status(
    config: NodeConfig, ledger: ArchiveLedger, schedule: Schedule, now: datetime
) -> ScheduleStatus:
    from dicom_node.archive.clock import next_due  # noqa: PLC0415 - not without schedules

    archive = config.archive(schedule.archive)
    runs = up_to(ledger.runs(schedule.name), now)
    begun = [each for each in runs if each.run != BEGUN]
    watermark = latest_watermark(runs)
    due = words = None
    if archive is not None:
        after = max((each.due_at for each in runs), default=now)
        due = next_due(schedule, zone_of(archive), after)
        words = gate(archive, ledger.trouble(archive.name), ledger.pauses(), now).reason
    return ScheduleStatus(
        schedule=schedule.name,
        archive=schedule.archive,
        watermark=watermark.isoformat() if watermark is not None else "",
        last_run=begun[-1].run if begun else "",
        next_due=due,
        gate=words if words is not None else "no such archive",
        total=night_of(ledger, schedule.name, None),
        last=night_of(ledger, schedule.name, begun[-1].run) if begun else None,
        named=tuple(_named(ledger, schedule, begun[-1].run)) if begun else (),
    )


def _named(ledger: ArchiveLedger, schedule: Schedule, run: str) -> Iterator[Named]:
    """The windows of the latest run, and the series of all, that need a look."""
    bad = (WindowState.CUT, WindowState.FAILED)
    windows = ledger.windows(schedule.name, run, bad)
    for row in windows[:MOST_NAMED]:
        window = str(parse_window(row.window))
        yield Named(schedule.name, window, f"window {row.state}", row.reason)
    states = (ArchiveState.INCOMPLETE, ArchiveState.FAILED)
    for each in ledger.series(schedule.name, states=states, latest=MOST_NAMED):
        yield Named(schedule.name, each.series_instance_uid, each.state, each.reason)
