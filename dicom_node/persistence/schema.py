"""The version of the ledger's tables, and bringing a database up to the one of this code.

The changes are Alembic's migrations in `migrations/versions`, one file each, numbered. The
database says in `ledger_version` which was the last one done; where nothing of that is there,
the first migration finds out what is (`0001_ledger.py`). Versions only go up. Alembic is
loaded where there is something to do, and not at every start.

What is not in the migrations: DBOS makes and changes its own tables, and the leases of a
server (`leases.py`) are one table that never changes, so that workers of two versions can
share it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog

from dicom_node.errors import ConfigurationError
from dicom_node.persistence.database import DEFINING
from dicom_node.persistence.tables import METADATA

log = structlog.get_logger()

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION: Final = sa.table("ledger_version", sa.column("version_num"))
"""Not Alembic's own name: a server's database may be shared with others that use Alembic."""
BEFORE_VERSIONS: Final = "0000"
"""Stands for a database that says nothing of its version: new, or of before there were any."""


def known_versions() -> tuple[str, ...]:
    """Every version that this code knows, the newest last."""
    files = (MIGRATIONS / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(path.name.partition("_")[0] for path in files))


def version_of(connection: sa.Connection) -> str:
    """The version of a database that this code may use.

    Raises:
        ConfigurationError: a newer node has worked on it.
    """
    if not sa.inspect(connection).has_table(VERSION.name):
        return BEFORE_VERSIONS
    found = connection.execute(sa.select(VERSION.c.version_num)).scalar()
    known = known_versions()
    if found is not None and found not in known:
        raise ConfigurationError(
            f"node.database: its ledger is of version {found}, made by a newer msk-node; this "
            f"one knows versions up to {known[-1]}: update it, or give it another database"
        )
    return found or BEFORE_VERSIONS


def bring_up(database: sa.Engine) -> None:
    """Make the ledger's tables, or change them to what this code needs; else do nothing.

    Of several processes one does it, and the others wait for that. All of it is done, or
    nothing.

    Raises:
        ConfigurationError: the tables that are there are not what any older node made, or
            they are a newer one's.
    """
    newest = known_versions()[-1]
    with database.connect() as connection:
        if version_of(connection) == newest:
            return
    with database.begin() as connection:
        _lock(connection)
        if version_of(connection) != newest:
            _migrate(connection)
            log.info("ledger.upgraded", version=newest)


def is_there(database: sa.Engine) -> bool:
    """True if a database has a ledger that this code can use as it is; nothing is written.

    Raises:
        ConfigurationError: it has one that has to be brought up first, or a newer node's.
    """
    with database.connect() as connection:
        if version_of(connection) == known_versions()[-1]:
            return True
        inspector = sa.inspect(connection)
        there = set(inspector.get_table_names())
        if there.isdisjoint(METADATA.tables):
            return False
        columns = {
            f"{name}.{each['name']}"
            for name in there & set(METADATA.tables)
            for each in inspector.get_columns(name)
        }
    needed = {
        f"{table.name}.{column.name}"
        for table in METADATA.sorted_tables
        if table.name in there or "since" not in table.info
        for column in table.c
    }
    if needed - columns:
        raise ConfigurationError(
            "node.database: its ledger is of an older msk-node and lacks "
            f"{', '.join(sorted(needed - columns))}; the node brings it up when it starts"
        )
    return True


def _lock(connection: sa.Connection) -> None:
    """Keep others from changing the tables until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(DEFINING)))
    else:
        # Python's driver would begin at the first row that is written, after the tables.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: sa.Connection) -> None:
    """Do, in the transaction of a connection, every migration that was not done yet."""
    from alembic import command  # noqa: PLC0415 - rarely needed, and slow to load
    from alembic.config import Config  # noqa: PLC0415 - a ledger of today needs no Alembic

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
