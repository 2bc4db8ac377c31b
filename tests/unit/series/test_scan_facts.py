"""Claims about what a header says of a scan, also where it says it badly."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from support.cases import small_series, source_datasets

from dicom_node.series.scan_facts import (
    PatientNumber,
    ScanFacts,
    facts_of_header,
    facts_of_refused,
    facts_of_series,
    patient_of,
)
from dicom_node.series.study_header import readable_header, studies_of


def header(**elements: Any) -> Dataset:
    """A header with these values, also such as break the rules of their representation."""
    with config.disable_value_validation():
        return readable_header(source_datasets(**elements)[0])


def test_a_series_says_when_of_whom_and_by_what(tmp_path: Path):
    """Born on 3 February 1951, scanned on 20 November 2026: 75.8 years."""
    series = small_series(tmp_path, ConvolutionKernel="B30f", KVP="120", PatientWeight="61.5")
    found = facts_of_series(series)

    assert (found.study_date, found.sex, found.age_years) == (date(2026, 11, 20), "F", 75.8)
    assert (found.height_m, found.weight_kg) == (1.58, 61.5)
    assert (found.scanner, found.station_name) == ("Scanner Works Spiral 64", "CT2")
    assert (found.kernel, found.slice_thickness_mm, found.kvp) == ("B30f", 5.0, 120.0)
    assert found.series_instance_uid == str(series.header.SeriesInstanceUID)


@pytest.mark.parametrize(
    ("age", "years"),
    [("075Y", 75.0), ("018M", 1.5), ("010D", 0.0), ("075", 75.8), ("Y075", 75.8)],
)
def test_an_age_that_is_stated_counts_and_one_that_is_none_is_worked_out(
    age: str, years: float
):
    assert facts_of_header(header(PatientAge=age)).age_years == years


def test_what_cannot_be_believed_is_left_out():
    found = facts_of_header(
        header(
            PatientSex="X",
            PatientBirthDate="2027",
            PatientWeight="0",
            KVP="-1",
            StudyDate="20261399",
        )
    )

    assert (found.sex, found.age_years, found.weight_kg, found.kvp, found.study_date) == (
        "",
        None,
        None,
        None,
        None,
    )


def test_values_that_are_no_numbers_spoil_nothing_else():
    source = source_datasets(ConvolutionKernel="B30f")[0]
    source.add_new(0x00180060, "LO", "high")
    found = facts_of_header(readable_header(source))

    assert (found.kvp, found.kernel) == (None, "B30f")


def test_several_kernels_are_written_as_the_standard_does():
    assert facts_of_header(header(ConvolutionKernel=["I30f", "3"])).kernel == "I30f\\3"


def test_a_patient_is_an_id_and_its_issuer():
    assert patient_of(header()) == PatientNumber("MSK0001", "")
    assert patient_of(header(IssuerOfPatientID="HOSP")) == PatientNumber("MSK0001", "HOSP")


@pytest.mark.parametrize("code", ["mixed-patient", "mixed-study", "unidentified"])
def test_images_that_do_not_agree_are_nobody_s(code: str):
    studies = studies_of(source_datasets())

    assert facts_of_refused(studies, code) == (ScanFacts(), PatientNumber())
    assert facts_of_refused(studies, "not-axial")[1] == PatientNumber("MSK0001")


def test_images_of_two_studies_are_nobody_s():
    studies = studies_of([source_datasets()[0], source_datasets(StudyInstanceUID="1.2.9")[0]])

    assert len(studies) == 2
    assert facts_of_refused(studies, "not-axial") == (ScanFacts(), PatientNumber())
