"""Claims about what follows an attempt to deliver; no sockets, no clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config import Delivery
from dicom_node.deliver import Failure, after_attempt, wait_after
from dicom_node.ledger import DeliveryRow, DeliveryState

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
ROW = DeliveryRow("2.25.3", "pacs", "1.2.3", 1, NOW - timedelta(hours=1))
POLICY = Delivery()
DOWN = Failure("no connection")


@pytest.mark.parametrize(
    ("attempt", "wait_s"), [(1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (149, 600)]
)
def test_the_wait_doubles_from_30_seconds_to_10_minutes(attempt: int, wait_s: float) -> None:
    assert wait_after(attempt, POLICY) == timedelta(seconds=wait_s)


def test_a_failed_attempt_is_due_again_after_the_wait() -> None:
    after = after_attempt(ROW, DOWN, 2, NOW, POLICY)

    assert after.state is DeliveryState.WAITING
    assert after.reason == "no connection"
    assert after.next_attempt_at == NOW + timedelta(seconds=60)


def test_success_clears_the_reason_of_the_attempt_before() -> None:
    failed = after_attempt(ROW, DOWN, 1, NOW, POLICY)
    sent = after_attempt(failed, None, 2, NOW, POLICY)

    assert (sent.state, sent.reason, sent.next_attempt_at) == (DeliveryState.SENT, "", None)


def test_the_last_attempt_holds_the_delivery_with_its_reason() -> None:
    after = after_attempt(ROW, DOWN, POLICY.hold_after, NOW, POLICY)

    assert (after.state, after.reason) == (DeliveryState.HELD, "no connection")
    assert after.next_attempt_at is None


def test_a_failure_that_only_a_person_can_mend_is_held_at_once() -> None:
    gone = Failure("the destination is no longer configured", final=True)

    assert after_attempt(ROW, gone, 1, NOW, POLICY).state is DeliveryState.HELD


def test_an_attempt_that_is_recorded_twice_counts_once() -> None:
    once = after_attempt(ROW, DOWN, 3, NOW, POLICY)

    assert after_attempt(once, DOWN, 3, NOW, POLICY) == once


@given(st.lists(st.one_of(st.none(), st.booleans()), max_size=40), st.integers(1, 20))
def test_no_sequence_of_outcomes_drops_a_delivery(
    outcomes: list[bool | None], hold_after: int
) -> None:
    """Whatever happens, a row is sent, held with a reason, or due at a known time."""
    policy = POLICY.model_copy(update={"hold_after": hold_after})
    row = replace(ROW, next_attempt_at=NOW)
    for attempt, final in enumerate(outcomes, start=1):
        if row.state is not DeliveryState.WAITING:
            break
        failure = None if final is None else Failure("why", final=final)
        row = after_attempt(row, failure, attempt, NOW, policy)

    if row.state is DeliveryState.WAITING:
        assert row.next_attempt_at is not None
    if row.state is DeliveryState.HELD:
        assert row.reason
