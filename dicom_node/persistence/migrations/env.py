"""Alembic's entry to the migrations: in the transaction that `schema.py` began and locked."""

from __future__ import annotations

from alembic import context

from dicom_node.persistence.schema import VERSION
from dicom_node.persistence.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION.name,
)
context.run_migrations()
