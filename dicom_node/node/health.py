"""The health of a node: one answer to whether all is well, for people, monitors and pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.monitoring.alarms import Alarm
from dicom_node.node.alarms import alarms_of, failing_since, remembered
from dicom_node.node.observation import Observation, observe
from dicom_node.node.open_work import open_work
from dicom_node.node.process_health import ProcessHealth
from dicom_node.persistence.ages import Backlog, Oldest
from dicom_node.persistence.rows import DeliveryRow
from dicom_node.settings.node import NodeConfig

__all__ = ["DestinationHealth", "DiskHealth", "Health", "OldestWaiting", "ProcessHealth"]


@dataclass(frozen=True, slots=True)
class OldestWaiting:
    """What waits for one and the same thing.

    words: what it waits for, as the one that has waited the longest does.
    ends: what ends that.
    """

    what: str
    count: int
    since: datetime | None
    words: str
    ends: str = ""


@dataclass(frozen=True, slots=True)
class DiskHealth:
    """A file system that the node writes to; `reserve_mb` is kept free on it."""

    folders: tuple[str, ...]
    free_mb: int
    reserve_mb: int
    is_short: bool


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """A destination by what it took, confirmed and failed to take.

    reason: why it last did not take something, as long as it has not taken it.
    waiting, held, unconfirmed: how many objects are.
    failing_since: since when it takes nothing; None where it does.
    """

    name: str
    last_sent_at: datetime | None
    last_confirmed_at: datetime | None
    last_failed_at: datetime | None
    reason: str
    waiting: int
    held: int
    unconfirmed: int
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a node.

    is_healthy: whether it runs, and there is no alarm.
    database: why it cannot be read; empty where it can.
    is_running: whether any node on this spool does.
    words: that as a sentence.
    seen_at: when it was looked at.
    """

    is_healthy: bool
    processes: tuple[ProcessHealth, ...]
    alarms: tuple[Alarm, ...]
    waiting: tuple[OldestWaiting, ...]
    disks: tuple[DiskHealth, ...]
    database: str
    destinations: tuple[DestinationHealth, ...]
    is_running: bool
    words: str
    seen_at: datetime


def node_health(config: NodeConfig, now: datetime) -> Health:
    """Look at a node, beside it or without one; nothing is made or changed.

    Args:
        config: says where it is.
        now: the moment.
    """
    seen = observe(config, now)
    alarms = remembered(alarms_of(seen, config, now), config)
    return health_of(seen, alarms, config, now)


def health_of(
    seen: Observation, alarms: tuple[Alarm, ...], config: NodeConfig, now: datetime
) -> Health:
    """The health that a look and its alarms come to."""
    running = seen.processes.is_running
    return Health(
        is_healthy=running and not alarms,
        processes=tuple(each for each in seen.processes.processes if each.is_expected),
        alarms=alarms,
        waiting=tuple(
            OldestWaiting(each.what, each.count, each.since, each.waits_for, each.ends)
            for each in open_work(seen, config)
        ),
        disks=tuple(
            DiskHealth(
                each.folders, each.free >> 20, each.reserve >> 20, bool(each.below_reserve)
            )
            for each in seen.disks
        ),
        database=seen.database,
        destinations=tuple(map(_destination, seen.backlogs)),
        is_running=running,
        words=seen.processes.words,
        seen_at=now,
    )


def _destination(backlog: Backlog) -> DestinationHealth:
    failing = backlog.failing
    return DestinationHealth(
        name=backlog.destination,
        last_sent_at=backlog.last_sent_at,
        last_confirmed_at=backlog.last_confirmed_at,
        last_failed_at=failing.row.changed_at if failing is not None else None,
        reason=failing.row.reason if failing is not None else "",
        waiting=_count(backlog.waiting),
        held=_count(backlog.held) + _count(backlog.held_by_person),
        unconfirmed=_count(backlog.unconfirmed),
        failing_since=failing_since(backlog),
    )


def _count(group: Oldest[DeliveryRow] | None) -> int:
    return group.count if group is not None else 0
