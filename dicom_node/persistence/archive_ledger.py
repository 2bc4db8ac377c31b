"""The ledger's part about archives: what was asked, found, fetched; who is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from dicom_node.persistence.archive_rows import (
    ArchiveSeriesRow,
    ArchiveState,
    PauseRow,
    RunRow,
    TroubleRow,
    WindowRow,
    WindowState,
)
from dicom_node.persistence.ledger import STATE_OF_SERIES, Ledger
from dicom_node.persistence.rows import SeriesRow
from dicom_node.persistence.tables import (
    ARCHIVE_PAUSES,
    ARCHIVE_RUNS,
    ARCHIVE_SERIES,
    ARCHIVE_TROUBLES,
    ARCHIVE_WINDOWS,
    SERIES,
)

MOST_IN_A_QUERY: Final = 500
"""SQLite takes no statement with more than some hundred values."""

STATE_IN_NODE: Final = sa.func.coalesce(STATE_OF_SERIES, "")
"""The state of a series in the node as `SeriesRow` has it; "" where it has none."""


class ArchiveLedger:
    """Five tables of a ledger; safe to use from many threads.

    Rows with a number of their last job (`visit`) are never overwritten by an older job.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def is_there(self) -> bool:
        """True if the tables are there; a node that is older has made none."""
        return self.ledger.has_table(ARCHIVE_SERIES)

    def runs(self, schedule: str) -> tuple[RunRow, ...]:
        """Every run of a schedule, the one that was due first first."""
        rows = self.ledger.read(RunRow, ARCHIVE_RUNS.c.schedule == schedule)
        return tuple(sorted(rows, key=lambda row: row.due_at))

    def open_runs(self) -> tuple[RunRow, ...]:
        """The runs that have not ended."""
        return self.ledger.read(RunRow, ARCHIVE_RUNS.c.ended_at.is_(None))

    def begin(self, run: RunRow, windows: Sequence[WindowRow]) -> None:
        """Enter a run with its windows; one that is known stays as it is."""
        self.ledger.add(run, *windows)

    def save_run(self, run: RunRow) -> None:
        """Write how far a run has come."""
        self.ledger.save(run)

    def window(self, schedule: str, run: str, window: str) -> WindowRow | None:
        """One window of a run."""
        found = self.ledger.read(
            WindowRow,
            ARCHIVE_WINDOWS.c.schedule == schedule,
            ARCHIVE_WINDOWS.c.run == run,
            ARCHIVE_WINDOWS.c.window == window,
        )
        return found[0] if found else None

    def windows(
        self,
        schedule: str,
        run: str | None = None,
        states: Iterable[WindowState] = tuple(WindowState),
    ) -> tuple[WindowRow, ...]:
        """The windows of a run, or of all, that are in one of these states."""
        narrowed = [ARCHIVE_WINDOWS.c.run == run] if run is not None else []
        return self.ledger.read(
            WindowRow,
            ARCHIVE_WINDOWS.c.schedule == schedule,
            ARCHIVE_WINDOWS.c.state.in_(list(states)),
            *narrowed,
        )

    def due_windows(self, archive: str, now: datetime, most: int) -> tuple[WindowRow, ...]:
        """The windows of an archive that are due, the one that is due first first."""
        return self.ledger.read(
            WindowRow,
            ARCHIVE_WINDOWS.c.archive == archive,
            ARCHIVE_WINDOWS.c.next_at <= now,
            order=(ARCHIVE_WINDOWS.c.next_at, *ARCHIVE_WINDOWS.primary_key.columns),
            most=most,
        )

    def series(
        self,
        schedule: str,
        *,
        study_instance_uid: str | None = None,
        states: Iterable[ArchiveState] = tuple(ArchiveState),
        run: str | None = None,
        latest: int | None = None,
    ) -> tuple[ArchiveSeriesRow, ...]:
        """Series of a schedule, narrowed by what is given.

        latest: only so many, those that changed last first.
        """
        wanted = {
            ARCHIVE_SERIES.c.study_instance_uid: study_instance_uid,
            ARCHIVE_SERIES.c.run: run,
        }
        narrowed = [column == value for column, value in wanted.items() if value is not None]
        return self.ledger.read(
            ArchiveSeriesRow,
            ARCHIVE_SERIES.c.schedule == schedule,
            ARCHIVE_SERIES.c.state.in_(list(states)),
            *narrowed,
            order=() if latest is None else (ARCHIVE_SERIES.c.changed_at.desc(),),
            most=latest,
        )

    def listed_studies(self, schedule: str, run: str, uids: Sequence[str]) -> frozenset[str]:
        """Those of these studies of which a run has entered series that are decided."""
        table, found = ARCHIVE_SERIES.c, set[str]()
        for begin in range(0, len(uids), MOST_IN_A_QUERY):
            query = (
                sa.select(table.study_instance_uid)
                .where(
                    table.schedule == schedule,
                    table.study_instance_uid.in_(uids[begin : begin + MOST_IN_A_QUERY]),
                    table.run == run,
                    table.state != ArchiveState.FOUND,
                )
                .distinct()
            )
            found |= {row[0] for row in self.ledger.execute(query)}
        return frozenset(found)

    def series_of_uids(self, uids: Sequence[str]) -> tuple[ArchiveSeriesRow, ...]:
        """Series by their UIDs, of every schedule."""
        found: list[ArchiveSeriesRow] = []
        for begin in range(0, len(uids), MOST_IN_A_QUERY):
            part = list(uids[begin : begin + MOST_IN_A_QUERY])
            found += self.ledger.read(
                ArchiveSeriesRow, ARCHIVE_SERIES.c.series_instance_uid.in_(part)
            )
        return tuple(found)

    def had_by_none(
        self, schedule: str, schedules: Sequence[str], words: str, most: int
    ) -> tuple[ArchiveSeriesRow, ...]:
        """Series that are had for a reason that begins so, and that none of others has in hand.

        schedules: those that may have them.
        """
        table, other = ARCHIVE_SERIES.c, ARCHIVE_SERIES.alias("other")
        in_hand = sa.exists().where(
            other.c.series_instance_uid == table.series_instance_uid,
            other.c.schedule != schedule,
            other.c.schedule.in_(list(schedules)),
            other.c.state.in_([ArchiveState.WANTED, ArchiveState.FETCHED]),
        )
        return self.ledger.read(
            ArchiveSeriesRow,
            table.schedule == schedule,
            table.state == ArchiveState.HAD,
            table.reason.startswith(words, autoescape=True),
            ~in_hand,
            most=most,
        )

    def due_series(
        self, archive: str, now: datetime, most: int
    ) -> tuple[ArchiveSeriesRow, ...]:
        """The series of an archive that are due: what is at hand and was tried least first."""
        table = ARCHIVE_SERIES.c
        return self.ledger.read(
            ArchiveSeriesRow,
            table.archive == archive,
            table.state == ArchiveState.WANTED,
            table.next_at <= now,
            order=(table.offline, table.attempts, table.found_at),
            most=most,
        )

    def due_for(self) -> tuple[tuple[str, str], ...]:
        """The schedules and archives for which something is due, now or later."""
        found: set[tuple[str, str]] = set()
        for table in (ARCHIVE_WINDOWS.c, ARCHIVE_SERIES.c):
            query = sa.select(table.schedule, table.archive).distinct()
            # SQLite finds that in an index, and not what is not null.
            query = query.where(table.next_at >= datetime.fromtimestamp(0, UTC))
            found |= {(str(row[0]), str(row[1])) for row in self.ledger.execute(query)}
        return tuple(sorted(found))

    def asked_before(self, archive: str, moment: datetime) -> tuple[ArchiveSeriesRow, ...]:
        """The series that are wanted still and were first asked for before a moment."""
        return self.ledger.read(
            ArchiveSeriesRow,
            ARCHIVE_SERIES.c.archive == archive,
            ARCHIVE_SERIES.c.state == ArchiveState.WANTED,
            ARCHIVE_SERIES.c.asked_at <= moment,
        )

    def counts(self, schedule: str, run: str | None = None) -> Mapping[ArchiveState, int]:
        """How many series of a schedule, or of one of its runs, are in each state."""
        table = ARCHIVE_SERIES.c
        query = sa.select(table.state, sa.func.count()).where(table.schedule == schedule)
        if run is not None:
            query = query.where(table.run == run)
        found = self._pairs(query.group_by(table.state))
        return {state: int(found.get(state.value, 0)) for state in ArchiveState}

    def refusals(self, schedule: str, run: str | None = None) -> Mapping[str, int]:
        """How many series of a schedule were refused, by the reason."""
        table = ARCHIVE_SERIES.c
        query = sa.select(table.reason, sa.func.count()).where(
            table.schedule == schedule, table.state == ArchiveState.REFUSED
        )
        if run is not None:
            query = query.where(table.run == run)
        return self._pairs(query.group_by(table.reason))

    def answers(self, schedule: str, run: str | None = None) -> Mapping[str, int]:
        """How many fetched or incomplete series the node has, by the state in `series`.

        Of several revisions the last one counts; one that is not entered yet is under "".
        """
        table = ARCHIVE_SERIES.c
        other = SERIES.alias("other")
        last = (
            sa.select(sa.func.max(other.c.revision))
            .where(other.c.series_instance_uid == table.series_instance_uid)
            .correlate(ARCHIVE_SERIES)
            .scalar_subquery()
        )
        joined = ARCHIVE_SERIES.outerjoin(
            SERIES,
            sa.and_(
                SERIES.c.series_instance_uid == table.series_instance_uid,
                SERIES.c.revision == last,
            ),
        )
        query = (
            sa.select(STATE_IN_NODE, sa.func.count())
            .select_from(joined)
            .where(
                table.schedule == schedule,
                table.state.in_([ArchiveState.FETCHED, ArchiveState.INCOMPLETE]),
            )
            .group_by(STATE_IN_NODE)
        )
        if run is not None:
            query = query.where(table.run == run)
        return self._pairs(query)

    def known_to_node(self, uids: Sequence[str]) -> Mapping[str, SeriesRow]:
        """The last revisions of those of these series that the node was handed over."""
        found: dict[str, SeriesRow] = {}
        for begin in range(0, len(uids), MOST_IN_A_QUERY):
            part = list(uids[begin : begin + MOST_IN_A_QUERY])
            rows = self.ledger.read(
                SeriesRow, SERIES.c.series_instance_uid.in_(part), order=(SERIES.c.revision,)
            )
            found |= {row.series_instance_uid: row for row in rows}
        return found

    def enter(
        self,
        new: Sequence[WindowRow | ArchiveSeriesRow] = (),
        changed: Sequence[WindowRow | ArchiveSeriesRow] = (),
    ) -> None:
        """Write in one transaction what a job found; what stands there newer stays.

        Args:
            new: rows that are not there yet; those that are stay as they are.
            changed: rows with the number of the job that changes them.
        """
        self.ledger.enter(new, changed)

    def trouble(self, archive: str) -> TroubleRow | None:
        """What is to be minded with an archive."""
        found = self.ledger.read(TroubleRow, ARCHIVE_TROUBLES.c.archive == archive)
        return found[0] if found else None

    def save_trouble(self, row: TroubleRow) -> None:
        """Write what is to be minded with an archive."""
        self.ledger.save(row)

    def pauses(self) -> tuple[PauseRow, ...]:
        """What a person has paused."""
        return self.ledger.read(PauseRow, ARCHIVE_PAUSES.c.paused.is_(True))

    def save_pause(self, *rows: PauseRow) -> None:
        """Pause, or let go on."""
        self.ledger.save(*rows)

    def _pairs(self, query: sa.Executable) -> dict[str, Any]:
        """The answer to a query of two columns, of which the first is a text."""
        return {str(row[0]): row[1] for row in self.ledger.execute(query)}
