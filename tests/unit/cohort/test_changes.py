"""Claims about what a case is compared with, and what a change and its range are."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from support.case_records import MODEL, record, structure

from dicom_node.cohort.changes import changes_since_last, earlier_scan
from dicom_node.cohort.records import CaseRecord
from inference.results import Verdict

NOW = record("1.2.9")
SMALLER = structure(
    "GMED_R",
    volume_cm3=80.0,
    volume_range_cm3=(78.0, 84.0),
    mean_hu=49.0,
    mean_hu_range=(47.0, 50.0),
)


def earlier(uid: str = "1.2.1", **changes: Any) -> CaseRecord:
    """A scan of the year before."""
    usual = {"study_date": date(2025, 11, 20), "age_years": 74.8, "structures": (SMALLER,)}
    return record(uid, **(usual | changes))


def test_a_change_is_now_less_then_and_its_range_that_of_all_pairs_of_samples():
    """100 (95 to 110) after 80 (78 to 84): +20 or 25 %, from 95 - 84 = 11 to 110 - 78 = 32.

    50 HU (48 to 51) after 49 (47 to 50): +1, from 48 - 50 = -2 to 51 - 47 = 4, which
    contains 0.
    """
    found = changes_since_last(NOW, [earlier(), NOW])
    (change,) = found.structures

    assert found.then == date(2025, 11, 20)
    assert found.is_same_protocol
    assert change.volume_cm3 is not None
    assert change.mean_hu is not None
    assert change.volume_cm3.difference == 20.0
    assert change.volume_cm3.percent == pytest.approx(25.0)
    assert change.volume_cm3.range == (11.0, 32.0)
    assert change.volume_cm3.is_within_range is False
    assert change.mean_hu.range == (-2.0, 4.0)
    assert change.mean_hu.is_within_range is True


def test_ranges_that_touch_leave_the_change_within_the_range():
    """From 95 to 110 now and from 90 to 95 then: the difference may be 0."""
    then = structure("GMED_R", volume_cm3=92.0, volume_range_cm3=(90.0, 95.0))
    (change,) = changes_since_last(NOW, [earlier(structures=(then,))]).structures

    assert change.volume_cm3 is not None
    assert change.volume_cm3.range == (0.0, 20.0)
    assert change.volume_cm3.is_within_range is True


def test_without_samples_a_change_has_no_range_and_is_not_said_to_be_within_it():
    then = replace(SMALLER, volume_range_cm3=None)
    (change,) = changes_since_last(NOW, [earlier(structures=(then,))]).structures

    assert change.volume_cm3 is not None
    assert (change.volume_cm3.range, change.volume_cm3.is_within_range) == (None, None)


def test_only_structures_that_were_accepted_both_times_have_a_change():
    two = (structure("GMED_R"), structure("GMED_L", verdict=Verdict.INACCURATE))
    then = (
        replace(SMALLER, verdict=Verdict.FAILED),
        structure("GMED_L"),
    )

    assert changes_since_last(replace(NOW, structures=two), [earlier()]).structures
    assert not changes_since_last(
        replace(NOW, structures=two), [earlier(structures=then)]
    ).structures


@pytest.mark.parametrize(
    "other",
    [
        earlier(patient_key="k2"),
        earlier(study_date=date(2026, 11, 20), age_years=75.8),
        earlier(study_date=date(2026, 12, 20), age_years=75.8),
        earlier(study_date=None),
        earlier(model=replace(MODEL, settings="b2" * 32)),
        earlier(model=replace(MODEL, version="2.0")),
        earlier(model=None, state="refused"),
        earlier(sex="M"),
        earlier(age_years=40.0),
    ],
    ids=[
        "another patient",
        "the same day",
        "a later day",
        "no day",
        "other settings",
        "another bundle",
        "a refused series",
        "another sex",
        "an age that does not fit",
    ],
)
def test_nothing_is_compared_with(other: CaseRecord):
    assert earlier_scan(NOW, [other]) is None


def test_patients_that_are_not_named_are_not_one():
    assert earlier_scan(record(patient_key=""), [earlier(patient_key="")]) is None


def test_ages_in_whole_years_do_not_part_one_patient():
    """75 years a year after 74, and 75 eleven months after 75: both as whole years."""
    assert earlier_scan(record(age_years=75.0), [earlier(age_years=75.0)])
    assert earlier_scan(record(age_years=76.0), [earlier(age_years=74.0)])


def test_the_latest_earlier_scan_counts_and_of_one_day_that_of_the_same_protocol():
    older = earlier("1.2.5", study_date=date(2024, 11, 20), age_years=73.8)
    bone = earlier("1.2.4", kernel="B70f")
    soft = earlier("1.2.2")

    assert earlier_scan(NOW, [older, bone, soft]) is soft
    assert earlier_scan(NOW, [older, bone]) is bone
    assert not changes_since_last(NOW, [older, bone]).is_same_protocol
