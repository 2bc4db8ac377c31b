"""One look at a node: its processes, disks, spool and ledger, as values; it changes nothing.

`alarms.py`, `health.py` and `open_work.py` decide by it, and it alone asks. A database that
cannot be read is a fact like another: everything else is still seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from dicom_node.errors import ConfigurationError
from dicom_node.node.process_health import NodeProcesses, node_processes
from dicom_node.node.room import Disk, disks
from dicom_node.node.tls_checks import expiries
from dicom_node.persistence.ages import Ages, Backlog, Failures, Oldest
from dicom_node.persistence.archive_rows import (
    ArchiveSeriesRow,
    PauseRow,
    TroubleRow,
    WindowRow,
)
from dicom_node.persistence.database import is_database_error
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import OrderRow, SeriesRow
from dicom_node.receiving.rejections import Count, read_rejections
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.pending import WaitingSeries, read_waiting

log = structlog.get_logger()


NO_FAILURES: Final = Failures()


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look saw.

    database: why the database cannot be read; empty where it can, or is not made yet.
    has_ledger: whether there is one.
    certificates: by the key that names each, with its file and its end.
    """

    processes: NodeProcesses
    disks: tuple[Disk, ...] = ()
    incoming: tuple[WaitingSeries, ...] = ()
    turned_away: tuple[Count, ...] = ()
    certificates: tuple[tuple[str, Path, datetime], ...] = ()
    database: str = ""
    has_ledger: bool = False
    series: tuple[Oldest[SeriesRow], ...] = ()
    failures: Failures = NO_FAILURES
    backlogs: tuple[Backlog, ...] = ()
    orders: tuple[Oldest[OrderRow], ...] = ()
    windows: tuple[Oldest[WindowRow], ...] = ()
    archive_series: tuple[Oldest[ArchiveSeriesRow], ...] = ()
    pauses: tuple[PauseRow, ...] = ()
    troubles: tuple[TroubleRow, ...] = ()


def observe(config: NodeConfig, now: datetime) -> Observation:
    """Look at a node, beside it or without one."""
    seen = Observation(
        processes=node_processes(config, now),
        disks=_disks(config),
        incoming=read_waiting(config.node.spool),
        turned_away=read_rejections(config.node.spool)[1],
        certificates=_certificates(config),
    )
    try:
        return _with_ledger(seen, config, now)
    except ConfigurationError as error:
        return replace(seen, database=str(error).removeprefix("node.database: "))
    except OSError as error:
        return replace(seen, database=f"cannot be read: {error.strerror or error}")
    except Exception as error:
        if not is_database_error(error):
            raise
        return replace(seen, database=f"cannot be read: {_words(error)}")


def _with_ledger(seen: Observation, config: NodeConfig, now: datetime) -> Observation:
    ledger = existing_ledger(config.node.database_url, only_read=True)
    if ledger is None:
        return seen
    try:
        return _read(seen, config, ledger, now)
    finally:
        ledger.close()


def _read(seen: Observation, config: NodeConfig, ledger: Ledger, now: datetime) -> Observation:
    """The look, with what the ledger has."""
    ages = Ages(ledger)
    named = {each.name for each in config.destinations}
    overdue_before = now - timedelta(hours=config.confirmation.alarm_after_h)
    found = replace(
        seen,
        has_ledger=True,
        series=ages.series(),
        failures=ages.failures(),
        orders=ages.orders(),
        backlogs=tuple(
            ages.backlog(
                name, slow_from=config.delivery.hold_after, overdue_before=overdue_before
            )
            for name in sorted(named | set(ages.destinations()))
        ),
    )
    if not config.schedules or not ages.has_archives():
        return found
    schedules = [each.name for each in config.schedules]
    return replace(
        found,
        windows=tuple(filter(None, map(ages.windows, schedules))),
        archive_series=tuple(row for name in schedules for row in ages.archive_series(name)),
        pauses=ages.pauses(),
        troubles=ages.troubles(),
    )


def _disks(config: NodeConfig) -> tuple[Disk, ...]:
    try:
        return disks(config)
    except OSError as error:
        log.warning("disks.unreadable", error=type(error).__name__)
        return ()


def _certificates(config: NodeConfig) -> tuple[tuple[str, Path, datetime], ...]:
    try:
        return tuple(expiries(config))
    except OSError:
        return ()


def _words(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().partition("\n")[0]
