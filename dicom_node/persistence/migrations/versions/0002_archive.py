"""What was asked of archives: runs of schedules, their windows, series, troubles, pauses.

Five tables of their own; a worker of the version before knows nothing of them.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

UID: Final = sa.String(64)
NAME: Final = sa.String(64)
MOMENT: Final = sa.DateTime(timezone=True)

# A copy, which stays as it is when `tables.py` changes.
METADATA: Final = sa.MetaData()

sa.Table(
    "archive_runs",
    METADATA,
    sa.Column("schedule", NAME, primary_key=True),
    sa.Column("run", NAME, primary_key=True),
    sa.Column("due_at", MOMENT, nullable=False),
    sa.Column("first", NAME, nullable=False),
    sa.Column("last", NAME, nullable=False),
    sa.Column("watermark", NAME, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False),
    sa.Column("listed_at", MOMENT, nullable=True),
    sa.Column("ended_at", MOMENT, nullable=True),
)
sa.Table(
    "archive_windows",
    METADATA,
    sa.Column("schedule", NAME, primary_key=True),
    sa.Column("run", NAME, primary_key=True),
    sa.Column("window", NAME, primary_key=True),
    sa.Column("archive", NAME, nullable=False),
    sa.Column("state", NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("studies", sa.Integer, nullable=False),
    sa.Column("left_out", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("visit", sa.Integer, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False),
    sa.Column("next_at", MOMENT, nullable=True, index=True),
)
sa.Table(
    "archive_series",
    METADATA,
    sa.Column("schedule", NAME, primary_key=True),
    sa.Column("series_instance_uid", UID, primary_key=True),
    sa.Column("study_instance_uid", UID, nullable=False),
    sa.Column("archive", NAME, nullable=False),
    sa.Column("run", NAME, nullable=False),
    sa.Column("state", NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("listed", sa.Integer, nullable=True),
    sa.Column("instances", sa.Integer, nullable=False),
    sa.Column("offline", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("visit", sa.Integer, nullable=False),
    sa.Column("found_at", MOMENT, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False),
    sa.Column("asked_at", MOMENT, nullable=True),
    sa.Column("next_at", MOMENT, nullable=True, index=True),
    sa.Index("archive_series_by_uid", "series_instance_uid"),
    sa.Index("archive_series_by_study", "schedule", "study_instance_uid"),
    sa.Index("archive_series_by_state", "schedule", "state", "changed_at"),
    sa.Index("archive_series_of_run", "schedule", "run", "state"),
    sa.Index("archive_series_asked", "archive", "state", "asked_at"),
    sa.Index(
        "archive_series_due", "archive", "state", "offline", "attempts", "found_at", "next_at"
    ),
)
sa.Table(
    "archive_troubles",
    METADATA,
    sa.Column("archive", NAME, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False),
    sa.Column("quiet_until", MOMENT, nullable=True),
    sa.Column("next_study_at", MOMENT, nullable=True),
)
sa.Table(
    "archive_pauses",
    METADATA,
    sa.Column("archive", NAME, primary_key=True),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False),
)


def upgrade() -> None:
    """Make the tables."""
    METADATA.create_all(op.get_bind(), checkfirst=False)
