"""What the node is doing, as values, and as tables for the command line."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Column, Table

from dicom_node.config import NodeConfig
from dicom_node.ledger import (
    DeliveryRow,
    DeliveryState,
    Ledger,
    ResultRow,
    SeriesRow,
    SeriesState,
)


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
    """Objects that a destination does not take, so that another form went instead."""

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
class NodeStatus:
    """A moment in the life of a node.

    series: how many are in each state.
    deliveries: how many objects are in each state.
    free_mb: free space on the disk of each folder.
    """

    series: Mapping[SeriesState, int]
    deliveries: Mapping[DeliveryState, int]
    traffic: tuple[Traffic, ...]
    replaced: tuple[Replacement, ...]
    waiting: tuple[StuckDelivery, ...]
    held: tuple[StuckDelivery, ...]
    unanalysed: tuple[Unanalysed, ...]
    free_mb: Mapping[str, int]


def node_status(config: NodeConfig) -> NodeStatus:
    """Read the ledger and the disks; works beside a running node, and without one."""
    series: tuple[SeriesRow, ...] = ()
    results: tuple[ResultRow, ...] = ()
    deliveries: tuple[DeliveryRow, ...] = ()
    path = config.node.database_path
    if path is None or path.exists():
        ledger = Ledger(config.node.database_url)
        try:
            series, deliveries = ledger.all_series(), ledger.deliveries()
            results = ledger.all_results()
        finally:
            ledger.close()
    return summary(series, results, deliveries, _free_mb(config))


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
        waiting=_stuck(deliveries, DeliveryState.WAITING, kinds),
        held=_stuck(deliveries, DeliveryState.HELD, kinds),
        unanalysed=tuple(
            Unanalysed(row.series_instance_uid, row.revision, row.state, row.code, row.reason)
            for row in series
            if row.state in (SeriesState.REFUSED, SeriesState.FAILED)
        ),
        free_mb=free_mb,
    )


def render(status: NodeStatus) -> RenderableType:
    """The status as tables."""
    parts: list[RenderableType] = [_counts(status)]
    if status.unanalysed:
        parts.append(_unanalysed(status.unanalysed))
    if status.traffic:
        parts.append(_traffic_table(status.traffic))
    if status.replaced:
        parts.append(_replacements(status.replaced))
    if status.waiting:
        parts.append(_deliveries("Waiting deliveries", status.waiting))
    if status.held:
        parts.append(_deliveries("Held deliveries", status.held))
    return Group(*parts)


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


_SERIES = Column("Series", overflow="fold")
"""A UID is no use with its end cut off."""


def _unanalysed(rows: Sequence[Unanalysed]) -> Table:
    """The series without a report, and why."""
    headings = (_SERIES, "State", "Code", "Reason")
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


def _replacements(rows: Sequence[Replacement]) -> Table:
    """What was not taken for good, so that another form went instead."""
    headings = ("Destination", "Object", "Count", "Reason")
    table = Table(*headings, title="Sent in another form")
    for row in rows:
        table.add_row(row.destination, row.kind, str(row.objects), row.reason)
    return table


def _deliveries(title: str, rows: Sequence[StuckDelivery]) -> Table:
    """Deliveries that have not arrived, and why."""
    headings = (_SERIES, "Destination", "Objects", "Attempts", "Next", "Reason")
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
