"""Queries of the ledger for work lists: conditions of a filter, pages by key, counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeAlias

import sqlalchemy as sa

from dicom_node.persistence.ledger import STATE_OF_SERIES, Ledger, is_in
from dicom_node.persistence.rows import (
    FINISHED,
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.persistence.tables import (
    ARCHIVE_SERIES,
    CASES,
    DELIVERIES,
    RESULTS,
    SERIES,
)

ARCHIVE_RUN: Final = ARCHIVE_SERIES.c.schedule + "/" + ARCHIVE_SERIES.c.run
"""A run as a filter names it."""
Key: TypeAlias = tuple[datetime, str, int]
"""After which row a page begins: when it was received, its series and revision."""
RevisionKey: TypeAlias = tuple[str, int]
"""Series Instance UID and revision."""
SERIES_STATES: Final = frozenset(each.value for each in SeriesState)
DELIVERY_STATES: Final = frozenset(each.value for each in DeliveryState)


class Chosen(Protocol):
    """A filter, as `node/work_lists.py` has it."""

    @property
    def states(self) -> Sequence[str]:
        """Of series and of deliveries."""

    @property
    def series(self) -> Sequence[str]:
        """Series Instance UIDs."""

    @property
    def study(self) -> str:
        """Study Instance UID."""

    @property
    def calling_ae_title(self) -> str:
        """The sender's title."""

    @property
    def called_ae_title(self) -> str:
        """The title that it called."""

    @property
    def destination(self) -> str:
        """Where something goes."""

    @property
    def since(self) -> datetime | None:
        """Received then or later."""

    @property
    def until(self) -> datetime | None:
        """Received earlier."""

    @property
    def code(self) -> str:
        """Of the series."""

    @property
    def verdict(self) -> str:
        """Of its report."""

    @property
    def run(self) -> str:
        """By which it was fetched."""

    @property
    def search(self) -> str:
        """A UID of it or of its study."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many series of a group are in a state, and when they came."""

    title: str
    state: str
    count: int
    first_at: datetime
    last_at: datetime


def matching_rows(
    ledger: Ledger, chosen: Chosen, most: int, after: Key | None
) -> tuple[SeriesRow, ...]:
    """One page of what a filter means, the latest first."""
    wanted = list(conditions(chosen))
    if after is not None:
        wanted.append(_before(after))
    order = [column.desc() for column in PAGE]
    return ledger.read(SeriesRow, *wanted, order=order, most=most)


PAGE: Final = (SERIES.c.received_at, SERIES.c.series_instance_uid, SERIES.c.revision)


def _before(key: Key) -> sa.ColumnElement[bool]:
    """True for rows that come after the one with this key, the latest being first."""
    at, uid, revision = (
        sa.bindparam(None, value, c.type) for value, c in zip(key, PAGE, strict=True)
    )
    return sa.tuple_(*PAGE) < sa.tuple_(at, uid, revision)


GROUPS: Final[Mapping[str, sa.ColumnElement[str]]] = {
    "sender": SERIES.c.calling_ae_title,
    "title": SERIES.c.called_ae_title,
    "code": SERIES.c.code,
    "run": ARCHIVE_RUN,
}


def counted(ledger: Ledger, chosen: Chosen, by: str = "") -> Iterator[Counted]:
    """How many of the series of a filter are in each state, by group.

    by: `sender`, `title`, `code` or `run`; all in one group without it.
    """
    titles = [GROUPS[by]] if by else []
    at = SERIES.c.received_at
    query = sa.select(
        STATE_OF_SERIES, sa.func.count(), sa.func.min(at), sa.func.max(at), *titles
    ).where(*conditions(chosen))
    if by == "run":
        same = SERIES.c.series_instance_uid == ARCHIVE_SERIES.c.series_instance_uid
        query = query.select_from(SERIES.join(ARCHIVE_SERIES, same))
    for row in ledger.execute(query.group_by(STATE_OF_SERIES, *titles)):
        title = str(row[4]) if by else ""
        yield Counted(title, str(row[0]), int(row[1]), row[2], row[3])


def conditions(chosen: Chosen) -> Iterator[sa.ColumnElement[bool]]:
    """What is true of the series that a filter means."""
    equal = {
        SERIES.c.study_instance_uid: chosen.study,
        SERIES.c.calling_ae_title: chosen.calling_ae_title,
        SERIES.c.called_ae_title: chosen.called_ae_title,
        SERIES.c.code: chosen.code,
    }
    yield from (column == value for column, value in equal.items() if value)
    if chosen.series:
        yield SERIES.c.series_instance_uid.in_(list(chosen.series))
    if chosen.search:
        yield sa.or_(
            SERIES.c.series_instance_uid == chosen.search,
            SERIES.c.study_instance_uid == chosen.search,
        )
    if chosen.since is not None:
        yield SERIES.c.received_at >= chosen.since
    if chosen.until is not None:
        yield SERIES.c.received_at < chosen.until
    if chosen.states:
        yield sa.or_(sa.false(), *_in_states(chosen))
    elif chosen.destination:
        yield _delivered(DELIVERIES.c.destination == chosen.destination)
    if chosen.verdict:
        yield sa.exists().where(
            CASES.c.series_instance_uid == SERIES.c.series_instance_uid,
            CASES.c.revision == SERIES.c.revision,
            CASES.c.verdict == chosen.verdict,
        )
    if chosen.run:
        yield sa.exists().where(
            ARCHIVE_SERIES.c.series_instance_uid == SERIES.c.series_instance_uid,
            sa.literal(chosen.run) == ARCHIVE_RUN,
        )


def _in_states(chosen: Chosen) -> Iterator[sa.ColumnElement[bool]]:
    """What is true of series in one of the states, or with a delivery in one."""
    there = []
    if chosen.destination:
        there.append(DELIVERIES.c.destination == chosen.destination)
    for state in chosen.states:
        if state in SERIES_STATES:
            of_series = is_in(SeriesState(state))
            yield sa.and_(of_series, _delivered(*there)) if there else of_series
        if state in DELIVERY_STATES:
            is_rare = DeliveryState(state) not in FINISHED
            yield (_among if is_rare else _delivered)(DELIVERIES.c.state == state, *there)


def _delivered(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """True of a series with a delivery of which this is true."""
    return sa.exists().where(
        DELIVERIES.c.series_instance_uid == SERIES.c.series_instance_uid,
        DELIVERIES.c.revision == SERIES.c.revision,
        *conditions,
    )


def _among(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """The same, where few deliveries are so: they are looked for first."""
    few = sa.select(DELIVERIES.c.series_instance_uid, DELIVERIES.c.revision).where(*conditions)
    return sa.tuple_(SERIES.c.series_instance_uid, SERIES.c.revision).in_(few)


@dataclass(frozen=True, slots=True)
class OfMany:
    """What the ledger has of many series, read for all of them at once.

    latest: the last revision of each.
    deliveries, results: of each revision.
    """

    latest: Mapping[str, int]
    deliveries: Mapping[RevisionKey, tuple[DeliveryRow, ...]]
    results: Mapping[RevisionKey, tuple[ResultRow, ...]]


def of_many(ledger: Ledger, rows: Sequence[SeriesRow]) -> OfMany:
    """What the ledger has of these series; in three queries, however many they are.

    rows: 500 at most, for each is a parameter of a query.
    """
    uids = sorted({row.series_instance_uid for row in rows})
    same = SERIES.c.series_instance_uid
    query = sa.select(same, sa.func.max(SERIES.c.revision)).where(same.in_(uids)).group_by(same)
    deliveries: dict[RevisionKey, list[DeliveryRow]] = {}
    for row in ledger.read(DeliveryRow, DELIVERIES.c.series_instance_uid.in_(uids)):
        deliveries.setdefault((row.series_instance_uid, row.revision), []).append(row)
    results: dict[RevisionKey, list[ResultRow]] = {}
    for each in ledger.read(ResultRow, RESULTS.c.series_instance_uid.in_(uids)):
        results.setdefault((each.series_instance_uid, each.revision), []).append(each)
    return OfMany(
        latest={str(row[0]): int(row[1]) for row in ledger.execute(query)},
        deliveries={key: tuple(found) for key, found in deliveries.items()},
        results={key: tuple(found) for key, found in results.items()},
    )


def sent_objects(
    ledger: Ledger,
    destination: str,
    since: datetime | None,
    until: datetime | None,
    most: int,
) -> Iterator[tuple[DeliveryRow, str]]:
    """The deliveries that a destination took in a time, the latest first, with their kinds."""
    at = DELIVERIES.c.sent_at
    wanted = [DELIVERIES.c.destination == destination, at.is_not(None)]
    if since is not None:
        wanted.append(at >= since)
    if until is not None:
        wanted.append(at < until)
    rows = ledger.read(DeliveryRow, *wanted, order=(at.desc(),), most=most)
    results = ledger.results_named(row.sop_instance_uid for row in rows)
    kinds = {each.sop_instance_uid: each.kind for each in results}
    return ((row, kinds.get(row.sop_instance_uid, "")) for row in rows)
