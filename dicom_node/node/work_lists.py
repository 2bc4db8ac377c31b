"""Work as a person looks at it: series by a filter, in batches with counts, and what was sent.

A filter is what retry, cancel, release, hold, send again and analyse again act upon. Nothing
here reads all series: a page is so many rows after a key, a batch is counted by the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

from dicom_node.persistence.rows import DeliveryState, SeriesRow, SeriesState
from dicom_node.persistence.work_queries import (
    Counted,
    Key,
    counted,
    matching_rows,
    sent_objects,
)

if TYPE_CHECKING:
    from dicom_node.persistence.ledger import Ledger

STATE_NAMES: Final = tuple(
    dict.fromkeys(each.value for states in (SeriesState, DeliveryState) for each in states)
)
"""The states that a filter may name: of series, and of deliveries."""
MOST_BATCHES: Final = 100


@dataclass(frozen=True, slots=True)
class WorkFilter:
    """Which series are meant; what is empty narrows nothing.

    states: of series (`received`, `reported`, ...) or of deliveries (`waiting`, `held`, ...),
        by value; those of deliveries mean a series of which one delivery is so.
    series: these Series Instance UIDs.
    study: this Study Instance UID.
    destination: a series that has, or had, something to send there.
    since, until: when it was received, the last moment not included.
    verdict: of its report.
    run: `SCHEDULE/RUN`, by which it was fetched.
    search: a Series or Study Instance UID (`find.resolved` knows more to search by).
    """

    states: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    study: str = ""
    calling_ae_title: str = ""
    called_ae_title: str = ""
    destination: str = ""
    since: datetime | None = None
    until: datetime | None = None
    code: str = ""
    verdict: str = ""
    run: str = ""
    search: str = ""

    @property
    def is_empty(self) -> bool:
        """True if it means every series there is."""
        return self == WorkFilter()


class BatchBy(StrEnum):
    """By what series are put together."""

    DAY = "day"
    SENDER = "sender"
    TITLE = "title"
    CODE = "code"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Batch:
    """Series that are looked at together.

    title: the day, the sender, the run, ...
    counts: how many are in each state, by its value.
    first_at, last_at: when the first and the last of them were received.
    chosen: the filter that means just these.
    """

    title: str
    counts: Mapping[str, int]
    first_at: datetime
    last_at: datetime
    chosen: WorkFilter = field(default_factory=WorkFilter)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class SentObject:
    """One object that a destination took, as of its last sending."""

    sent_at: datetime
    destination: str
    series_instance_uid: str
    revision: int
    sop_instance_uid: str
    kind: str
    state: DeliveryState
    reason: str


def batches(
    ledger: Ledger,
    chosen: WorkFilter,
    *,
    by: BatchBy = BatchBy.DAY,
    most: int = MOST_BATCHES,
) -> tuple[Batch, ...]:
    """The series of a filter in batches, that with the latest series first.

    Days are those of this machine's time zone.
    """
    if by is BatchBy.DAY:
        return tuple(islice(_days(ledger, chosen), most))
    found: dict[str, Batch] = {}
    for row in counted(ledger, chosen, by.value):
        _put(found, row.title, row)
    latest = sorted(found.values(), key=lambda each: each.last_at, reverse=True)[:most]
    return tuple(replace(each, chosen=_only(chosen, by, each.title)) for each in latest)


def _days(ledger: Ledger, chosen: WorkFilter) -> Iterator[Batch]:
    """A batch for each day on which something came, the latest first."""
    while latest := matching(ledger, chosen, 1):
        day = latest[0].received_at.astimezone().date().isoformat()
        of_day = _only(chosen, BatchBy.DAY, day)
        found: dict[str, Batch] = {}
        for row in counted(ledger, of_day):
            _put(found, day, row)
        yield from (replace(each, chosen=of_day) for each in found.values())
        chosen = replace(chosen, until=of_day.since)


def _put(found: dict[str, Batch], title: str, row: Counted) -> None:
    """Add what was counted to the batch of its title."""
    one = Batch(title, {row.state: row.count}, row.first_at, row.last_at)
    found[title] = _joined(found[title], one) if title in found else one


def matching(
    ledger: Ledger, chosen: WorkFilter, most: int = 50, after: Key | None = None
) -> tuple[SeriesRow, ...]:
    """The revisions of series that a filter means, the latest first: one page of them.

    after: the key (`key_of`) of the last row of the page before.
    """
    return matching_rows(ledger, chosen, most, after)


def count_matching(ledger: Ledger, chosen: WorkFilter) -> int:
    """How many revisions of series a filter means."""
    return sum(each.count for each in counted(ledger, chosen))


def key_of(row: SeriesRow) -> Key:
    """By which a page after this row is asked for."""
    return (row.received_at, row.series_instance_uid, row.revision)


def sent_to(
    ledger: Ledger,
    destination: str,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int = 1000,
) -> tuple[SentObject, ...]:
    """What a destination took in a time, the latest first."""
    return tuple(
        SentObject(
            row.sent_at,
            row.destination,
            row.series_instance_uid,
            row.revision,
            row.sop_instance_uid,
            kind,
            row.state,
            row.reason,
        )
        for row, kind in sent_objects(ledger, destination, since, until, most)
        if row.sent_at is not None
    )


def _joined(one: Batch, other: Batch) -> Batch:
    states = one.counts.keys() | other.counts.keys()
    counts = {each: one.counts.get(each, 0) + other.counts.get(each, 0) for each in states}
    return Batch(
        one.title,
        counts,
        min(one.first_at, other.first_at),
        max(one.last_at, other.last_at),
    )


def _only(chosen: WorkFilter, by: BatchBy, title: str) -> WorkFilter:
    """A filter narrowed to one batch."""
    match by:
        case BatchBy.DAY:
            first, last = day_limits(title)
            since = max(first, chosen.since) if chosen.since else first
            until = min(last, chosen.until) if chosen.until else last
            return replace(chosen, since=since, until=until)
        case BatchBy.SENDER:
            return replace(chosen, calling_ae_title=title)
        case BatchBy.TITLE:
            return replace(chosen, called_ae_title=title)
        case BatchBy.CODE:
            return replace(chosen, code=title)
        case BatchBy.RUN:
            return replace(chosen, run=title)


def day_limits(day: str) -> tuple[datetime, datetime]:
    """The first moment of a day here, and that of the next."""
    first = date.fromisoformat(day)
    return day_start(first), day_start(first + timedelta(days=1))


def day_start(day: date) -> datetime:
    """The first moment of a day by this machine's clock: a day may have 23 or 25 hours."""
    return datetime.combine(day, time()).astimezone(UTC)
