"""The forms of what the API says: a contract. New fields may come, none goes or changes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from dicom_node.monitoring.alarms import AlarmKind, Severity
from dicom_node.persistence.rows import (
    DeliveryState,
    OrderKind,
    SeriesEvent,
    SeriesState,
)
from dicom_node.web.accounts.roles import Role

Item = TypeVar("Item")

Uid = Annotated[str, Field(max_length=64, pattern=r"^[0-9]+(\.[0-9]+)*$")]
"""A DICOM UID (PS3.5 9.1)."""
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
"""The name of a destination in node.toml."""
Moment = datetime


class Schema(BaseModel):
    """What is said of one thing."""

    model_config = ConfigDict(from_attributes=True, extra="ignore")


class Problem(Schema):
    """What is wrong with a request (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class PageOf(Schema, Generic[Item]):
    """Some of a list; `next` is what `after` has to be for what follows, null at its end."""

    items: list[Item]
    next: str | None = None


class Me(Schema):
    """Who the token or the session belongs to."""

    name: str
    role: Role


class AlarmOut(Schema):
    """What a person has to look at; docs/operating.md says what to do about each kind."""

    kind: AlarmKind
    severity: Severity
    subject: str
    reason: str
    since: Moment | None


class ProcessOut(Schema):
    """One process of the node."""

    role: str
    node: str
    is_alive: bool
    is_moving: bool
    started_at: Moment
    beat_at: Moment
    words: str


class WaitingOut(Schema):
    """What waits, how much, since when, and what for."""

    what: str
    count: int
    since: Moment | None
    words: str


class DiskOut(Schema):
    """A file system that the node writes to."""

    folders: list[str]
    free_mb: int
    reserve_mb: int
    is_short: bool


class DestinationOut(Schema):
    """A destination: what it took, and what waits for it."""

    name: str
    last_sent_at: Moment | None
    last_confirmed_at: Moment | None
    last_failed_at: Moment | None
    reason: str
    waiting: int
    held: int
    unconfirmed: int


class HealthOut(Schema):
    """The health of the node; `database` says why it cannot be read, empty where it can."""

    is_healthy: bool
    is_running: bool
    seen_at: Moment
    words: str
    database: str
    processes: list[ProcessOut]
    alarms: list[AlarmOut]
    waiting: list[WaitingOut]
    disks: list[DiskOut]
    destinations: list[DestinationOut]


class StatusOut(Schema):
    """How many series and objects are in each state."""

    series: dict[SeriesState, int]
    deliveries: dict[DeliveryState, int]
    mark: Literal["test", "clinical"]
    version: str


class SeriesOut(Schema):
    """One revision of one series."""

    series_instance_uid: str
    revision: int
    study_instance_uid: str
    calling_ae_title: str
    called_ae_title: str
    instances: int
    received_at: Moment
    changed_at: Moment
    state: SeriesState
    code: str
    reason: str


class EventOut(Schema):
    """Something that happened to a series."""

    revision: int
    name: str
    kind: SeriesEvent
    at: Moment
    destination: str
    code: str
    reason: str
    after_s: float | None = None


class HopOut(Schema):
    """The time between two stations of a series; `destination` is where it leads."""

    begin: SeriesEvent
    end: SeriesEvent
    seconds: float
    destination: str


class ResultOut(Schema):
    """A result object."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    own_series_instance_uid: str
    revision: int
    made_at: Moment


class DeliveryOut(Schema):
    """A result object on its way to one destination."""

    sop_instance_uid: str
    destination: str
    series_instance_uid: str
    revision: int
    state: DeliveryState
    attempts: int
    reason: str
    changed_at: Moment
    sent_at: Moment | None
    next_attempt_at: Moment | None


class OrderOut(Schema):
    """An order of a person, and what came of it."""

    order_uid: str
    kind: OrderKind
    series_instance_uid: str
    revision: int
    destination: str
    ordered_by: str
    ordered_at: Moment
    done_at: Moment | None
    outcome: str


class RevisionOut(Schema):
    """What became of one revision of a series: events, results, deliveries, orders."""

    series: SeriesOut
    events: list[EventOut]
    hops: list[HopOut]
    results: list[ResultOut]
    deliveries: list[DeliveryOut]
    orders: list[OrderOut]


class HistoryOut(Schema):
    """All that is known of a series."""

    series_instance_uid: str
    revisions: list[RevisionOut]


class FoundOut(Schema):
    """A series that was looked for; `matched` says by what."""

    series_instance_uid: str
    study_instance_uid: str
    revision: int | None
    matched: str
    state: str
    words: str
    received_at: Moment | None
    changed_at: Moment | None
    calling_ae_title: str
    destinations: list[str]


class TakenOut(Schema):
    """One kind of object, or a service, that a destination was offered."""

    title: str
    is_taken: bool
    is_wanted: bool
    words: str


class TestOut(Schema):
    """Whether a destination answers now, `reason` says why not; and what it takes.

    `is_enough`: it answered, and takes all that its settings have for it. A DICOMweb service
    negotiates nothing: `taken` is empty.
    """

    __test__ = False

    name: str
    is_there: bool
    is_enough: bool
    reason: str
    note: str
    taken: list[TakenOut]
    seconds: float


class ScheduleOut(Schema):
    """Where a schedule stands."""

    schedule: str
    archive: str
    watermark: str
    last_run: str
    next_due: Moment | None
    gate: str


class Wanted(BaseModel):
    """What is looked for: an Accession Number, a Patient ID or any UID."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=64)]


class SeriesChoice(BaseModel):
    """One revision of a series; without one, the latest."""

    model_config = ConfigDict(extra="forbid")

    series_instance_uid: Uid
    revision: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class OrderIn(BaseModel):
    """An order; without a destination, for all of them."""

    model_config = ConfigDict(extra="forbid")

    kind: OrderKind
    series: Annotated[list[SeriesChoice], Field(min_length=1, max_length=1000)]
    destination: Name | Literal[""] = ""


class Ordered(Schema):
    """How many orders were written down; a worker carries them out within seconds."""

    ordered: int
