"""Claims about objects that a destination refuses because it has them; no sockets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dicom_node.delivery.attempts import AlreadyThere, Failure, Outcome, Remedy
from dicom_node.delivery.claims import after_listing, claimed
from dicom_node.delivery.confirmation import QUERIES_BEFORE_LOST
from dicom_node.errors import PeerError, PeerRefusedError, PeerUnreachableError
from dicom_node.peers.outcome import Claim
from dicom_node.persistence.rows import DeliveryRow

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
UID = "2.25.1"
ROW = DeliveryRow(UID, "pacs", "1.2.3", 1, NOW)
STATED = Failure("0x0111, duplicate", Remedy.LATER, claim=Claim.STATED, status=0x0111)
POSSIBLE = Failure("409 Conflict", Remedy.OTHER_FORM, claim=Claim.POSSIBLE)
NO_QUERY = PeerRefusedError("it does not offer C-FIND")
NO_ANSWER = PeerUnreachableError("no connection")


def settled(
    failure: Failure, listed: frozenset[str] | PeerError, row: DeliveryRow = ROW
) -> Outcome:
    """What becomes of the one object that was refused so."""
    return after_listing([row], {UID: failure}, listed, "C-FIND")[UID]


def test_only_refusals_that_speak_of_it_are_asked_about() -> None:
    others: tuple[Outcome, ...] = (0, 0xB000, Failure("0xA700"), Failure("x", Remedy.PERSON))
    for outcome in others:
        assert claimed([ROW], {UID: outcome}) == ()
    assert claimed([ROW], {UID: STATED}) == claimed([ROW], {UID: POSSIBLE}) == (ROW,)
    assert claimed([ROW], {}) == (), "what did not wait was not sent"


@pytest.mark.parametrize("failure", [STATED, POSSIBLE])
def test_what_it_lists_is_there_by_whatever_words_it_was_refused(failure: Failure) -> None:
    words = f"{failure.reason}; C-FIND lists it"

    assert settled(failure, frozenset({UID})) == AlreadyThere(0x0111, words, is_seen=True)


def test_azure_s_own_number_is_kept() -> None:
    there = settled(replace(STATED, status=0xB00E), frozenset({UID}))

    assert isinstance(there, AlreadyThere)
    assert there.status == 0xB00E


def test_what_it_does_not_list_though_it_says_so_is_held_after_five_times() -> None:
    """A listing may take minutes; meanwhile the object is sent again, and may be taken."""
    for losses in range(QUERIES_BEFORE_LOST - 1):
        waits = settled(STATED, frozenset(), replace(ROW, losses=losses))
        assert waits == Failure(
            "0x0111, duplicate; C-FIND does not list it yet", Remedy.LATER, is_missed=True
        )
    held = settled(STATED, frozenset(), replace(ROW, losses=QUERIES_BEFORE_LOST - 1))

    assert isinstance(held, Failure)
    assert held.remedy is Remedy.PERSON
    assert held.reason == "0x0111, duplicate; C-FIND does not list it, asked 5 times"


def test_a_conflict_that_was_about_something_else_stays_what_it_was() -> None:
    after = settled(POSSIBLE, frozenset({"2.25.2"}))

    assert isinstance(after, Failure)
    assert (after.remedy, after.claim) == (Remedy.OTHER_FORM, Claim.NONE)
    assert after.reason == "409 Conflict; C-FIND does not list it"


def test_a_destination_that_can_be_asked_nothing_is_believed() -> None:
    """What can be done was done; the reason says that it is its word alone."""
    there = settled(STATED, NO_QUERY)

    assert isinstance(there, AlreadyThere)
    assert not there.is_seen
    assert there.reason.endswith("asked whether it is there: it does not offer C-FIND")


def test_one_that_does_not_answer_now_is_asked_again_and_then_believed() -> None:
    again = settled(STATED, NO_ANSWER)
    last = settled(STATED, NO_ANSWER, replace(ROW, attempts=QUERIES_BEFORE_LOST - 1))

    assert isinstance(again, Failure)
    assert again.remedy is Remedy.LATER
    assert isinstance(last, AlreadyThere)


@pytest.mark.parametrize("error", [NO_QUERY, NO_ANSWER])
def test_a_conflict_is_never_believed(error: PeerError) -> None:
    after = settled(POSSIBLE, error, replace(ROW, attempts=100))

    assert isinstance(after, Failure)
    assert after.remedy is Remedy.OTHER_FORM
