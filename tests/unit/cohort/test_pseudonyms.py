"""Claims about pseudonyms: stable under one key, and nothing of the patient beside them."""

from __future__ import annotations

import stat
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest
from support.case_records import record

from dicom_node.cohort.pseudonyms import LONGEST_SHIFT_D, Pseudonyms, pseudonyms_under
from dicom_node.cohort.records import Grade, Source
from dicom_node.errors import ConfigurationError
from dicom_node.uids import is_uid

ONE, OTHER = Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)
FIRST = record("1.2.3", study_date=date(2025, 3, 1))
SECOND = record("1.2.4", study_date=date(2025, 6, 9))
KEPT = {
    "revision",
    "sex",
    "height_m",
    "weight_kg",
    "scanner",
    "kernel",
    "slice_thickness_mm",
    "kvp",
}
"""The fields that stay as they are."""


def test_the_same_key_gives_the_same_pseudonyms_and_another_one_others():
    source = FIRST.source

    assert ONE.of_source(source) == Pseudonyms(b"1" * 32).of_source(source)
    assert ONE.of_source(source).patient_key != OTHER.of_source(source).patient_key


def test_a_case_has_one_code_wherever_its_folder_lies_and_a_revision_another():
    """An archive that moved, or one case of it exported by itself, is the same."""
    here, there = record("1.2.3", name="R/a").source, record("1.2.3", name="R2/x/a").source
    files = [record("", name=name).source for name in ("R/a", "R/b")]

    assert ONE.of_source(here).name == ONE.of_source(there).name
    assert ONE.of_source(here).name != ONE.of_source(replace(here, revision=2)).name
    assert ONE.of_source(files[0]).name != ONE.of_source(files[1]).name


def test_intervals_within_a_patient_stay_and_dates_do_not():
    """From 1 March to 9 June 2025: 100 days."""
    first, second = ONE.of_source(FIRST.source), ONE.of_source(SECOND.source)

    assert first.patient_key == second.patient_key
    assert first.study_date is not None
    assert second.study_date is not None
    assert (second.study_date - first.study_date).days == 100
    assert 1 <= (date(2025, 3, 1) - first.study_date).days <= LONGEST_SHIFT_D


def test_patients_are_shifted_by_different_numbers_of_days():
    shifts = {ONE.shift(f"k{number}").days for number in range(50)}

    assert len(shifts) > 40
    assert min(shifts) >= 1
    assert max(shifts) <= LONGEST_SHIFT_D


def test_the_time_of_the_analysis_is_left_out():
    """A batch analyses all on one day: its shifted day would tell everybody's shift."""
    assert FIRST.source.analysed_at is not None
    assert ONE.of_source(FIRST.source).analysed_at is None


@pytest.mark.parametrize(
    ("age", "told"), [(75.8, 75.0), (89.9, 89.0), (90.0, 90.0), (101.3, 90.0), (None, None)]
)
def test_ages_are_whole_years_and_nobody_is_older_than_90(
    age: float | None, told: float | None
):
    assert ONE.of_source(record(age_years=age).source).age_years == told


def test_nothing_of_a_source_stays_but_what_is_said_to_stay():
    """Every field that is added to `Source` has to be thought about here."""
    before, after = FIRST.source, ONE.of_source(FIRST.source)
    same = {
        each.name
        for each in fields(Source)
        if getattr(before, each.name) == getattr(after, each.name)
    }

    assert same <= KEPT
    assert after.patient_id == after.station_name == ""


def test_uids_are_other_uids_and_words_and_pictures_are_left_out():
    found = ONE.of_case(record(qc_picture="/out/MSK0001/qc.png"))

    assert found.source.series_instance_uid != "1.2.3"
    assert is_uid(found.source.series_instance_uid)
    assert is_uid(found.source.study_instance_uid)
    assert (found.words, found.qc_picture) == ("", "")


def test_an_unknown_patient_s_case_has_no_patient_and_a_shift_of_its_own():
    one, other = record("1.2.3", patient_key=""), record("1.2.4", patient_key="")
    found = [ONE.of_source(each.source) for each in (one, other)]

    assert {each.patient_key for each in found} == {""}
    assert found[0].study_date != found[1].study_date


def test_two_series_of_an_unknown_patient_s_study_are_shifted_alike():
    """Their days are the same: two shifts of it would narrow it down."""
    series = [
        ONE.of_source(record(uid, patient_key="", study_instance_uid="1.2.8").source)
        for uid in ("1.2.3", "1.2.4")
    ]

    assert series[0].study_instance_uid == series[1].study_instance_uid
    assert series[0].study_date == series[1].study_date


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "study.key"
    made = pseudonyms_under(path)

    assert pseudonyms_under(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.secret.hex() not in repr(made)


@pytest.mark.parametrize("text", ["", "secret", "00" * 31])
def test_a_file_with_something_else_is_refused(text: str, tmp_path: Path):
    (tmp_path / "key").write_text(text)
    with pytest.raises(ConfigurationError, match="no key for pseudonyms"):
        pseudonyms_under(tmp_path / "key")

    assert (tmp_path / "key").read_text() == text


def test_who_graded_is_a_code_and_a_bundle_keeps_its_name():
    by_person = Grade("R", "3", None, "Ito, H.", by_people=True)
    by_bundle = Grade("L", "1", 0.75, "hip-oa 1.0")
    hidden = ONE.of_case(record(grades=(by_person, by_bundle))).grades

    assert hidden[0].grade == "3"
    assert hidden[0].grader.startswith("G-")
    assert hidden[0] == ONE.of_grade(by_person) != OTHER.of_grade(by_person)
    assert hidden[1] == by_bundle
