"""Rows of the ledger: frozen values, and the states that series and deliveries go through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final, Self


class SeriesState(StrEnum):
    """The state of a series.

    LEFT_OUT: rules did not take it; nothing was made of it, and nothing sent.
    CANCELLED: a person ended it before it was answered; nothing is sent.
    """

    RECEIVED = "received"
    SEGMENTED = "segmented"
    REPORTED = "reported"
    REFUSED = "refused"
    FAILED = "failed"
    LEFT_OUT = "left out"
    CANCELLED = "cancelled"


ANSWERED: Final = (SeriesState.REPORTED, SeriesState.REFUSED, SeriesState.FAILED)
"""States in which result objects exist."""
UNANSWERED: Final = (SeriesState.RECEIVED, SeriesState.SEGMENTED)
"""The others."""
PASSED_OVER: Final = (SeriesState.LEFT_OUT, SeriesState.CANCELLED)
"""States in which there is no answer, and none will come."""
COMPETING: Final = (SeriesState.RECEIVED, SeriesState.SEGMENTED, SeriesState.REPORTED)
"""States of series that another may be left out for: what was refused, failed or left out
stands in nobody's way."""

AWAITS_RULES: Final = "awaits-rules"
"""The code of a received series of which rules are still to be asked."""
RELEASED: Final = "released"
"""The code of a received series that rules had left out, and a person wants analysed."""
AGAINST_RULES: Final = "against-rules"
"""The code of a series that is left out for what it is."""
NOT_BEST: Final = "not-best"
"""The code of a series that is left out for a better one of its study."""
SUPERSEDED: Final = "superseded"
"""The code of a revision that is left out for the next one, which came before a decision."""
LEFT_OUT_CODES: Final = (AGAINST_RULES, NOT_BEST, SUPERSEDED)
CANCELLED_CODE: Final = "cancelled"
"""The code of a series that a person has cancelled."""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One revision of one series.

    fingerprint: digest of its instances and of everything that shapes its results; equal
        fingerprints give equal results.
    code, reason: why it was refused or failed; of one with a report, what is remarkable.
    voxels: about as many as its files describe, for the room that it needs; 0 where they
        state what they cannot hold, None where a version before entered it.
    """

    series_instance_uid: str
    revision: int
    study_instance_uid: str
    calling_ae_title: str
    called_ae_title: str
    instances: int
    fingerprint: str
    received_at: datetime
    changed_at: datetime
    state: SeriesState = SeriesState.RECEIVED
    code: str = ""
    reason: str = ""
    voxels: int | None = None

    def become(
        self, state: SeriesState, now: datetime, *, code: str = "", reason: str = ""
    ) -> Self:
        """The row after it reached a state; an answer is never taken back."""
        if self.state in ANSWERED and state not in ANSWERED:
            return self
        return replace(self, state=state, changed_at=now, code=code, reason=reason)


@dataclass(frozen=True, slots=True)
class Alike:
    """Series that are not answered and are alike in all that tells the room they need.

    count: how many there are.
    latest_at: when the latest of them was received.
    """

    state: SeriesState
    called_ae_title: str
    voxels: int
    count: int
    latest_at: datetime


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One result object, encoded once and kept as a file.

    kind: the value of its `ResultKind`: "SEG", "SR-LABELMAP", ...
    own_series_instance_uid: the series it is in; `series_instance_uid` is what it is about.
    """

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    own_series_instance_uid: str
    series_instance_uid: str
    revision: int
    path: str
    sha256: str
    made_at: datetime


class DeliveryState(StrEnum):
    """The state of a result object on its way to one destination.

    SENT: the destination answered its C-STORE with success or a warning.
    CONFIRMED: the destination says that it has it for good, or lists it when asked.
    REPLACED: the destination does not take it; another form of the same went instead.
    """

    WAITING = "waiting"
    SENT = "sent"
    CONFIRMED = "confirmed"
    HELD = "held"
    REPLACED = "replaced"


HELD_BY: Final = "held by order of "
"""So begins the reason of a delivery that a person holds: only a person lets it go on."""
NOT_CONFIGURED: Final = "the destination is no longer configured"
"""The reason of a delivery whose destination was taken out of the settings."""

FINISHED: Final = (DeliveryState.SENT, DeliveryState.CONFIRMED, DeliveryState.REPLACED)
"""States in which nothing is left to send."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One result object on its way to one destination.

    attempts: how many were made in this state: to send it, or to have it confirmed.
    reason: why the last one failed, why it was replaced, or what the C-STORE warned of;
        empty otherwise.
    next_attempt_at: when the next one is due; None when there is none.
    visit: the number of the job that last dealt with it; see `delivery/jobs.py`.
    status: what its C-STORE was answered with; success is 0.
    sent_at: when that was.
    losses: how often the destination, asked to confirm it, said that it has not got it.
    resumes: whether it continues, if it is held, when the destination answers again.
    """

    sop_instance_uid: str
    destination: str
    series_instance_uid: str
    revision: int
    changed_at: datetime
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    reason: str = ""
    next_attempt_at: datetime | None = None
    visit: int = 0
    status: int | None = None
    sent_at: datetime | None = None
    losses: int = 0
    resumes: bool = False

    @property
    def group(self) -> tuple[str, int, str]:
        """The key of all that goes together: series, revision and destination."""
        return (self.series_instance_uid, self.revision, self.destination)

    @property
    def is_unconfirmed(self) -> bool:
        """True if it was sent, and the destination is still to be asked for it."""
        return self.state is DeliveryState.SENT and self.next_attempt_at is not None

    @property
    def is_held_by_person(self) -> bool:
        """True if a person holds it: neither a start nor a returning peer lets it go on."""
        return self.state is DeliveryState.HELD and self.reason.startswith(HELD_BY)


@dataclass(frozen=True, slots=True)
class CommitmentRow:
    """One request to commit to objects (PS3.4 J.3.2), by which its report is known."""

    transaction_uid: str
    destination: str
    series_instance_uid: str
    revision: int
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class CaseRow:
    """The answer to one revision of one series in figures: a row of the table of results.

    state: "reported", "refused" or "failed".
    verdict, bundle: empty where nothing was analysed; the bundle with its version.
    code: why it was refused or failed.
    sender: Calling AE title.
    patient_key: a digest under a secret of the node; empty where no patient is named.
    source: as `source.json` of a folder of `msk-node segment`.
    report: as `report.json` there, compressed (gzip).
    """

    series_instance_uid: str
    revision: int
    study_instance_uid: str
    state: str
    analysed_at: datetime
    source: str
    report: bytes
    verdict: str = ""
    code: str = ""
    bundle: str = ""
    sender: str = ""
    patient_key: str = ""
    study_date: date | None = None


LATEST: Final = ":latest"
"""The end of an event's name under which only the latest of many is kept."""


class SeriesEvent(StrEnum):
    """What may happen to a series, in the order in which it mostly does."""

    FIRST_IMAGE = "first image"
    LAST_IMAGE = "last image"
    COMPLETE = "complete"
    ACCEPTED = "accepted"
    WAITS_FOR_RULES = "waits for rules"
    TAKEN = "taken"
    LEFT_OUT = "left out"
    ANALYSIS_STARTED = "analysis started"
    ANALYSIS_LOST = "analysis lost"
    ANALYSIS_ENDED = "analysis ended"
    ANSWERED = "answered"
    SENT = "sent"
    NOT_TAKEN = "not taken"
    CONFIRMED = "confirmed"
    HELD = "held"
    RELEASED = "released"
    ORDERED = "ordered"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened to one revision of a series, with its time.

    name: unique within the revision, so that a step that runs twice is one event:
        `accepted`, `analysis:1:started`, `deliver:pacs:2:sent`, ...; one that ends in
        `LATEST` stands for several, of which the latest counts.
    destination: where it is about one; else empty.
    reason: in words, without patient data.
    """

    series_instance_uid: str
    revision: int
    name: str
    kind: SeriesEvent
    at: datetime
    destination: str = ""
    code: str = ""
    reason: str = ""


class OrderKind(StrEnum):
    """What a person may order for a series that the node has."""

    RETRY = "retry"
    CANCEL = "cancel"
    REANALYSE = "reanalyse"
    RESEND = "resend"
    HOLD = "hold"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order of a person, until a worker has carried it out.

    ordered_by: the user, as the web or the command line knows them.
    destination: only what goes there; empty for all.
    done_at: when a worker carried it out; `outcome` says what came of it, and before that
        what it waits for.
    """

    order_uid: str
    kind: OrderKind
    series_instance_uid: str
    revision: int
    ordered_by: str
    ordered_at: datetime
    destination: str = ""
    done_at: datetime | None = None
    outcome: str = ""


class KeyKind(StrEnum):
    """What a series can be found by beside its UIDs."""

    ACCESSION_NUMBER = "accession number"
    PATIENT_ID = "patient id"


@dataclass(frozen=True, slots=True)
class SeriesKeyRow:
    """A digest, under the spool's secret, of something that a series can be found by."""

    kind: KeyKind
    digest: str
    series_instance_uid: str
