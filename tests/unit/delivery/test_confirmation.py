"""Claims about what follows a destination's word on an object; no sockets, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.delivery.confirmation import (
    ConfirmationAnswer,
    ConfirmationRequest,
    Presence,
    after_answers,
    answers_of_listing,
    answers_of_report,
    is_overdue,
)
from dicom_node.persistence.rows import DeliveryRow, DeliveryState
from dicom_node.settings.destinations import Confirmation, Delivery
from dicom_node.spool.commitment_reports import Report

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
SENT = DeliveryRow(
    "2.25.1",
    "pacs",
    "1.2.3",
    1,
    NOW,
    state=DeliveryState.SENT,
    next_attempt_at=NOW,
    visit=1,
    status=0,
    sent_at=NOW,
)
OTHER = replace(SENT, sop_instance_uid="2.25.2")


def question(number: int = 2, now: datetime = NOW) -> ConfirmationRequest:
    return ConfirmationRequest(
        number, now, now + timedelta(hours=1), Confirmation(), Delivery()
    )


def told(word: ConfirmationAnswer, row: DeliveryRow = SENT) -> DeliveryRow:
    """What a delivery becomes after a word on it."""
    (after,) = after_answers([row], {row.sop_instance_uid: word}, question(row.visit + 1))
    return after


def test_what_a_destination_has_is_confirmed_and_never_asked_for_again() -> None:
    after = told(ConfirmationAnswer(Presence.YES))

    assert (after.state, after.next_attempt_at) == (DeliveryState.CONFIRMED, None)
    assert after.sent_at == NOW, "when it was sent is kept"


def test_silence_is_asked_again_later() -> None:
    after = told(ConfirmationAnswer(Presence.UNKNOWN, "no answer"))

    assert (after.state, after.reason) == (DeliveryState.SENT, "no answer")
    assert after.next_attempt_at == NOW + timedelta(hours=1)


def test_what_was_lost_is_sent_again_after_30_seconds_with_all_its_attempts() -> None:
    after = told(ConfirmationAnswer(Presence.NO, "lost"), replace(SENT, attempts=4))

    assert (after.state, after.attempts, after.losses) == (DeliveryState.WAITING, 0, 1)
    assert after.next_attempt_at == NOW + timedelta(seconds=30)


def test_what_is_lost_for_the_fourth_time_is_held() -> None:
    after = told(ConfirmationAnswer(Presence.NO, "lost"), replace(SENT, losses=3))

    assert (after.state, after.reason) == (DeliveryState.HELD, "lost")


def test_a_word_changes_only_what_it_is_about() -> None:
    after = after_answers(
        [SENT, OTHER], {OTHER.sop_instance_uid: ConfirmationAnswer(Presence.YES)}, question()
    )

    assert [row.sop_instance_uid for row in after] == [OTHER.sop_instance_uid]


def test_a_late_word_changes_nothing_that_is_confirmed_held_or_on_its_way() -> None:
    """A failure of an old request, when a newer one has been answered well, is past."""
    rows = [
        replace(SENT, state=state, next_attempt_at=None)
        for state in DeliveryState
        if state is not DeliveryState.SENT
    ]
    words = {SENT.sop_instance_uid: ConfirmationAnswer(Presence.NO, "lost")}

    assert after_answers(rows, words, question()) == ()


def test_what_a_report_leaves_out_is_no_confirmation() -> None:
    report = Report("1.2.3.4", (SENT.sop_instance_uid,), {})
    words = answers_of_report([SENT, OTHER], report, NOW)

    assert words[SENT.sop_instance_uid].presence is Presence.YES
    assert words[OTHER.sop_instance_uid].presence is Presence.UNKNOWN


def test_a_report_is_silent_only_about_what_was_sent_before_it_was_asked_for() -> None:
    """What went out since was not in the request, and has a request of its own coming."""
    later = replace(OTHER, sent_at=NOW + timedelta(seconds=1))
    report = Report("1.2.3.4", (SENT.sop_instance_uid,), {})
    named = Report("1.2.3.4", (OTHER.sop_instance_uid,), {})

    assert set(answers_of_report([SENT, later], report, NOW)) == {SENT.sop_instance_uid}
    assert answers_of_report([later], named, NOW)[later.sop_instance_uid].presence is (
        Presence.YES
    ), "sent again since"


def test_a_report_counts_for_what_is_believed_to_be_there_whoever_waits_for_it() -> None:
    """Refused as a duplicate (0111H) by an archive that could not be asked otherwise."""
    believed = replace(SENT, status=0x0111, next_attempt_at=None)
    uid = believed.sop_instance_uid
    for report, state in (
        (Report("1", (uid,), {}), DeliveryState.CONFIRMED),
        (Report("1", (), {uid: 0x0112}), DeliveryState.WAITING),
    ):
        answers = answers_of_report([believed], report, NOW)
        (after,) = after_answers([believed], answers, question())
        assert after.state is state
    assert answers_of_report([believed], Report("1", (), {}), NOW) == {}


def test_failure_reasons_come_in_words() -> None:
    """PS3.4 J.3.3.1.1; 0x9999 is nowhere in it."""
    uids = (SENT.sop_instance_uid, OTHER.sop_instance_uid)
    words = answers_of_report(
        [SENT, OTHER], Report("1", (), {uids[0]: 0x0213, uids[1]: 0x9999}), NOW
    )

    assert words[uids[0]].reason == "not committed to: 0213H, resource limitation"
    assert words[uids[1]].reason == "not committed to: 9999H, a reason of its own"


def test_a_duplicate_transaction_says_nothing_of_an_object() -> None:
    """0131H: the request has to be made again, not the C-STORE."""
    uid = SENT.sop_instance_uid
    words = answers_of_report([SENT], Report("1", (), {uid: 0x0131}), NOW)

    assert words[uid].presence is Presence.UNKNOWN
    assert words[uid].reason == "not committed to: 0131H, duplicate transaction UID"


def test_an_object_counts_as_lost_at_the_fifth_listing_without_it() -> None:
    fourth = answers_of_listing([replace(SENT, attempts=3)], frozenset())
    fifth = answers_of_listing([replace(SENT, attempts=4)], frozenset())

    assert fourth[SENT.sop_instance_uid].presence is Presence.UNKNOWN
    assert fifth[SENT.sop_instance_uid].presence is Presence.NO


def test_only_what_is_to_be_confirmed_can_be_overdue() -> None:
    late = NOW + timedelta(hours=25)

    assert is_overdue(SENT, late, Confirmation())
    assert not is_overdue(replace(SENT, next_attempt_at=None), late, Confirmation())
    assert not is_overdue(SENT, NOW + timedelta(hours=23), Confirmation())


@given(st.lists(st.sampled_from(list(Presence)), max_size=12))
def test_nothing_is_confirmed_that_the_destination_did_not_say_it_has(
    said: Sequence[Presence],
) -> None:
    """And nothing is dropped: confirmed, held with a reason, or due."""
    row = SENT
    for presence in said:
        if row.is_unconfirmed:
            row = told(
                ConfirmationAnswer(presence, "" if presence is Presence.YES else "why"), row
            )
        elif row.state is DeliveryState.WAITING:
            row = replace(row, state=DeliveryState.SENT)
    if row.state is DeliveryState.CONFIRMED:
        assert Presence.YES in said
    elif row.state is DeliveryState.HELD:
        assert row.reason == "why"
    else:
        assert row.next_attempt_at is not None
