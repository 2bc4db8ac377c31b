"""A table of cases: every answer in figures, for the table of results.

Series that were answered before have no row there.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from dicom_node.errors import ConfigurationError

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table.

    Raises:
        ConfigurationError: somebody else's is there under its name.
    """
    if sa.inspect(op.get_bind()).has_table("cases"):
        raise ConfigurationError(
            "node.database: there is a table `cases` that no msk-node made; "
            "give the node a database of its own"
        )
    op.create_table(
        "cases",
        sa.Column("series_instance_uid", sa.String(64), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(64), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("sender", sa.String(64), nullable=False),
        sa.Column("patient_key", sa.String(64), nullable=False),
        sa.Column("study_date", sa.Date, nullable=True),
        sa.Column("analysed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
    )
    op.create_index("cases_of_patient", "cases", ["patient_key", "study_date"])
    for name in ("state", "verdict", "bundle", "sender", "study_date", "analysed_at"):
        op.create_index(f"ix_cases_{name}", "cases", [name])
