"""Claims about what goes to an archive, and what is made of its answers."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dicom_node.archive.requests import (
    candidate_of_listed,
    is_offline,
    series_query,
    study_queries,
    why_not_asked_for,
)
from dicom_node.archive.selection import Selection, every_stack_of_ct
from dicom_node.archive.windows import StudyWindow
from dicom_node.peers.archives import Listed
from dicom_node.settings.rules import RuleSet
from dicom_node.settings.schedules import Schedule

DAY = date(2026, 1, 5)
WINDOW = StudyWindow(DAY, DAY)
STUDY = {"StudyInstanceUID": "1.2"}


def schedule(at_archive: dict[str, str] | None = None) -> Schedule:
    values = {"name": "n", "archive": "a", "since": DAY, "at_archive": at_archive or {}}
    return Schedule.model_validate(values)


def rules(**keys: Any) -> RuleSet:
    return RuleSet.model_validate({"name": "r", **keys})


def condition(attribute: str, **keys: Any) -> dict[str, Any]:
    return {"attribute": attribute, **keys}


def why_not(wanted: RuleSet, **values: str) -> tuple[str, ...]:
    """The reasons against a series that is listed with these values."""
    images = {"NumberOfSeriesRelatedInstances": "100"}
    listed = Listed({"SeriesInstanceUID": "1.2.3", **images, **values})
    candidate = candidate_of_listed(Listed(STUDY), listed)
    return Selection(schedule(), wanted).by_listing([candidate])["1.2.3"]


def test_one_modality_and_the_schedule_s_own_keys_go_to_the_archive() -> None:
    (query,) = study_queries(
        WINDOW, schedule({"InstitutionName": "Main*"}), every_stack_of_ct()
    )

    given = {keyword: value for keyword, value in query.keys.items() if value}
    assert given == {
        "StudyDate": "20260105",
        "ModalitiesInStudy": "CT",
        "InstitutionName": "Main*",
    }
    assert "StudyTime" in query.keys, "asked back"
    assert "PatientName" not in query.keys


@pytest.mark.parametrize(
    "take",
    [
        condition("Modality", equals=["CT", "PT"]),
        condition("Modality", like=["C?"]),
        condition("BodyPartExamined", equals=["HIP"]),
    ],
)
def test_what_archives_match_differently_is_told_apart_at_home(take: dict[str, Any]) -> None:
    """A list of modalities is matched by Orthanc alone."""
    (query,) = study_queries(WINDOW, schedule(), rules(take=[take]))

    assert query.keys["ModalitiesInStudy"] == ""


def test_what_rules_name_is_asked_back_of_studies_or_of_series() -> None:
    """Of a study an archive answers the description of one series or another."""
    named = rules(
        take=[condition("PatientWeight", at_least=40), condition("Manufacturer", present=True)],
        leave_out=[condition("ImageType", equals=["LOCALIZER"])],
    )
    (of_studies,) = study_queries(WINDOW, schedule(), named)
    of_series = series_query("1.2", named)

    assert "PatientWeight" in of_studies.keys
    assert not {"Manufacturer", "ImageType"} & set(of_studies.keys)
    assert {"Manufacturer", "ImageType"} <= set(of_series.keys)
    assert "PatientWeight" not in of_series.keys


def test_series_are_asked_for_by_their_study() -> None:
    """Two archives refuse a query at series level without it."""
    assert series_query("1.2", every_stack_of_ct()).keys["StudyInstanceUID"] == "1.2"


def test_without_rules_every_stack_of_ct_is_wanted() -> None:
    every = every_stack_of_ct()

    assert why_not(every, Modality="CT") == ()
    assert why_not(every, NumberOfSeriesRelatedInstances="") == (), "it does not count"
    assert why_not(every, Modality="MR") == ("not Modality equal to 'CT'",)
    assert why_not(every, NumberOfSeriesRelatedInstances="2") == (
        "number of images is 2: at least 3 wanted",
    )


def test_a_value_that_is_answered_empty_is_as_one_that_is_not_answered() -> None:
    """Archives answer nothing for what they do not keep of a series, too."""
    thin = rules(
        slice_thickness_mm={"at_most": 3}, take=[condition("BodyPartExamined", like=["*hip*"])]
    )

    assert why_not(thin, SliceThickness="", BodyPartExamined=" ") == ()
    assert len(why_not(thin, SliceThickness="5", BodyPartExamined="HEAD")) == 2


def test_a_series_answers_for_its_study_only_what_it_knows() -> None:
    """What the study is listed with stays where the series is listed with nothing."""
    study = Listed({**STUDY, "PatientAge": "012Y", "StudyDescription": "CT hip"})
    series = Listed({"SeriesInstanceUID": "1.2.3", "PatientAge": ""})

    assert candidate_of_listed(study, series).values["PatientAge"] == "012Y"


@pytest.mark.parametrize(
    ("key", "value", "is_wanted"),
    [
        ("Main*", "MAIN HOSPITAL", True),
        ("Main*", "Other", False),
        ("Main*", "", True),
        ("19500101-19601231", "19550505", True),
        ("19500101-", "19450505", False),
        ("A\\B", "b", True),
    ],
)
def test_what_an_archive_was_asked_to_match_is_looked_at_again(
    key: str, value: str, is_wanted: bool
) -> None:
    """Some archives ignore a key, and answer as if it had not been given."""
    reasons = why_not_asked_for({"InstitutionName": value}, schedule({"InstitutionName": key}))

    assert (reasons == ()) is is_wanted


@pytest.mark.parametrize(
    ("listed", "may_have"),
    [
        ({"ModalitiesInStudy": "MR\\SR"}, False),
        ({"ModalitiesInStudy": "SR\\CT"}, True),
        ({"ModalitiesInStudy": ""}, True),
        ({}, True),
        ({"StudyDescription": "Head"}, False),
        ({"StudyDescription": "CT hip"}, True),
        ({"PatientAge": "012Y"}, False),
        ({"PatientBirthDate": "19660105", "StudyDate": "20260105"}, True),
        ({"SeriesDescription": "scout"}, True),
    ],
)
def test_a_study_is_asked_about_further_unless_it_is_itself_against_every_series(
    listed: dict[str, str], may_have: bool
) -> None:
    """What it is listed with of one of its series decides nothing of the others."""
    wanted = rules(
        age_y={"at_least": 18},
        take=[
            condition("Modality", equals=["CT"]),
            condition("StudyDescription", like=["*hip*"]),
        ],
        leave_out=[
            condition("Modality", equals=["SR"]),
            condition("SeriesDescription", like=["scout"]),
        ],
    )

    assert Selection(schedule(), wanted).may_take_of(Listed(STUDY | listed)) is may_have


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


def test_what_a_kernel_is_known_by_is_asked_back_where_rules_look_at_it() -> None:
    by_best = RuleSet.model_validate({"name": "n", "best": ["soft_kernel"]})
    by_kind = RuleSet.model_validate({"name": "n", "kernels": ["soft"]})
    neither = RuleSet.model_validate({"name": "n", "best": ["long"]})

    assert series_query("1.2", by_best).keys["Manufacturer"] == ""
    assert series_query("1.2", by_kind).keys["Manufacturer"] == ""
    assert "Manufacturer" not in series_query("1.2", neither).keys
