"""The overview: is all well? and what has a person to do, in one glance."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from dicom_node.archive.overview import ScheduleStatus, overview
from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.alarms import Alarm, Severity
from dicom_node.node.health import Health, node_health
from dicom_node.node.remedies import remedy_of
from dicom_node.node.work_lists import day_start
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.persistence.today import Day, day_since
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.pending import read_waiting
from dicom_node.web.access import require_viewer
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.shown import show

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])


@dataclass(frozen=True, slots=True)
class _Read:
    """What the ledger says; nothing where there is none or it cannot be read."""

    day: Day | None = None
    series: Mapping[SeriesState, int] | None = None
    deliveries: Mapping[DeliveryState, int] | None = None
    schedules: tuple[ScheduleStatus, ...] = ()


@router.get("/")
def overview_page(request: Request) -> HTMLResponse:
    """How the node is, now."""
    config, now = config_of(request), datetime.now(UTC)
    health = node_health(config, now)
    read = _Read()
    if not health.database:  # else it says why, and asking again would take as long
        with suppress(ConfigurationError), reading(request) as ledger:
            read = _read(config, ledger, now) if ledger is not None else read
    return show(
        request,
        "overview.html",
        health=health,
        tone=_tone(health),
        headline=_headline(health),
        alarms=[(each, remedy_of(each.kind)) for each in _in_order(health.alarms)],
        day=read.day,
        series=read.series,
        deliveries=read.deliveries,
        schedules=read.schedules,
        incoming=read_waiting(config.node.spool),
    )


def _read(config: NodeConfig, ledger: Ledger, now: datetime) -> _Read:
    return _Read(
        day_since(ledger, day_start(now.astimezone().date())),
        dict.fromkeys(SeriesState, 0) | dict(ledger.count_series()),
        dict.fromkeys(DeliveryState, 0) | dict(ledger.count_deliveries()),
        overview(config, ArchiveLedger(ledger), now),
    )


def _in_order(alarms: tuple[Alarm, ...]) -> list[Alarm]:
    """What cannot wait first; the longest first."""
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(
        alarms,
        key=lambda each: (each.severity is not Severity.CRITICAL, each.since or latest),
    )


def _tone(health: Health) -> str:
    critical = any(each.severity is Severity.CRITICAL for each in health.alarms)
    if critical or not health.is_running:
        return "bad"
    return "good" if health.is_healthy else "warn"


def _headline(health: Health) -> str:
    """The answer to whether all is well."""
    count = len(health.alarms)
    critical = sum(each.severity is Severity.CRITICAL for each in health.alarms)
    if not health.is_running:
        return "The node is not running"
    if not count:
        return "All is well"
    if critical == count:
        return "One thing needs you now" if count == 1 else f"{count} things need you now"
    if critical:
        return f"{critical} of {count} things need you now"
    return "One thing to look at" if count == 1 else f"{count} things to look at"
