"""Metrics of a node's health: alarms, signs of life, disks, destinations, certificates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from dicom_node.monitoring.alarms import Severity
from dicom_node.monitoring.samples import Described, Sample
from dicom_node.node.health import (
    DestinationHealth,
    DiskHealth,
    Health,
    ProcessHealth,
    node_health,
)
from dicom_node.node.tls_checks import expiries
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.pending import read_waiting

_OF_PROCESS: Final = ("role", "node")

HEALTHY: Final = Described("healthy", "1 where the node runs and there is no alarm.")
ALARM: Final = Described(
    "alarm",
    "Alarms that are raised just now, by kind and severity; no series where there is none.",
    ("kind", "severity"),
)
ALARMS: Final = Described("alarms", "Alarms that are raised, by severity.", ("severity",))
ALIVE: Final = Described(
    "process_alive", "1 where a process of the node is there.", _OF_PROCESS
)
MOVING: Final = Described(
    "process_moving",
    "1 where all parts of a process have lately given a sign of life.",
    _OF_PROCESS,
)
BEAT_AGE: Final = Described(
    "heartbeat_age_seconds", "Seconds since a process last wrote its heartbeat.", _OF_PROCESS
)
LOOP_AGE: Final = Described(
    "loop_age_seconds",
    "Seconds since a part of a process last gave a sign of life, as far as that is known.",
    (*_OF_PROCESS, "loop"),
)
DATABASE_UP: Final = Described("database_up", "1 where the database can be read.")
DISK_FREE: Final = Described(
    "disk_free_bytes", "Free space of a file system, by the node's folders on it.", ("folders",)
)
DISK_RESERVE: Final = Described(
    "disk_reserve_bytes", "Space that is kept free on a file system.", ("folders",)
)
DISK_SHORT: Final = Described(
    "disk_short", "1 where a file system has less free than is kept.", ("folders",)
)
LAST_SENT: Final = Described(
    "destination_last_sent_timestamp_seconds",
    "When a destination last took an object, in seconds since the epoch.",
    ("destination",),
)
LAST_CONFIRMED: Final = Described(
    "destination_last_confirmed_timestamp_seconds",
    "When a destination last confirmed an object, in seconds since the epoch.",
    ("destination",),
)
LAST_FAILED: Final = Described(
    "destination_last_failed_timestamp_seconds",
    "When a destination last did not take an object that still waits, in seconds since the "
    "epoch.",
    ("destination",),
)
FAILING: Final = Described(
    "destination_failing",
    "1 where the latest attempt at a destination was in vain.",
    ("destination",),
)
INCOMING: Final = Described(
    "series_incoming", "Series that have begun to arrive and are not handed over yet."
)
INCOMING_AGE: Final = Described(
    "series_incoming_oldest_age_seconds",
    "Seconds since the latest image came of the series that has had none for the longest.",
)
CERTIFICATE_END: Final = Described(
    "certificate_expiry_timestamp_seconds",
    "When the certificate in a file of the settings expires, in seconds since the epoch.",
    ("key", "file"),
)
DESCRIBED: Final = (
    HEALTHY, ALARM, ALARMS, ALIVE, MOVING, BEAT_AGE, LOOP_AGE, DATABASE_UP, DISK_FREE,
    DISK_RESERVE, DISK_SHORT, LAST_SENT, LAST_CONFIRMED, LAST_FAILED, FAILING, INCOMING,
    INCOMING_AGE, CERTIFICATE_END,
)  # fmt: skip


def health_samples(config: NodeConfig, now: datetime) -> Iterator[Sample]:
    """The health of the node in numbers."""
    yield from samples_of_health(node_health(config, now), now)
    yield from _incoming(config, now)
    for key, path, until in expiries(config):
        yield CERTIFICATE_END.at(until.timestamp(), key, path.name)


def samples_of_health(health: Health, now: datetime) -> Iterator[Sample]:
    """A node's health in numbers."""
    yield HEALTHY.at(health.is_healthy)
    yield DATABASE_UP.at(not health.database)
    raised = Counter((each.kind.value, each.severity.value) for each in health.alarms)
    for (kind, severity), count in sorted(raised.items()):
        yield ALARM.at(count, kind, severity)
    severities = Counter(each.severity for each in health.alarms)
    for severity in Severity:
        yield ALARMS.at(severities[severity], severity.value)
    for process in health.processes:
        yield from _process(process, now)
    for disk in health.disks:
        yield from _disk(disk)
    for destination in health.destinations:
        yield from _destination(destination)


def _process(process: ProcessHealth, now: datetime) -> Iterator[Sample]:
    of = (process.role, process.node)
    yield ALIVE.at(process.is_alive, *of)
    yield MOVING.at(process.is_moving, *of)
    yield BEAT_AGE.at(_age_s(process.beat_at, now), *of)
    for loop, beat_at in process.loops.items():
        yield LOOP_AGE.at(_age_s(beat_at, now), *of, loop)


def _disk(disk: DiskHealth) -> Iterator[Sample]:
    folders = ",".join(disk.folders)
    yield DISK_FREE.at(disk.free_mb * 2**20, folders)
    yield DISK_RESERVE.at(disk.reserve_mb * 2**20, folders)
    yield DISK_SHORT.at(disk.is_short, folders)


def _destination(destination: DestinationHealth) -> Iterator[Sample]:
    moments = (
        (LAST_SENT, destination.last_sent_at),
        (LAST_CONFIRMED, destination.last_confirmed_at),
        (LAST_FAILED, destination.last_failed_at),
    )
    for metric, at in moments:
        if at is not None:
            yield metric.at(at.timestamp(), destination.name)
    yield FAILING.at(bool(destination.reason), destination.name)


def _incoming(config: NodeConfig, now: datetime) -> Iterator[Sample]:
    waiting = read_waiting(config.node.spool)
    yield INCOMING.at(len(waiting))
    first_s = min((each.last_received_s for each in waiting), default=now.timestamp())
    yield INCOMING_AGE.at(max(now.timestamp() - first_s, 0.0))


def _age_s(since: datetime, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0)
