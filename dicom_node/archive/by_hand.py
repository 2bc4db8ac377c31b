"""What a person says to schedules: run now, pause, go on, try again. Only the ledger changes.

A running node acts on it within seconds; one that starts later does then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from dicom_node.archive.dispatch import begin_run
from dicom_node.archive.runs import run_name
from dicom_node.errors import ConfigurationError, UnknownNameError
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import (
    EVERY_ARCHIVE,
    ArchiveSeriesRow,
    ArchiveState,
    PauseRow,
)
from dicom_node.persistence.ledger import WRITE_WITHIN_S, existing_ledger
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.schedules import Schedule

GIVEN_UP: Final = (ArchiveState.INCOMPLETE, ArchiveState.FAILED)


@contextmanager
def archive_ledger(
    config: NodeConfig, *, only_read: bool = False, within_s: float = WRITE_WITHIN_S
) -> Iterator[ArchiveLedger]:
    """The ledger of a node that has run with this version, for a command beside it.

    within_s: so long a write waits for what others have locked.

    Raises:
        ConfigurationError: it has not, or the database cannot be used.
    """
    url = config.node.database_url
    ledger = existing_ledger(url, only_read=only_read, within_s=within_s)
    try:
        if ledger is None or not ArchiveLedger(ledger).is_there():
            raise ConfigurationError(
                "node.database: no node of this version has run on it yet; "
                "start it first (msk-node serve)"
            )
        yield ArchiveLedger(ledger)
    finally:
        if ledger is not None:
            ledger.close()


def schedule_named(config: NodeConfig, name: str) -> Schedule:
    """A schedule by its name.

    Raises:
        UnknownNameError: there is none.
    """
    schedule = config.schedule(name)
    if schedule is None:
        known = ", ".join(each.name for each in config.schedules) or "none"
        raise UnknownNameError(f"there is no schedule {name!r}; there are: {known}")
    return schedule


def check_archive(config: NodeConfig, name: str) -> None:
    """See that there is an archive of a name.

    Raises:
        UnknownNameError: there is none.
    """
    if config.archive(name) is None:
        known = ", ".join(each.name for each in config.archives) or "none"
        raise UnknownNameError(f"there is no archive {name!r}; there are: {known}")


def run_now(config: NodeConfig, ledger: ArchiveLedger, schedule: Schedule) -> str:
    """Begin a run of a schedule at once; its name, or nothing where one is being listed."""
    now = datetime.now(UTC)
    run = run_name(schedule.model_copy(update={"at": None}), now, UTC)
    return run if begin_run(config, ledger, schedule, now, run) else ""


def pause(ledger: ArchiveLedger, name: str | None, *, paused: bool) -> None:
    """Pause an archive or, without a name, all; or let it, or all, go on."""
    now = datetime.now(UTC)
    rows = [PauseRow(name or EVERY_ARCHIVE, paused, now)]
    if name is None and not paused:
        rows += [replace(each, paused=False, changed_at=now) for each in ledger.pauses()]
    ledger.save_pause(*{row.archive: row for row in rows}.values())


def again(ledger: ArchiveLedger, schedule: Schedule, *, refused: bool = False) -> int:
    """Want once more what a schedule has given up; how many series that are.

    refused: instead, what its rules refused by the headers of what had come: they may be
        others now. What they refused as it was listed is judged when it is listed again.
    """
    now = datetime.now(UTC)
    if refused:
        found = ledger.series(schedule.name, states=[ArchiveState.REFUSED])
        chosen = [row for row in found if row.asked_at is not None]
    else:
        chosen = list(ledger.series(schedule.name, states=GIVEN_UP))
    ledger.enter(changed=[_wanted(row, now) for row in chosen])
    return len(chosen)


def _wanted(row: ArchiveSeriesRow, now: datetime) -> ArchiveSeriesRow:
    return replace(
        row,
        state=ArchiveState.WANTED,
        reason="asked for again by hand",
        attempts=0,
        visit=row.visit + 1,
        asked_at=None,
        next_at=now,
        changed_at=now,
    )
