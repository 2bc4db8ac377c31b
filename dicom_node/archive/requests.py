"""The questions to an archive, and what of its answers is wanted; pure.

What an archive is known to match goes to it: dates, one modality, and the keys that a schedule
names itself (`at_archive`). Archives ignore some keys, and match others in ways of their own
(case, several modalities), so everything is looked at again here. A value that was not
answered is not known, and decides nothing.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

from dicom_node.archive.windows import StudyWindow
from dicom_node.peers.archives import Level, Listed, Query
from dicom_node.series.candidates import Candidate
from dicom_node.settings.schedules import Schedule, SeriesFilter

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
DAYS_OF_YEAR: Final = 365.2425

_RANGE: Final = re.compile(r"(\d{8})?-(\d{8})?")
_AGE: Final = re.compile(r"(\d{3})([DWMY])")
_YEARS: Final = {"D": 1 / DAYS_OF_YEAR, "W": 7 / DAYS_OF_YEAR, "M": 1 / 12, "Y": 1.0}


def study_queries(
    window: StudyWindow, schedule: Schedule, more: Sequence[str] = ()
) -> tuple[Query, ...]:
    """The questions for the studies of a window; `more` keywords are asked back."""
    keys = dict.fromkeys((*OF_STUDY, *more), "")
    if len(schedule.filter.modalities) == 1:
        keys["ModalitiesInStudy"] = schedule.filter.modalities[0]
    return window.queries(tuple((keys | schedule.at_archive).items()))


def series_query(study_instance_uid: str, more: Sequence[str] = ()) -> Query:
    """The question for the series of a study; `more` keywords are asked back."""
    keys = dict.fromkeys((*OF_SERIES, *more), "")
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
        values={**study.values, **series.values},
        images=_number(series.get("NumberOfSeriesRelatedInstances")),
    )


def is_offline(candidate: Candidate) -> bool:
    """True if its images are not at hand for the archive itself."""
    stated = candidate.values.get("InstanceAvailability", "").upper().split("\\")
    return any(each.strip() in NOT_AT_HAND for each in stated)


def why_study_is_not_wanted(study: Listed, schedule: Schedule) -> str:
    """The reason why no series of a study can be wanted; empty where one may be."""
    reasons = _of_study(study.values, schedule)
    modalities = schedule.filter.modalities
    stated = study.get("ModalitiesInStudy")
    if modalities and stated.strip() and not _one_of(stated, modalities):
        return f"modality: {stated.replace(chr(92), ', ')}"
    return next(reasons, "")


def why_not_wanted(candidate: Candidate, schedule: Schedule) -> tuple[str, ...]:
    """Every reason of a schedule's filter against a series, as far as it is known."""
    return (
        *_of_study(candidate.values, schedule),
        *_of_series(candidate, schedule.filter),
    )


def _of_study(values: Mapping[str, str], schedule: Schedule) -> Iterator[str]:
    wanted = schedule.filter
    for keyword, pattern in schedule.at_archive.items():
        if pattern and keyword in values and not _matches(values[keyword], pattern):
            yield f"{keyword}: not what is asked for"
    described = values.get("StudyDescription")
    patterns = wanted.study_description
    if patterns and described is not None and not _fits(described, patterns):
        yield "study description: fits no pattern"
    if described is not None and _fits(described, wanted.not_described):
        yield "study description: ruled out"
    age = age_years(values)
    if age is not None and wanted.min_age is not None and age < wanted.min_age:
        yield f"age: below {wanted.min_age:g}"
    if age is not None and wanted.max_age is not None and age > wanted.max_age:
        yield f"age: above {wanted.max_age:g}"


def _of_series(candidate: Candidate, wanted: SeriesFilter) -> Iterator[str]:
    values = candidate.values
    modality = values.get("Modality", "").strip()
    if wanted.modalities and modality and not _one_of(modality, wanted.modalities):
        yield f"modality: {modality}"
    patterns = {
        "SeriesDescription": ("series description", wanted.series_description),
        "BodyPartExamined": ("body part", wanted.body_part),
    }
    for keyword, (words, fitting) in patterns.items():
        if fitting and keyword in values and not _fits(values[keyword], fitting):
            yield f"{words}: fits no pattern"
    if _fits(values.get("SeriesDescription", ""), wanted.not_described):
        yield "series description: ruled out"
    if candidate.images is not None and candidate.images < wanted.min_images:
        yield f"number of images: fewer than {wanted.min_images}"
    if candidate.images is not None and candidate.images > (wanted.max_images or math.inf):
        yield f"number of images: more than {wanted.max_images}"
    thickness_mm = _decimal(values.get("SliceThickness", ""))
    thickest_mm = wanted.max_slice_thickness_mm
    if thickest_mm is not None and thickness_mm is not None and thickness_mm > thickest_mm:
        yield f"slice thickness: above {thickest_mm:g} mm"


def age_years(values: Mapping[str, str]) -> float | None:
    """The age at the time of the study, by Patient's Age or by two dates."""
    stated = _AGE.fullmatch(values.get("PatientAge", "").strip())
    if stated is not None:
        return int(stated[1]) * _YEARS[stated[2]]
    born, studied = (_date(values.get(name, "")) for name in ("PatientBirthDate", "StudyDate"))
    if born is None or studied is None:
        return None
    return (studied - born).days / DAYS_OF_YEAR


def _fits(text: str, patterns: Sequence[str]) -> bool:
    """True if a text fits one of these patterns, whatever the case."""
    return any(
        fnmatch.fnmatchcase(text.strip().casefold(), each.replace("[", "[[]").casefold())
        for each in patterns
    )


def _matches(value: str, pattern: str) -> bool:
    """True if one of several values matches a key: a range, a list, or a pattern."""
    stated = [each.strip() for each in value.split("\\")]
    if found := _RANGE.fullmatch(pattern):
        return any((found[1] or "") <= each <= (found[2] or "9" * 8) for each in stated)
    return any(_fits(each, pattern.split("\\")) for each in stated)


def _one_of(stated: str, wanted: Sequence[str]) -> bool:
    return not {each.strip().upper() for each in stated.split("\\")}.isdisjoint(
        each.upper() for each in wanted
    )


def _number(text: str) -> int | None:
    """A number of images; one that no series has is none."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def _decimal(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
