"""The tables of `msk-node status`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from dicom_node.archive.overview import Named, ScheduleStatus
from dicom_node.commands.health_tables import destinations, head, open_table, short_table
from dicom_node.node.status import (
    NodeStatus,
    Remark,
    Replacement,
    StuckDelivery,
    Traffic,
    Unanalysed,
    Unselected,
    WithoutRoom,
)
from dicom_node.persistence.archive_rows import ArchiveState
from dicom_node.persistence.rows import (
    DeliveryState,
)
from dicom_node.receiving.rejections import Count
from dicom_node.spool.pending import WaitingSeries

MOST_SCHEDULES: Final = 4
MOST_UNANALYSED: Final = 3


def render(status: NodeStatus) -> RenderableType:
    """The status as tables, of what there is; of many series, as one screen."""
    if not status.is_whole:
        return _screen(status)
    late = "ALARM: sent, and not confirmed in time"
    slow = "ALARM: not taken for long, tried slowly until it is"
    named = [each for one in status.schedules for each in one.named]
    tables: tuple[tuple[Sequence[object], Callable[[], Table]], ...] = (
        (status.without_room, lambda: _without_room(status.without_room)),
        (status.incoming, lambda: _incoming(status.incoming)),
        (
            status.undecided,
            lambda: _unselected("Series that wait for their rules", status.undecided),
        ),
        (
            status.left_out,
            lambda: _unselected("Latest series left out by rules", status.left_out),
        ),
        (
            status.cancelled,
            lambda: _unselected("Latest series that a person cancelled", status.cancelled),
        ),
        (status.unanalysed, lambda: _unanalysed(status.unanalysed)),
        (status.remarks, lambda: _remarks_table(status.remarks)),
        (status.traffic, lambda: _traffic_table(status.traffic)),
        (status.replaced, lambda: _replacements("Sent in another form", status.replaced)),
        (status.warned, lambda: _replacements("Taken with a warning", status.warned)),
        (status.waiting, lambda: _deliveries("Waiting deliveries", status.waiting)),
        (status.stalled, lambda: _deliveries(slow, status.stalled)),
        (status.held, lambda: _deliveries("Held deliveries", status.held)),
        (
            status.unconfirmed,
            lambda: _deliveries("Sent, not confirmed yet", status.unconfirmed),
        ),
        (status.overdue, lambda: _deliveries(late, status.overdue)),
        (status.schedules, lambda: schedules(status.schedules)),
        (named, lambda: needing_a_look(named)),
        (status.kept, lambda: _kept(status.kept)),
        (
            status.turned_away,
            lambda: _turned_away(status.turned_away, status.turned_away_since),
        ),
    )
    return Group(*_head(status), _counts(status), *(table() for rows, table in tables if rows))


def _head(status: NodeStatus) -> Iterator[RenderableType]:
    """Whether the node runs, its alarms, and all that is open with what ends it."""
    if status.health is not None:
        yield from head(status.health)
        yield Text("")
        if (table := open_table(status.health.waiting, status.health.seen_at)) is not None:
            yield table
            yield Text("")


def _screen(status: NodeStatus) -> RenderableType:
    """The same of many series: what fits 50 lines of 100 columns."""
    health = status.health
    tables = (
        _short_counts(status),
        destinations(health.destinations) if health is not None else None,
        _short_schedules(status.schedules),
        _latest_unanalysed(status.unanalysed),
    )
    parts = [each for table in tables if table is not None for each in (table, Text(""))]
    return Group(*_head(status), *parts, Text("--all tells everything, row by row."))


def _short_counts(status: NodeStatus) -> Table:
    """Series, objects and disks, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True, overflow="ellipsis")
    for name, counts in (("Series", status.series), ("Objects", status.deliveries)):
        table.add_row(name, "  ".join(f"{state} {count}" for state, count in counts.items()))
    free = (f"{name} {size} MB" for name, size in status.free_mb.items())
    table.add_row("Free", "  ".join(free))
    for words in status.short:
        table.add_row("Short", words)
    return table


def _short_schedules(rows: Sequence[ScheduleStatus]) -> Table | None:
    """A line for each schedule."""
    numbers = (ArchiveState.WANTED, ArchiveState.FETCHED, ArchiveState.FAILED)
    cells = [
        (
            row.schedule,
            *(str(row.total.series[state] or "") for state in numbers),
            _local(row.next_due.isoformat()) if row.next_due is not None else "by hand",
            f"{row.archive}: {row.gate or 'may be asked'}",
        )
        for row in rows
    ]
    headings = ("Schedule", "Wanted", "Fetched", "Failed", "Next", "Archive")
    more = "msk-node requery status names all"
    return short_table(headings, cells, most=MOST_SCHEDULES, wide=("Archive",), more=more)


def _latest_unanalysed(rows: Sequence[Unanalysed]) -> Table | None:
    """The latest series without a report, each by its whole UID."""
    cells = [
        (f"{row.series_instance_uid} ({row.revision})", row.code or row.reason) for row in rows
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Latest without a report", overflow="fold")
    table.add_column("Why", no_wrap=True)
    for each in cells[:MOST_UNANALYSED]:
        table.add_row(*each)
    return table if rows else None


def _counts(status: NodeStatus) -> Table:
    """Series, objects and disks in one small table."""
    table = Table(title="msk-node", show_header=False)
    for state, count in status.series.items():
        table.add_row("series", state.value, str(count))
    for delivery_state, count in status.deliveries.items():
        table.add_row("objects to deliver", delivery_state.value, str(count))
    for name, place in status.missing.items():
        table.add_row("not there yet", name, place)
    for name, free in status.free_mb.items():
        table.add_row("free space", name, f"{free} MB")
    for words in status.short:
        table.add_row("short of room", *words.split(": ", 1))
    return table


def _series() -> Column:
    """A UID is no use with its end cut off. A column keeps its cells: a new one each time."""
    return Column("Series", overflow="fold")


def _without_room(rows: Sequence[WithoutRoom]) -> Table:
    """The series whose next step waits for room on a disk."""
    table = Table(_series(), "Step", "Waits until", title="Series without room on a disk")
    for row in rows:
        table.add_row(f"{row.series_instance_uid} ({row.revision})", row.step, row.reason)
    return table


def _incoming(rows: Sequence[WaitingSeries]) -> Table:
    """The series that are not complete, and what they wait for."""
    table = Table(_series(), "Images", "Last", "Waits for", title="Series not complete yet")
    for row in rows:
        last = datetime.fromtimestamp(row.last_received_s, UTC).isoformat()
        table.add_row(row.series_instance_uid, str(row.instances), _local(last), row.reason)
    return table


def _unanalysed(rows: Sequence[Unanalysed]) -> Table:
    """The series without a report, and why."""
    headings = (_series(), "State", "Code", "Reason")
    table = Table(*headings, title="Series without a report")
    for row in rows:
        name = f"{row.series_instance_uid} ({row.revision})"
        table.add_row(name, row.state.value, row.code, row.reason)
    return table


def _unselected(title: str, rows: Sequence[Unselected]) -> Table:
    """The series that rules left out or are still to be asked about, and why."""
    table = Table(_series(), "Reason", title=title)
    for row in rows:
        table.add_row(f"{row.series_instance_uid} ({row.revision})", row.reason)
    return table


def _traffic_table(rows: Sequence[Traffic]) -> Table:
    """The objects by destination, and how far they have come."""
    table = Table("Destination", "Object", *DeliveryState, title="Deliveries")
    for row in rows:
        table.add_row(row.destination, row.kind, *(str(n or "") for n in row.objects.values()))
    return table


def _remarks_table(rows: Sequence[Remark]) -> Table:
    """The remarks on the latest reports."""
    table = Table(_series(), "Remark", title="Remarks on the latest reports")
    for row in rows:
        table.add_row(f"{row.series_instance_uid} ({row.revision})", row.words)
    return table


def _replacements(title: str, rows: Sequence[Replacement]) -> Table:
    """The objects not taken as they are: another form went instead, or there was a warning."""
    headings = ("Destination", "Object", "Count", "Reason")
    table = Table(*headings, title=title)
    for row in rows:
        table.add_row(row.destination, row.kind, str(row.objects), row.reason)
    return table


def _deliveries(title: str, rows: Sequence[StuckDelivery]) -> Table:
    """Deliveries that have not arrived, and why."""
    headings = (_series(), "Destination", "Objects", "Since", "Attempts", "Next", "Reason")
    table = Table(*headings, title=title)
    for row in rows:
        due = row.next_attempt_at
        table.add_row(
            f"{row.series_instance_uid} ({row.revision})",
            row.destination,
            " ".join(row.objects),
            _local(row.since.isoformat()) if row.since is not None else "",
            str(row.attempts),
            due.astimezone().strftime("%H:%M:%S") if due is not None else "held",
            row.reason,
        )
    return table


def _kept(rows: Sequence[tuple[str, str, int, float]]) -> Table:
    """The files that are kept, and why; those that may go do so within the hour."""
    table = Table("Kept", "Series", "MB", "Reason", title="Files")
    for what, reason, count, megabytes in rows:
        words = reason or "no longer needed: about to be deleted"
        table.add_row(what, str(count), f"{megabytes:.0f}", words)
    return table


def _turned_away(rows: Sequence[Count], since: str) -> Table:
    """The callers that were rejected, the latest first."""
    headings = ("Calling", "Called", "From", "Times", "Last", "Reason")
    table = Table(*headings, title=f"Turned away since {_local(since)}")
    for row in sorted(rows, key=lambda each: each.last_at, reverse=True):
        titles = (row.calling_ae_title, row.called_ae_title)
        table.add_row(*titles, row.host, str(row.count), _local(row.last_at), row.reason)
    return table


def schedules(rows: Sequence[ScheduleStatus]) -> Table:
    """Where each schedule stands: of all its runs, and of the latest."""
    headings = ("Schedule", "Run", "Found", "Had", "Wanted", "Fetched", "Incomplete")
    more = ("Analysed", "Refused", "Failed", "Listed before", "Next", "Archive")
    table = Table(*headings, *more, title="Schedules")
    for row in rows:
        asked = row.gate or "may be asked"
        due = _local(row.next_due.isoformat()) if row.next_due is not None else "by hand"
        for night in filter(None, (row.total, row.last)):
            is_total = night is row.total
            states = night.series
            table.add_row(
                row.schedule if is_total else "",
                night.run or "all",
                str(night.found),
                str(states[ArchiveState.HAD] or ""),
                str(states[ArchiveState.WANTED] or ""),
                str(states[ArchiveState.FETCHED] or ""),
                str(states[ArchiveState.INCOMPLETE] or ""),
                str(night.analysed or ""),
                f"{states[ArchiveState.REFUSED] or ''} {night.reasons}".strip(),
                str(states[ArchiveState.FAILED] or ""),
                row.watermark if is_total else "",
                due if is_total else "",
                f"{row.archive}: {asked}" if is_total else "",
            )
    return table


def needing_a_look(rows: Sequence[Named]) -> Table:
    """The windows and series of schedules that are not as they should be."""
    what = Column("Window or series", overflow="fold")
    table = Table("Schedule", what, "State", "Reason", title="Not whole, by schedule")
    for row in rows:
        table.add_row(row.schedule, row.what, row.state, row.reason)
    return table


def _local(moment: str) -> str:
    """A moment in ISO 8601, to the minute and as clocks here show it."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")
