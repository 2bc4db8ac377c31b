"""Metrics that the ledger knows: what is in which state, and how old the oldest of it is.

They are asked for when somebody wants them, by whoever wants them: the worker has nothing to do
with it, and they are told although it is dead or frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from dicom_node.archive.overview import ScheduleStatus, overview
from dicom_node.monitoring.samples import Described, Sample
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.figures import (
    deliveries_of,
    first_unconfirmed,
    oldest_made,
    oldest_series,
    unconfirmed_of,
)
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import UNANSWERED, DeliveryState, SeriesState
from dicom_node.settings.node import NodeConfig

SERIES: Final = Described("series", "Revisions of series in the ledger, by state.", ("state",))
SERIES_AGE: Final = Described(
    "series_oldest_age_seconds",
    "Age of the oldest series without an answer, since it was handed over, by state; 0: none.",
    ("state",),
)
DELIVERIES: Final = Described(
    "deliveries", "Result objects, by destination and state.", ("destination", "state")
)
UNCONFIRMED: Final = Described(
    "deliveries_unconfirmed",
    "Result objects that were sent and are still to be asked for, by destination.",
    ("destination",),
)
DELIVERY_AGE: Final = Described(
    "delivery_oldest_age_seconds",
    "Age of the oldest result object that is waiting or held (since it was made), or "
    "unconfirmed (since it was sent), by destination; 0: none.",
    ("destination", "state"),
)
SCHEDULE_SERIES: Final = Described(
    "schedule_series",
    "Series that the runs of a schedule have listed, by state.",
    ("schedule", "state"),
)
SCHEDULE_WINDOWS: Final = Described(
    "schedule_windows", "Windows of the runs of a schedule, by state.", ("schedule", "state")
)
SCHEDULE_DUE: Final = Described(
    "schedule_next_run_timestamp_seconds",
    "When the next run of a schedule is due, in seconds since the epoch.",
    ("schedule",),
)
SCHEDULE_HELD_UP: Final = Described(
    "schedule_held_up",
    "1 where the archive of a schedule is not asked just now: its hours, a pause or trouble.",
    ("schedule",),
)
DESCRIBED: Final = (
    SERIES, SERIES_AGE, DELIVERIES, UNCONFIRMED, DELIVERY_AGE, SCHEDULE_SERIES,
    SCHEDULE_WINDOWS, SCHEDULE_DUE, SCHEDULE_HELD_UP,
)  # fmt: skip


def ledger_samples(config: NodeConfig, now: datetime) -> Iterator[Sample]:
    """What the ledger says; nothing where there is none yet.

    Raises:
        ConfigurationError: the database cannot be reached or read.
    """
    ledger = existing_ledger(config.node.database_url, only_read=True)
    if ledger is None:
        return
    try:
        yield from _series(ledger, now)
        yield from _deliveries(config, ledger, now)
        for status in overview(config, ArchiveLedger(ledger), now):
            yield from _schedule(status)
    finally:
        ledger.close()


def _series(ledger: Ledger, now: datetime) -> Iterator[Sample]:
    counts = ledger.count_series()
    for state in SeriesState:
        yield SERIES.at(counts.get(state, 0), state.value)
    since = oldest_series(ledger)
    for state in UNANSWERED:
        yield SERIES_AGE.at(_age_s(since.get(state), now), state.value)


def _deliveries(config: NodeConfig, ledger: Ledger, now: datetime) -> Iterator[Sample]:
    """By destination: those that are configured, and those that something was meant for."""
    counts, unconfirmed = deliveries_of(ledger), unconfirmed_of(ledger)
    configured = {each.name for each in config.destinations}
    for name in sorted(configured | {name for name, _ in counts}):
        for state in DeliveryState:
            yield DELIVERIES.at(counts.get((name, state), 0), name, state.value)
        yield UNCONFIRMED.at(unconfirmed.get(name, 0), name)
        for state in (DeliveryState.WAITING, DeliveryState.HELD):
            there = counts.get((name, state), 0)
            since = oldest_made(ledger, name, state) if there else None
            yield DELIVERY_AGE.at(_age_s(since, now), name, state.value)
        since = first_unconfirmed(ledger, name) if unconfirmed.get(name) else None
        yield DELIVERY_AGE.at(_age_s(since, now), name, "unconfirmed")


def _schedule(status: ScheduleStatus) -> Iterator[Sample]:
    name = status.schedule
    for state, count in status.total.series.items():
        yield SCHEDULE_SERIES.at(count, name, state.value)
    for window, count in status.total.windows.items():
        yield SCHEDULE_WINDOWS.at(count, name, window.value)
    if status.next_due is not None:
        yield SCHEDULE_DUE.at(status.next_due.timestamp(), name)
    yield SCHEDULE_HELD_UP.at(bool(status.gate), name)


def _age_s(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
