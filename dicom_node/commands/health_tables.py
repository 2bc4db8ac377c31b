"""Health as a screen: whether the node runs, its alarms, what is open, where results go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from dicom_node.monitoring.alarms import Alarm, Severity
from dicom_node.monitoring.heartbeats import software_version
from dicom_node.node.health import (
    DestinationHealth,
    DiskHealth,
    Health,
    OldestWaiting,
    ProcessHealth,
)

MOST_ALARMS: Final = 8
MOST_PROCESSES: Final = 8
MOST_OPEN: Final = 10
MOST_DESTINATIONS: Final = 6
STYLES: Final = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow"}


def render_health(health: Health) -> RenderableType:
    """All of a node's health; fits 50 lines of 100 columns, whatever is behind it."""
    return Group(
        *head(health),
        *_part(_processes(health.processes)),
        *_part(open_table(health.waiting, health.seen_at)),
        *_part(destinations(health.destinations)),
        *_part(_disks(health.disks)),
        _database(health),
    )


def head(health: Health) -> Iterator[RenderableType]:
    """Whether all is well, in a line, and a line for each alarm."""
    word, style = _verdict(health)
    title = f"msk-node {software_version()}: "
    yield Text.assemble(title, (word, style), f"; {health.words}")
    yield from _part(_alarms(health.alarms, health.seen_at))


def open_table(rows: Sequence[OldestWaiting], now: datetime) -> Table | None:
    """What is open: since when, what it waits for, and what ends it."""
    if not rows:
        return None
    table = _table("Open", Column("", justify="right"), "For", "Waits for", "Ends")
    for row in rows[:MOST_OPEN]:
        since = ago(row.since, now)
        table.add_row(row.what, str(row.count), since, row.words, row.ends)
    _more(table, len(rows) - MOST_OPEN, "msk-node status --json names all")
    return table


def destinations(rows: Sequence[DestinationHealth]) -> Table | None:
    """Where results go: what each last took and confirmed, and what is open there."""
    if not rows:
        return None
    headings = ("Last taken", "Confirmed", "Waiting", "Held", "Unconfirmed", "Last failure")
    table = _table("Destination", *headings)
    worst = sorted(rows, key=lambda each: (each.failing_since is None, -each.waiting))
    for row in worst[:MOST_DESTINATIONS]:
        failed = f"{local(row.last_failed_at)} {row.reason}" if row.last_failed_at else ""
        table.add_row(
            row.name,
            local(row.last_sent_at) or "nothing yet",
            local(row.last_confirmed_at),
            *(str(count or "") for count in (row.waiting, row.held, row.unconfirmed)),
            failed,
        )
    _more(table, len(rows) - MOST_DESTINATIONS, "msk-node health --json names all")
    return table


def local(moment: datetime | None) -> str:
    """A moment as clocks here show it, to the minute; empty for none."""
    return f"{moment.astimezone():%m-%d %H:%M}" if moment is not None else ""


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment is, in the unit that fits."""
    if moment is None:
        return ""
    span_s = max((now - moment.astimezone(UTC)).total_seconds(), 0.0)
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if span_s >= 2 * seconds:
            return f"{span_s / seconds:.0f} {unit}"
    return f"{span_s:.0f} s"


def _verdict(health: Health) -> tuple[str, str]:
    if not health.is_running:
        return "NOT RUNNING", "bold red"
    if health.is_healthy:
        return "healthy", "green"
    is_critical = any(each.severity is Severity.CRITICAL for each in health.alarms)
    style = "bold red" if is_critical else "yellow"
    return f"UNHEALTHY, {len(health.alarms)} alarm{'s' * (len(health.alarms) > 1)}", style


def _alarms(rows: Sequence[Alarm], now: datetime) -> Table | None:
    """A line for each alarm, the critical ones first."""
    if not rows:
        return None
    table = _table("Alarm", "About", "For", "Reason")
    for row in rows[:MOST_ALARMS]:
        kind = Text(row.kind.value, style=STYLES[row.severity])
        table.add_row(kind, row.subject, ago(row.since, now), row.reason.replace("\n", "; "))
    _more(table, len(rows) - MOST_ALARMS, "msk-node health --json names all")
    return table


def _processes(rows: Sequence[ProcessHealth]) -> Table | None:
    if not rows:
        return None
    headings = (Column("Pid", justify="right"), "Started", "Last beat", "")
    table = _table("Process", *headings)
    worst = sorted(rows, key=lambda each: each.is_moving)
    for row in worst[:MOST_PROCESSES]:
        beat = f"{row.beat_at.astimezone():%H:%M:%S}"
        words = Text(row.words, style="" if row.is_moving else "bold red")
        name = f"{row.node} {row.role}"
        table.add_row(name, str(row.pid), local(row.started_at), beat, words)
    _more(table, len(rows) - MOST_PROCESSES, "msk-node health --json names all")
    return table


def _disks(rows: Sequence[DiskHealth]) -> Table | None:
    if not rows:
        return None
    numbers = (Column("Free", justify="right"), Column("Kept free", justify="right"))
    table = _table("Disk of", *numbers, "")
    for row in rows:
        words = Text("SHORT", style="bold red") if row.is_short else ""
        free, kept = f"{row.free_mb} MB", f"{row.reserve_mb} MB"
        table.add_row(", ".join(row.folders), free, kept, words)
    return table


def _database(health: Health) -> Text:
    if health.database:
        return Text.assemble("Database: ", (health.database, "bold red"), overflow="ellipsis")
    return Text("Database: can be read")


def _table(*headings: str | Column) -> Table:
    """A table without lines whose rows stay one line each."""
    columns = [each if isinstance(each, Column) else Column(each) for each in headings]
    for column in columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def _more(table: Table, count: int, where: str) -> None:
    if count > 0:
        table.caption = f"... and {count} more: {where}"
        table.caption_justify = "left"


def _part(table: Table | None) -> Iterator[RenderableType]:
    """A part of a screen, with a line before it; nothing where there is none."""
    if table is not None:
        yield Text("")
        yield table
