"""What waits for a schedule or an archive that is not there any more, or not for it.

Nobody would put its jobs: a run with such a window would be listed for ever, and keep the next
one from beginning; such a series would be wanted for ever. And what a schedule left to
another, which came to its end without it, would be asked for by none.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from dicom_node.archive.asking import Asking
from dicom_node.archive.states import HAD_BY_SCHEDULE, had_no_more, no_longer_wanted
from dicom_node.persistence.archive_rows import (
    ArchiveSeriesRow,
    ArchiveState,
    WindowRow,
    WindowState,
)

log = structlog.get_logger()

GONE_AFTER: Final = timedelta(minutes=5)
ASK_ELSEWHERE_IN: Final = timedelta(minutes=1)
"""A worker that does not know a schedule leaves what it was to do to the next one."""
AT_ONCE: Final = 500
"""So many rows are written in one transaction."""


def take_home(asking: Asking, gone_since: MutableMapping[str, datetime]) -> None:
    """Give what is due to the archive that its schedule names now; end what has none.

    gone_since: since when schedules have not been found, as this notes it. For a few minutes
        they may be in the settings of a worker that was started with newer ones.
    """
    now = asking.clock()
    for schedule, archive in asking.ledger.due_for():
        settings = asking.of(schedule)
        if settings is None:
            if now - gone_since.setdefault(schedule, now) >= GONE_AFTER:
                _end(asking, schedule)
        elif settings[1].name != archive:
            _move(asking, schedule, settings[1].name)


def take_over(asking: Asking) -> None:
    """Want what schedules left to others that have it in hand no more."""
    configured = [each.name for each in asking.config.schedules]
    for schedule in configured:
        left = asking.ledger.had_by_none(schedule, configured, HAD_BY_SCHEDULE, AT_ONCE)
        asking.ledger.enter(changed=[had_no_more(row, asking.clock()) for row in left])
        if left:
            log.info("requery.taken_over", schedule=schedule, count=len(left))


def _end(asking: Asking, schedule: str) -> None:
    """End the windows and series of a schedule that is gone; its runs end by that."""
    now = asking.clock()
    windows, series = _open(asking, schedule)
    words = f"schedule {schedule} is no longer configured"
    failed = [
        replace(row, state=WindowState.FAILED, reason=words, next_at=None, changed_at=now)
        for row in windows
    ]
    given_up = [no_longer_wanted(row, row.visit + 1, now) for row in series]
    _enter(asking, [*failed, *given_up])
    log.error("requery.no_schedule", schedule=schedule, count=len(failed) + len(given_up))


def _move(asking: Asking, schedule: str, archive: str) -> None:
    """Have the archive asked that a schedule names now."""
    windows, series = _open(asking, schedule)
    moved: list[WindowRow | ArchiveSeriesRow] = [
        *(replace(row, archive=archive) for row in windows),
        *(replace(row, archive=archive) for row in series),
    ]
    _enter(asking, moved)
    log.info("requery.other_archive", schedule=schedule, archive=archive, count=len(moved))


def _open(
    asking: Asking, schedule: str
) -> tuple[Sequence[WindowRow], Sequence[ArchiveSeriesRow]]:
    """The windows and series of a schedule that are not done with."""
    ledger = asking.ledger
    return (
        ledger.windows(schedule, states=[WindowState.WAITING]),
        ledger.series(schedule, states=[ArchiveState.WANTED]),
    )


def _enter(asking: Asking, rows: Sequence[WindowRow | ArchiveSeriesRow]) -> None:
    for begin in range(0, len(rows), AT_ONCE):
        asking.ledger.enter(changed=rows[begin : begin + AT_ONCE])
