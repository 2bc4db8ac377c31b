"""Confirmation that a destination has got what it took: the pure rules for its answers.

An object that it has is confirmed. One that it says it has not is sent again, a few times,
and then held with its reason, at once where sending again cannot help. Everything else,
be it silence or a refused request, leaves the object sent, to be asked for again; that
this continues for too long is an alarm, never a reason to take the object for delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from dicom_node.delivery.attempts import is_believed, wait_after
from dicom_node.persistence.rows import DeliveryRow, DeliveryState
from dicom_node.settings.destinations import Confirmation, Delivery
from dicom_node.spool.commitment_reports import Report

QUERIES_BEFORE_LOST: Final = 5
"""An archive may list an object only some time after it took it: 7.5 minutes, as waits
double from 30 seconds."""

FAILURES: Final[Mapping[int, str]] = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "referenced SOP class not supported",
    0x0119: "class / instance conflict",
    0x0131: "duplicate transaction UID",
}
"""Failure Reason (0008,1197) as text (PS3.4 J.3.3.1.1)."""

NEVER_COMMITTED: Final = frozenset({0x0122, 0x0119})
"""Reasons that sending the object again does not change."""

DUPLICATE_TRANSACTION: Final = 0x0131
"""A reason that says something of the request and nothing of the object."""


class Presence(StrEnum):
    """The presence of an object at a destination."""

    YES = "yes"
    NO = "no"
    NEVER = "no, and sending it again cannot help"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ConfirmationAnswer:
    """A destination's answer for one object.

    reason: why it is not confirmed; or how it is, where that is not the method asked for.
    """

    presence: Presence
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ConfirmationRequest:
    """A request to a destination: of which delivery job, when, and the rules for what follows.

    again_at: when to ask again about what it said nothing of.
    """

    number: int
    now: datetime
    again_at: datetime
    confirmation: Confirmation
    delivery: Delivery


def answers_of_report(
    rows: Iterable[DeliveryRow], report: Report, asked_at: datetime
) -> Mapping[str, ConfirmationAnswer]:
    """The answers of a storage commitment report for deliveries, by SOP Instance UID.

    Those of what is merely believed to be there count even where nobody waits for them. A
    report says nothing, not even by its silence, of what was sent after it was asked for.
    """
    answers = {uid: ConfirmationAnswer(Presence.YES) for uid in report.committed}
    for uid, failure in report.failed.items():
        presence = Presence.NEVER if failure in NEVER_COMMITTED else Presence.NO
        presence = Presence.UNKNOWN if failure == DUPLICATE_TRANSACTION else presence
        answers[uid] = ConfirmationAnswer(
            presence, f"not committed to: {failure_words(failure)}"
        )
    silent = ConfirmationAnswer(Presence.UNKNOWN, "the commitment report does not mention it")
    return {
        row.sop_instance_uid: answers.get(row.sop_instance_uid, silent)
        for row in rows
        if (row.sop_instance_uid in answers and (row.is_unconfirmed or is_believed(row)))
        or (row.is_unconfirmed and row.sent_at is not None and row.sent_at <= asked_at)
    }


def answers_of_listing(
    rows: Iterable[DeliveryRow], listed: frozenset[str], query: str = "C-FIND"
) -> Mapping[str, ConfirmationAnswer]:
    """The answers of a destination's listing for deliveries, by SOP Instance UID.

    Args:
        rows: the deliveries.
        listed: the SOP Instance UIDs that it lists.
        query: what it was asked with, as text.
    """
    answers = {}
    for row in rows:
        asked = row.attempts + 1
        if row.sop_instance_uid in listed:
            answer = ConfirmationAnswer(Presence.YES)
        elif asked < QUERIES_BEFORE_LOST:
            answer = ConfirmationAnswer(Presence.UNKNOWN, f"{query} does not list it yet")
        else:
            answer = ConfirmationAnswer(
                Presence.NO, f"{query} does not list it, asked {asked} times"
            )
        answers[row.sop_instance_uid] = answer
    return answers


def after_answers(
    rows: Iterable[DeliveryRow],
    answers: Mapping[str, ConfirmationAnswer],
    request: ConfirmationRequest,
) -> tuple[DeliveryRow, ...]:
    """The deliveries that an answer changes; `rows` are all that go to one destination."""
    return tuple(
        _after_answer(row, answers[row.sop_instance_uid], request)
        for row in rows
        if row.sop_instance_uid in answers and (row.is_unconfirmed or is_believed(row))
    )


def _after_answer(
    row: DeliveryRow, answer: ConfirmationAnswer, request: ConfirmationRequest
) -> DeliveryRow:
    """A delivery after the destination's answer for it."""
    now = request.now
    told = replace(
        row,
        visit=request.number,
        attempts=row.attempts + 1,
        changed_at=now,
        reason=answer.reason,
        next_attempt_at=None,
    )
    if answer.presence is Presence.YES:
        return replace(told, state=DeliveryState.CONFIRMED)
    if answer.presence is Presence.UNKNOWN:
        return replace(told, next_attempt_at=request.again_at)
    lost = replace(told, losses=row.losses + 1)
    if answer.presence is Presence.NEVER or lost.losses > request.confirmation.resend:
        return replace(lost, state=DeliveryState.HELD)
    wait = wait_after(lost.losses, request.delivery)
    return replace(lost, state=DeliveryState.WAITING, attempts=0, next_attempt_at=now + wait)


def is_overdue(row: DeliveryRow, now: datetime, confirmation: Confirmation) -> bool:
    """True if an object has been sent but unconfirmed for too long."""
    limit = timedelta(hours=confirmation.alarm_after_h)
    return row.is_unconfirmed and row.sent_at is not None and now - row.sent_at > limit


def failure_words(reason: int) -> str:
    """A Failure Reason as text: `0112H, no such object instance`."""
    return f"{reason:04X}H, {FAILURES.get(reason, 'a reason of its own')}"
