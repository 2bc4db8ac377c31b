"""Delivering results: who gets what, one attempt, and the pure rules for what follows it.

A failed attempt is tried again after a wait that doubles up to a limit. What time may mend
is tried for as long as it takes: after many failures slowly, with an alarm, and sooner when
a destination that could not be reached answers again. What a person has to mend is held
with its reason until somebody says so (`release.py`), and what may need one after the many
failures. Nothing is ever dropped.

A segmentation in a form that the destination does not know is replaced: another form goes
instead, with the report that refers to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from dicom_node.errors import (
    PeerBusyError,
    PeerDeniedError,
    PeerError,
    PeerUnreachableError,
)
from dicom_node.peers.outcome import ALREADY_THERE, Claim, Prospect, SendOutcome
from dicom_node.peers.transports import Transport
from dicom_node.persistence.rows import FINISHED, DeliveryRow, DeliveryState, ResultRow
from dicom_node.results.kinds import FORMS, SEGMENTATIONS, ResultKind, instead_of, needed_before
from dicom_node.settings.destinations import Delivery

SENDING_ORDER: Final = {kind: place for place, kind in enumerate(ResultKind)}
"""Segmentations, reports, and then what nothing refers to."""


class Remedy(StrEnum):
    """The remedy for a failure."""

    LATER = "another attempt"
    RETURN = "the destination's return"
    UNCLEAR = "another attempt, or a person"
    OTHER_FORM = "another form of the object"
    PERSON = "a person"


REMEDIES: Final[Mapping[Prospect, Remedy]] = {
    Prospect.PASSES: Remedy.LATER,
    Prospect.UNCLEAR: Remedy.UNCLEAR,
    Prospect.PERSON: Remedy.PERSON,
    Prospect.NEVER: Remedy.OTHER_FORM,
}
"""The remedy for what was refused, by its prospect."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why an object was not taken, and the remedy.

    again_after_s: how long the destination wants to be left alone; 0 where it did not say.
    claim: whether the destination has it already, by its own words; to be asked for.
    status: what it was answered with, if it was.
    is_missed: whether the destination, asked for it, said that it has not got it.
    """

    reason: str
    remedy: Remedy = Remedy.LATER
    again_after_s: float = 0.0
    claim: Claim = Claim.NONE
    status: int | None = None
    is_missed: bool = False


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """What was not taken because the destination has it: as good as taken, with a warning.

    status: what it was answered with.
    reason: that, and what the destination says when it is asked.
    is_seen: whether it says then that it has it; else it is believed.
    """

    status: int
    reason: str
    is_seen: bool


Outcome: TypeAlias = "Failure | AlreadyThere | int"
"""What became of an object; a number is the status with which it was taken."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a destination: of which delivery job, when, and the rule for the next.

    confirm: whether the destination will be asked whether it has got what it took.
    """

    number: int
    now: datetime
    policy: Delivery
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class OutgoingObject:
    """A result object, and how far it is on its way to one destination."""

    result: ResultRow
    row: DeliveryRow

    @property
    def kind(self) -> ResultKind:
        """The kind of object that it is."""
        return ResultKind(self.result.kind)

    @property
    def path(self) -> Path:
        """Its file."""
        return Path(self.result.path)

    @property
    def waits(self) -> bool:
        """True if it is still to be sent."""
        return self.row.state is DeliveryState.WAITING


def first_rows(
    results: Iterable[ResultRow],
    wanted: Collection[ResultKind],
    destination: str,
    now: datetime,
) -> tuple[DeliveryRow, ...]:
    """The deliveries to a destination of those results that it wants."""
    return tuple(
        DeliveryRow(
            sop_instance_uid=result.sop_instance_uid,
            destination=destination,
            series_instance_uid=result.series_instance_uid,
            revision=result.revision,
            changed_at=now,
            next_attempt_at=now,
        )
        for result in results
        if ResultKind(result.kind) in wanted
    )


def outgoing_objects(
    rows: Iterable[DeliveryRow], results: Iterable[ResultRow]
) -> tuple[OutgoingObject, ...]:
    """Deliveries to one destination with their objects, in the order of sending."""
    by_uid = {result.sop_instance_uid: result for result in results}
    objects = [OutgoingObject(by_uid[row.sop_instance_uid], row) for row in rows]
    return tuple(sorted(objects, key=lambda outgoing: SENDING_ORDER[outgoing.kind]))


def attempt_delivery(
    transport: Transport, objects: Sequence[OutgoingObject]
) -> Mapping[str, Outcome]:
    """Send what waits, once; what became of it, by SOP Instance UID.

    That is the status of what was taken (success or a warning; PS3.4 Table B.2-1, PS3.18
    Table I.2-1), and a failure for the rest. What refers to an object that the destination
    has not got is held back.

    Args:
        transport: to the destination.
        objects: all that is meant for it of one revision of one series (`outgoing_objects`).
    """
    waiting = [outgoing for outgoing in objects if outgoing.waits]
    uids = {outgoing.path: outgoing.row.sop_instance_uid for outgoing in waiting}
    requires = {
        outgoing.path: [
            other.path
            for other in _before(outgoing, objects)
            if other.row.state not in FINISHED
        ]
        for outgoing in waiting
    }
    try:
        outcomes = transport.send(list(uids), requires=requires)
    except PeerError as error:
        return dict.fromkeys(uids.values(), _failure_of_all(error))
    outcome_by_uid: dict[str, Outcome] = dict.fromkeys(uids.values(), Failure("not sent"))
    for outcome in outcomes:
        taken = outcome.status if outcome.stored else None
        outcome_by_uid[uids[outcome.path]] = _failure(outcome) if taken is None else taken
    return outcome_by_uid


def _failure(outcome: SendOutcome) -> Failure:
    """The failure of one object."""
    return Failure(
        outcome.reason,
        REMEDIES[outcome.prospect],
        outcome.again_after_s,
        outcome.claim,
        outcome.status,
    )


def _failure_of_all(error: PeerError) -> Failure:
    """The failure of all objects, where nothing was taken at all."""
    if isinstance(error, PeerBusyError):
        return Failure(str(error), Remedy.LATER, error.again_after_s)
    if isinstance(error, PeerUnreachableError):
        return Failure(str(error), Remedy.RETURN)
    if isinstance(error, PeerDeniedError):
        return Failure(str(error), Remedy.UNCLEAR)
    return Failure(str(error), Remedy.LATER if error.retryable else Remedy.PERSON)


def after_attempt(
    objects: Sequence[OutgoingObject],
    outcome_by_uid: Mapping[str, Outcome],
    attempt: Attempt,
    results: Sequence[ResultRow] = (),
) -> tuple[DeliveryRow, ...]:
    """The deliveries to one destination that an attempt changes; the same when repeated.

    They are to be written in one go: what a report becomes depends on its segmentation.

    Args:
        objects: all that is meant for the destination, in the order of sending.
        outcome_by_uid: why each of those that waited was not taken, or the status with
            which it was.
        attempt: the attempt.
        results: all objects of the revision, among them those of other forms.
    """
    after = {
        row.sop_instance_uid: row
        for row in _other_forms(objects, outcome_by_uid, attempt, results)
    }
    for outgoing in objects:
        uid = outgoing.row.sop_instance_uid
        if uid in after or not outgoing.waits:
            continue
        row = _tried(outgoing.row, outcome_by_uid[uid], attempt)
        before = {
            other.kind: after.get(other.row.sop_instance_uid, other.row)
            for other in _before(outgoing, objects)
        }
        after[uid] = _held_with(before, row) if row.state is DeliveryState.WAITING else row
    return tuple(after.values())


def wait_after(attempt: int, policy: Delivery) -> timedelta:
    """The wait after failed attempt number `attempt` (1 is the first)."""
    doublings = min(attempt - 1, 40)  # beyond that a float overflows before the limit counts
    return timedelta(seconds=min(policy.first_wait_s * 2**doublings, policy.max_wait_s))


def is_slow(row: DeliveryRow, policy: Delivery) -> bool:
    """True if a delivery has failed so often that it is tried slowly, and is an alarm."""
    return row.state is DeliveryState.WAITING and row.attempts >= policy.hold_after


def is_believed(row: DeliveryRow) -> bool:
    """True if an object counts as sent because the destination said that it had it."""
    return row.state is DeliveryState.SENT and row.status in ALREADY_THERE


def _before(
    outgoing: OutgoingObject, objects: Iterable[OutgoingObject]
) -> list[OutgoingObject]:
    """The objects that the destination must have before it gets this one."""
    needed = needed_before(outgoing.kind)
    return [other for other in objects if other.kind in needed]


def _tried(row: DeliveryRow, outcome: Outcome, attempt: Attempt) -> DeliveryRow:
    """A delivery after an attempt."""
    if row.visit >= attempt.number:
        return row
    tried = replace(
        row,
        visit=attempt.number,
        attempts=row.attempts + 1,
        changed_at=attempt.now,
        reason="",
        next_attempt_at=None,
        resumes=False,
    )
    if isinstance(outcome, int):
        return _taken(tried, outcome, attempt)
    if isinstance(outcome, AlreadyThere):
        taken = _taken(tried, outcome.status, attempt, to_ask=not outcome.is_seen)
        return replace(taken, reason=outcome.reason)
    tried = replace(tried, reason=outcome.reason, losses=row.losses + outcome.is_missed)
    is_long = tried.attempts >= attempt.policy.hold_after
    if _needs_person(outcome, is_long=is_long):
        return replace(tried, state=DeliveryState.HELD)
    wait = wait_after(tried.attempts, attempt.policy)
    if is_long:
        wait = max(wait, timedelta(seconds=attempt.policy.slow_wait_s))
    wait = max(wait, timedelta(seconds=outcome.again_after_s))
    return replace(
        tried,
        state=DeliveryState.WAITING,
        next_attempt_at=attempt.now + wait,
        resumes=is_long and outcome.remedy is Remedy.RETURN,
    )


def _needs_person(failure: Failure, *, is_long: bool) -> bool:
    """True if only a person can mend a failure that has lasted for long, or not."""
    match failure.remedy:
        case Remedy.LATER | Remedy.RETURN:
            return False
        case Remedy.UNCLEAR:
            return is_long
        case Remedy.OTHER_FORM | Remedy.PERSON:
            return True


def _taken(
    row: DeliveryRow, status: int, attempt: Attempt, *, to_ask: bool = False
) -> DeliveryRow:
    """A delivery that the destination took, or has; it is to be asked for, or done."""
    to_ask = to_ask or attempt.confirm
    return replace(
        row,
        state=DeliveryState.SENT,
        attempts=0 if to_ask else row.attempts,
        status=status,
        sent_at=attempt.now,
        next_attempt_at=attempt.now if to_ask else None,
    )


def _held_with(before: Mapping[ResultKind, DeliveryRow], row: DeliveryRow) -> DeliveryRow:
    """A delivery that waits, held where what must go before it is held."""
    for kind, other in before.items():
        if other.state is DeliveryState.HELD:
            words = f"waits for the {kind.value}, which is held"
            return replace(
                row,
                state=other.state,
                reason=words,
                next_attempt_at=None,
                resumes=other.resumes,
            )
    return row


def _other_forms(
    objects: Sequence[OutgoingObject],
    outcome_by_uid: Mapping[str, Outcome],
    attempt: Attempt,
    results: Sequence[ResultRow],
) -> Iterator[DeliveryRow]:
    """The deliveries that change because the destination does not know a form.

    Its segmentation and its report are replaced, with the reason; those of the other form
    are new, and due at once. Nothing, where there is no other form.
    """
    for outgoing in objects:
        failure = outcome_by_uid.get(outgoing.row.sop_instance_uid)
        if not isinstance(failure, Failure) or failure.remedy is not Remedy.OTHER_FORM:
            continue
        if outgoing.kind not in SEGMENTATIONS:
            continue
        form = FORMS[outgoing.kind]
        replaced = [each for each in objects if FORMS.get(each.kind) is form]
        wanted = [one for each in replaced for one in instead_of(each.kind)]
        new = first_rows(results, wanted, outgoing.row.destination, attempt.now)
        if new:
            yield from (_replaced(each.row, failure.reason, attempt) for each in replaced)
            yield from (replace(row, visit=attempt.number) for row in new)


def _replaced(row: DeliveryRow, reason: str, attempt: Attempt) -> DeliveryRow:
    """A delivery that another form stands in for."""
    return replace(
        row,
        state=DeliveryState.REPLACED,
        visit=attempt.number,
        attempts=row.attempts + 1,
        changed_at=attempt.now,
        reason=reason,
        next_attempt_at=None,
    )
