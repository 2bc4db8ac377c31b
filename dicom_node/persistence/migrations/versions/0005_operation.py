"""What operating a node takes: events of series, orders of people, and keys to find by.

Three tables of their own, and indices: for what was sent to a destination, for pages of the
series as they came, and for the series of results. A worker of the version before knows
nothing of them.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from dicom_node.errors import ConfigurationError

revision = "0005"
down_revision = "0004"

UID: Final = sa.String(64)
NAME: Final = sa.String(64)
MOMENT: Final = sa.DateTime(timezone=True)
TABLES: Final = ("series_events", "orders", "series_keys")


def upgrade() -> None:
    """Make the tables and the index.

    Raises:
        ConfigurationError: somebody else's is there under the name of one.
    """
    for name in TABLES:
        if sa.inspect(op.get_bind()).has_table(name):
            raise ConfigurationError(
                f"node.database: there is a table `{name}` that no msk-node made; "
                "give the node a database of its own"
            )
    op.create_table(
        "series_events",
        sa.Column("series_instance_uid", UID, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(160), primary_key=True),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("destination", NAME, nullable=False),
        sa.Column("code", NAME, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "orders",
        sa.Column("order_uid", NAME, primary_key=True),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("ordered_by", sa.String(128), nullable=False),
        sa.Column("ordered_at", MOMENT, nullable=False),
        sa.Column("destination", NAME, nullable=False),
        sa.Column("done_at", MOMENT, nullable=True),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_table(
        "series_keys",
        sa.Column("kind", NAME, primary_key=True),
        sa.Column("digest", NAME, primary_key=True),
        sa.Column("series_instance_uid", UID, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("series_events_at", "series_events", ["at"])
    received = ["received_at", "series_instance_uid", "revision"]
    op.create_index("series_received", "series", received)
    op.create_index("results_in_own_series", "results", ["own_series_instance_uid"])
    op.create_index("orders_open", "orders", ["done_at", "ordered_at"])
    op.create_index("orders_of_series", "orders", ["series_instance_uid", "revision"])
    op.create_index("deliveries_sent", "deliveries", ["destination", "sent_at"])
