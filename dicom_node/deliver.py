"""Delivering results: one attempt, and the pure rule for what follows it.

A failed attempt is tried again after a wait that doubles up to a limit. After many
failures, or at once where only a person can help, the delivery is held with its reason;
it is never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from dicom_node.config import Delivery
from dicom_node.errors import PeerError
from dicom_node.ledger import DeliveryRow, DeliveryState, ResultRow
from dicom_node.peers import Peer, send


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an object was not taken. `final`: trying again cannot help."""

    reason: str
    final: bool = False


def wait_after(attempt: int, policy: Delivery) -> timedelta:
    """How long to wait after failed attempt number `attempt` (1 is the first)."""
    doublings = min(attempt - 1, 40)  # beyond that a float overflows before the limit counts
    return timedelta(seconds=min(policy.first_wait_s * 2**doublings, policy.max_wait_s))


def after_attempt(
    row: DeliveryRow, failure: Failure | None, attempt: int, now: datetime, policy: Delivery
) -> DeliveryRow:
    """What a delivery becomes after attempt number `attempt`; the same when repeated."""
    tried = replace(row, attempts=attempt, changed_at=now, reason="", next_attempt_at=None)
    if failure is None:
        return replace(tried, state=DeliveryState.SENT)
    if failure.final or attempt >= policy.hold_after:
        return replace(tried, state=DeliveryState.HELD, reason=failure.reason)
    return replace(
        tried,
        state=DeliveryState.WAITING,
        reason=failure.reason,
        next_attempt_at=now + wait_after(attempt, policy),
    )


def attempt_delivery(peer: Peer, results: Sequence[ResultRow]) -> Mapping[str, Failure | None]:
    """Send objects once, in one association; what became of each, by SOP Instance UID."""
    paths = {Path(each.path): each.sop_instance_uid for each in results}
    try:
        outcomes = send(peer, list(paths))
    except PeerError as error:
        failure = Failure(str(error), final=not error.retryable)
        return dict.fromkeys(paths.values(), failure)
    became: dict[str, Failure | None] = dict.fromkeys(paths.values(), Failure("not sent"))
    for outcome in outcomes:
        failed = None if outcome.stored else Failure(outcome.reason)
        became[paths[outcome.path]] = failed
    return became
