"""Records as columns: each analysis once, doubtful numbers out, one scan a patient."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from support.cohorts import MODEL, cohort, renamed

from dicom_node.cohort.cohort import Cohort, Quantity, differing_settings, of_bundles
from dicom_node.cohort.records import CaseRecord
from inference.results import Verdict
from inference.structures import BY_KEY, SEGMENTS


def with_structure(case: CaseRecord, key: str, **facts: object) -> CaseRecord:
    """The case with other facts about one segment."""
    structures = tuple(
        replace(one, **facts) if one.segment.key == key else one  # type: ignore[arg-type]
        for one in case.structures
    )
    return replace(case, structures=structures)


def test_columns_are_the_records_numbers():
    records = cohort(6, refused_every=0)
    table = Cohort.of(records)

    gmed = BY_KEY["GMED_L"]
    expected = [case.structures[gmed.number - 1].volume_cm3 for case in table.cases]
    assert table.column(Quantity.VOLUME, gmed) == pytest.approx(
        [np.nan if value is None else value for value in expected], nan_ok=True
    )
    assert table.counted.shape == (6, len(SEGMENTS))


@pytest.mark.parametrize("verdict", [Verdict.INACCURATE, Verdict.FAILED, Verdict.SPOILED])
def test_what_the_gate_doubts_does_not_count(verdict: Verdict):
    (case,) = cohort(1, refused_every=0)
    table = Cohort.of([with_structure(case, "RF_R", verdict=verdict, volume_cm3=80.0)])

    assert np.isnan(table.column(Quantity.VOLUME, BY_KEY["RF_R"])).all()
    assert table.numbers[Quantity.VOLUME][0, BY_KEY["RF_R"].number - 1] == 80.0


def test_a_case_read_twice_counts_once_and_its_newest_revision_stands():
    (case,) = cohort(1, refused_every=0)
    newer = renamed(case, revision=2, name="again")

    table = Cohort.of([newer, case, case])

    assert [one.source.name for one in table.cases] == ["again"]
    assert table.repeated == 2


def test_of_one_revision_the_later_analysis_stands():
    (case,) = cohort(1, refused_every=0)
    later = renamed(case, name="later", analysed_at=datetime(2030, 1, 1, tzinfo=UTC))

    assert Cohort.of([later, case]).cases[0].source.name == "later"


@pytest.mark.parametrize("order", [1, -1])
def test_a_refused_run_of_a_series_that_has_numbers_is_no_second_case(order: int):
    (case,) = cohort(1, refused_every=0)
    refused = replace(case, state="refused", verdict=None, model=None, structures=())
    later = renamed(refused, analysed_at=datetime(2030, 1, 1, tzinfo=UTC))

    for without in (refused, later):
        table = Cohort.of([case, without][::order])
        assert [one.state for one in table.records] == ["reported"]
        assert table.repeated == 1


def test_a_later_revision_that_was_refused_stands_for_its_series():
    (case,) = cohort(1, refused_every=0)
    other = replace(case, model=replace(MODEL, version="2", weights_sha256="b2" * 32))
    refused = replace(case, state="refused", verdict=None, model=None, structures=())

    table = Cohort.of([case, renamed(refused, revision=2), other])

    assert [one.state for one in table.records] == ["refused"]


def test_a_scan_without_any_date_is_not_taken_for_the_first():
    first, second = cohort(2, refused_every=0)
    undated = renamed(
        second, patient_key=first.source.patient_key, study_date=None, analysed_at=None
    )
    table = Cohort.of([undated, first])

    assert [one.source.name for one in table.cases] == ["case0001", "case0002"]
    assert list(table.first_scans()) == [True, False]


def test_another_bundle_is_another_analysis():
    (case,) = cohort(1, refused_every=0)
    other = replace(case, model=replace(MODEL, version="2", weights_sha256="b2" * 32))

    table = Cohort.of([case, other])

    assert len(table.cases) == 2
    assert not table.has_one_bundle
    assert list(table.first_scans()) == [True, False]
    assert differing_settings([model for model, _ in table.models]) == (
        "version",
        "weights_sha256",
    )


def test_the_first_scan_of_a_patient_speaks_for_the_patient():
    """Three scans of two patients, given out of order."""
    records = [
        renamed(case, patient_key="A" if number != 1 else "B")
        for number, case in enumerate(cohort(3, refused_every=0))
    ]
    table = Cohort.of(reversed(records))

    assert list(table.first_scans()) == [True, True, False]
    assert list(table.first_scans(np.array([False, True, True]))) == [False, True, True]


def test_a_muscle_that_is_missing_does_not_move_the_mean_hu():
    """Three like cases; one lacks its densest muscle, and stays where it was."""
    (case,) = cohort(1, refused_every=0)
    others = [renamed(case, name=name, series_instance_uid=name) for name in "abc"]
    others[2] = with_structure(others[2], "ILI_R", mean_hu=None)

    assert Cohort.of(others).muscle_hu_shift == pytest.approx([0.0, 0.0, 0.0])


def test_a_case_that_is_denser_throughout_is_so_much_denser():
    (case,) = cohort(1, refused_every=0)
    denser = tuple(
        replace(one, mean_hu=None if one.mean_hu is None else one.mean_hu + 7.0)
        for one in case.structures
    )
    cases = [renamed(case, name=name, series_instance_uid=name) for name in "abc"]
    table = Cohort.of([*cases[:2], replace(cases[2], structures=denser)])

    assert table.muscle_hu_shift == pytest.approx([0.0, 0.0, 7.0])
    assert table.bone_hu_shift == pytest.approx([0.0, 0.0, 7.0])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("compact", True),
        ("compact 1", True),
        ("a1a1a1", True),
        ("a1a1", False),
        ("other", False),
    ],
)
def test_a_bundle_goes_by_name_version_or_hash(name: str, kept: bool):
    records = cohort(3, refused_every=3)
    reported = [case for case in of_bundles(records, [name]) if case.state == "reported"]

    assert len(reported) == (2 if kept else 0)


def test_no_records_make_an_empty_cohort():
    table = Cohort.of([])

    assert (table.cases, table.models, table.has_one_bundle) == ((), (), True)
    assert table.muscle_hu_shift.shape == (0,)
