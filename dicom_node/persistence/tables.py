"""The tables of the ledger, as SQLAlchemy creates them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

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
"""A table with `since` was not there in the first ledgers, but from that version on: whoever
asks nothing of it reads older ones too."""

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
    sa.Column("voxels", sa.BigInteger, nullable=True),
    sa.Index("series_in_state", "state", "changed_at"),
    sa.Index("series_of_study", "study_instance_uid"),
    sa.Index("series_received", "received_at", "series_instance_uid", "revision"),
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
    sa.Index("results_in_own_series", "own_series_instance_uid"),
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
    sa.Index("deliveries_due", "next_attempt_at"),
    sa.Index("deliveries_in_state", "state", "next_attempt_at"),
    sa.Index("deliveries_to", "destination", "state", "next_attempt_at"),
    sa.Index("deliveries_changed", "changed_at"),
    sa.Index("deliveries_sent", "destination", "sent_at"),
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

CASES: Final = sa.Table(
    "cases",
    METADATA,
    sa.Column("series_instance_uid", UID, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("study_instance_uid", UID, nullable=False),
    sa.Column("state", NAME, nullable=False, index=True),
    sa.Column("verdict", NAME, nullable=False, index=True),
    sa.Column("code", NAME, nullable=False),
    sa.Column("bundle", sa.Text, nullable=False, index=True),
    sa.Column("sender", NAME, nullable=False, index=True),
    sa.Column("patient_key", NAME, nullable=False),
    sa.Column("study_date", sa.Date, nullable=True, index=True),
    sa.Column("analysed_at", UtcDateTime, nullable=False, index=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("report", sa.LargeBinary, nullable=False),
    sa.Index("cases_of_patient", "patient_key", "study_date"),
    info={"since": "0003"},
)

ARCHIVE_RUNS: Final = sa.Table(
    "archive_runs",
    METADATA,
    sa.Column("schedule", NAME, primary_key=True),
    sa.Column("run", NAME, primary_key=True),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("first", NAME, nullable=False),
    sa.Column("last", NAME, nullable=False),
    sa.Column("watermark", NAME, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("listed_at", UtcDateTime, nullable=True),
    sa.Column("ended_at", UtcDateTime, nullable=True),
    info={"since": "0002"},
)

ARCHIVE_WINDOWS: Final = sa.Table(
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
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=True, index=True),
    info={"since": "0002"},
)

ARCHIVE_SERIES: Final = sa.Table(
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
    sa.Column("found_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=True),
    sa.Column("next_at", UtcDateTime, nullable=True, index=True),
    sa.Index("archive_series_by_uid", "series_instance_uid"),
    sa.Index("archive_series_by_study", "schedule", "study_instance_uid"),
    sa.Index("archive_series_by_state", "schedule", "state", "changed_at"),
    sa.Index("archive_series_of_run", "schedule", "run", "state"),
    sa.Index("archive_series_asked", "archive", "state", "asked_at"),
    sa.Index(
        "archive_series_due", "archive", "state", "offline", "attempts", "found_at", "next_at"
    ),
    info={"since": "0002"},
)

ARCHIVE_TROUBLES: Final = sa.Table(
    "archive_troubles",
    METADATA,
    sa.Column("archive", NAME, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("quiet_until", UtcDateTime, nullable=True),
    sa.Column("next_study_at", UtcDateTime, nullable=True),
    info={"since": "0002"},
)

ARCHIVE_PAUSES: Final = sa.Table(
    "archive_pauses",
    METADATA,
    sa.Column("archive", NAME, primary_key=True),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    info={"since": "0002"},
)

SERIES_EVENTS: Final = sa.Table(
    "series_events",
    METADATA,
    sa.Column("series_instance_uid", UID, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("kind", NAME, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("destination", NAME, nullable=False),
    sa.Column("code", NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("series_events_at", "at"),
    info={"since": "0005"},
    sqlite_with_rowid=False,  # the key is most of a row: it is there once
)

ORDERS: Final = sa.Table(
    "orders",
    METADATA,
    sa.Column("order_uid", NAME, primary_key=True),
    sa.Column("kind", NAME, nullable=False),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("ordered_by", sa.String(128), nullable=False),
    sa.Column("ordered_at", UtcDateTime, nullable=False),
    sa.Column("destination", NAME, nullable=False),
    sa.Column("done_at", UtcDateTime, nullable=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Index("orders_open", "done_at", "ordered_at"),
    sa.Index("orders_of_series", "series_instance_uid", "revision"),
    info={"since": "0005"},
)

SERIES_KEYS: Final = sa.Table(
    "series_keys",
    METADATA,
    sa.Column("kind", NAME, primary_key=True),
    sa.Column("digest", NAME, primary_key=True),
    sa.Column("series_instance_uid", UID, primary_key=True),
    info={"since": "0005"},
    sqlite_with_rowid=False,
)
