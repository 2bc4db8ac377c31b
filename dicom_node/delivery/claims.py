"""Refusals which say that the destination has the object: the pure rules for them.

An archive may have stored an object whose answer was lost on the way; sent again, it is
refused as a duplicate. That is no failure: the destination is asked for the object, whatever
its `confirm` says. What it lists is sent; what it does not list, a few times, is held with
both its statements as the reason. Where it cannot be asked it is believed. No other object
has that UID: it is derived from what the object is made of, and one is sent byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dicom_node.delivery.attempts import AlreadyThere, Failure, Outcome, Remedy
from dicom_node.delivery.confirmation import QUERIES_BEFORE_LOST
from dicom_node.errors import PeerError
from dicom_node.peers.outcome import DUPLICATE_INSTANCE, Claim
from dicom_node.persistence.rows import DeliveryRow


def claimed(
    rows: Iterable[DeliveryRow], outcome_by_uid: Mapping[str, Outcome]
) -> tuple[DeliveryRow, ...]:
    """The deliveries of which a refusal says, or may say, that the object is there."""
    return tuple(row for row in rows if _claim(outcome_by_uid, row) is not Claim.NONE)


def after_listing(
    rows: Iterable[DeliveryRow],
    outcome_by_uid: Mapping[str, Outcome],
    listed: frozenset[str] | PeerError,
    query: str,
) -> Mapping[str, Outcome]:
    """The outcomes for claimed deliveries, by SOP Instance UID, once the peer was asked.

    Args:
        rows: those that are `claimed`.
        outcome_by_uid: what the attempt came to.
        listed: the SOP Instance UIDs that the destination lists, or why it does not say.
        query: what it was asked with, as text.
    """
    settled: dict[str, Outcome] = {}
    for row in rows:
        failure = outcome_by_uid[row.sop_instance_uid]
        if isinstance(failure, Failure):
            settled[row.sop_instance_uid] = _settled(row, failure, listed, query)
    return settled


def _claim(outcome_by_uid: Mapping[str, Outcome], row: DeliveryRow) -> Claim:
    """The claim in what became of a delivery."""
    outcome = outcome_by_uid.get(row.sop_instance_uid)
    return outcome.claim if isinstance(outcome, Failure) else Claim.NONE


def _settled(
    row: DeliveryRow, failure: Failure, listed: frozenset[str] | PeerError, query: str
) -> Outcome:
    """The outcome for one delivery."""
    is_stated = failure.claim is Claim.STATED
    status = failure.status if is_stated and failure.status else DUPLICATE_INSTANCE
    is_listed = not isinstance(listed, PeerError) and row.sop_instance_uid in listed
    if is_listed:
        return AlreadyThere(status, f"{failure.reason}; {query} lists it", is_seen=True)
    says = f"asked whether it is there: {listed}"
    if not isinstance(listed, PeerError):
        says = f"{query} does not list it"
    words = f"{failure.reason}; {says}"
    if not is_stated:
        return Failure(words, failure.remedy, failure.again_after_s)
    if not isinstance(listed, PeerError):
        return _missed(row, words)
    if listed.retryable and row.attempts + 1 < QUERIES_BEFORE_LOST:
        return Failure(words, Remedy.LATER)
    return AlreadyThere(status, words, is_seen=False)


def _missed(row: DeliveryRow, words: str) -> Failure:
    """The failure of what a destination says it has, and does not list."""
    asked = row.losses + 1
    if asked < QUERIES_BEFORE_LOST:
        return Failure(f"{words} yet", Remedy.LATER, is_missed=True)
    return Failure(f"{words}, asked {asked} times", Remedy.PERSON, is_missed=True)
