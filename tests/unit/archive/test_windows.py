"""Claims about the windows of study dates in which an archive is asked."""

from __future__ import annotations

from datetime import date

import pytest

from dicom_node.archive.windows import SLOTS, StudyWindow, parse_window, windows_between

DAY = date(2026, 1, 5)


def leaves(window: StudyWindow) -> list[StudyWindow]:
    halves = window.halves()
    return [leaf for half in halves for leaf in leaves(half)] if halves else [window]


def test_a_run_is_cut_into_weeks_and_what_is_left() -> None:
    found = windows_between(date(2026, 1, 1), date(2026, 1, 16), "week")

    assert [each.key for each in found] == [
        "20260101-20260107",
        "20260108-20260114",
        "20260115-20260116",
    ]


def test_a_week_is_halved_down_to_half_hours_that_leave_nothing_out() -> None:
    """7 days of 48 half hours each, and for each day the studies without a time."""
    found = leaves(StudyWindow(DAY, date(2026, 1, 11)))
    timed = [each for each in found if not each.untimed]

    assert len(found) == 7 * (48 + 1)
    assert {each.first == each.last for each in found} == {True}
    assert sorted((each.first, each.slots) for each in timed) == [
        (date(2026, 1, 5 + day), (slot, slot + 1)) for day in range(7) for slot in range(SLOTS)
    ]


def test_half_hours_meet_at_their_ends_and_the_last_one_ends_with_the_day() -> None:
    """A time that is written `1230` sorts before `123000`, and belongs to one of the two."""
    times = [
        StudyWindow(DAY, DAY, slots=(slot, slot + 1)).queries(())[0].keys["StudyTime"]
        for slot in (0, 24, 25, 47)
    ]

    assert times == [
        "000000-003000",
        "120000-123000",
        "123000-130000",
        "233000-235959.999999",
    ]


def test_whole_days_are_asked_for_without_a_time() -> None:
    (one,) = StudyWindow(DAY, DAY).queries([("ModalitiesInStudy", "CT")])
    (week,) = StudyWindow(DAY, date(2026, 1, 11)).queries([])

    assert one.keys == {"ModalitiesInStudy": "CT", "StudyDate": "20260105"}
    assert week.keys == {"StudyDate": "20260105-20260111"}


def test_a_day_that_is_cut_is_asked_once_more_for_what_has_no_time() -> None:
    (untimed,) = (each for each in StudyWindow(DAY, DAY).halves() if each.untimed)
    (whole,) = untimed.queries(())
    narrower = untimed.narrower(whole)
    deeper = untimed.narrower(narrower[10])

    assert whole.keys == {"StudyDate": "20260105"}
    assert [each.keys["PatientID"] for each in narrower][8:12] == ["8*", "9*", "A*", "B*"]
    assert [each.keys["PatientID"] for each in deeper][:2] == ["A0*", "A1*"]
    assert deeper[-1].keys == {"StudyDate": "20260105", "PatientID": "A"}, "it may be just A"
    assert [untimed.takes(None, time) for time in ("", " ", None, "1015")] == [True] * 3 + [
        False
    ]
    assert untimed.halves() == ()


def test_what_has_a_time_is_not_told_apart_by_patients() -> None:
    window = StudyWindow(DAY, DAY, slots=(0, 1))

    assert window.narrower(window.queries(())[0]) == ()


@pytest.mark.parametrize(
    "window", [StudyWindow(DAY, date(2026, 1, 11)), *leaves(StudyWindow(DAY, DAY))]
)
def test_a_window_is_known_by_its_key(window: StudyWindow) -> None:
    assert parse_window(window.key) == window


@pytest.mark.parametrize(
    ("listed", "counts"),
    [("20260105", True), ("20260106", True), ("20100101", False), ("", True), (None, True)],
)
def test_a_study_of_another_day_is_not_of_a_window(listed: str | None, counts: bool) -> None:
    """There are archives that ignore Study Date; one that lists none decides nothing."""
    window = StudyWindow(date(2026, 1, 5), date(2026, 1, 6))

    assert window.takes(listed, "101500") is counts
    assert window.takes("5 Jan 2026", None)
