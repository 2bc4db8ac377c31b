"""Figures of the ledger for metrics: each a question to an index, however many rows there are.

What is counted is counted in an index alone. Of what waits, the age is that of the oldest of so
many at most, those that are due first: where more wait, they have done so for long enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from dicom_node.persistence.ledger import IS_UNCONFIRMED, Ledger
from dicom_node.persistence.rows import UNANSWERED, DeliveryState, SeriesState
from dicom_node.persistence.tables import DELIVERIES, RESULTS, SERIES

MOST_LOOKED_AT: Final = 20_000


def deliveries_of(ledger: Ledger) -> Mapping[tuple[str, DeliveryState], int]:
    """How many deliveries to each destination are in each state."""
    columns = (DELIVERIES.c.destination, DELIVERIES.c.state)
    query = sa.select(*columns, sa.func.count()).group_by(*columns)
    return {(row[0], DeliveryState(row[1])): row[2] for row in ledger.execute(query)}


def unconfirmed_of(ledger: Ledger) -> Mapping[str, int]:
    """How many deliveries to each destination were sent, and are still to be asked for."""
    column = DELIVERIES.c.destination
    query = sa.select(column, sa.func.count()).where(IS_UNCONFIRMED).group_by(column)
    return {row[0]: row[1] for row in ledger.execute(query)}


def oldest_series(ledger: Ledger) -> Mapping[SeriesState, datetime]:
    """When the first of the series that are not answered was handed over, by state."""
    found = {}
    for state in UNANSWERED:
        some = (
            sa.select(SERIES.c.received_at)
            .where(SERIES.c.state == state)
            .order_by(SERIES.c.changed_at)
            .limit(MOST_LOOKED_AT)
            .subquery()
        )
        first = ledger.execute(sa.select(sa.func.min(some.c.received_at)))[0][0]
        if first is not None:
            found[state] = first
    return found


def oldest_made(ledger: Ledger, destination: str, state: DeliveryState) -> datetime | None:
    """When the first of the objects was made that are on their way in a state."""
    some = (
        sa.select(DELIVERIES.c.sop_instance_uid)
        .where(DELIVERIES.c.destination == destination, DELIVERIES.c.state == state)
        .order_by(DELIVERIES.c.next_attempt_at)
        .limit(MOST_LOOKED_AT)
        .subquery()
    )
    of = RESULTS.c.sop_instance_uid == some.c.sop_instance_uid
    query = sa.select(sa.func.min(RESULTS.c.made_at)).select_from(some.join(RESULTS, of))
    found: datetime | None = ledger.execute(query)[0][0]
    return found


def first_unconfirmed(ledger: Ledger, destination: str) -> datetime | None:
    """When the first of the objects was sent that are still to be asked for."""
    some = (
        sa.select(DELIVERIES.c.sent_at)
        .where(DELIVERIES.c.destination == destination, IS_UNCONFIRMED)
        .limit(MOST_LOOKED_AT)
        .subquery()
    )
    found: datetime | None = ledger.execute(sa.select(sa.func.min(some.c.sent_at)))[0][0]
    return found
