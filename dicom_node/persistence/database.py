"""Opening a database, and waiting while it is away.

A database that is restarted, stopped or locked for a while is no reason to fail anything: its
errors are transient (`is_transient`), and whoever has nothing better to do tries again until it
is back (`retry_until_available`).
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import make_url

log = structlog.get_logger()

Result = TypeVar("Result")

FIRST_WAIT_S: Final = 0.5
MAX_WAIT_S: Final = 10.0
_also_writes = threading.Event()
DATABASE_AWAY: Final = sa.exc.OperationalError
"""What is raised where a database is locked, full or away."""
NEVER: Final = threading.Event()
"""Nobody stops the waiting."""

READ_WITHIN_S: Final = 1.5
"""So long a reader waits for a locked SQLite file: beside a node that works nobody has to wait,
and whoever asks whether all is well asks more than once, and is to be told in time."""

ORDER_WITHIN_S: Final = 4.0
"""The same for what a person before a page has ordered: they are told, and may try again."""

CONNECT_TO_READ_WITHIN_S: Final = 3
"""The same with a server that is frozen, or gone without a word."""

SERVER_OPTIONS: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""libpq's options by which a server that is gone without a word is noticed within seconds."""

PASSING_SQLITE: Final = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)
"""Primary result codes of what a person or another process puts right (sqlite.org/rescode)."""

PASSING_SQLSTATES: Final = ("08", "40", "53", "55P03", "57", "58")
"""PostgreSQL's classes of errors that pass (its manual, appendix A): no connection, a rolled
back transaction, no room, a lock not had, an operator's intervention, the system's own."""


def open_database(database_url: str, **options: Any) -> sa.Engine:
    """Connections to a database; none is made yet.

    options: of libpq, in place of ours.
    """
    if sqlite_path(database_url) is not None:
        return sa.create_engine(database_url)
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    return sa.create_engine(url, pool_pre_ping=True, connect_args={**SERVER_OPTIONS, **options})


def reads_beside_writes() -> None:
    """From now on, let connections that only read not keep others of this process from writing.

    SQLite opens a file's index once in a process: with one connection that has it read-only,
    all others have it so, and what they write is refused (SQLITE_READONLY). A process of the
    node may write the index; a command beside it leaves the folder as it is.
    """
    _also_writes.set()


def open_to_read(database_url: str) -> sa.Engine:
    """Connections that only read, and leave everything in an SQLite file's folder as it is.

    Opened in the usual way, a file of a node that has ended gets a log and an index beside it,
    which belong to whoever looked (sqlite.org/wal.html). So one that has an index is read
    with it, also while its node works; one that was closed in order is read alone; of one
    whose log was left without an index, a copy.

    Raises:
        OSError: the file cannot be copied.
    """
    path = sqlite_path(database_url)
    if path is None:
        return open_database(database_url, connect_timeout=CONNECT_TO_READ_WITHIN_S)
    if _beside(path, "-shm").exists():
        how = "mode=ro" if _also_writes.is_set() else "mode=ro&readonly_shm=1"
        return _reading(path, how)
    left = [each for each in (_beside(path, "-wal"), _beside(path, "-journal")) if _holds(each)]
    return _reading_copy(path, left) if left else _reading(path, "mode=ro&immutable=1")


def _beside(path: Path, ending: str) -> Path:
    """One of the files that SQLite keeps beside a database."""
    return path.with_name(path.name + ending)


def _holds(path: Path) -> bool:
    """True if there is such a file, and something in it."""
    return path.exists() and path.stat().st_size > 0


def _reading(path: Path, how: str) -> sa.Engine:
    """Connections to a file as it is (sqlite.org/uri.html)."""
    uri = f"{path.absolute().as_uri()}?{how}"
    return sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            uri, timeout=READ_WITHIN_S, uri=True, check_same_thread=False
        ),
        poolclass=sa.pool.QueuePool,
    )


def _reading_copy(path: Path, left: Sequence[Path]) -> sa.Engine:
    """A connection to what a file and its log hold together, in memory."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="msk-node-") as folder:
        for each in (path, *left):
            shutil.copyfile(each, Path(folder) / each.name)
        with contextlib.closing(sqlite3.connect(Path(folder) / path.name)) as copy:
            copy.backup(memory)
    return sa.create_engine("sqlite://", creator=lambda: memory, poolclass=sa.pool.StaticPool)


def define(database: sa.Engine, metadata: sa.MetaData) -> None:
    """Make the tables and indices that are missing; other processes may be doing the same.

    Where nothing is missing nothing is locked: even to find an index there, PostgreSQL locks
    its table, and that could end in a deadlock with a worker's transaction.
    """
    if not _is_missing(database, metadata):
        return
    with database.begin() as connection:
        if database.dialect.name == "postgresql":
            # Two that make one table at once fail on the catalogue, "if not exists" or not.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(DEFINING)))
        for table in metadata.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda each: str(each.name)):
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


DEFINING: Final = 0x6D736B
"""The advisory lock of whoever makes our tables."""


def _is_missing(database: sa.Engine, metadata: sa.MetaData) -> bool:
    """True if a table or an index is not there yet."""
    inspector = sa.inspect(database)
    there = set(inspector.get_table_names())
    return any(
        table.name not in there
        or {index.name for index in table.indexes}
        - {each["name"] for each in inspector.get_indexes(table.name)}
        for table in metadata.sorted_tables
    )


def sqlite_path(database_url: str) -> Path | None:
    """The file of an SQLite URL, or None for a server."""
    url = make_url(database_url)
    if not url.drivername.startswith("sqlite") or not url.database:
        return None
    return Path(url.database)


def is_transient(error: sa.exc.DBAPIError) -> bool:
    """True if the same statement may well succeed later."""
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) in PASSING_SQLITE
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(PASSING_SQLSTATES)
    # Without a state the server said nothing at all: there was no connection.
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)


def retry_until_available(
    attempt: Callable[[], Result], stop: threading.Event = NEVER
) -> Result:
    """Do something with the database as soon as it is there.

    Raises:
        DBAPIError: it does not pass, or we were told to stop before it had passed.
    """
    wait_s = FIRST_WAIT_S
    while True:
        try:
            answer = attempt()
        except sa.exc.TimeoutError as error:
            _wait(error, wait_s, stop)
        except sa.exc.DBAPIError as error:
            if not is_transient(error):
                raise
            _wait(error, wait_s, stop)
        else:
            if wait_s > FIRST_WAIT_S:
                log.info("database.back")
            return answer
        wait_s = min(2 * wait_s, MAX_WAIT_S)


def _wait(error: sa.exc.SQLAlchemyError, wait_s: float, stop: threading.Event) -> None:
    """Say why, and wait; raise the error if told to stop meanwhile."""
    log.warning("database.unavailable", reason=type(error).__name__, wait_s=wait_s)
    if stop.wait(wait_s):
        raise error


def is_database_error(error: BaseException) -> bool:
    """True if an error is the database's: it cannot be reached, read or written."""
    return isinstance(error, sa.exc.SQLAlchemyError | sqlite3.Error)
