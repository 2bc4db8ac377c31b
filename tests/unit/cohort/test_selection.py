"""Claims about which cases a selection takes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from support.case_records import ANALYSED_AT, record

from dicom_node.cohort.selection import Selection

CASE = record()


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(since=ANALYSED_AT),
        Selection(first_day=date(2026, 11, 20), last_day=date(2026, 11, 20)),
        Selection(bundles=frozenset({"compact"})),
        Selection(bundles=frozenset({"compact 3.0", "other"})),
        Selection(verdicts=frozenset({"accepted"}), senders=frozenset({"CT1", "CT2"})),
        Selection(states=frozenset({"reported"})),
    ],
)
def test_a_case_that_fits_is_taken(selection: Selection):
    assert selection.takes(CASE)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(since=datetime(2026, 11, 22, 6, 4, 6, tzinfo=UTC)),
        Selection(first_day=date(2026, 11, 21)),
        Selection(last_day=date(2026, 11, 19)),
        Selection(bundles=frozenset({"compact 2.0"})),
        Selection(verdicts=frozenset({"failed"})),
        Selection(senders=frozenset({"CT2"})),
        Selection(states=frozenset({"refused", "failed"})),
        Selection(bundles=frozenset({"compact"}), senders=frozenset({"CT2"})),
    ],
)
def test_a_case_that_does_not_fit_is_left_out(selection: Selection):
    assert not selection.takes(CASE)


def test_what_has_no_date_no_verdict_and_no_bundle_fits_no_filter_by_them():
    nothing = record(study_date=None, analysed_at=None, verdict=None, model=None)

    assert Selection().takes(nothing)
    assert not Selection(last_day=date(2026, 11, 20)).takes(nothing)
    assert not Selection(since=ANALYSED_AT).takes(nothing)
    assert not Selection(verdicts=frozenset({"accepted"})).takes(nothing)
    assert not Selection(bundles=frozenset({"compact"})).takes(nothing)
