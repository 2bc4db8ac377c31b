"""The node's record of its series, results, deliveries and cases: tables of frozen rows.

A row is a value; what it becomes is decided by pure functions elsewhere (`delivery.attempts`,
`delivery.confirmation`), and the ledger only writes it. Every write can be repeated: it says
what a row is, never what to add to it. The same code serves SQLite and PostgreSQL.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dicom_node.errors import ConfigurationError
from dicom_node.persistence.archive_rows import (
    ArchiveSeriesRow,
    ArchiveState,
    PauseRow,
    RunRow,
    TroubleRow,
    WindowRow,
    WindowState,
)
from dicom_node.persistence.database import (
    open_database,
    open_to_read,
    retry_until_available,
    sqlite_path,
)
from dicom_node.persistence.rows import (
    ANSWERED,
    CANCELLED_CODE,
    FINISHED,
    HELD_BY,
    LATEST,
    LEFT_OUT_CODES,
    PASSED_OVER,
    UNANSWERED,
    Alike,
    CaseRow,
    CommitmentRow,
    DeliveryRow,
    DeliveryState,
    EventRow,
    KeyKind,
    OrderKind,
    OrderRow,
    ResultRow,
    SeriesEvent,
    SeriesKeyRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.persistence.schema import bring_up, is_there
from dicom_node.persistence.tables import (
    ARCHIVE_PAUSES,
    ARCHIVE_RUNS,
    ARCHIVE_SERIES,
    ARCHIVE_TROUBLES,
    ARCHIVE_WINDOWS,
    CASES,
    COMMITMENTS,
    DELIVERIES,
    ORDERS,
    RESULTS,
    SERIES,
    SERIES_EVENTS,
    SERIES_KEYS,
)

ArchiveRow: TypeAlias = RunRow | WindowRow | ArchiveSeriesRow | TroubleRow | PauseRow
OperationRow: TypeAlias = EventRow | OrderRow | SeriesKeyRow
AnyRow: TypeAlias = (
    SeriesRow | ResultRow | DeliveryRow | CommitmentRow | CaseRow | ArchiveRow | OperationRow
)
Row = TypeVar("Row", bound=AnyRow)
TABLES: Final[Mapping[type, sa.Table]] = {
    SeriesRow: SERIES,
    ResultRow: RESULTS,
    DeliveryRow: DELIVERIES,
    CommitmentRow: COMMITMENTS,
    CaseRow: CASES,
    RunRow: ARCHIVE_RUNS,
    WindowRow: ARCHIVE_WINDOWS,
    ArchiveSeriesRow: ARCHIVE_SERIES,
    TroubleRow: ARCHIVE_TROUBLES,
    PauseRow: ARCHIVE_PAUSES,
    EventRow: SERIES_EVENTS,
    OrderRow: ORDERS,
    SeriesKeyRow: SERIES_KEYS,
}
STATES: Final[Mapping[type, type[StrEnum]]] = {
    SeriesRow: SeriesState,
    DeliveryRow: DeliveryState,
    WindowRow: WindowState,
    ArchiveSeriesRow: ArchiveState,
}
KINDS: Final[Mapping[type, type[StrEnum]]] = {
    EventRow: SeriesEvent,
    OrderRow: OrderKind,
    SeriesKeyRow: KeyKind,
}
AT_A_TIME: Final = 100
"""Cases that are held in memory while all are gone through; of each some 10 kB."""

WRITE_WITHIN_S: Final = 30.0
"""So long a write waits for what others have locked, where nobody waits for it."""

AT_ONCE: Final = 500
"""So many keys are asked for in one statement."""

EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Of all moments, for SQLite looks up a range in an index, and not what is not null."""

Fence: TypeAlias = Callable[[sa.Connection], None]
Result = TypeVar("Result")


def no_fence(_connection: sa.Connection) -> None:
    """Anyone may write."""


class Ledger:
    """The tables in a database; safe to use from many threads.

    fence: asked in every transaction that writes; raises when this process must not.
    patient: wait while the database is away instead of raising, as a worker does.
    """

    def __init__(  # noqa: PLR0913 - how it is opened
        self,
        database_url: str,
        *,
        fence: Fence = no_fence,
        patient: bool = False,
        upgrade: bool = True,
        only_read: bool = False,
        within_s: float = WRITE_WITHIN_S,
    ) -> None:
        """Open the ledger.

        Args:
            database_url: of its database.
            fence: see above.
            patient: see above.
            upgrade: make its tables, or bring them up to this version.
            only_read: change nothing, neither in the database nor in an SQLite file's folder.
            within_s: so long a write waits for what others have locked.

        Raises:
            ConfigurationError: the tables are a newer node's, or nobody's that we know.
        """
        self._fence = fence
        self._patient = patient
        self._engine = (
            open_to_read(database_url) if only_read else _open(database_url, within_s)
        )
        if upgrade and not only_read:
            try:
                bring_up(self._engine)
            except BaseException:
                self.close()
                raise

    def is_there(self) -> bool:
        """True if there are tables that this code can use as they are.

        Raises:
            ConfigurationError: they have to be brought up first, or are a newer node's.
        """
        return is_there(self._engine)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def save(self, *rows: AnyRow) -> None:
        """Write rows, new or changed, in one transaction."""
        self._write(self.statement(row) for row in rows)

    def add(self, *rows: AnyRow) -> None:
        """Write rows that are not there yet; those that are stay as they are."""
        self._write(self.statement(row, keep=True) for row in rows)

    def add_many(self, rows: Sequence[AnyRow]) -> None:
        """Write rows that are not there yet, many of a kind at once, in one transaction."""
        by_kind: dict[type, list[AnyRow]] = {}
        for row in rows:
            by_kind.setdefault(type(row), []).append(row)

        def write(connection: sa.Connection) -> None:
            for same in by_kind.values():
                statement = self.statement(same[0], keep=True)
                connection.execute(statement, [_stored(row) for row in same])

        self.transact(write)

    def reach(
        self,
        row: SeriesRow,
        *events: EventRow,
        new: Sequence[AnyRow] = (),
        changed: Sequence[AnyRow] = (),
        then: Callable[[sa.Connection], Iterable[AnyRow]] = lambda _connection: (),
    ) -> bool:
        """Write how far a series has come and what happened to it, in one transaction.

        Nothing is written of one that was cancelled meanwhile, and the answer is False.

        Args:
            row: the series.
            events: what happened; those that are known stay as they are.
            new: rows that belong to it and are not there yet.
            changed: rows that belong to it, new or changed.
            then: more new rows, by what others have written until the series is ours alone.
        """

        def write(connection: sa.Connection) -> bool:
            if connection.execute(self.statement(row)).rowcount == 0:
                return False
            for each in (*new, *events, *then(connection)):
                connection.execute(self.statement(each, keep=True))
            for each in changed:
                connection.execute(self.statement(each))
            return True

        return self.transact(write)

    def advance(self, *rows: DeliveryRow, told: Sequence[EventRow] = ()) -> None:
        """Write deliveries in one transaction, save where something newer stands.

        That is what a later job wrote, and a confirmation: a report may come while a job
        is still asking, with the same number. What a person holds is left held by an attempt
        that was under way and failed.

        Args:
            rows: the deliveries.
            told: what happened to them.
        """
        self._write(
            (
                *(self.statement(row, unless_later=True) for row in rows),
                *(self.statement(event, keep=True) for event in told),
            )
        )

    def enter(self, new: Iterable[AnyRow], changed: Iterable[AnyRow]) -> None:
        """Write new rows and changed ones in one transaction.

        Args:
            new: rows that are not there yet; those that are stay as they are.
            changed: rows with a `visit`; where a later job has written, that stays.
        """
        self._write(
            (
                *(self.statement(row, keep=True) for row in new),
                *(self.statement(row, unless_later=True) for row in changed),
            )
        )

    def read(
        self,
        row_type: type[Row],
        *conditions: sa.ColumnElement[bool],
        order: Sequence[sa.ColumnElement[Any]] = (),
        most: int | None = None,
        within: sa.Connection | None = None,
    ) -> tuple[Row, ...]:
        """Rows as values, for the ledger's other parts; in the order of their keys, or `order`.

        most: only the first so many.
        within: read them in this transaction.
        """
        table = TABLES[row_type]
        query = sa.select(table).where(*conditions)
        query = query.order_by(*(order or table.primary_key.columns)).limit(most)
        if within is None:
            found = self._mappings(query)
        else:
            found = within.execute(query).mappings().all()
        return tuple(row_type(**_typed(row_type, each)) for each in found)

    def execute(self, query: sa.Executable) -> Sequence[Any]:
        """The rows of a query of the ledger's other parts."""
        return self._do(lambda connection: connection.execute(query).all())

    def has_table(self, table: sa.Table) -> bool:
        """True if a table is there that the first ledgers did not have."""
        return sa.inspect(self._engine).has_table(table.name)

    def series(self, series_instance_uid: str, revision: int) -> SeriesRow | None:
        """One revision of a series."""
        key = SERIES.c.series_instance_uid == series_instance_uid
        found = self.read(SeriesRow, key, SERIES.c.revision == revision)
        return found[0] if found else None

    def last_image_at(self, series_instance_uid: str, revision: int) -> datetime | None:
        """When the last image of a revision came; as it was handed over, where nothing says."""
        of = (
            SERIES_EVENTS.c.series_instance_uid == series_instance_uid,
            SERIES_EVENTS.c.revision == revision,
            SERIES_EVENTS.c.kind == SeriesEvent.LAST_IMAGE,
        )
        events = self.read(EventRow, *of) if self.has_table(SERIES_EVENTS) else ()
        if events:
            return max(each.at for each in events)
        row = self.series(series_instance_uid, revision)
        return None if row is None else row.received_at

    def revisions(self, series_instance_uid: str) -> tuple[SeriesRow, ...]:
        """Every revision of a series, oldest first."""
        return self.read(SeriesRow, SERIES.c.series_instance_uid == series_instance_uid)

    def all_series(self) -> tuple[SeriesRow, ...]:
        """Every revision of every series."""
        return self.read(SeriesRow)

    def unanswered(self, most: int | None = None) -> tuple[SeriesRow, ...]:
        """The revisions of series that have no results yet, so many of them at most."""
        return self.read(SeriesRow, SERIES.c.state.in_(UNANSWERED), most=most)

    def unmeasured(self) -> tuple[SeriesRow, ...]:
        """Those of which a version before noted no size."""
        wanted = (SERIES.c.state.in_(UNANSWERED), SERIES.c.voxels.is_(None))
        return self.read(SeriesRow, *wanted)

    def unanswered_alike(self) -> tuple[Alike, ...]:
        """How many revisions have no results yet, by state, title and size.

        A few rows, however many wait: slices are 512 pixels wide, and their number varies.
        """
        alike = (SERIES.c.state, SERIES.c.called_ae_title, SERIES.c.voxels)
        query = (
            sa.select(*alike, sa.func.count(), sa.func.max(SERIES.c.received_at))
            .where(SERIES.c.state.in_(UNANSWERED), SERIES.c.voxels.is_not(None))
            .group_by(*alike)
        )
        return tuple(
            Alike(SeriesState(row[0]), row[1], row[2], row[3], row[4])
            for row in self._select(query)
        )

    def latest_series(self, state: SeriesState, most: int) -> tuple[SeriesRow, ...]:
        """The revisions that came to a state last, the latest first."""
        return self.read(
            SeriesRow, is_in(state), most=most, order=(SERIES.c.changed_at.desc(),)
        )

    def count_series(self) -> Mapping[SeriesState, int]:
        """How many revisions of series are in each state."""
        found = {SeriesState(each): n for each, n in self._count(SERIES.c.state).items()}
        for state in PASSED_OVER:
            # Counted a moment later: one may have come in between.
            if count := self._select(sa.select(sa.func.count()).where(is_in(state)))[0][0]:
                found[state] = count
                found[SeriesState.REFUSED] = max(found.get(SeriesState.REFUSED, 0) - count, 0)
        return found

    def count_deliveries(self) -> Mapping[DeliveryState, int]:
        """How many deliveries are in each state."""
        return {DeliveryState(each): n for each, n in self._count(DELIVERIES.c.state).items()}

    def of_study(self, study_instance_uid: str) -> tuple[SeriesRow, ...]:
        """Every revision of every series of a study."""
        return self.read(SeriesRow, SERIES.c.study_instance_uid == study_instance_uid)

    def received(self, code: str) -> tuple[SeriesRow, ...]:
        """The revisions that have been received, and no more, with this code."""
        return self.read(
            SeriesRow, SERIES.c.state == SeriesState.RECEIVED, SERIES.c.code == code
        )

    def results(self, series_instance_uid: str, revision: int) -> tuple[ResultRow, ...]:
        """The result objects of one revision of a series."""
        return self.read(
            ResultRow,
            RESULTS.c.series_instance_uid == series_instance_uid,
            RESULTS.c.revision == revision,
        )

    def results_named(self, sop_instance_uids: Iterable[str]) -> tuple[ResultRow, ...]:
        """The result objects of these SOP Instance UIDs."""
        wanted = sorted(set(sop_instance_uids))
        column = RESULTS.c.sop_instance_uid
        return tuple(
            row
            for at in range(0, len(wanted), AT_ONCE)
            for row in self.read(ResultRow, column.in_(wanted[at : at + AT_ONCE]))
        )

    def all_results(self) -> tuple[ResultRow, ...]:
        """The result objects of every series."""
        return self.read(ResultRow)

    def deliveries(
        self,
        *,
        series_instance_uid: str | None = None,
        revision: int | None = None,
        destination: str | None = None,
        states: Iterable[DeliveryState] = tuple(DeliveryState),
    ) -> tuple[DeliveryRow, ...]:
        """Deliveries, narrowed by what is given."""
        wanted = {
            DELIVERIES.c.series_instance_uid: series_instance_uid,
            DELIVERIES.c.revision: revision,
            DELIVERIES.c.destination: destination,
        }
        narrowed = [column == value for column, value in wanted.items() if value is not None]
        return self.read(DeliveryRow, DELIVERIES.c.state.in_(list(states)), *narrowed)

    def latest_deliveries(self, most: int) -> tuple[DeliveryRow, ...]:
        """The deliveries that changed last, the latest first."""
        return self.read(DeliveryRow, most=most, order=(DELIVERIES.c.changed_at.desc(),))

    def most_tried(self, state: DeliveryState, most: int) -> tuple[DeliveryRow, ...]:
        """The deliveries in a state that have had the most attempts, the longest ago first."""
        order = (DELIVERIES.c.attempts.desc(), DELIVERIES.c.changed_at)
        return self.read(DeliveryRow, DELIVERIES.c.state == state, most=most, order=order)

    def scheduled(self) -> tuple[DeliveryRow, ...]:
        """Deliveries that are to be sent, or asked for, now or later."""
        states = (DeliveryState.WAITING, DeliveryState.SENT)
        wanted = (DELIVERIES.c.next_attempt_at >= EVER, DELIVERIES.c.state.in_(states))
        return self.read(DeliveryRow, *wanted)

    def never_asked_for(self, destinations: Iterable[str]) -> tuple[DeliveryRow, ...]:
        """What these destinations took, and are not to be asked for."""
        return self.read(
            DeliveryRow,
            DELIVERIES.c.destination.in_(sorted(destinations)),
            DELIVERIES.c.state == DeliveryState.SENT,
            DELIVERIES.c.next_attempt_at.is_(None),
        )

    def last_visits(self, rows: Iterable[DeliveryRow]) -> Mapping[tuple[str, int, str], int]:
        """The highest number of a job in each group of which a delivery is among these."""
        group = (
            DELIVERIES.c.series_instance_uid,
            DELIVERIES.c.revision,
            DELIVERIES.c.destination,
        )
        wanted = {row.group for row in rows}
        series = sorted({uid for uid, _, _ in wanted})
        found: dict[tuple[str, int, str], int] = {}
        for at in range(0, len(series), AT_ONCE):
            query = (
                sa.select(*group, sa.func.max(DELIVERIES.c.visit))
                .where(DELIVERIES.c.series_instance_uid.in_(series[at : at + AT_ONCE]))
                .group_by(*group)
            )
            found |= {(row[0], row[1], row[2]): row[3] for row in self._select(query)}
        return {each: visit for each, visit in found.items() if each in wanted}

    def due(self, now: datetime) -> tuple[DeliveryRow, ...]:
        """Deliveries whose next attempt is due, those that are the longest first."""
        at = DELIVERIES.c.next_attempt_at
        return self.read(DeliveryRow, at <= now, order=(at,))

    def due_after(self, moment: datetime) -> tuple[DeliveryRow, ...]:
        """Deliveries whose next attempt is due later than this, the next first."""
        at = DELIVERIES.c.next_attempt_at
        return self.read(DeliveryRow, at > moment, order=(at,))

    def unconfirmed(self, most: int | None = None) -> tuple[DeliveryRow, ...]:
        """Deliveries that were sent, and that the destination is to be asked for.

        most: so many at most, those that were sent the longest ago.
        """
        return self.read(
            DeliveryRow,
            IS_UNCONFIRMED,
            most=most,
            order=() if most is None else (DELIVERIES.c.sent_at,),
        )

    def commitment(self, transaction_uid: str) -> CommitmentRow | None:
        """The request that a report answers."""
        found = self.read(CommitmentRow, COMMITMENTS.c.transaction_uid == transaction_uid)
        return found[0] if found else None

    def cases(
        self,
        *,
        since: datetime | None = None,
        all_revisions: bool = False,
        series: Collection[str] = (),
    ) -> Iterator[CaseRow]:
        """The cases, those of one patient after each other, the earliest scan first.

        They are read as they are at one moment, a few at a time.

        Args:
            since: only of patients with a case that was analysed at that time or later.
            all_revisions: those too that a later revision of their series has replaced.
            series: only those of these Series Instance UIDs; all without any.
        """
        query = sa.select(CASES).order_by(
            CASES.c.patient_key,
            CASES.c.study_date.asc().nulls_first(),
            CASES.c.series_instance_uid,
            CASES.c.revision,
        )
        if not all_revisions:
            query = query.where(CASES.c.revision == _latest_revision())
        if since is not None:
            query = query.where(_of_patients_since(since))
        if series:
            query = query.where(CASES.c.series_instance_uid.in_(sorted(series)))
        with self._engine.connect() as connection:
            options = {"yield_per": AT_A_TIME}
            with connection.execute(query, execution_options=options) as result:
                for found in result.mappings():
                    yield CaseRow(**_typed(CaseRow, found))

    def cases_of_patient(self, patient_key: str, before: date) -> tuple[CaseRow, ...]:
        """The cases of earlier days of a patient, the latest revision of each series."""
        return self.read(
            CaseRow,
            CASES.c.patient_key == patient_key,
            CASES.c.study_date < before,
            CASES.c.revision == _latest_revision(),
        )

    def answered_without_case(self) -> int:
        """The number of answered revisions without a row among the cases.

        A node of before that table has answered them, or one of a version before it has.
        """
        same = sa.and_(
            CASES.c.series_instance_uid == SERIES.c.series_instance_uid,
            CASES.c.revision == SERIES.c.revision,
        )
        query = (
            sa.select(sa.func.count())
            .select_from(SERIES.outerjoin(CASES, same))
            .where(
                SERIES.c.state.in_(list(ANSWERED)),
                SERIES.c.code.not_in([*LEFT_OUT_CODES, CANCELLED_CODE]),
                CASES.c.revision.is_(None),
            )
        )
        return self._do(lambda connection: connection.execute(query).scalar_one())

    def _mappings(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        return self._do(lambda connection: connection.execute(query).mappings().all())

    def _select(self, query: sa.Select[*tuple[Any, ...]]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of a query."""
        return self._do(lambda connection: connection.execute(query).all())

    def _count(self, column: sa.Column[str]) -> Mapping[str, int]:
        """How many rows have each value of a column."""
        query = sa.select(column, sa.func.count()).group_by(column)
        return {row[0]: row[1] for row in self._select(query)}

    def _write(self, statements: Iterable[sa.Insert]) -> None:
        """Execute statements in one transaction, if this process may write at all."""
        to_do = tuple(statements)

        def write(connection: sa.Connection) -> None:
            for statement in to_do:
                connection.execute(statement)

        self.transact(write)

    def transact(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Write in one transaction, if this process may write at all."""

        def write(connection: sa.Connection) -> Result:
            self._fence(connection)
            return work(connection)

        return self._do(write)

    def _do(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Work in one transaction, once or as soon as the database is there."""

        def attempt() -> Result:
            with self._engine.begin() as connection:
                return work(connection)

        return retry_until_available(attempt) if self._patient else attempt()

    def statement(
        self, row: AnyRow, *, keep: bool = False, unless_later: bool = False
    ) -> sa.Insert:
        """The statement that makes the table say what the row says.

        A series that was cancelled stays so; another try is another revision.

        Args:
            row: what to write.
            keep: leave a row of that key as it is, unless only the latest of its name counts.
            unless_later: leave one that is confirmed, or that a later job has written.
        """
        table, values = TABLES[type(row)], _stored(row)
        insert = (
            sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        )(table).values(values)
        key = [column.name for column in table.primary_key.columns]
        if keep and not (isinstance(row, EventRow) and row.name.endswith(LATEST)):
            return insert.on_conflict_do_nothing(index_elements=key)
        rest = {name: value for name, value in values.items() if name not in key}
        where = _not_later(table, row) if unless_later else None
        if isinstance(row, SeriesRow):
            where = sa.not_(is_in(SeriesState.CANCELLED))
        return insert.on_conflict_do_update(index_elements=key, set_=rest, where=where)


def is_in(state: SeriesState) -> sa.ColumnElement[bool]:
    """True of the rows in a state; the table has those that are passed over as refused."""
    match state:
        case SeriesState.LEFT_OUT | SeriesState.CANCELLED:
            codes = CODES_OF[state]
            return sa.and_(SERIES.c.state == SeriesState.REFUSED, SERIES.c.code.in_(codes))
        case SeriesState.REFUSED:
            codes = [code for each in PASSED_OVER for code in CODES_OF[each]]
            return sa.and_(SERIES.c.state == state, SERIES.c.code.not_in(codes))
        case _:
            return SERIES.c.state == state


CODES_OF: Final[Mapping[SeriesState, list[str]]] = {
    SeriesState.LEFT_OUT: list(LEFT_OUT_CODES),
    SeriesState.CANCELLED: [CANCELLED_CODE],
}
"""By these codes a series that is passed over is told from one that was refused."""
STATE_OF_SERIES: Final = sa.case(
    *(
        (sa.and_(SERIES.c.state == SeriesState.REFUSED, SERIES.c.code.in_(codes)), state.value)
        for state, codes in CODES_OF.items()
    ),
    else_=SERIES.c.state,
)
"""The state of a series as `SeriesRow` has it."""
IS_UNCONFIRMED: Final = sa.and_(
    DELIVERIES.c.state == DeliveryState.SENT, DELIVERIES.c.next_attempt_at >= EVER
)
"""True of the deliveries that were sent, and that the destination is still to be asked for."""


def _latest_revision() -> sa.ScalarSelect[int]:
    """The latest revision of a case's series that is among the cases."""
    other = CASES.alias("other")
    return (
        sa.select(sa.func.max(other.c.revision))
        .where(other.c.series_instance_uid == CASES.c.series_instance_uid)
        .correlate(CASES)
        .scalar_subquery()
    )


def _of_patients_since(moment: datetime) -> sa.ColumnElement[bool]:
    """True for a case that is new, and for every other one of its patient."""
    other = CASES.alias("new")
    new = sa.select(other.c.patient_key).where(
        other.c.analysed_at >= moment, other.c.patient_key != ""
    )
    return sa.or_(CASES.c.analysed_at >= moment, CASES.c.patient_key.in_(new))


def existing_ledger(
    database_url: str, *, only_read: bool = False, within_s: float = WRITE_WITHIN_S
) -> Ledger | None:
    """The ledger of a node, for a command beside it; None while there is none.

    Its tables stay as they are: the process that works brings them up when it starts.

    Args:
        database_url: of its database.
        only_read: change nothing; works without the right to write, too.
        within_s: so long a write waits for what others have locked.

    Raises:
        ConfigurationError: this version cannot use them before that, or at all; or the
            database cannot be reached or read.
    """
    path = sqlite_path(database_url)
    try:
        if path is not None and not path.exists():
            return None
        ledger = Ledger(database_url, upgrade=False, only_read=only_read, within_s=within_s)
        try:
            there = ledger.is_there()
        except BaseException:
            ledger.close()
            raise
    except sa.exc.DBAPIError as error:
        words = str(error.orig).strip().partition("\n")[0]
        raise ConfigurationError(f"node.database: cannot be read: {words}") from None
    except OSError as error:
        raise ConfigurationError(f"node.database: cannot be read: {error.strerror}") from None
    if there:
        return ledger
    ledger.close()
    return None


def _open(database_url: str, within_s: float) -> sa.Engine:
    """The database, prepared to wait so long for what others have locked."""
    within_ms = round(within_s * 1000)
    if sqlite_path(database_url) is None:
        # A server's locks are those of our own transactions, which wait for nobody long.
        is_bounded = within_s < WRITE_WITHIN_S
        options = {"options": f"-c lock_timeout={within_ms}"} if is_bounded else {}
        return open_database(database_url, **options)
    database = open_database(database_url)
    sa.event.listen(database, "connect", partial(_prepare_sqlite, within_s))
    return database


def _stored(row: AnyRow) -> dict[str, Any]:
    """A row's values as the table has them.

    A worker of a version before knows no series that was left out or cancelled: to it, and
    in the table, that is one refused, which nobody answered.
    """
    values = asdict(row)
    if values.get("state") in PASSED_OVER:
        values["state"] = SeriesState.REFUSED
    return values


def _typed(row_type: type, values: sa.RowMapping) -> dict[str, Any]:
    """Database values with their enumerations put back."""
    typed = {each.name: values[each.name] for each in fields(row_type)}
    if row_type in STATES:
        typed["state"] = STATES[row_type](typed["state"])
    if row_type in KINDS:
        typed["kind"] = KINDS[row_type](typed["kind"])
    if typed.get("state") is SeriesState.REFUSED:
        for state, codes in CODES_OF.items():
            if typed["code"] in codes:
                typed["state"] = state
    return typed


def _not_later(table: sa.Table, row: AnyRow) -> sa.ColumnElement[bool]:
    """The condition that no later job has written a row, nor a confirmation, nor a person.

    An order to hold takes the number of the attempt that may be under way: what that has sent
    is sent, and what it has not stays held.
    """
    visit = _stored(row)["visit"]
    earlier: sa.ColumnElement[bool] = table.c.visit <= visit
    if not isinstance(row, DeliveryRow):
        return earlier
    unconfirmed = table.c.state != DeliveryState.CONFIRMED
    if row.state in FINISHED or row.is_held_by_person:
        return sa.and_(earlier, unconfirmed)
    held = sa.and_(
        table.c.state == DeliveryState.HELD,
        table.c.reason.startswith(HELD_BY, autoescape=True),
    )
    return sa.and_(earlier, unconfirmed, sa.or_(table.c.visit < visit, sa.not_(held)))


def _use_write_ahead_log(connection: sqlite3.Connection, within_s: float) -> None:
    """Change the mode of a new file; SQLite's own patience does not cover that."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _prepare_sqlite(within_s: float, connection: sqlite3.Connection, _record: object) -> None:
    """Patience with other writers, readers beside a writer, and durable commits."""
    connection.execute(f"PRAGMA busy_timeout={round(within_s * 1000)}")
    _use_write_ahead_log(connection, within_s)
    connection.execute("PRAGMA synchronous=FULL")
