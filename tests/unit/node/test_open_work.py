"""Claims about what is open: since when, what it waits for, and what ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.node.observation import Observation
from dicom_node.node.open_work import (
    Openness,
    open_archive_series,
    open_arrival,
    open_delivery,
    open_order,
    open_pause,
    open_series,
    open_window,
    open_work,
)
from dicom_node.node.process_health import NodeProcesses
from dicom_node.persistence.ages import Backlog, Oldest
from dicom_node.persistence.archive_rows import (
    EVERY_ARCHIVE,
    ArchiveSeriesRow,
    ArchiveState,
    PauseRow,
    WindowRow,
    WindowState,
)
from dicom_node.persistence.rows import (
    AGAINST_RULES,
    AWAITS_RULES,
    NOT_BEST,
    NOT_CONFIGURED,
    RELEASED,
    SUPERSEDED,
    DeliveryRow,
    DeliveryState,
    OrderKind,
    OrderRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.settings.loading import parse_config
from dicom_node.spool.pending import WaitingSeries

NOW = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
CONFIG = parse_config(
    {
        "archives": [{"name": "arc", "ae_title": "ARC", "host": "127.0.0.1", "port": 104}],
        "schedules": [{"name": "night", "archive": "arc", "since": "2026-01-01"}],
    },
    source="",
    folder=Path("/nowhere"),
)
SERIES = SeriesRow("1.2.3", 1, "1.2", "CT1", "MSKNODE", 120, "f" * 64, NOW, NOW)
DELIVERY = DeliveryRow("2.25.1", "pacs", "1.2.3", 1, NOW, next_attempt_at=NOW)
LISTED = ArchiveSeriesRow("night", "1.2.3", "1.2", "arc", "r", NOW, NOW, next_at=NOW)
ORDER = OrderRow("o", OrderKind.RETRY, "1.2.3", 1, "ops", NOW)
WINDOW = WindowRow("night", "r", "w", "arc", NOW, next_at=NOW)

FINAL_SERIES = {
    SeriesState.REPORTED,
    SeriesState.REFUSED,
    SeriesState.FAILED,
    SeriesState.LEFT_OUT,
    SeriesState.CANCELLED,
}
FINAL_DELIVERIES = {DeliveryState.CONFIRMED, DeliveryState.REPLACED}
FINAL_LISTED = {
    ArchiveState.HAD,
    ArchiveState.FETCHED,
    ArchiveState.INCOMPLETE,
    ArchiveState.REFUSED,
    ArchiveState.FAILED,
}
FINAL_WINDOWS = {
    WindowState.LISTED,
    WindowState.SPLIT,
    WindowState.CUT,
    WindowState.FAILED,
}


def is_told(found: Openness | None) -> bool:
    """Whether there is something in each of the three."""
    return found is not None and bool(
        found.since.tzinfo and found.waits_for.strip() and found.ends.strip()
    )


@pytest.mark.parametrize("reason", ["", "12 MB more must be free for spool"])
@pytest.mark.parametrize("code", ["", AWAITS_RULES, RELEASED, "image-count"])
@pytest.mark.parametrize("state", SeriesState)
def test_every_state_of_a_series_is_final_or_has_all_three(
    state: SeriesState, code: str, reason: str
) -> None:
    found = open_series(replace(SERIES, state=state, code=code, reason=reason), CONFIG)

    assert found is None if state in FINAL_SERIES else is_told(found)
    if found is not None and reason and code != RELEASED:
        assert found.waits_for == reason


@pytest.mark.parametrize("code", [AGAINST_RULES, NOT_BEST, SUPERSEDED])
def test_a_series_that_rules_left_out_is_final_by_each_code(code: str) -> None:
    row = replace(SERIES, state=SeriesState.LEFT_OUT, code=code)

    assert open_series(row, CONFIG) is None


@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.parametrize("attempts", [0, 3, 200])
@pytest.mark.parametrize("reason", ["", "no connection"])
@pytest.mark.parametrize("due", [NOW, None])
@pytest.mark.parametrize("state", DeliveryState)
def test_every_state_of_a_delivery_is_final_or_has_all_three(
    state: DeliveryState, due: datetime | None, reason: str, attempts: int, *, resumes: bool
) -> None:
    row = replace(
        DELIVERY,
        state=state,
        next_attempt_at=due,
        reason=reason,
        attempts=attempts,
        resumes=resumes,
        sent_at=NOW,
    )
    is_final = state in FINAL_DELIVERIES or (state is DeliveryState.SENT and due is None)
    found = open_delivery(row, CONFIG)

    assert found is None if is_final else is_told(found)
    if found is not None and reason:
        assert reason in found.waits_for


@pytest.mark.parametrize("schedule", ["night", "gone from the settings"])
@pytest.mark.parametrize("reason", ["", "left alone until Mon"])
@pytest.mark.parametrize("state", ArchiveState)
def test_every_state_of_a_series_of_an_archive_is_final_or_has_all_three(
    state: ArchiveState, reason: str, schedule: str
) -> None:
    row = replace(LISTED, state=state, reason=reason, schedule=schedule)
    found = open_archive_series(row, CONFIG)

    assert found is None if state in FINAL_LISTED else is_told(found)


@pytest.mark.parametrize("schedule", ["night", "gone from the settings"])
@pytest.mark.parametrize("due", [NOW, None])
@pytest.mark.parametrize("state", WindowState)
def test_every_state_of_a_window_is_final_or_has_all_three(
    state: WindowState, due: datetime | None, schedule: str
) -> None:
    found = open_window(replace(WINDOW, state=state, next_at=due, schedule=schedule), CONFIG)

    assert found is None if state in FINAL_WINDOWS else is_told(found)


@pytest.mark.parametrize("archive", ["arc", EVERY_ARCHIVE])
def test_a_paused_archive_has_all_three_and_one_that_goes_on_is_not_open(archive: str) -> None:
    found = open_pause(PauseRow(archive, paused=True, changed_at=NOW))

    assert is_told(found)
    assert found is not None
    assert found.ends.startswith("`msk-node requery resume")
    assert open_pause(PauseRow(archive, paused=False, changed_at=NOW)) is None


@pytest.mark.parametrize("outcome", ["", "its images are fetched from arc first"])
@pytest.mark.parametrize("kind", OrderKind)
def test_an_order_has_all_three_until_it_is_done(kind: OrderKind, outcome: str) -> None:
    row = replace(ORDER, kind=kind, outcome=outcome)
    found = open_order(row)

    assert is_told(found)
    assert found is not None
    assert outcome in found.waits_for
    assert f"{NOW + timedelta(days=1):%m-%d}" in found.ends
    assert open_order(replace(row, done_at=NOW)) is None


@pytest.mark.parametrize("reason", ["2 gaps", "ALARM: not one of its 9 files can be read"])
def test_a_series_that_arrives_has_all_three(reason: str) -> None:
    found = open_arrival(WaitingSeries("1.2.3", 9, NOW.timestamp(), reason), CONFIG)

    assert is_told(found)
    assert found.waits_for == reason
    assert ("a person" in found.ends) is reason.startswith("ALARM")


def test_things_that_wait_for_the_same_are_told_once_by_the_oldest() -> None:
    old = NOW - timedelta(days=2)
    failing = replace(DELIVERY, attempts=4, reason="no connection")
    seen = Observation(
        NodeProcesses((), (), is_running=False, words=""),
        incoming=(
            WaitingSeries("1.2.4", 9, NOW.timestamp(), "2 gaps"),
            WaitingSeries("1.2.5", 9, old.timestamp(), "1 gap"),
            WaitingSeries("1.2.6", 9, old.timestamp(), "ALARM: unreadable"),
        ),
        series=(Oldest(7, replace(SERIES, received_at=old), old),),
        backlogs=(
            Backlog(
                "pacs",
                waiting=Oldest(40, DELIVERY, old),
                failing=Oldest(3, failing, NOW),
                held_by_person=Oldest(6, replace(DELIVERY, state=DeliveryState.HELD), NOW),
            ),
        ),
        orders=(Oldest(8, ORDER, NOW),),
        windows=(Oldest(2, WINDOW, NOW),),
        archive_series=(Oldest(5, replace(LISTED, state=ArchiveState.WANTED), NOW),),
        pauses=(PauseRow("arc", paused=True, changed_at=NOW),),
    )
    found = open_work(seen, CONFIG)

    assert [(each.what, each.count) for each in found] == [
        ("series arriving", 2),
        ("series not handed over", 1),
        ("series received", 7),
        ("objects waiting for pacs", 40),
        ("objects held by a person for pacs", 6),
        ("orders to retry", 8),
        ("windows of night", 2),
        ("series wanted by night", 5),
        ("paused: arc", 1),
    ]
    assert found[0].since == old
    assert (found[3].since, found[3].waits_for) == (old, "no connection")


def test_what_is_held_for_a_destination_that_was_taken_out_says_what_ends_it() -> None:
    """To release it alone is refused: there is nobody to send it to."""
    held = replace(DELIVERY, state=DeliveryState.HELD, reason=NOT_CONFIGURED)
    found = open_delivery(held, CONFIG)

    assert found is not None
    assert found.ends == (
        "`[[destinations]]` named pacs in the settings again, "
        "then `msk-node release --destination pacs`"
    )
