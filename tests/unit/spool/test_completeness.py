"""When a series counts as complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from support.ct import SERIES_UID, ct_slice, ct_stack, save
from support.spooled import SETTINGS, keep

from dicom_node.series.slice_header import SliceHeader
from dicom_node.series.slice_headers import read_header, slice_header
from dicom_node.settings.node import Completion
from dicom_node.spool.arrivals import read_arrivals
from dicom_node.spool.completeness import (
    Arrivals,
    Expectation,
    Rule,
    is_complete,
)
from dicom_node.spool.spool import Spool


def headers(datasets: Sequence[Dataset], folder: Path) -> tuple[SliceHeader, ...]:
    found = []
    for path in save(datasets, folder):
        header = read_header(path)
        assert header is not None
        found.append(slice_header(path, header, None))
    return tuple(found)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_a_gap_free_stack_is_complete_once_it_is_quiet(tmp_path: Path) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack(), tmp_path))

    assert is_complete(arrivals, 1009.0, SETTINGS).rule is None
    assert is_complete(arrivals, 1010.0, SETTINGS).rule is not None


def test_a_stack_with_a_gap_waits_and_goes_with_the_gap_named(tmp_path: Path) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack([0, 2, 4, 8, 10]), tmp_path))

    waiting = is_complete(arrivals, 1299.0, SETTINGS)
    given_up = is_complete(arrivals, 1300.0, SETTINGS)

    assert (waiting.rule, given_up.rule) == (None, Rule.TIMER)
    assert "between 4.0 and 8.0 mm" in given_up.reason
    assert "300 s" in given_up.reason


def test_lost_slices_that_look_like_a_zone_are_waited_for(tmp_path: Path) -> None:
    offsets = [2.0 * index for index in range(20) if index not in {6, 8, 10, 12}]
    arrivals = Arrivals(1000.0, headers(ct_stack(offsets, SliceThickness=2.0), tmp_path))

    assert is_complete(arrivals, 1299.0, SETTINGS).rule is None
    assert "between 10.0 and 14.0 mm" in is_complete(arrivals, 1300.0, SETTINGS).reason


@pytest.mark.parametrize("again_mm", [0.04, 27.5], ids=["rounded copies", "a second pass"])
def test_copies_and_the_seam_of_two_passes_hold_nothing_up(
    again_mm: float, tmp_path: Path
) -> None:
    offsets = [5.0 * index for index in range(8)]
    stack = ct_stack(offsets, SliceThickness=5.0, AcquisitionNumber=1)
    again = ct_stack(
        [offset + again_mm for offset in offsets], SliceThickness=5.0, AcquisitionNumber=2
    )
    arrivals = Arrivals(1000.0, headers([*stack, *again], tmp_path))

    assert is_complete(arrivals, 1010.0, SETTINGS).rule is Rule.GAP_FREE


@pytest.mark.parametrize(
    ("offsets", "elements", "words"),
    [
        ([0, 2], {}, "2 of at least 3 slices"),
        ([0, 2, 4], {"orientation": (0, 1, 0, 0, 0, -1)}, ""),
    ],
)
def test_what_is_no_stack_waits_for_the_long_timer(
    offsets: list[float], elements: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Also a sagittal stack is a stack: it is refused by name later."""
    arrivals = Arrivals(1000.0, headers(ct_stack(offsets, **elements), tmp_path))

    assert is_complete(arrivals, 1020.0, SETTINGS).rule == (None if words else Rule.GAP_FREE)
    assert words in is_complete(arrivals, 1020.0, SETTINGS).reason


def test_headers_that_cannot_be_read_wait_for_the_long_timer(tmp_path: Path) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack(), tmp_path), defect="PixelSpacing is missing")

    assert is_complete(arrivals, 1020.0, SETTINGS).rule is None
    assert "PixelSpacing" in is_complete(arrivals, 1300.0, SETTINGS).reason


def test_two_images_at_one_position_do_not_hold_the_series_up(tmp_path: Path) -> None:
    datasets = [*ct_stack(), ct_slice((-4, -3, 4.0), hu=np.zeros((6, 8)))]

    assert (
        is_complete(Arrivals(0.0, headers(datasets, tmp_path)), 60.0, SETTINGS).rule is not None
    )


def test_a_clock_set_back_holds_nothing_up(tmp_path: Path) -> None:
    arrivals = Arrivals(5000.0, headers(ct_stack(), tmp_path))

    assert is_complete(arrivals, 1000.0, SETTINGS).rule is not None


def test_as_many_images_as_the_sender_counts_are_complete_at_once(tmp_path: Path) -> None:
    """Also with a gap: then it is there at the sender too."""
    slices = headers(ct_stack([0, 2, 4, 8, 10]), tmp_path)
    arrivals = Arrivals(1000.0, slices, instances=5, expected=Expectation(5, "pacs"))

    verdict = is_complete(arrivals, 1000.0, SETTINGS)

    assert verdict.rule is Rule.COUNT
    assert "all 5 instances" in verdict.reason
    assert "between 4.0 and 8.0 mm" in verdict.reason


def test_fewer_images_than_the_sender_counts_wait_for_the_long_timer(tmp_path: Path) -> None:
    arrivals = Arrivals(
        1000.0, headers(ct_stack(), tmp_path), instances=5, expected=Expectation(7, "pacs")
    )

    assert is_complete(arrivals, 1299.0, SETTINGS).rule is None
    given_up = is_complete(arrivals, 1300.0, SETTINGS)
    assert given_up.rule is Rule.TIMER
    assert "5 of 7 instances that pacs counts" in given_up.reason


def test_more_images_than_counted_refute_the_count(tmp_path: Path) -> None:
    arrivals = Arrivals(
        1000.0, headers(ct_stack(), tmp_path), instances=5, expected=Expectation(4, "pacs")
    )

    assert is_complete(arrivals, 1009.0, SETTINGS).rule is None
    assert is_complete(arrivals, 1010.0, SETTINGS).rule is Rule.GAP_FREE


def test_a_sender_that_broke_off_has_time_to_send_again(tmp_path: Path) -> None:
    """Without a gap: nothing in the headers tells that half of the series is missing."""
    arrivals = Arrivals(1000.0, headers(ct_stack(), tmp_path), interrupted=True)

    assert is_complete(arrivals, 1119.0, SETTINGS).rule is None
    gone_on = is_complete(arrivals, 1120.0, SETTINGS)
    assert gone_on.rule is Rule.GAP_FREE
    assert "broke off" in gone_on.reason


@pytest.mark.parametrize(("interrupted", "waits_s"), [(False, 10.0), (True, 120.0)])
def test_after_a_downtime_a_sender_gets_the_time_that_it_would_have_had(
    interrupted: bool, waits_s: float, tmp_path: Path
) -> None:
    arrivals = Arrivals(
        1000.0,
        headers(ct_stack(), tmp_path),
        interrupted=interrupted,
        watched_since_s=9000.0,
    )

    assert is_complete(arrivals, 9000.0 + waits_s - 1, SETTINGS).rule is None
    assert is_complete(arrivals, 9000.0 + waits_s, SETTINGS).rule is Rule.GAP_FREE


def test_a_series_whose_every_second_slice_is_missing_throughout_is_named(
    tmp_path: Path,
) -> None:
    """Even steps of 4 mm leave no gap; the headers say that slices are 2 mm apart."""
    arrivals = Arrivals(
        1000.0, headers(ct_stack([0, 4, 8, 12]), tmp_path), stated_spacing_mm=2.0
    )

    assert is_complete(arrivals, 1299.0, SETTINGS).rule is None
    assert "4.0 mm apart throughout, and say 2.0 mm" in (
        is_complete(arrivals, 1300.0, SETTINGS).reason
    )


@pytest.mark.parametrize("stated_mm", [None, 2.0, 1.4])
def test_a_stated_spacing_that_fits_roughly_holds_nothing_up(
    stated_mm: float | None, tmp_path: Path
) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack(), tmp_path), stated_spacing_mm=stated_mm)

    assert is_complete(arrivals, 1010.0, SETTINGS).rule is Rule.GAP_FREE


def test_slices_that_do_not_touch_are_noted_and_hold_nothing_up(tmp_path: Path) -> None:
    """1 mm slices every 10 mm: a sparse scan, or a series of which most is missing."""
    sparse = is_complete(
        Arrivals(0.0, headers(ct_stack([0, 10, 20, 30]), tmp_path / "sparse")), 20.0, SETTINGS
    )
    whole = is_complete(
        Arrivals(0.0, headers(ct_stack([0, 1, 2, 3]), tmp_path / "whole")), 20.0, SETTINGS
    )

    assert (sparse.rule, whole.rule) == (Rule.GAP_FREE, Rule.GAP_FREE)
    assert "note: 1.0 mm thick, at least 10.0 mm apart" in sparse.reason
    assert "note" not in whole.reason


def test_localisers_are_no_part_of_the_stack(spool: Spool) -> None:
    scout = ct_slice((0, 0, 500.0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    keep(spool, [*ct_stack(), scout])

    arrivals = read_arrivals(spool.entries(SERIES_UID))

    assert len(arrivals.slices) == 5
    assert arrivals.last_received_s == 1000.0


OFFSETS_MM = {"whole": [0, 2, 4, 6, 8], "gap": [0, 2, 4, 8, 10], "few": [0, 2]}


@pytest.mark.parametrize("offsets", OFFSETS_MM)
@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("expected", [None, 4, 5, 7])
@pytest.mark.parametrize("watched_since_s", [0.0, 1200.0])
@pytest.mark.parametrize("resend_s", [5.0, 120.0, 1000.0])
def test_whoever_looks_when_told_to_misses_nothing(  # noqa: PLR0917
    offsets: str,
    interrupted: bool,
    expected: int | None,
    watched_since_s: float,
    resend_s: float,
    tmp_path: Path,
) -> None:
    """A watcher that looks every second closes a series at no other time, by no other rule."""
    settings = Completion(quiet_s=10, give_up_s=300, resend_s=resend_s)
    slices = headers(ct_stack(OFFSETS_MM[offsets]), tmp_path)
    arrivals = Arrivals(
        1000.0,
        slices,
        instances=len(slices),
        expected=None if expected is None else Expectation(expected, "pacs"),
        interrupted=interrupted,
        watched_since_s=watched_since_s,
    )
    begun_s = max(1000.0, watched_since_s)

    every_second = begun_s
    while is_complete(arrivals, every_second, settings).rule is None:
        every_second += 1.0
    looks, now_s = 1, begun_s
    while (verdict := is_complete(arrivals, now_s, settings)).rule is None:
        assert verdict.look_again_at_s > now_s
        looks, now_s = looks + 1, verdict.look_again_at_s

    assert now_s == every_second
    assert verdict.rule is is_complete(arrivals, every_second, settings).rule
    assert looks <= 4


def test_a_series_that_lost_images_waits_for_them_and_is_then_called_neither_whole_nor_quiet(
    tmp_path: Path,
) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack(), tmp_path), interrupted=True, lost=2)

    assert is_complete(arrivals, 1119.0, SETTINGS).rule is None
    closed = is_complete(arrivals, 1120.0, SETTINGS)
    assert closed.rule is Rule.TIMER
    assert "sender" not in closed.reason


def test_a_count_that_is_reached_though_images_were_refused_closes_nothing(
    tmp_path: Path,
) -> None:
    arrivals = Arrivals(
        1000.0,
        headers(ct_stack(), tmp_path),
        instances=5,
        expected=Expectation(5, "pacs"),
        lost=1,
    )

    assert is_complete(arrivals, 1119.0, SETTINGS).rule is None
    assert is_complete(arrivals, 1120.0, SETTINGS).rule is Rule.TIMER
