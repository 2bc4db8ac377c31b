"""Health as a screen: whether the node runs, its alarms, what is open, where results go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dicom_node.commands.console import FillingTable
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
MOST_PROCESSES: Final = 6
MOST_OPEN: Final = 10
MOST_DESTINATIONS: Final = 6
MOST_DISKS: Final = 4
WIDEST: Final = 34
"""Of a column that is not cut off by the room there is."""
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
    cells = [
        (row.what, str(row.count), ago(row.since, now), row.words, row.ends) for row in rows
    ]
    headings = ("Open", "Count", "For", "Waits for", "Ends")
    more = "msk-node status --json names all"
    return short_table(headings, cells, most=MOST_OPEN, wide=("Waits for", "Ends"), more=more)


def destinations(rows: Sequence[DestinationHealth]) -> Table | None:
    """Where results go: what each last took and confirmed, and what is open there."""
    worst = sorted(rows, key=lambda each: (each.failing_since is None, -each.waiting))
    cells = [
        (
            row.name,
            local(row.last_sent_at) or "nothing yet",
            local(row.last_confirmed_at),
            *(str(count or "") for count in (row.waiting, row.held, row.unconfirmed)),
            f"{local(row.last_failed_at)} {row.reason}".strip(),
        )
        for row in worst
    ]
    headings = (
        "Destination",
        "Last taken",
        "Confirmed",
        "Waiting",
        "Held",
        "Unconf.",
        "Failed",
    )
    return short_table(headings, cells, most=MOST_DESTINATIONS, wide=("Failed",))


def short_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    most: int,
    wide: Sequence[str],
    more: str = "msk-node health --json names all",
) -> Table | None:
    """A table whose rows stay one line each; None where there are none.

    Args:
        headings: of the columns.
        rows: their cells.
        most: so many rows at most.
        wide: the columns that share the room that is left on a terminal, and are cut off at
            its end.
        more: where all rows are, for those that are left out.
    """
    if not rows:
        return None
    kind = FillingTable if wide else Table
    table = kind(box=None, pad_edge=False, header_style="bold")
    for at, heading in enumerate(headings):
        longest = max(len(each) for each in (heading, *(row[at] for row in rows[:most])))
        is_wide = heading in wide
        table.add_column(
            heading,
            no_wrap=True,
            ratio=1 if is_wide else None,
            width=None if is_wide else min(longest, WIDEST),
        )
    for row in rows[:most]:
        table.add_row(*row)
    if len(rows) > most:
        table.caption = f"... and {len(rows) - most} more: {more}"
        table.caption_justify = "left"
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
    cells = [
        (
            Text(row.kind.value, style=STYLES[row.severity]),
            row.subject,
            ago(row.since, now),
            row.reason.replace("\n", "; "),
        )
        for row in rows
    ]
    headings = ("Alarm", "About", "For", "Reason")
    return short_table(headings, cells, most=MOST_ALARMS, wide=("Reason",))


def _processes(rows: Sequence[ProcessHealth]) -> Table | None:
    """A line for each process, those that do not move first."""
    cells = [
        (
            f"{row.node} {row.role}",
            str(row.pid),
            local(row.started_at),
            f"{row.beat_at.astimezone():%H:%M:%S}",
            Text(row.words, style="" if row.is_moving else "bold red"),
        )
        for row in sorted(rows, key=lambda each: each.is_moving)
    ]
    headings = ("Process", "Pid", "Started", "Last beat", "State")
    return short_table(headings, cells, most=MOST_PROCESSES, wide=("State",))


def _disks(rows: Sequence[DiskHealth]) -> Table | None:
    """A line for each file system."""
    cells = [
        (
            ", ".join(row.folders),
            f"{row.free_mb} MB",
            f"{row.reserve_mb} MB",
            Text("SHORT", style="bold red") if row.is_short else "",
        )
        for row in rows
    ]
    headings = ("Disk of", "Free", "Kept free", "State")
    return short_table(headings, cells, most=MOST_DISKS, wide=("State",))


def _database(health: Health) -> Text:
    words = Text("Database: can be read")
    if health.database:
        words = Text.assemble("Database: ", (health.database, "bold red"))
    words.no_wrap, words.overflow = True, "ellipsis"
    return words


def _part(table: Table | None) -> Iterator[RenderableType]:
    """A part of a screen, with a line before it; nothing where there is none."""
    if table is not None:
        yield Text("")
        yield table
