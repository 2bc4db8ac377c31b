"""What the node knows of its series, results and deliveries: four tables, frozen rows.

A row is a value; what it becomes is decided by a pure function (`SeriesRow.refused`,
`DeliveryRow.after`), and the ledger only writes it. Every write can be repeated: it says
what a row is, never what to add to it. The same code serves SQLite and PostgreSQL.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dicom_node.database import define, open_database, wait_out

UID: Final = sa.String(64)
NAME: Final = sa.String(64)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zone, so it is put back when reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: datetime | None, dialect: sa.Dialect
    ) -> datetime | None:
        """Refuse a moment without a zone."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment in the ledger needs a time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self, value: datetime | None, dialect: sa.Dialect
    ) -> datetime | None:
        """Put the zone back."""
        del dialect
        return value if value is None else value.replace(tzinfo=UTC)


METADATA: Final = sa.MetaData()

SERIES: Final = sa.Table(
    "series",
    METADATA,
    sa.Column("series_instance_uid", UID, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("study_instance_uid", UID, nullable=False),
    sa.Column("calling_ae_title", NAME, nullable=False),
    sa.Column("called_ae_title", NAME, nullable=False),
    sa.Column("instances", sa.Integer, nullable=False),
    sa.Column("fingerprint", NAME, nullable=False, index=True),
    sa.Column("state", NAME, nullable=False),
    sa.Column("code", NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
)

RESULTS: Final = sa.Table(
    "results",
    METADATA,
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("sop_class_uid", UID, nullable=False),
    sa.Column("kind", NAME, nullable=False),
    sa.Column("own_series_instance_uid", UID, nullable=False),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", NAME, nullable=False),
    sa.Column("made_at", UtcDateTime, nullable=False),
    sa.Index("results_of_series", "series_instance_uid", "revision"),
)

DELIVERIES: Final = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("destination", NAME, primary_key=True),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("state", NAME, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("next_attempt_at", UtcDateTime, nullable=True),
    sa.Column("visit", sa.Integer, nullable=False, server_default="0"),
    sa.Column("status", sa.Integer, nullable=True),
    sa.Column("sent_at", UtcDateTime, nullable=True),
    sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
    sa.Column("resumes", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("deliveries_of_series", "series_instance_uid", "revision", "destination"),
)

COMMITMENTS: Final = sa.Table(
    "commitments",
    METADATA,
    sa.Column("transaction_uid", UID, primary_key=True),
    sa.Column("destination", NAME, nullable=False),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
)


class SeriesState(StrEnum):
    """How far a series has come."""

    RECEIVED = "received"
    SEGMENTED = "segmented"
    REPORTED = "reported"
    REFUSED = "refused"
    FAILED = "failed"


ANSWERED: Final = (SeriesState.REPORTED, SeriesState.REFUSED, SeriesState.FAILED)
"""States in which result objects exist."""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One revision of one series.

    fingerprint: digest of its instances and of everything that shapes its results; equal
        fingerprints give equal results.
    code, reason: why it was refused or failed; of one with a report, what is remarkable.
    """

    series_instance_uid: str
    revision: int
    study_instance_uid: str
    calling_ae_title: str
    called_ae_title: str
    instances: int
    fingerprint: str
    received_at: datetime
    changed_at: datetime
    state: SeriesState = SeriesState.RECEIVED
    code: str = ""
    reason: str = ""

    def become(
        self, state: SeriesState, now: datetime, *, code: str = "", reason: str = ""
    ) -> Self:
        """The row after it reached a state; an answer is never taken back."""
        if self.state in ANSWERED and state not in ANSWERED:
            return self
        return replace(self, state=state, changed_at=now, code=code, reason=reason)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One result object, encoded once and kept as a file.

    kind: the value of its `Rendering`: "SEG", "SR-LABELMAP", ...
    own_series_instance_uid: the series it is in; `series_instance_uid` is what it is about.
    """

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    own_series_instance_uid: str
    series_instance_uid: str
    revision: int
    path: str
    sha256: str
    made_at: datetime


class DeliveryState(StrEnum):
    """How far a result object has come on its way to one destination.

    SENT: the destination answered its C-STORE with success or a warning.
    CONFIRMED: the destination says that it has it for good, or lists it when asked.
    REPLACED: the destination does not take it; another form of the same went instead.
    """

    WAITING = "waiting"
    SENT = "sent"
    CONFIRMED = "confirmed"
    HELD = "held"
    REPLACED = "replaced"


FINISHED: Final = (DeliveryState.SENT, DeliveryState.CONFIRMED, DeliveryState.REPLACED)
"""States in which nothing is left to send."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One result object on its way to one destination.

    attempts: how many were made in this state: to send it, or to have it confirmed.
    reason: why the last one failed, why it was replaced, or what the C-STORE warned of;
        empty otherwise.
    next_attempt_at: when the next one is due; None when there is none.
    visit: the number of the job that last dealt with it; see `visits.py`.
    status: what its C-STORE was answered with; success is 0.
    sent_at: when that was.
    losses: how often the destination, asked to confirm it, said that it has not got it.
    resumes: whether it goes on, if it is held, when the destination answers again.
    """

    sop_instance_uid: str
    destination: str
    series_instance_uid: str
    revision: int
    changed_at: datetime
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    reason: str = ""
    next_attempt_at: datetime | None = None
    visit: int = 0
    status: int | None = None
    sent_at: datetime | None = None
    losses: int = 0
    resumes: bool = False

    @property
    def group(self) -> tuple[str, int, str]:
        """What goes to one destination of one revision of one series, together."""
        return (self.series_instance_uid, self.revision, self.destination)

    @property
    def is_unconfirmed(self) -> bool:
        """Whether it was sent, and the destination is still to be asked for it."""
        return self.state is DeliveryState.SENT and self.next_attempt_at is not None


@dataclass(frozen=True, slots=True)
class CommitmentRow:
    """One request to commit to objects (PS3.4 J.3.2), by which its report is known."""

    transaction_uid: str
    destination: str
    series_instance_uid: str
    revision: int
    asked_at: datetime


AnyRow: TypeAlias = SeriesRow | ResultRow | DeliveryRow | CommitmentRow
Row = TypeVar("Row", SeriesRow, ResultRow, DeliveryRow, CommitmentRow)
TABLES: Final[Mapping[type, sa.Table]] = {
    SeriesRow: SERIES,
    ResultRow: RESULTS,
    DeliveryRow: DELIVERIES,
    CommitmentRow: COMMITMENTS,
}


Fence: TypeAlias = Callable[[sa.Connection], None]
Answer = TypeVar("Answer")


def no_fence(_connection: sa.Connection) -> None:
    """Anyone may write."""


class Ledger:
    """The four tables in a database; safe to use from many threads.

    fence: asked in every transaction that writes; raises when this process must not.
    patient: wait while the database is away instead of raising, as a worker does.
    """

    def __init__(
        self, database_url: str, *, fence: Fence = no_fence, patient: bool = False
    ) -> None:
        self._fence = fence
        self._patient = patient
        self._engine = open_database(database_url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        define(self._engine, METADATA)
        _add_missing_columns(self._engine)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def save(self, *rows: AnyRow) -> None:
        """Write rows, new or changed, in one transaction."""
        self._write(self._upsert(row) for row in rows)

    def add(self, *rows: AnyRow) -> None:
        """Write rows that are not there yet; those that are stay as they are."""
        self._write(self._upsert(row, keep=True) for row in rows)

    def advance(self, *rows: DeliveryRow) -> None:
        """Write deliveries in one transaction, save where something newer stands.

        That is what a later visit wrote, and a confirmation: a report may come while a visit
        is still asking, with the same number.
        """
        self._write(self._upsert(row, unless_later=True) for row in rows)

    def series(self, series_instance_uid: str, revision: int) -> SeriesRow | None:
        """One revision of a series."""
        key = SERIES.c.series_instance_uid == series_instance_uid
        found = self._read(SeriesRow, key, SERIES.c.revision == revision)
        return found[0] if found else None

    def revisions(self, series_instance_uid: str) -> tuple[SeriesRow, ...]:
        """Every revision of a series, oldest first."""
        return self._read(SeriesRow, SERIES.c.series_instance_uid == series_instance_uid)

    def all_series(self) -> tuple[SeriesRow, ...]:
        """Every revision of every series."""
        return self._read(SeriesRow)

    def results(self, series_instance_uid: str, revision: int) -> tuple[ResultRow, ...]:
        """The result objects of one revision of a series."""
        return self._read(
            ResultRow,
            RESULTS.c.series_instance_uid == series_instance_uid,
            RESULTS.c.revision == revision,
        )

    def all_results(self) -> tuple[ResultRow, ...]:
        """The result objects of every series."""
        return self._read(ResultRow)

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
        return self._read(DeliveryRow, DELIVERIES.c.state.in_(list(states)), *narrowed)

    def due(self, now: datetime) -> tuple[DeliveryRow, ...]:
        """Deliveries whose next attempt is due."""
        return self._read(DeliveryRow, DELIVERIES.c.next_attempt_at <= now)

    def due_after(self, moment: datetime) -> tuple[DeliveryRow, ...]:
        """Deliveries whose next attempt is due later than this."""
        return self._read(DeliveryRow, DELIVERIES.c.next_attempt_at > moment)

    def unconfirmed(self) -> tuple[DeliveryRow, ...]:
        """Deliveries that were sent, and that the destination is to be asked for."""
        return self._read(
            DeliveryRow,
            DELIVERIES.c.state == DeliveryState.SENT,
            DELIVERIES.c.next_attempt_at.is_not(None),
        )

    def commitment(self, transaction_uid: str) -> CommitmentRow | None:
        """The request that a report answers."""
        found = self._read(CommitmentRow, COMMITMENTS.c.transaction_uid == transaction_uid)
        return found[0] if found else None

    def _read(
        self, row_type: type[Row], *conditions: sa.ColumnElement[bool]
    ) -> tuple[Row, ...]:
        """Rows as values, in the order of their keys."""
        table = TABLES[row_type]
        query = sa.select(table).where(*conditions).order_by(*table.primary_key.columns)
        found = self._do(lambda connection: connection.execute(query).mappings().all())
        return tuple(row_type(**_typed(row_type, each)) for each in found)

    def _write(self, statements: Iterable[sa.Insert]) -> None:
        """Execute statements in one transaction, if this process may write at all."""
        to_do = tuple(statements)

        def write(connection: sa.Connection) -> None:
            self._fence(connection)
            for statement in to_do:
                connection.execute(statement)

        self._do(write)

    def _do(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Work in one transaction, once or as soon as the database is there."""

        def attempt() -> Answer:
            with self._engine.begin() as connection:
                return work(connection)

        return wait_out(attempt) if self._patient else attempt()

    def _upsert(
        self, row: AnyRow, *, keep: bool = False, unless_later: bool = False
    ) -> sa.Insert:
        """The statement that makes the table say what the row says.

        Args:
            row: what to write.
            keep: leave a row of that key as it is.
            unless_later: leave one that is confirmed, or that a later visit has written.
        """
        table, values = TABLES[type(row)], asdict(row)
        insert = (
            sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        )(table).values(values)
        key = [column.name for column in table.primary_key.columns]
        if keep:
            return insert.on_conflict_do_nothing(index_elements=key)
        rest = {name: value for name, value in values.items() if name not in key}
        where = (
            sa.and_(
                DELIVERIES.c.visit <= values["visit"],
                DELIVERIES.c.state != DeliveryState.CONFIRMED,
            )
            if unless_later
            else None
        )
        return insert.on_conflict_do_update(index_elements=key, set_=rest, where=where)


def _typed(row_type: type, values: sa.RowMapping) -> dict[str, Any]:
    """Database values with their enumerations put back."""
    states = {SeriesRow: SeriesState, DeliveryRow: DeliveryState}
    typed = {each.name: values[each.name] for each in fields(row_type)}
    if row_type in states:
        typed["state"] = states[row_type](typed["state"])
    return typed


def _add_missing_columns(engine: sa.Engine) -> None:
    """Bring tables of an older version up to this one; columns are only ever added."""
    inspector = sa.inspect(engine)
    for table in METADATA.sorted_tables:
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                # Another process may just have done the same.
                with contextlib.suppress(sa.exc.DBAPIError), engine.begin() as connection:
                    definition = sa.schema.CreateColumn(column).compile(dialect=engine.dialect)
                    connection.execute(
                        sa.text(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
                    )


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Change the mode of a new file; SQLite's own patience does not cover that."""
    deadline = time.monotonic() + 30.0
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Patience with other writers, readers beside a writer, and durable commits."""
    connection.execute("PRAGMA busy_timeout=30000")
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous=FULL")
