"""The four tables, as they were when versions began.

A database of before that may have them already, or those of an even older node: one that
kept no commitments, or no numbers of delivery jobs. Tables, columns and indices that such a
node did not know are added. Anything else that differs is somebody else's, and nothing is
done to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa
from alembic import op

from dicom_node.errors import ConfigurationError

revision = "0001"
down_revision = None

UID: Final = sa.String(64)
NAME: Final = sa.String(64)
MOMENT: Final = sa.DateTime(timezone=True)

# A copy, which stays as it is when `tables.py` changes.
METADATA: Final = sa.MetaData()

sa.Table(
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
    sa.Column("received_at", MOMENT, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False),
)
sa.Table(
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
    sa.Column("made_at", MOMENT, nullable=False),
    sa.Index("results_of_series", "series_instance_uid", "revision"),
)
sa.Table(
    "deliveries",
    METADATA,
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("destination", NAME, primary_key=True),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("state", NAME, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False),
    sa.Column("next_attempt_at", MOMENT, nullable=True),
    sa.Column("visit", sa.Integer, nullable=False, server_default="0"),
    sa.Column("status", sa.Integer, nullable=True),
    sa.Column("sent_at", MOMENT, nullable=True),
    sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
    sa.Column("resumes", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("deliveries_of_series", "series_instance_uid", "revision", "destination"),
)
sa.Table(
    "commitments",
    METADATA,
    sa.Column("transaction_uid", UID, primary_key=True),
    sa.Column("destination", NAME, nullable=False),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("asked_at", MOMENT, nullable=False),
)


def upgrade() -> None:
    """Make what is missing, once it is sure that what is there is ours.

    Raises:
        ConfigurationError: it is not.
    """
    inspector = sa.inspect(op.get_bind())
    there = set(inspector.get_table_names())
    old = [table for table in METADATA.sorted_tables if table.name in there]
    differences = [each for table in old for each in _differences(inspector, table)]
    if differences:
        raise ConfigurationError(
            "node.database: its tables are not those of an older msk-node: "
            f"{'; '.join(differences)}; give the node a database of its own"
        )
    for table in METADATA.sorted_tables:
        if table in old:
            _complete(inspector, table)
        else:
            table.create(op.get_bind())


def _differences(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """The differences that cannot be explained by an older node's having made a table."""
    dialect = op.get_bind().dialect
    there = {each["name"]: each for each in inspector.get_columns(table.name)}
    for name in sorted(there.keys() - table.columns.keys()):
        yield f"{table.name}.{name} is not known"
    for column in table.columns:
        if column.name not in there:
            if not column.nullable and column.server_default is None:
                yield f"{table.name}.{column.name} is missing"
            continue
        found = there[column.name]
        wanted_type = column.type.compile(dialect)
        found_type = found["type"].compile(dialect)
        if found_type != wanted_type:
            yield f"{table.name}.{column.name} is {found_type}, not {wanted_type}"
        if column.nullable and not found["nullable"]:
            yield f"{table.name}.{column.name} must be given"
    key = inspector.get_pk_constraint(table.name)["constrained_columns"]
    if set(key) != {column.name for column in table.primary_key}:
        yield f"{table.name} has the key ({', '.join(key)})"


def _complete(inspector: sa.Inspector, table: sa.Table) -> None:
    """Add columns and indices that an older node did not know."""
    connection = op.get_bind()
    columns = {each["name"] for each in inspector.get_columns(table.name)}
    indices = {each["name"] for each in inspector.get_indexes(table.name)}
    for column in table.columns:
        if column.name not in columns:
            definition = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            op.execute(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
    for index in table.indexes:
        if index.name not in indices:
            index.create(connection)
