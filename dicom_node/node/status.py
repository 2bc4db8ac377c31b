"""The status of the node, as values, and as tables for the command line."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_node.archive.overview import ScheduleStatus, overview
from dicom_node.delivery.attempts import is_slow
from dicom_node.delivery.confirmation import is_overdue
from dicom_node.errors import ConfigurationError
from dicom_node.node.health import Health, node_health
from dicom_node.node.retention import summed, survey
from dicom_node.node.room import STEPS, Disk, disks, need_of_case
from dicom_node.peers.outcome import ALREADY_THERE
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import (
    AWAITS_RULES,
    RELEASED,
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.receiving.rejections import Count, read_rejections
from dicom_node.settings.destinations import Delivery
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.pending import WaitingSeries, read_waiting
from dicom_node.spool.spool import Spool

MOST_WITHOUT_ROOM: Final = 20
"""Series whose need is looked at; where these have room, so have those after them, in turn."""
UNDECIDED: Final = (AWAITS_RULES, RELEASED)
"""Codes of series that are received, and not analysed before something is decided."""
REMARKS: Final = 10
"""Reports with metal are nothing rare: no more than this many of the latest are shown."""
FEW: Final = 500
"""With no more series than these, everything is told."""
MOST_SHOWN: Final = 50
"""Rows of a table, of a ledger that has more series."""
LATEST: Final = 2000
"""Objects, and reports, that its tables tell of."""
LEFT_OUT: Final = 10
"""Nor are series that rules leave out."""


@dataclass(frozen=True, slots=True)
class StuckDelivery:
    """The results of one series on their way to one destination, and why they are not there.

    objects: their kinds.
    next_attempt_at: None when the delivery is held.
    since: when the objects were made, or sent, if they were; of what is held, when that was.
    """

    series_instance_uid: str
    revision: int
    destination: str
    objects: tuple[str, ...]
    attempts: int
    reason: str
    next_attempt_at: datetime | None
    since: datetime | None = None


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
class Unselected:
    """A series that rules left out, or of which they are still to be asked."""

    series_instance_uid: str
    revision: int
    state: SeriesState
    reason: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark on a series with a report: what was cut off, and metal."""

    series_instance_uid: str
    revision: int
    words: str


@dataclass(frozen=True, slots=True)
class WithoutRoom:
    """A series whose analysis or publication waits until a disk has room for it."""

    series_instance_uid: str
    revision: int
    step: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A moment in the life of a node.

    series: how many are in each state.
    deliveries: how many objects are in each state.
    free_mb: free space on the disk of each folder.
    stalled: what has not been taken for so long that it is tried slowly, and an alarm.
    turned_away: who was rejected, how often and why, since when.
    unconfirmed: what was sent, and asked for in vain so far.
    overdue: what has been sent but unconfirmed for so long that it is an alarm.
    warned: what was taken with a warning, by the status of its C-STORE or STOW-RS.
    incoming: series that are not handed over yet, and what they wait for.
    kept: what files, why, of how many series, and how many megabytes.
    remarks: about the latest reports, the newest first; `REMARKS` at most.
    undecided: series of which rules are still to be asked.
    left_out: the latest series that rules left out, the newest first; `LEFT_OUT` at most.
    cancelled: the latest that a person has cancelled, likewise.
    missing: what a node makes when it starts, and is not there yet, with its place.
    short: by file system, the folders on it and how much is less than is kept free.
    without_room: the series that wait for room on a disk, and how much.
    is_whole: whether all there is was looked at; else `series` and `deliveries` count all, and
        the rest tells of what is the latest, or has been open for the longest.
    schedules: where each re-query stands.
    health: whether it runs, its alarms, and all that is open with what ends it.
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
    stalled: tuple[StuckDelivery, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    short: tuple[str, ...] = ()
    without_room: tuple[WithoutRoom, ...] = ()
    is_whole: bool = True
    undecided: tuple[Unselected, ...] = ()
    left_out: tuple[Unselected, ...] = ()
    cancelled: tuple[Unselected, ...] = ()
    schedules: tuple[ScheduleStatus, ...] = ()
    health: Health | None = None


def node_status(config: NodeConfig, *, everything: bool = False) -> NodeStatus:
    """Read the ledger and the disks; works beside a running node, and without one.

    Nothing is made or changed, whoever looks: no folder, no database, no file beside one.

    Args:
        config: says where they are.
        everything: look at all there is, also where that takes long: every delivery, and
            every file that is kept.

    Raises:
        ConfigurationError: the ledger is of another version, or something cannot be read.
    """
    try:
        return _read(config, everything=everything)
    except PermissionError as error:
        raise ConfigurationError(
            f"{error.filename}: cannot be read: {error.strerror}"
        ) from None


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of the ledger that a status tells of.

    latest: the deliveries whose kinds are counted.
    open: those that may be stuck, or unconfirmed.
    """

    series: Sequence[SeriesRow] = ()
    latest: Sequence[DeliveryRow] = ()
    open: Sequence[DeliveryRow] = ()
    results: Sequence[ResultRow] = ()
    in_state: Mapping[SeriesState, int] = field(default_factory=dict)
    delivered: Mapping[DeliveryState, int] = field(default_factory=dict)
    is_whole: bool = True


def _read(config: NodeConfig, *, everything: bool) -> NodeStatus:
    """The status, of what this user may read."""
    rows = _Rows()
    kept: tuple[tuple[str, str, int, float], ...] = ()
    now = datetime.now(UTC)
    without_room: tuple[WithoutRoom, ...] = ()
    schedules: tuple[ScheduleStatus, ...] = ()
    found = disks(config)
    ledger = existing_ledger(config.node.database_url, only_read=True)
    if ledger is not None:
        try:
            rows = _rows(ledger, everything=everything)
            if rows.is_whole:
                kept = summed(survey(config, ledger, now))
            without_room = _without_room(config, ledger.unanswered(MOST_WITHOUT_ROOM), found)
            schedules = overview(config, ArchiveLedger(ledger), now)
        finally:
            ledger.close()
    status = summary(rows.series, rows.results, rows.open, _free_mb(config), config.delivery)
    since, turned_away = read_rejections(config.node.spool)
    overdue = [row for row in rows.open if is_overdue(row, now, config.confirmation)]
    late = {(row.sop_instance_uid, row.destination) for row in overdue}
    unconfirmed = [
        row
        for row in rows.open
        if row.is_unconfirmed
        and row.reason
        and (row.sop_instance_uid, row.destination) not in late
    ]
    by_uid = {row.sop_instance_uid: row for row in rows.results}
    kinds = {row.sop_instance_uid: row.kind for row in rows.results}
    return _shortened(
        replace(
            status,
            series={state: rows.in_state.get(state, 0) for state in SeriesState},
            deliveries={state: rows.delivered.get(state, 0) for state in DeliveryState},
            traffic=_traffic(rows.latest, kinds),
            replaced=_replaced(rows.latest, kinds),
            warned=_warned(rows.latest, kinds),
            turned_away=turned_away,
            turned_away_since=since,
            unconfirmed=_stuck(unconfirmed, DeliveryState.SENT, by_uid),
            overdue=_stuck(overdue, DeliveryState.SENT, by_uid),
            kept=kept,
            incoming=read_waiting(config.node.spool),
            missing=_missing(config, has_ledger=ledger is not None),
            short=tuple(each.below_reserve for each in found if each.below_reserve),
            without_room=without_room,
            is_whole=rows.is_whole,
            schedules=schedules,
            health=node_health(config, now),
        )
    )


def _rows(ledger: Ledger, *, everything: bool) -> _Rows:
    """All rows; of a ledger with many series no more than can be told."""
    in_state, delivered = ledger.count_series(), ledger.count_deliveries()
    if everything or sum(in_state.values()) <= FEW:
        deliveries = ledger.deliveries()
        series, results = ledger.all_series(), ledger.all_results()
        return _Rows(series, deliveries, deliveries, results, in_state, delivered)
    told = (
        SeriesState.REFUSED,
        SeriesState.FAILED,
        SeriesState.LEFT_OUT,
        SeriesState.CANCELLED,
        SeriesState.RECEIVED,
    )
    series = tuple(
        row for state in told for row in ledger.latest_series(state, MOST_SHOWN)
    ) + ledger.latest_series(SeriesState.REPORTED, LATEST)
    latest = ledger.latest_deliveries(LATEST)
    still_open = (
        *ledger.most_tried(DeliveryState.WAITING, LATEST),
        *ledger.most_tried(DeliveryState.HELD, LATEST),
        *ledger.unconfirmed(LATEST),
    )
    results = ledger.results_named(row.sop_instance_uid for row in (*latest, *still_open))
    return _Rows(series, latest, still_open, results, in_state, delivered, is_whole=False)


def _shortened(status: NodeStatus) -> NodeStatus:
    """A status whose tables can be read: so many rows of each."""
    if status.is_whole:
        return status
    names = ("unanalysed", "incoming", "waiting", "stalled", "held", "unconfirmed", "overdue")
    return replace(status, **{name: getattr(status, name)[:MOST_SHOWN] for name in names})


def summary(
    series: Sequence[SeriesRow],
    results: Sequence[ResultRow],
    deliveries: Sequence[DeliveryRow],
    free_mb: Mapping[str, int],
    policy: Delivery = Delivery(),  # noqa: B008 - frozen
) -> NodeStatus:
    """The status that these rows stand for."""
    kinds = {row.sop_instance_uid: row.kind for row in results}
    by_uid = {row.sop_instance_uid: row for row in results}
    slow = [row for row in deliveries if is_slow(row, policy)]
    stuck = [row for row in deliveries if not is_slow(row, policy)]
    in_series_state = Counter(row.state for row in series)
    in_delivery_state = Counter(row.state for row in deliveries)
    return NodeStatus(
        series={state: in_series_state[state] for state in SeriesState},
        deliveries={state: in_delivery_state[state] for state in DeliveryState},
        traffic=_traffic(deliveries, kinds),
        replaced=_replaced(deliveries, kinds),
        warned=_warned(deliveries, kinds),
        waiting=_stuck(stuck, DeliveryState.WAITING, by_uid),
        held=_stuck(stuck, DeliveryState.HELD, by_uid),
        stalled=_stuck(slow, DeliveryState.WAITING, by_uid),
        unanalysed=tuple(
            Unanalysed(row.series_instance_uid, row.revision, row.state, row.code, row.reason)
            for row in series
            if row.state in (SeriesState.REFUSED, SeriesState.FAILED)
        ),
        free_mb=free_mb,
        remarks=_remarks(series),
        undecided=tuple(_unselected(row) for row in series if row.code in UNDECIDED),
        left_out=_passed_over(series, SeriesState.LEFT_OUT),
        cancelled=_passed_over(series, SeriesState.CANCELLED),
    )


def _passed_over(series: Sequence[SeriesRow], state: SeriesState) -> tuple[Unselected, ...]:
    """The latest series that ended in a state without an answer."""
    found = [row for row in series if row.state is state]
    found.sort(key=lambda row: row.changed_at, reverse=True)
    return tuple(map(_unselected, found[:LEFT_OUT]))


def _unselected(row: SeriesRow) -> Unselected:
    words = row.reason or "the rules are about to be asked"
    return Unselected(row.series_instance_uid, row.revision, row.state, words)


def _remarks(series: Sequence[SeriesRow]) -> tuple[Remark, ...]:
    told = [row for row in series if row.state is SeriesState.REPORTED and row.reason]
    told.sort(key=lambda row: row.changed_at, reverse=True)
    return tuple(
        Remark(row.series_instance_uid, row.revision, row.reason) for row in told[:REMARKS]
    )


def _traffic(rows: Sequence[DeliveryRow], kinds: Mapping[str, str]) -> tuple[Traffic, ...]:
    """The numbers of objects of each kind in each state, by destination."""
    counts = Counter((row.destination, kinds[row.sop_instance_uid], row.state) for row in rows)
    pairs = sorted({(destination, kind) for destination, kind, _ in counts})
    return tuple(
        Traffic(*pair, objects={state: counts[*pair, state] for state in DeliveryState})
        for pair in pairs
    )


def _replaced(rows: Sequence[DeliveryRow], kinds: Mapping[str, str]) -> tuple[Replacement, ...]:
    """The objects that were replaced, told once for each destination and reason."""
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
    """The objects stored with a warning (PS3.4 B.2-1, PS3.18 I.2-1), by kind and status."""
    counts = Counter(
        (row.destination, kinds[row.sop_instance_uid], row.status)
        for row in rows
        if row.status and row.state in (DeliveryState.SENT, DeliveryState.CONFIRMED)
    )
    return tuple(
        Replacement(destination, kind, count, _status_words(status))
        for (destination, kind, status), count in sorted(counts.items())
    )


def _status_words(status: int) -> str:
    """The status with which an object was taken, as text."""
    words = ": it had the object already" if status in ALREADY_THERE else ""
    return f"status 0x{status:04X}{words}"


def _stuck(
    rows: Iterable[DeliveryRow], state: DeliveryState, results: Mapping[str, ResultRow]
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
            objects=tuple(sorted(results[row.sop_instance_uid].kind for row in group)),
            attempts=max(row.attempts for row in group),
            reason="; ".join(sorted({row.reason for row in group if row.reason})),
            next_attempt_at=group[0].next_attempt_at,
            since=min(_since(row, results[row.sop_instance_uid]) for row in group),
        )
        for key, group in groups.items()
    )


def _since(row: DeliveryRow, result: ResultRow) -> datetime:
    """The moment from which an object has been in its state, or on its way."""
    if row.state is DeliveryState.HELD:
        return row.changed_at
    return row.sent_at or result.made_at


def _free_mb(config: NodeConfig) -> dict[str, int]:
    """Free space on the disk of each of the node's folders."""
    folders = {name: getattr(config.node, name) for name in ("spool", "work", "results")}
    return {
        name: shutil.disk_usage(_existing(folder)).free // 2**20
        for name, folder in folders.items()
    }


def _without_room(
    config: NodeConfig, rows: Sequence[SeriesRow], found: Sequence[Disk]
) -> tuple[WithoutRoom, ...]:
    """The first of the series that are not answered and have no room, if there are any.

    Also those whose step found none where no disk of the node's is short, as the ledger says.
    """
    spool, waiting = Spool(config.node.spool, only_look=True), []
    for row in rows:
        paths = [entry.path for entry in spool.entries(row.series_instance_uid)]
        step = STEPS[row.state]
        short = step.shortages(
            found, need_of_case(paths, config.for_called(row.called_ae_title))
        )
        if short or (row.reason and not row.code):
            words = "; ".join(each.words for each in short) or row.reason
            waiting.append(WithoutRoom(row.series_instance_uid, row.revision, step.name, words))
    return tuple(waiting)


def _missing(config: NodeConfig, *, has_ledger: bool) -> dict[str, str]:
    """What a node makes when it first starts, and is not there."""
    folders = {name: getattr(config.node, name) for name in ("spool", "work", "results")}
    missing = {name: str(folder) for name, folder in folders.items() if not folder.exists()}
    if not has_ledger:
        path = config.node.database_path
        missing["database"] = str(path) if path is not None else "no tables of a node in it"
    return missing


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())
