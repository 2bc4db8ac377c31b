"""What is open in the ledger, by kind: how much, and the oldest of it; for health and status.

A few questions to the indices, however many rows there are: of what waits only the oldest is
read, and whoever tells of it tells of the rest by a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

import sqlalchemy as sa

from dicom_node.persistence.archive_rows import (
    ArchiveSeriesRow,
    ArchiveState,
    PauseRow,
    TroubleRow,
    WindowRow,
    WindowState,
)
from dicom_node.persistence.ledger import EVER, IS_UNCONFIRMED, Ledger
from dicom_node.persistence.rows import (
    AWAITS_RULES,
    HELD_BY,
    RELEASED,
    UNANSWERED,
    DeliveryRow,
    DeliveryState,
    OrderRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.persistence.tables import (
    ARCHIVE_PAUSES,
    ARCHIVE_SERIES,
    ARCHIVE_TROUBLES,
    ARCHIVE_WINDOWS,
    DELIVERIES,
    ORDERS,
    RESULTS,
    SERIES,
)

Row = TypeVar("Row", SeriesRow, DeliveryRow, ArchiveSeriesRow, WindowRow, OrderRow)
CODES: Final = (AWAITS_RULES, RELEASED)
"""Codes by which series that are received wait for different things."""
MOST_FAILURES: Final = 1000


@dataclass(frozen=True, slots=True)
class Oldest(Generic[Row]):
    """Rows that wait for the same thing.

    count: how many there are.
    row: the one that has waited the longest.
    since: for how long.
    """

    count: int
    row: Row
    since: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is on its way to one destination.

    waiting, held, unconfirmed: by what they wait for; None where there is none.
    held_by_person: those that somebody holds on purpose; none of these is in `held`.
    failing: those of the waiting that were tried in vain; the row is the last one tried.
    slow: those that were tried for so often that they are tried slowly.
    overdue: those of the unconfirmed that were sent before a moment.
    due_since: when the first that is due became so.
    last_sent_at, last_confirmed_at: when it last took something, and confirmed it.
    """

    destination: str
    waiting: Oldest[DeliveryRow] | None = None
    failing: Oldest[DeliveryRow] | None = None
    slow: Oldest[DeliveryRow] | None = None
    held: Oldest[DeliveryRow] | None = None
    held_by_person: Oldest[DeliveryRow] | None = None
    unconfirmed: Oldest[DeliveryRow] | None = None
    overdue: Oldest[DeliveryRow] | None = None
    due_since: datetime | None = None
    last_sent_at: datetime | None = None
    last_confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failures:
    """Analyses that failed one after another, up to now.

    since: when the first of them did.
    """

    count: int = 0
    since: datetime | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Ages:
    """The questions, to one ledger."""

    ledger: Ledger

    def series(self) -> tuple[Oldest[SeriesRow], ...]:
        """The series that are not answered, by state and code."""
        table = SERIES.c
        code = sa.case((table.code.in_(CODES), table.code), else_="").label("code")
        query = (
            sa.select(table.state, code, sa.func.count())
            .where(table.state.in_(UNANSWERED))
            .group_by(table.state, code)
        )
        found = []
        for state, kind, count in self.ledger.execute(query):
            of_kind = table.code == kind if kind else table.code.not_in(CODES)
            rows = self.ledger.read(
                SeriesRow, table.state == state, of_kind, order=(table.received_at,), most=1
            )
            found += [Oldest(count, row, row.received_at) for row in rows]
        return tuple(found)

    def failures(self) -> Failures:
        """The analyses that failed since the last one that did not."""
        answered = (
            row
            for state in (SeriesState.REPORTED, SeriesState.REFUSED)
            for row in self.ledger.latest_series(state, 1)
        )
        last = max((row.changed_at for row in answered), default=EVER)
        table = SERIES.c
        failed = self.ledger.read(
            SeriesRow,
            table.state == SeriesState.FAILED,
            table.changed_at > last,
            order=(table.changed_at.desc(),),
            most=MOST_FAILURES,
        )
        if not failed:
            return Failures()
        return Failures(len(failed), failed[-1].changed_at, failed[0].code)

    def destinations(self) -> tuple[str, ...]:
        """The destinations that something is open for."""
        table = DELIVERIES.c
        states = (DeliveryState.WAITING, DeliveryState.HELD)
        query = sa.select(table.destination).where(table.state.in_(states)).distinct()
        asked = sa.select(table.destination).where(IS_UNCONFIRMED).distinct()
        rows = (*self.ledger.execute(query), *self.ledger.execute(asked))
        return tuple(sorted({str(row[0]) for row in rows}))

    def backlog(self, destination: str, *, slow_from: int, overdue_before: datetime) -> Backlog:
        """What is on its way to a destination.

        Args:
            destination: its name.
            slow_from: attempts from which on a delivery is slow.
            overdue_before: what was sent before, and is not confirmed, is overdue.
        """
        table = DELIVERIES.c
        waiting = (table.state == DeliveryState.WAITING,)
        first, latest = table.next_attempt_at, table.changed_at.desc()
        sent, held = table.sent_at, table.state == DeliveryState.HELD
        by_person = table.reason.startswith(HELD_BY, autoescape=True)
        return Backlog(
            destination,
            waiting=self._deliveries(destination, *waiting, order=first),
            failing=self._deliveries(
                destination, *waiting, table.attempts > 0, table.reason != "", order=latest
            ),
            slow=self._deliveries(
                destination, *waiting, table.attempts >= slow_from, order=latest
            ),
            held=self._deliveries(
                destination, held, sa.not_(by_person), order=table.changed_at
            ),
            held_by_person=self._deliveries(
                destination, held, by_person, order=table.changed_at
            ),
            unconfirmed=self._deliveries(destination, IS_UNCONFIRMED, order=sent),
            overdue=self._deliveries(
                destination, IS_UNCONFIRMED, sent < overdue_before, order=sent
            ),
            due_since=self._moment(
                sa.func.min(table.next_attempt_at), destination, *waiting, first >= EVER
            ),
            last_sent_at=self._moment(sa.func.max(table.sent_at), destination),
            last_confirmed_at=self._last_confirmed(destination),
        )

    def archive_series(self, schedule: str) -> tuple[Oldest[ArchiveSeriesRow], ...]:
        """The series of a schedule of which something is still to come."""
        table = ARCHIVE_SERIES.c
        found = []
        for state in (ArchiveState.FOUND, ArchiveState.WANTED):
            wanted = (table.schedule == schedule, table.state == state)
            query = sa.select(sa.func.count()).where(*wanted)
            rows = self.ledger.read(
                ArchiveSeriesRow, *wanted, order=(table.changed_at,), most=1
            )
            count = self.ledger.execute(query)[0][0]
            found += [Oldest(count, row, row.found_at) for row in rows]
        return tuple(found)

    def windows(self, schedule: str) -> Oldest[WindowRow] | None:
        """The windows of a schedule that are still to be listed."""
        table = ARCHIVE_WINDOWS.c
        wanted = (table.schedule == schedule, table.state == WindowState.WAITING)
        query = sa.select(sa.func.count()).where(*wanted)
        rows = self.ledger.read(WindowRow, *wanted, order=(table.changed_at,), most=1)
        if not rows:
            return None
        return Oldest(self.ledger.execute(query)[0][0], rows[0], rows[0].changed_at)

    def orders(self) -> tuple[Oldest[OrderRow], ...]:
        """The orders that nobody has carried out yet, by kind; an older node knows none."""
        if not self.ledger.has_table(ORDERS):
            return ()
        table = ORDERS.c
        is_open = table.done_at.is_(None)
        query = sa.select(table.kind, sa.func.count()).where(is_open).group_by(table.kind)
        found = []
        for kind, count in self.ledger.execute(query):
            wanted = (is_open, table.kind == kind)
            rows = self.ledger.read(OrderRow, *wanted, order=(table.ordered_at,), most=1)
            found += [Oldest(count, row, row.ordered_at) for row in rows]
        return tuple(found)

    def pauses(self) -> tuple[PauseRow, ...]:
        """The archives that a person has paused."""
        return self.ledger.read(PauseRow, ARCHIVE_PAUSES.c.paused.is_(True))

    def troubles(self) -> tuple[TroubleRow, ...]:
        """The archives that fail."""
        return self.ledger.read(TroubleRow, ARCHIVE_TROUBLES.c.failures > 0)

    def has_archives(self) -> bool:
        """True if there are tables about archives; an older node has made none."""
        return self.ledger.has_table(ARCHIVE_SERIES)

    def _deliveries(
        self,
        destination: str,
        *wanted: sa.ColumnElement[bool],
        order: sa.ColumnElement[datetime],
    ) -> Oldest[DeliveryRow] | None:
        """How many deliveries there are of a kind, one, and since when the oldest waits."""
        table = DELIVERIES.c
        to_it = (table.destination == destination, *wanted)
        rows = self.ledger.read(DeliveryRow, *to_it, order=(order,), most=1)
        if not rows:
            return None
        (row,) = rows
        count = self.ledger.execute(sa.select(sa.func.count()).where(*to_it))[0][0]
        if row.state is DeliveryState.HELD:
            return Oldest(count, row, row.changed_at)
        if row.state is DeliveryState.SENT and row.sent_at is not None:
            return Oldest(count, row, row.sent_at)
        made = (
            sa.select(sa.func.min(RESULTS.c.made_at))
            .select_from(DELIVERIES.join(RESULTS, _same_object()))
            .where(*to_it)
        )
        return Oldest(count, row, self.ledger.execute(made)[0][0] or row.changed_at)

    def _moment(
        self,
        what: sa.ColumnElement[datetime],
        destination: str,
        *wanted: sa.ColumnElement[bool],
    ) -> datetime | None:
        query = sa.select(what).where(DELIVERIES.c.destination == destination, *wanted)
        found: datetime | None = self.ledger.execute(query)[0][0]
        return found

    def _last_confirmed(self, destination: str) -> datetime | None:
        """When a destination last confirmed something: the latest change that was one."""
        table = DELIVERIES.c
        rows = self.ledger.read(
            DeliveryRow,
            table.destination == destination,
            table.state == DeliveryState.CONFIRMED,
            order=(table.changed_at.desc(),),
            most=1,
        )
        return rows[0].changed_at if rows else None


def _same_object() -> sa.ColumnElement[bool]:
    return DELIVERIES.c.sop_instance_uid == RESULTS.c.sop_instance_uid
