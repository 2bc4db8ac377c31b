"""Indices for what a node looks for again and again, and the size of a series.

Without them each look read a table whole: every two seconds for what is due, at every start
for what is to be asked for. With the size, the room that waiting cases need is told from the
ledger; of a series of before it is not known, and is told from its files.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

INDICES: Final = (
    ("series_in_state", "series", ["state", "changed_at"]),
    ("series_of_study", "series", ["study_instance_uid"]),
    ("deliveries_due", "deliveries", ["next_attempt_at"]),
    ("deliveries_in_state", "deliveries", ["state", "next_attempt_at"]),
    ("deliveries_to", "deliveries", ["destination", "state", "next_attempt_at"]),
    ("deliveries_changed", "deliveries", ["changed_at"]),
)


def upgrade() -> None:
    """Add the column and the indices."""
    op.add_column("series", sa.Column("voxels", sa.BigInteger, nullable=True))
    for name, table, columns in INDICES:
        op.create_index(name, table, columns)
