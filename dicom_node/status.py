"""What the node is doing, as values, and as tables for the command line."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table

from dicom_node.admission import Count, read_turned_away
from dicom_node.config import NodeConfig
from dicom_node.confirmation import is_overdue
from dicom_node.ledger import (
    DeliveryRow,
    DeliveryState,
    Ledger,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.retention import summed, survey
from dicom_node.waiting import WaitingSeries, read_waiting

REMARKS: Final = 10
"""Reports with metal are nothing rare: no more than this many of the latest are shown."""


@dataclass(frozen=True, slots=True)
class StuckDelivery:
    """The results of one series on their way to one destination, and why they are not there.

    objects: their kinds.
    next_attempt_at: None when the delivery is held.
    """

    series_instance_uid: str
    revision: int
    destination: str
    objects: tuple[str, ...]
    attempts: int
    reason: str
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """The objects of one kind to one destination: how many are in each state."""

    destination: str
    kind: str
    objects: Mapping[DeliveryState, int]


@dataclass(frozen=True, slots=True)
class Replacement:
    """Objects that a destination did not take as they are, or not without a warning."""

    destination: str
    kind: str
    objects: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unanalysed:
    """A series that was answered with a reason instead of a report."""

    series_instance_uid: str
    revision: int
    state: SeriesState
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What is remarkable about a series with a report: what was cut off, and metal."""

    series_instance_uid: str
    revision: int
    words: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A moment in the life of a node.

    series: how many are in each state.
    deliveries: how many objects are in each state.
    free_mb: free space on the disk of each folder.
    turned_away: who was not let in, how often and why, since when.
    unconfirmed: what was sent, and asked for in vain so far.
    overdue: what has been sent but unconfirmed for so long that it is an alarm.
    warned: what was taken with a warning, by the status of its C-STORE or STOW-RS.
    incoming: series that are not handed over yet, and what they wait for.
    kept: what files, why, of how many series, and how many megabytes.
    remarks: about the latest reports, the newest first; `REMARKS` at most.
    """

    series: Mapping[SeriesState, int]
    deliveries: Mapping[DeliveryState, int]
    traffic: tuple[Traffic, ...]
    replaced: tuple[Replacement, ...]
    waiting: tuple[StuckDelivery, ...]
    held: tuple[StuckDelivery, ...]
    unanalysed: tuple[Unanalysed, ...]
    free_mb: Mapping[str, int]
    turned_away: tuple[Count, ...] = ()
    turned_away_since: str = ""
    unconfirmed: tuple[StuckDelivery, ...] = ()
    overdue: tuple[StuckDelivery, ...] = ()
    kept: tuple[tuple[str, str, int, float], ...] = ()
    warned: tuple[Replacement, ...] = ()
    incoming: tuple[WaitingSeries, ...] = ()
    remarks: tuple[Remark, ...] = ()


def node_status(config: NodeConfig) -> NodeStatus:
    """Read the ledger and the disks; works beside a running node, and without one."""
    series: tuple[SeriesRow, ...] = ()
    results: tuple[ResultRow, ...] = ()
    deliveries: tuple[DeliveryRow, ...] = ()
    kept: tuple[tuple[str, str, int, float], ...] = ()
    now = datetime.now(UTC)
    path = config.node.database_path
    if path is None or path.exists():
        ledger = Ledger(config.node.database_url)
        try:
            series, deliveries = ledger.all_series(), ledger.deliveries()
            results = ledger.all_results()
            kept = summed(survey(config, ledger, now))
        finally:
            ledger.close()
    status = summary(series, results, deliveries, _free_mb(config))
    since, turned_away = read_turned_away(config.node.spool)
    overdue = [row for row in deliveries if is_overdue(row, now, config.confirmation)]
    unconfirmed = [
        row for row in deliveries if row.is_unconfirmed and row.reason and row not in overdue
    ]
    kinds = {row.sop_instance_uid: row.kind for row in results}
    return replace(
        status,
        turned_away=turned_away,
        turned_away_since=since,
        unconfirmed=_stuck(unconfirmed, DeliveryState.SENT, kinds),
        overdue=_stuck(overdue, DeliveryState.SENT, kinds),
        kept=kept,
        incoming=read_waiting(config.node.spool),
    )


def summary(
    series: Sequence[SeriesRow],
    results: Sequence[ResultRow],
    deliveries: Sequence[DeliveryRow],
    free_mb: Mapping[str, int],
) -> NodeStatus:
    """The status that these rows stand for."""
    kinds = {row.sop_instance_uid: row.kind for row in results}
    in_series_state = Counter(row.state for row in series)
    in_delivery_state = Counter(row.state for row in deliveries)
    return NodeStatus(
        series={state: in_series_state[state] for state in SeriesState},
        deliveries={state: in_delivery_state[state] for state in DeliveryState},
        traffic=_traffic(deliveries, kinds),
        replaced=_replaced(deliveries, kinds),
        warned=_warned(deliveries, kinds),
        waiting=_stuck(deliveries, DeliveryState.WAITING, kinds),
        held=_stuck(deliveries, DeliveryState.HELD, kinds),
        unanalysed=tuple(
            Unanalysed(row.series_instance_uid, row.revision, row.state, row.code, row.reason)
            for row in series
            if row.state in (SeriesState.REFUSED, SeriesState.FAILED)
        ),
        free_mb=free_mb,
        remarks=_remarks(series),
    )


def render(status: NodeStatus) -> RenderableType:
    """The status as tables, of what there is."""
    late = "ALARM: sent, and not confirmed in time"
    tables: tuple[tuple[Sequence[object], Callable[[], Table]], ...] = (
        (status.incoming, lambda: _incoming(status.incoming)),
        (status.unanalysed, lambda: _unanalysed(status.unanalysed)),
        (status.remarks, lambda: _remarks_table(status.remarks)),
        (status.traffic, lambda: _traffic_table(status.traffic)),
        (status.replaced, lambda: _replacements("Sent in another form", status.replaced)),
        (status.warned, lambda: _replacements("Taken with a warning", status.warned)),
        (status.waiting, lambda: _deliveries("Waiting deliveries", status.waiting)),
        (status.held, lambda: _deliveries("Held deliveries", status.held)),
        (
            status.unconfirmed,
            lambda: _deliveries("Sent, not confirmed yet", status.unconfirmed),
        ),
        (status.overdue, lambda: _deliveries(late, status.overdue)),
        (status.kept, lambda: _kept(status.kept)),
        (
            status.turned_away,
            lambda: _turned_away(status.turned_away, status.turned_away_since),
        ),
    )
    return Group(_counts(status), *(table() for rows, table in tables if rows))


def _remarks(series: Sequence[SeriesRow]) -> tuple[Remark, ...]:
    told = [row for row in series if row.state is SeriesState.REPORTED and row.reason]
    told.sort(key=lambda row: row.changed_at, reverse=True)
    return tuple(
        Remark(row.series_instance_uid, row.revision, row.reason) for row in told[:REMARKS]
    )


def _traffic(rows: Sequence[DeliveryRow], kinds: Mapping[str, str]) -> tuple[Traffic, ...]:
    """How many objects of each kind are in which state, by destination."""
    counts = Counter((row.destination, kinds[row.sop_instance_uid], row.state) for row in rows)
    pairs = sorted({(destination, kind) for destination, kind, _ in counts})
    return tuple(
        Traffic(*pair, objects={state: counts[*pair, state] for state in DeliveryState})
        for pair in pairs
    )


def _replaced(rows: Sequence[DeliveryRow], kinds: Mapping[str, str]) -> tuple[Replacement, ...]:
    """What was replaced, told once for each destination and reason."""
    counts = Counter(
        (row.destination, kinds[row.sop_instance_uid], row.reason)
        for row in rows
        if row.state is DeliveryState.REPLACED
    )
    return tuple(
        Replacement(destination, kind, count, reason)
        for (destination, kind, reason), count in sorted(counts.items())
    )


def _warned(rows: Sequence[DeliveryRow], kinds: Mapping[str, str]) -> tuple[Replacement, ...]:
    """What was stored with a warning (PS3.4 B.2-1, PS3.18 I.2-1), for each kind and status."""
    counts = Counter(
        (row.destination, kinds[row.sop_instance_uid], row.status)
        for row in rows
        if row.status and row.state in (DeliveryState.SENT, DeliveryState.CONFIRMED)
    )
    return tuple(
        Replacement(destination, kind, count, f"status 0x{status:04X}")
        for (destination, kind, status), count in sorted(counts.items())
    )


def _stuck(
    rows: Iterable[DeliveryRow], state: DeliveryState, kinds: Mapping[str, str]
) -> tuple[StuckDelivery, ...]:
    """Rows of one series to one destination, told as one."""
    groups: dict[tuple[str, int, str], list[DeliveryRow]] = {}
    for row in rows:
        if row.state is state:
            key = (row.series_instance_uid, row.revision, row.destination)
            groups.setdefault(key, []).append(row)
    return tuple(
        StuckDelivery(
            *key,
            objects=tuple(sorted(kinds[row.sop_instance_uid] for row in group)),
            attempts=max(row.attempts for row in group),
            reason="; ".join(sorted({row.reason for row in group if row.reason})),
            next_attempt_at=group[0].next_attempt_at,
        )
        for key, group in groups.items()
    )


def _free_mb(config: NodeConfig) -> dict[str, int]:
    """Free space on the disk of each of the node's folders."""
    folders = {name: getattr(config.node, name) for name in ("spool", "work", "results")}
    return {
        name: shutil.disk_usage(_existing(folder)).free // 2**20
        for name, folder in folders.items()
    }


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def _counts(status: NodeStatus) -> Table:
    """Series, objects and disks in one small table."""
    table = Table(title="msk-node", show_header=False)
    for state, count in status.series.items():
        table.add_row("series", state.value, str(count))
    for delivery_state, count in status.deliveries.items():
        table.add_row("objects to deliver", delivery_state.value, str(count))
    for name, free in status.free_mb.items():
        table.add_row("free space", name, f"{free} MB")
    return table


def _series() -> Column:
    """A UID is no use with its end cut off. A column keeps its cells: a new one each time."""
    return Column("Series", overflow="fold")


def _incoming(rows: Sequence[WaitingSeries]) -> Table:
    """The series that are not complete, and what they wait for."""
    table = Table(_series(), "Images", "Last", "Waits for", title="Series not complete yet")
    for row in rows:
        last = datetime.fromtimestamp(row.last_received_s, UTC).isoformat()
        table.add_row(
            row.series_instance_uid, str(row.instances), _local(last), escape(row.reason)
        )
    return table


def _unanalysed(rows: Sequence[Unanalysed]) -> Table:
    """The series without a report, and why."""
    headings = (_series(), "State", "Code", "Reason")
    table = Table(*headings, title="Series without a report")
    for row in rows:
        name = f"{row.series_instance_uid} ({row.revision})"
        table.add_row(name, row.state.value, row.code, row.reason)
    return table


def _traffic_table(rows: Sequence[Traffic]) -> Table:
    """What goes to whom, and how far it has come."""
    table = Table("Destination", "Object", *DeliveryState, title="Deliveries")
    for row in rows:
        table.add_row(row.destination, row.kind, *(str(n or "") for n in row.objects.values()))
    return table


def _remarks_table(rows: Sequence[Remark]) -> Table:
    """What is remarkable about the latest reports."""
    table = Table(_series(), "Remark", title="Remarks on the latest reports")
    for row in rows:
        table.add_row(f"{row.series_instance_uid} ({row.revision})", row.words)
    return table


def _replacements(title: str, rows: Sequence[Replacement]) -> Table:
    """What was not taken as it is: another form went instead, or there was a warning."""
    headings = ("Destination", "Object", "Count", "Reason")
    table = Table(*headings, title=title)
    for row in rows:
        table.add_row(row.destination, row.kind, str(row.objects), row.reason)
    return table


def _deliveries(title: str, rows: Sequence[StuckDelivery]) -> Table:
    """Deliveries that have not arrived, and why."""
    headings = (_series(), "Destination", "Objects", "Attempts", "Next", "Reason")
    table = Table(*headings, title=title)
    for row in rows:
        due = row.next_attempt_at
        table.add_row(
            f"{row.series_instance_uid} ({row.revision})",
            row.destination,
            " ".join(row.objects),
            str(row.attempts),
            due.astimezone().strftime("%H:%M:%S") if due is not None else "held",
            row.reason,
        )
    return table


def _kept(rows: Sequence[tuple[str, str, int, float]]) -> Table:
    """What files are kept, and why; what may go does so within the hour."""
    table = Table("Kept", "Series", "MB", "Reason", title="Files")
    for what, reason, count, megabytes in rows:
        words = escape(reason) or "no longer needed: about to be deleted"
        table.add_row(what, str(count), f"{megabytes:.0f}", words)
    return table


def _turned_away(rows: Sequence[Count], since: str) -> Table:
    """Who was not let in, the latest first."""
    headings = ("Calling", "Called", "From", "Times", "Last", "Reason")
    table = Table(*headings, title=f"Turned away since {_local(since)}")
    for row in sorted(rows, key=lambda each: each.last_at, reverse=True):
        titles = (escape(row.calling_ae_title), escape(row.called_ae_title))
        table.add_row(*titles, row.host, str(row.count), _local(row.last_at), row.reason)
    return table


def _local(moment: str) -> str:
    """A moment in ISO 8601, to the minute and as clocks here show it."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")
