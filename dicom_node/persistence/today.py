"""What the ledger says of today, and of the senders: a few indexed questions each.

However many series there are, these look at those that changed since a moment, or at so many
of the latest cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from dicom_node.persistence.ledger import STATE_OF_SERIES, Ledger
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.persistence.tables import CASES, DELIVERIES, SERIES


@dataclass(frozen=True, slots=True)
class Day:
    """What has happened since a moment.

    received: series that became complete.
    states: revisions that came to a state and are in it still.
    deliveries: objects that came to a state and are in it still.
    """

    received: int
    states: Mapping[SeriesState, int]
    deliveries: Mapping[DeliveryState, int]


@dataclass(frozen=True, slots=True)
class LatestCase:
    """The answer to a series, without its numbers.

    source: as `CaseRow.source`.
    """

    series_instance_uid: str
    revision: int
    sender: str
    state: str
    verdict: str
    code: str
    source: str
    analysed_at: datetime


def day_since(ledger: Ledger, moment: datetime) -> Day:
    """What has happened since a moment."""
    # What was received since has changed since: the index is of state and change.
    lately = sa.and_(
        SERIES.c.state.in_([each.value for each in SeriesState]), SERIES.c.changed_at >= moment
    )
    columns = (STATE_OF_SERIES, SERIES.c.received_at >= moment)
    query = sa.select(*columns, sa.func.count()).where(lately).group_by(*columns)
    states = dict.fromkeys(SeriesState, 0)
    received = 0
    for state, is_new, count in ledger.execute(query):
        states[SeriesState(state)] += count
        received += count if is_new else 0
    query = (
        sa.select(DELIVERIES.c.state, sa.func.count())
        .where(DELIVERIES.c.changed_at >= moment)
        .group_by(DELIVERIES.c.state)
    )
    found_deliveries = {DeliveryState(state): n for state, n in ledger.execute(query)}
    deliveries = {state: found_deliveries.get(state, 0) for state in DeliveryState}
    return Day(received, states, deliveries)


def latest_cases(ledger: Ledger, most: int) -> tuple[LatestCase, ...]:
    """The cases that were answered last, the latest first."""
    names = list(LatestCase.__dataclass_fields__)
    query = (
        sa.select(*(CASES.c[name] for name in names))
        .order_by(CASES.c.analysed_at.desc())
        .limit(most)
    )
    return tuple(LatestCase(*row) for row in ledger.execute(query))
