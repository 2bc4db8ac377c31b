"""Claims about what goes to an archive, and what of its answers is wanted."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dicom_node.archive.requests import (
    age_years,
    candidate_of_listed,
    is_offline,
    series_query,
    study_queries,
    why_not_wanted,
    why_study_is_not_wanted,
)
from dicom_node.archive.windows import StudyWindow
from dicom_node.peers.archives import Listed
from dicom_node.series.candidates import Candidate
from dicom_node.settings.schedules import Schedule

DAY = date(2026, 1, 5)


def schedule(at_archive: dict[str, str] | None = None, **wanted: Any) -> Schedule:
    values = {"name": "n", "archive": "a", "since": DAY, "filter": wanted}
    return Schedule.model_validate({**values, "at_archive": at_archive or {}})


def candidate(images: int | None = 100, **values: str) -> Candidate:
    return Candidate("1.2", "1.2.3", values, images)


def test_one_modality_and_the_schedule_s_own_keys_go_to_the_archive() -> None:
    wanted = schedule({"InstitutionName": "Main*"}, study_description=["*hip*"])
    (query,) = study_queries(StudyWindow(DAY, DAY), wanted)

    given = {keyword: value for keyword, value in query.keys.items() if value}
    assert given == {
        "StudyDate": "20260105",
        "ModalitiesInStudy": "CT",
        "InstitutionName": "Main*",
    }
    assert "StudyTime" in query.keys, "asked back"
    assert "PatientName" not in query.keys


def test_several_modalities_are_told_apart_at_home() -> None:
    """A list is matched by Orthanc alone."""
    (query,) = study_queries(StudyWindow(DAY, DAY), schedule(modalities=["CT", "PT"]))

    assert query.keys["ModalitiesInStudy"] == ""


def test_series_are_asked_for_by_their_study() -> None:
    """Two archives refuse a query at series level without it."""
    assert series_query("1.2").keys["StudyInstanceUID"] == "1.2"


RULED_OUT = "description: ruled out"
THIN = {"max_slice_thickness_mm": 3}
OLD = {"PatientBirthDate": "19600101", "StudyDate": "20260105"}


@pytest.mark.parametrize(
    ("wanted", "values", "reasons"),
    [
        ({}, {"Modality": "MR"}, ("modality: MR",)),
        ({}, {"Modality": "ct "}, ()),
        ({}, {}, ()),
        ({"series_description": ["*HIP*"]}, {"SeriesDescription": "Ct hip 1mm"}, ()),
        ({"series_description": ["*hip*"]}, {}, ()),
        (
            {"series_description": ["*hip*"]},
            {"SeriesDescription": ""},
            ("series description: fits no pattern",),
        ),
        ({"not_described": ["*sc*"]}, {"SeriesDescription": "SCOUT"}, (f"series {RULED_OUT}",)),
        ({"not_described": ["topo*"]}, {"StudyDescription": "Topo"}, (f"study {RULED_OUT}",)),
        ({"body_part": ["hip", "pelvis"]}, {"BodyPartExamined": "PELVIS"}, ()),
        ({"body_part": ["hip"]}, {"BodyPartExamined": "HEAD"}, ("body part: fits no pattern",)),
        ({"series_description": ["[hip]"]}, {"SeriesDescription": "[HIP]"}, ()),
        ({"min_age": 20}, {"PatientAge": "019Y"}, ("age: below 20",)),
        ({"max_age": 60}, OLD, ("age: above 60",)),
        ({"max_age": 60}, {"PatientBirthDate": ""}, ()),
        (THIN, {"SliceThickness": "5.0"}, ("slice thickness: above 3 mm",)),
        (THIN, {"SliceThickness": ""}, ()),
    ],
)  # fmt: skip
def test_a_series_is_judged_by_what_is_known_of_it(
    wanted: dict[str, Any], values: dict[str, str], reasons: tuple[str, ...]
) -> None:
    assert why_not_wanted(candidate(**values), schedule(**wanted)) == reasons


@pytest.mark.parametrize(
    ("images", "reasons"),
    [
        (2, ("number of images: fewer than 3",)),
        (3, ()),
        (None, ()),
        (501, ("number of images: more than 500",)),
    ],
)
def test_a_series_is_judged_by_its_number_of_images_if_anyone_counts(
    images: int | None, reasons: tuple[str, ...]
) -> None:
    assert why_not_wanted(candidate(images), schedule(max_images=500)) == reasons


@pytest.mark.parametrize(
    ("key", "value", "is_wanted"),
    [
        ("Main*", "MAIN HOSPITAL", True),
        ("Main*", "Other", False),
        ("19500101-19601231", "19550505", True),
        ("19500101-", "19450505", False),
        ("A\\B", "b", True),
    ],
)
def test_what_an_archive_was_asked_to_match_is_looked_at_again(
    key: str, value: str, is_wanted: bool
) -> None:
    """Some archives ignore a key, and answer as if it had not been given."""
    reasons = why_not_wanted(
        candidate(InstitutionName=value), schedule({"InstitutionName": key})
    )

    assert (reasons == ()) is is_wanted


def test_no_reason_quotes_what_may_name_a_patient() -> None:
    values = {
        "SeriesDescription": "for Mr Sato",
        "StudyDescription": "Sato",
        "PatientAge": "001Y",
    }
    wanted = schedule(series_description=["x"], study_description=["x"])

    assert "sato" not in " ".join(why_not_wanted(candidate(**values), wanted)).casefold()


def test_a_study_without_a_wanted_modality_needs_no_further_question() -> None:
    stated = Listed({"ModalitiesInStudy": "MR\\SR"})

    assert why_study_is_not_wanted(stated, schedule()) == "modality: MR, SR"
    assert why_study_is_not_wanted(Listed({"ModalitiesInStudy": "SR\\CT"}), schedule()) == ""
    assert why_study_is_not_wanted(Listed({}), schedule()) == "", "not answered"


def test_ages_are_read_in_every_unit() -> None:
    assert age_years({"PatientAge": "045Y"}) == 45
    assert age_years({"PatientAge": "018M"}) == 1.5
    dates = {"PatientBirthDate": "19660105", "StudyDate": "20260105"}
    assert age_years(dates) == pytest.approx(60, abs=0.01)
    assert age_years({"PatientAge": "45"}) is None


def test_a_series_says_for_itself_and_its_study_whether_it_is_at_hand() -> None:
    study = Listed({"StudyInstanceUID": "1.2", "InstanceAvailability": "NEARLINE"})
    bare = Listed({"SeriesInstanceUID": "1.2.3", "NumberOfSeriesRelatedInstances": "12"})
    there = Listed({**bare.values, "InstanceAvailability": "ONLINE"})

    assert is_offline(candidate_of_listed(study, bare))
    assert not is_offline(candidate_of_listed(study, there))
    assert candidate_of_listed(study, bare).images == 12


@pytest.mark.parametrize(
    ("said", "images"),
    [("120", 120), (" 7 ", 7), ("9" * 20, None), ("9" * 5000, None), ("-3", None), ("", None)],
)
def test_a_number_of_images_that_no_series_has_is_none(said: str, images: int | None) -> None:
    series = Listed({"SeriesInstanceUID": "1.2", "NumberOfSeriesRelatedInstances": said})

    assert candidate_of_listed(Listed({}), series).images == images
