"""Claims about who gets what, and what follows an attempt to deliver; no sockets, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.delivery.attempts import (
    AlreadyThere,
    Attempt,
    Failure,
    OutgoingObject,
    Remedy,
    after_attempt,
    first_rows,
    is_slow,
    outgoing_objects,
    wait_after,
)
from dicom_node.persistence.rows import DeliveryRow, DeliveryState, ResultRow
from dicom_node.results.kinds import ResultKind, with_fallbacks
from dicom_node.settings.destinations import Delivery

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
POLICY = Delivery()
DOWN = Failure("no connection")
AWAY = Failure("no connection to the host", Remedy.RETURN)
UNKNOWN = Failure("SOP class not supported", Remedy.OTHER_FORM)
GONE = Failure("the destination is no longer configured", Remedy.PERSON)
ODD = Failure("0xA900, failure", Remedy.UNCLEAR)

WAITING, SENT = DeliveryState.WAITING, DeliveryState.SENT
HELD, REPLACED = DeliveryState.HELD, DeliveryState.REPLACED
SEG, SR, PM = ResultKind.SEG, ResultKind.SR, ResultKind.PM
SEG_LABELMAP, SR_LABELMAP = ResultKind.SEG_LABELMAP, ResultKind.SR_LABELMAP
KO_REJECTED = ResultKind.KO_REJECTED


def result(kind: ResultKind) -> ResultRow:
    return ResultRow(
        uid(kind), "1.1", kind.value, "2.25.9", "1.2.3", 1, f"{kind}.dcm", "0", NOW
    )


def uid(kind: ResultKind) -> str:
    return f"2.25.{list(ResultKind).index(kind) + 1}"


def parcels(*kinds: ResultKind, **states: DeliveryState) -> tuple[OutgoingObject, ...]:
    """All that is meant for a destination; what is not named in `states` waits."""
    results = [result(kind) for kind in kinds]
    rows = first_rows(results, kinds, "pacs", NOW - timedelta(hours=1))
    named = {uid(ResultKind[name]): state for name, state in states.items()}
    rows = tuple(replace(row, state=named.get(row.sop_instance_uid, WAITING)) for row in rows)
    return outgoing_objects(reversed(rows), results)


def tried_before(meant: tuple[OutgoingObject, ...], times: int) -> tuple[OutgoingObject, ...]:
    """The same after so many attempts that failed."""
    return tuple(
        replace(one, row=replace(one.row, attempts=times, visit=times)) for one in meant
    )


def attempted(
    meant: tuple[OutgoingObject, ...],
    failures: Mapping[ResultKind, Failure],
    number: int = 1,
    policy: Delivery = POLICY,
) -> dict[ResultKind, DeliveryRow]:
    """The rows after an attempt, by kind."""
    outcome_by_uid = {uid(one.kind): failures.get(one.kind, 0) for one in meant if one.waits}
    wanted = with_fallbacks(one.kind for one in meant)
    kinds = {uid(kind): kind for kind in ResultKind}
    after = after_attempt(
        meant, outcome_by_uid, Attempt(number, NOW, policy), [result(kind) for kind in wanted]
    )
    return {kinds[row.sop_instance_uid]: row for row in after}


def states(rows: Mapping[ResultKind, DeliveryRow]) -> dict[ResultKind, DeliveryState]:
    return {kind: row.state for kind, row in rows.items()}


@pytest.mark.parametrize(
    ("attempt", "wait_s"), [(1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (149, 600)]
)
def test_the_wait_doubles_from_30_seconds_to_10_minutes(attempt: int, wait_s: float) -> None:
    assert wait_after(attempt, POLICY) == timedelta(seconds=wait_s)


def test_a_destination_gets_those_results_that_it_wants_and_no_other() -> None:
    rows = first_rows([result(kind) for kind in ResultKind], {SEG, SR}, "pacs", NOW)

    assert {row.sop_instance_uid for row in rows} == {uid(SEG), uid(SR)}
    assert {(row.destination, row.state, row.next_attempt_at) for row in rows} == {
        ("pacs", WAITING, NOW)
    }


def test_segmentations_are_sent_before_reports_and_rejections_last() -> None:
    kinds = (KO_REJECTED, SR, ResultKind.SC, SEG)

    assert [one.kind for one in parcels(*kinds)] == [SEG, SR, ResultKind.SC, KO_REJECTED]


def test_a_failed_attempt_is_due_again_after_the_wait() -> None:
    meant = tried_before(parcels(SEG), 1)
    after = attempted(meant, {SEG: DOWN}, 2)[SEG]

    assert (after.state, after.reason) == (WAITING, "no connection")
    assert after.next_attempt_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(("asked_s", "wait_s"), [(10, 60), (60, 60), (300, 300)])
def test_a_destination_that_asks_for_patience_is_left_alone_for_the_longer_of_two_waits(
    asked_s: float, wait_s: float
) -> None:
    """The second failed attempt: 60 seconds by the node's own rule."""
    busy = Failure("429 Too Many Requests", Remedy.RETURN, asked_s)
    after = attempted(tried_before(parcels(SEG), 1), {SEG: busy}, 2)[SEG]

    assert after.next_attempt_at == NOW + timedelta(seconds=wait_s)


def test_success_clears_the_reason_of_the_attempt_before() -> None:
    failed = attempted(parcels(SEG), {SEG: DOWN})[SEG]
    sent = attempted((OutgoingObject(result(SEG), failed),), {}, 2)[SEG]

    assert (sent.state, sent.reason, sent.next_attempt_at) == (SENT, "", None)


@pytest.mark.parametrize("attempt", [POLICY.hold_after, POLICY.hold_after + 1, 1000])
def test_what_time_may_mend_is_tried_slowly_for_as_long_as_it_takes(attempt: int) -> None:
    """An hour after each attempt; the reason stays."""
    meant = tried_before(parcels(SEG), attempt - 1)
    after = attempted(meant, {SEG: DOWN}, attempt)[SEG]

    assert (after.state, after.reason) == (WAITING, "no connection")
    assert after.next_attempt_at == NOW + timedelta(hours=1)
    assert is_slow(after, POLICY)


def test_the_slow_pace_is_never_faster_than_the_fast_one() -> None:
    policy = POLICY.model_copy(update={"hold_after": 1, "first_wait_s": 7200.0})
    policy = policy.model_copy(update={"max_wait_s": 7200.0})
    after = attempted(parcels(SEG), {SEG: DOWN}, 1, policy)[SEG]

    assert after.next_attempt_at == NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    ("attempt", "state"), [(POLICY.hold_after - 1, WAITING), (POLICY.hold_after, HELD)]
)
def test_what_may_need_a_person_is_held_with_its_reason_after_the_fast_attempts(
    attempt: int, state: DeliveryState
) -> None:
    meant = tried_before(parcels(SEG), attempt - 1)
    after = attempted(meant, {SEG: ODD}, attempt)[SEG]

    assert (after.state, after.reason) == (state, ODD.reason)
    assert (after.next_attempt_at is None) is (state is HELD)


@pytest.mark.parametrize(("failure", "resumes"), [(AWAY, True), (DOWN, False), (GONE, False)])
def test_only_what_waits_for_the_destination_goes_on_sooner_when_it_returns(
    failure: Failure, resumes: bool
) -> None:
    policy = POLICY.model_copy(update={"hold_after": 1})
    after = attempted(parcels(SEG, SR), {SEG: failure, SR: DOWN}, 1, policy)

    assert after[SEG].resumes is resumes
    again = replace(after[SEG], state=WAITING, visit=1, attempts=1)
    other = attempted((OutgoingObject(result(SEG), again),), {SEG: DOWN}, 2, policy)
    assert other[SEG].resumes is False, "what it waits for now is something else"


def test_what_is_there_already_is_as_good_as_taken_and_lets_its_report_go() -> None:
    """Listed, it is done; believed, it is to be asked for once more."""
    for is_seen in (True, False):
        there = AlreadyThere(0x0111, "0x0111, duplicate; C-FIND lists it", is_seen)
        attempt = Attempt(1, NOW, POLICY)
        after = after_attempt(parcels(SEG, SR), {uid(SEG): there, uid(SR): DOWN}, attempt)
        row = after[0]

        assert (row.state, row.status, row.reason) == (SENT, 0x0111, there.reason)
        assert row.is_unconfirmed is not is_seen
        assert after[1].state is WAITING


def test_the_status_of_a_c_store_is_kept_with_its_time() -> None:
    """0xB000, Coercion of Data Elements (PS3.4 Table B.2-1): stored, with a warning."""
    meant = parcels(SEG)
    (row,) = after_attempt(meant, {uid(SEG): 0xB000}, Attempt(1, NOW, POLICY))

    assert (row.state, row.status, row.sent_at) == (SENT, 0xB000, NOW)


def test_what_is_to_be_confirmed_is_asked_for_at_once_and_other_things_never() -> None:
    asked = Attempt(1, NOW, POLICY, confirm=True)
    (row,) = after_attempt(parcels(SEG), {uid(SEG): 0}, asked)
    (final,) = after_attempt(parcels(SEG), {uid(SEG): 0}, Attempt(1, NOW, POLICY))

    assert (row.is_unconfirmed, row.next_attempt_at) == (True, NOW)
    assert (final.is_unconfirmed, final.next_attempt_at) == (False, None)


def test_a_failure_that_only_a_person_can_mend_is_held_at_once() -> None:
    after = attempted(parcels(SEG, SR), {SEG: GONE, SR: GONE})

    assert states(after) == {SEG: HELD, SR: HELD}
    assert {row.reason for row in after.values()} == {GONE.reason}


def test_an_attempt_that_is_recorded_twice_counts_once() -> None:
    once = attempted(parcels(SEG), {SEG: DOWN}, 3)[SEG]

    assert attempted((OutgoingObject(result(SEG), once),), {SEG: DOWN}, 3)[SEG] == once


def test_an_object_that_is_refused_for_good_is_held_at_once_and_the_rest_is_sent() -> None:
    """No use to try it 150 times."""
    after = attempted(parcels(SEG, SR, PM), {PM: UNKNOWN})

    assert states(after) == {SEG: SENT, SR: SENT, PM: HELD}
    assert after[PM].reason == "SOP class not supported"


def test_a_report_is_held_with_the_segmentation_that_it_waits_for() -> None:
    after = attempted(parcels(SEG, SR), {SEG: UNKNOWN, SR: DOWN})

    assert states(after) == {SEG: HELD, SR: HELD}
    assert after[SR].reason == "waits for the SEG, which is held"


def test_a_refused_label_map_is_replaced_with_its_report_by_the_binary_form() -> None:
    meant = parcels(SEG_LABELMAP, SR_LABELMAP)
    after = attempted(meant, {SEG_LABELMAP: UNKNOWN, SR_LABELMAP: DOWN}, 4)

    assert states(after) == {
        SEG_LABELMAP: REPLACED,
        SR_LABELMAP: REPLACED,
        SEG: WAITING,
        SR: WAITING,
    }
    assert after[SEG_LABELMAP].reason == after[SR_LABELMAP].reason == "SOP class not supported"
    assert after[SEG].next_attempt_at == after[SR].next_attempt_at == NOW


def test_what_stands_in_goes_on_with_the_number_of_the_visit() -> None:
    """Else a node that starts again would put the job of a visit that has been made."""
    meant = parcels(SEG_LABELMAP, SR_LABELMAP)
    after = attempted(meant, {SEG_LABELMAP: UNKNOWN, SR_LABELMAP: DOWN}, 4)

    assert {row.visit for row in after.values()} == {4}


def test_a_destination_without_the_record_gets_no_record_instead() -> None:
    meant = parcels(SEG_LABELMAP, ResultKind.SR_KEY_SLICE)
    after = attempted(meant, {SEG_LABELMAP: UNKNOWN})

    assert states(after) == {
        SEG_LABELMAP: REPLACED,
        SEG: WAITING,
        ResultKind.SR_KEY_SLICE: SENT,
    }


def test_a_refused_report_replaces_nothing() -> None:
    """The label map was taken; another form of it would not help the report."""
    after = attempted(parcels(SEG_LABELMAP, SR_LABELMAP), {SR_LABELMAP: UNKNOWN})

    assert states(after) == {SEG_LABELMAP: SENT, SR_LABELMAP: HELD}


def test_a_label_map_that_merely_failed_is_tried_again_in_its_own_form() -> None:
    meant = parcels(SEG_LABELMAP, SR_LABELMAP)
    after = attempted(meant, {SEG_LABELMAP: DOWN, SR_LABELMAP: DOWN})

    assert states(after) == {SEG_LABELMAP: WAITING, SR_LABELMAP: WAITING}


def test_earlier_results_are_not_rejected_while_the_new_ones_are_held() -> None:
    meant = parcels(SEG, SR, KO_REJECTED, SEG=HELD, SR=HELD)
    after = attempted(meant, {KO_REJECTED: DOWN})

    assert states(after) == {KO_REJECTED: HELD}


FAILURES = st.one_of(
    st.none(), st.builds(Failure, st.just("why"), st.sampled_from(list(Remedy)))
)


@given(
    st.lists(st.lists(FAILURES, min_size=8, max_size=8), max_size=20),
    st.sampled_from([(SEG, SR, PM), (SEG_LABELMAP, SR_LABELMAP, KO_REJECTED)]),
    st.integers(1, 10),
)
def test_no_sequence_of_outcomes_drops_a_delivery(
    outcomes: list[list[Failure | None]], kinds: tuple[ResultKind, ...], hold_after: int
) -> None:
    """Whatever happens: sent, replaced by one of the others, held with a reason, or due.

    Where a report was replaced, another one of the record is on its way.
    """
    policy = POLICY.model_copy(update={"hold_after": hold_after})
    rows = {one.kind: one.row for one in parcels(*kinds)}
    for number, several in enumerate(outcomes, start=1):
        meant = outgoing_objects(rows.values(), [result(kind) for kind in rows])
        chosen = dict(zip(rows, several, strict=False))
        failures = {kind: failure for kind, failure in chosen.items() if failure is not None}
        rows |= attempted(meant, failures, number, policy)

    for kind, row in rows.items():
        if row.state is WAITING:
            assert row.next_attempt_at is not None
        if row.state in {HELD, REPLACED}:
            assert row.reason
        if row.state is REPLACED:
            assert rows[{SEG_LABELMAP: SEG, SR_LABELMAP: SR}[kind]].state is not REPLACED
