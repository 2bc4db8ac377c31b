"""What a header says of a scan beside its images: when, of what body, by which scanner.

The table of results keeps these facts with every case, so that a cohort can be told apart by
sex, age, scanner and protocol. Nothing here names the patient; `patient_of` does, and its
caller decides what becomes of it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.errors import MixedPatientError, MixedStudyError, UnidentifiedError
from dicom_node.series.ct_series import CtSeries, SourceSlice
from dicom_node.series.slice_headers import value_of
from dicom_node.series.study_header import SourceStudy

DAYS_OF_UNIT: Final = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
"""The units of an Age String (PS3.5 6.2, AS)."""
DISAGREE: Final = frozenset(
    {MixedPatientError.code, MixedStudyError.code, UnidentifiedError.code}
)
"""Refusals of series whose first image does not speak for the others."""
SEXES: Final = ("M", "F", "O")
HIGHEST_AGE_YEARS: Final = 130.0
HIGHEST_WEIGHT_KG: Final = 650.0


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """The facts of one scan; empty, or None, where its header does not say.

    age_years: at the time of the scan, to a tenth.
    scanner: Manufacturer and Manufacturer's Model Name.
    slice_thickness_mm: of most slices.
    """

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    study_date: date | None = None
    sex: str = ""
    age_years: float | None = None
    height_m: float | None = None
    weight_kg: float | None = None
    scanner: str = ""
    station_name: str = ""
    kernel: str = ""
    slice_thickness_mm: float | None = None
    kvp: float | None = None


@dataclass(frozen=True, slots=True)
class PatientNumber:
    """Patient ID and the Issuer of Patient ID, without which two hospitals' ids are one.

    is_quality_control: the subject is a phantom for quality control (PS3.3 C.7.1.1).
    """

    patient_id: str = ""
    issuer: str = ""
    is_quality_control: bool = False


def patient_of(header: Dataset) -> PatientNumber:
    """The number that a header gives its patient; empty where it has none."""
    return PatientNumber(
        _text(header, "PatientID"),
        _text(header, "IssuerOfPatientID"),
        is_quality_control=_text(header, "QualityControlSubject").upper() == "YES",
    )


def facts_of_series(series: CtSeries) -> ScanFacts:
    """The facts of a series that was read."""
    return facts_of_header(
        series.header,
        height_m=series.patient.height_m,
        slice_thickness_mm=_usual_thickness_mm(series.slices),
    )


def facts_of_header(
    header: Dataset, *, height_m: float | None = None, slice_thickness_mm: float | None = None
) -> ScanFacts:
    """The facts in the header of an image.

    Args:
        header: as results take it over (`study_header.readable_header`).
        height_m: the height that is believed.
        slice_thickness_mm: of most slices.
    """
    studied = _date(header, "StudyDate")
    makers = (_text(header, keyword) for keyword in ("Manufacturer", "ManufacturerModelName"))
    sex = _text(header, "PatientSex").upper()
    return ScanFacts(
        study_instance_uid=_text(header, "StudyInstanceUID"),
        series_instance_uid=_text(header, "SeriesInstanceUID"),
        study_date=studied,
        sex=sex if sex in SEXES else "",
        age_years=_age_years(header, studied),
        height_m=height_m,
        weight_kg=_number(header, "PatientWeight", HIGHEST_WEIGHT_KG),
        scanner=" ".join(filter(None, makers)),
        station_name=_text(header, "StationName"),
        kernel=_text(header, "ConvolutionKernel"),
        slice_thickness_mm=slice_thickness_mm,
        kvp=_number(header, "KVP", 1000.0),
    )


def facts_of_refused(
    studies: Sequence[SourceStudy], code: str
) -> tuple[ScanFacts, PatientNumber]:
    """The facts of a series that was refused, and its patient's number.

    Nothing where the images do not agree on whose they are, or of which study.
    """
    if len(studies) != 1 or code in DISAGREE:
        return ScanFacts(), PatientNumber()
    header = studies[0].header
    return facts_of_header(header), patient_of(header)


def _age_years(header: Dataset, studied: date | None) -> float | None:
    """Patient's Age, or what Birth Date and Study Date make of it."""
    stated = re.fullmatch(r"(\d{3})([DWMY])", _text(header, "PatientAge"))
    born = _date(header, "PatientBirthDate")
    if stated:
        days = int(stated[1]) * DAYS_OF_UNIT[stated[2]]
    elif born and studied:
        days = float((studied - born).days)
    else:
        return None
    years = round(days / DAYS_OF_UNIT["Y"], 1)
    return years if 0.0 <= years <= HIGHEST_AGE_YEARS else None


def _date(header: Dataset, keyword: str) -> date | None:
    """A date; ACR-NEMA wrote 1951.02.03 (PS3.5 6.2, note 1 on DA)."""
    try:
        return date.fromisoformat(_text(header, keyword).replace(".", ""))
    except ValueError:
        return None


def _number(header: Dataset, keyword: str, highest: float) -> float | None:
    """A positive number that can be believed."""
    try:
        number = float(_text(header, keyword))
    except ValueError:
        return None
    return number if math.isfinite(number) and 0.0 < number <= highest else None


def _text(header: Dataset, keyword: str) -> str:
    """A value as one line of text; of several, as the standard writes them."""
    value = value_of(header, keyword)
    if value is None or isinstance(value, bytes):
        return ""
    several = not isinstance(value, str) and isinstance(value, Sequence)
    return ("\\".join(map(str, value)) if several else str(value)).strip(" \0")


def _usual_thickness_mm(slices: Sequence[SourceSlice]) -> float | None:
    stated = Counter(one.plane.thickness for one in slices if one.plane.thickness)
    if not stated:
        return None
    (usual, _count), *_ = stated.most_common(1)
    try:
        return float(usual)
    except ValueError:
        return None
