"""The whole database as one file, taken beside a node that writes to it; and put back.

An SQLite file copied as a file lacks what its write-ahead log holds. So it is copied by
SQLite's own online backup (sqlite.org/backup.html), in one go: what it answers is the database
at one moment. A PostgreSQL server is read by `pg_dump` and filled by `pg_restore`.

Rows name files by their whole paths: results in the ledger, images in the payloads of jobs.
Where the folders are others afterwards, `move_paths` writes them anew.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from dicom_node.durable_files import OWN
from dicom_node.errors import ConfigurationError
from dicom_node.persistence.database import open_database, open_to_read, sqlite_path
from dicom_node.persistence.schema import version_of

PATHS: Final[Mapping[str, Mapping[str, str]]] = {
    "results": {"path": "text"},
    "workflow_status": {"inputs": "json", "output": "json"},
    "workflow_input": {"inputs": "json"},
    "workflow_output": {"output": "json"},
    "operation_outputs": {"output": "json"},
}
"""Columns in which paths stand: as they are, or somewhere in a JSON value (DBOS's tables)."""
PATIENCE_S: Final = 3600.0


def is_server(database_url: str) -> bool:
    """True if the database is a server's."""
    return sqlite_path(database_url) is None


def take_snapshot(database_url: str, target: Path) -> None:
    """Write all of a database into a new file, which only its owner may read.

    Of SQLite that is a database file again, without a log beside it; of PostgreSQL an
    archive of `pg_dump`.

    Raises:
        ConfigurationError: `pg_dump` is not there, or fails.
        OSError: there is no such database, or the disk is full.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWN))
    if is_server(database_url):
        options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
        _postgresql("pg_dump", database_url, options)
        return
    source = open_to_read(database_url)
    try:
        with closing(sqlite3.connect(target)) as copy:
            source.raw_connection().driver_connection.backup(copy)  # type: ignore[union-attr]
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise ConfigurationError(f"node.database: it cannot be read: {error}") from error
    finally:
        source.dispose()


def load_snapshot(archive: Path, database_url: str) -> None:
    """Fill a server's database, which must have no tables, from an archive of `pg_dump`.

    Raises:
        ConfigurationError: the database has tables, or `pg_restore` is not there or fails.
    """
    database = open_database(database_url)
    try:
        there = sa.inspect(database).get_table_names()
    except sa.exc.SQLAlchemyError as error:
        words = f"the database cannot be reached: {type(error).__name__}"
        raise ConfigurationError(words) from error
    finally:
        database.dispose()
    if there:
        raise ConfigurationError(
            f"the database has tables already ({', '.join(sorted(there)[:3])}, ...); "
            "restore into an empty one"
        )
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _postgresql("pg_restore", database_url, [*options, str(archive)])


def check_snapshot(snapshot: Path) -> str:
    """The version of the ledger in an SQLite snapshot; empty where it has none.

    Raises:
        ConfigurationError: the file is damaged, or a newer node's.
    """
    database = open_to_read(f"sqlite:///{snapshot}")
    try:
        with database.connect() as connection:
            words = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            if words != "ok":
                raise ConfigurationError(f"the database in the backup is damaged: {words}")
            return version_of(connection)
    except sa.exc.DatabaseError as error:
        raise ConfigurationError(
            f"the database in the backup is damaged: {error.orig}"
        ) from error
    finally:
        database.dispose()


def move_paths(database_url: str, moves: Mapping[str, str]) -> int:
    """Write the paths in a database anew, in one transaction; answers how many rows changed.

    moves: folders as they were, and as they are now.
    """
    changed = 0
    database = open_database(database_url)
    try:
        with database.begin() as connection:
            for name, columns in PATHS.items():
                # DBOS has its tables on a server in a schema of its own.
                for schema in _schemas(connection, name):
                    changed += _move_in(connection, name, schema, columns, moves)
    finally:
        database.dispose()
    return changed


def _schemas(connection: sa.Connection, table: str) -> list[str | None]:
    """The schemas that have a table of this name."""
    inspector = sa.inspect(connection)
    names: list[str | None] = [None]
    if connection.dialect.name == "postgresql":
        names += [each for each in inspector.get_schema_names() if each == "dbos"]
    return [each for each in names if inspector.has_table(table, schema=each)]


def _move_in(
    connection: sa.Connection,
    name: str,
    schema: str | None,
    columns: Mapping[str, str],
    moves: Mapping[str, str],
) -> int:
    """Write the paths in one table anew, a row at a time: a payload may name 1,000 files."""
    table = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection)
    wanted = [table.c[each] for each in columns if each in table.c]
    keys = tuple(table.primary_key.columns)
    changed = 0
    for key in connection.execute(sa.select(*keys)).all():
        where = sa.and_(*(column == value for column, value in zip(keys, key, strict=True)))
        row = connection.execute(sa.select(*wanted).where(where)).mappings().one()
        values = {each: _MOVED[columns[each]](row[each], moves) for each in row}
        if any(values[each] != row[each] for each in row):
            connection.execute(sa.update(table).where(where).values(values))
            changed += 1
    return changed


def moved(path: Any, moves: Mapping[str, str]) -> Any:
    """A path as it is now; anything else as it is. The longest folder that fits counts."""
    if not isinstance(path, str):
        return path
    for before in sorted(moves, key=len, reverse=True):
        if path == before or path.startswith(f"{before}/"):
            return moves[before] + path[len(before) :]
    return path


def _moved_in_json(text: Any, moves: Mapping[str, str]) -> Any:
    """A JSON value with its paths as they are now; what is no JSON stays as it is."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    after = _moved_within(value, moves)
    if after == value:
        return text
    return json.dumps(after, separators=(",", ":"), ensure_ascii=False)


def _moved_within(value: Any, moves: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _moved_within(each, moves) for key, each in value.items()}
        case list():
            return [_moved_within(each, moves) for each in value]
        case _:
            return moved(value, moves)


_MOVED: Final[Mapping[str, Callable[[Any, Mapping[str, str]], Any]]] = {
    "text": moved,
    "json": _moved_in_json,
}


def _postgresql(program: str, database_url: str, options: list[str]) -> None:
    """Run one of PostgreSQL's programs on a database; its password is on no command line.

    Raises:
        ConfigurationError: it is not there, or fails.
    """
    found = shutil.which(program)
    if found is None:
        raise ConfigurationError(
            f"node.database: {program} is not installed; it comes with PostgreSQL's client"
        )
    url = make_url(database_url).set(drivername="postgresql")
    password = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    bare = url.set(password=None).render_as_string(hide_password=False)
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own program, with a URL of ours
        [found, f"--dbname={bare}", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **password},
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigurationError(f"node.database: {program} failed: {words[-1]}")
