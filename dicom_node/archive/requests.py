"""The questions to an archive, and what it lists as candidates for rules; pure.

What an archive is known to match goes to it: dates, one modality, and the keys that a schedule
names itself (`at_archive`). Archives ignore some keys, and match others in ways of their own
(case, several modalities), so everything is looked at again here. A value that was not
answered, or answered empty, is not known, and decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dicom_node.archive.windows import StudyWindow
from dicom_node.peers.archives import Level, Listed, Query
from dicom_node.series.candidates import Candidate
from dicom_node.series.kernels import is_like
from dicom_node.settings.rules import RuleSet
from dicom_node.settings.schedules import Schedule

OF_STUDY: Final = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "ModalitiesInStudy",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "NumberOfStudyRelatedInstances",
    "InstanceAvailability",
)
"""Asked back of studies; nothing that names a patient."""
OF_SERIES: Final = (
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "BodyPartExamined",
    "FrameOfReferenceUID",
    "SliceThickness",
    "ConvolutionKernel",
    "NumberOfSeriesRelatedInstances",
    "InstanceAvailability",
)
NOT_AT_HAND: Final = ("NEARLINE", "OFFLINE", "UNAVAILABLE")
"""Instance Availability (PS3.3 C.4.23.1.1) of what has to be fetched from afar."""
MOST_DIGITS: Final = 9
"""Of a number of images (PS3.5 6.2, IS); more are a mistake."""
OF_A_STUDY: Final = frozenset(
    {
        *OF_STUDY,
        "AccessionNumber",
        "AdditionalPatientHistory",
        "AdmittingDiagnosesDescription",
        "EthnicGroup",
        "IssuerOfPatientID",
        "NameOfPhysiciansReadingStudy",
        "NumberOfPatientRelatedInstances",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedStudies",
        "NumberOfStudyRelatedSeries",
        "Occupation",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientBirthTime",
        "PatientComments",
        "PatientID",
        "PatientName",
        "PatientSize",
        "PatientWeight",
        "ReferringPhysicianName",
        "SOPClassesInStudy",
        "StudyID",
    }
) - {"InstanceAvailability"}
"""Attributes of patients and studies (PS3.4 Tables C.6-1 and C.6-2). Any other is asked for of
series alone: what an archive answers to it of a study is that of one series or another."""

_RANGE: Final = re.compile(r"(\d{8})?-(\d{8})?")


def study_queries(window: StudyWindow, schedule: Schedule, rules: RuleSet) -> tuple[Query, ...]:
    """The questions for the studies of a window; what rules name of a study is asked back."""
    named = [each for each in _keywords_of(rules) if each in OF_A_STUDY]
    keys = dict.fromkeys((*OF_STUDY, *named), "")
    keys["ModalitiesInStudy"] = _modality_of(rules)
    return window.queries(tuple((keys | schedule.at_archive).items()))


def series_query(study_instance_uid: str, rules: RuleSet) -> Query:
    """The question for the series of a study; what rules name of a series is asked back."""
    named = [each for each in _keywords_of(rules) if each not in OF_A_STUDY]
    keys = dict.fromkeys((*OF_SERIES, *named), "")
    return Query(Level.SERIES, keys | {"StudyInstanceUID": study_instance_uid})


def image_query(study_instance_uid: str, series_instance_uid: str) -> Query:
    """The question for the images of a series."""
    return Query(
        Level.IMAGE,
        {
            "StudyInstanceUID": study_instance_uid,
            "SeriesInstanceUID": series_instance_uid,
            "SOPInstanceUID": "",
        },
    )


def candidate_of_listed(study: Listed, series: Listed) -> Candidate:
    """A series as an archive lists it."""
    return Candidate(
        study_instance_uid=study.get("StudyInstanceUID"),
        series_instance_uid=series.get("SeriesInstanceUID"),
        values=_stated(study.values) | _stated(series.values),
        images=_number(series.get("NumberOfSeriesRelatedInstances")),
    )


def is_offline(candidate: Candidate) -> bool:
    """True if its images are not at hand for the archive itself."""
    stated = candidate.values.get("InstanceAvailability", "").upper().split("\\")
    return any(each.strip() in NOT_AT_HAND for each in stated)


def study_candidates(study: Listed) -> tuple[Candidate, ...]:
    """A series of each modality that a study is listed with, as far as its study tells.

    One of an unknown modality where none is listed.
    """
    known = {word: value for word, value in study.values.items() if word in OF_A_STUDY}
    modalities = [each.strip() for each in study.get("ModalitiesInStudy").split("\\")]
    told = [{"Modality": each} for each in modalities if each] or [{}]
    return tuple(
        Candidate(study.get("StudyInstanceUID"), "", _stated(known | each)) for each in told
    )


def why_not_asked_for(values: Mapping[str, str], schedule: Schedule) -> tuple[str, ...]:
    """What an archive lists although it was asked to match something else."""
    return tuple(
        f"{keyword}: not what is asked for"
        for keyword, pattern in schedule.at_archive.items()
        if pattern and values.get(keyword) and not _matches(values[keyword], pattern)
    )


def _modality_of(rules: RuleSet) -> str:
    """The one modality that rules take, if they say so letter by letter."""
    stated = [each.equals for each in rules.take if each.attribute == "Modality"]
    return next((values[0] for values in stated if len(values) == 1), "")


def _keywords_of(rules: RuleSet) -> tuple[str, ...]:
    """The attributes that rules name, and those by which a kernel is known."""
    named = tuple(each.attribute for each in (*rules.take, *rules.leave_out))
    asks_for_kernel = bool(rules.kernels) or "soft_kernel" in rules.best
    return (*named, "ConvolutionKernel", "Manufacturer") if asks_for_kernel else named


def _stated(values: Mapping[str, str]) -> dict[str, str]:
    """Those that have a value: an archive answers nothing for what it does not keep, too."""
    return {word: value for word, value in values.items() if value.strip()}


def _matches(value: str, pattern: str) -> bool:
    """True if one of several values matches a key: a range, a list, or a pattern."""
    stated = [each.strip() for each in value.split("\\")]
    if found := _RANGE.fullmatch(pattern):
        return any((found[1] or "") <= each <= (found[2] or "9" * 8) for each in stated)
    return any(is_like(each, one) for each in stated for one in pattern.split("\\"))


def _number(text: str) -> int | None:
    """A number of images; one that no series has is none."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None
