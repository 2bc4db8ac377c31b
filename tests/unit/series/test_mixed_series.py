"""What must not be mixed in a series: acquisitions, matrices, patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.ct import (
    ct_slice,
    ct_stack,
    save,
)
from support.read_series import read

from dicom_node.errors import (
    MixedPatientError,
    MixedSeriesError,
    MixedStudyError,
    SeriesError,
)
from dicom_node.series.reading import read_series


@pytest.mark.parametrize(
    ("element", "value", "error"),
    [
        ("PatientID", "P2", MixedPatientError),
        ("StudyInstanceUID", "1.2.3.4", MixedStudyError),
        ("SeriesInstanceUID", "1.2.3.5", MixedSeriesError),
        ("FrameOfReferenceUID", "1.2.3.6", MixedSeriesError),
        ("ConvolutionKernel", "B80f", MixedSeriesError),
        ("PixelSpacing", [1.0, 0.6], MixedSeriesError),
        ("ImageOrientationPatient", [-1, 0, 0, 0, -1, 0], MixedSeriesError),
    ],
)
def test_a_series_that_mixes_is_refused(
    element: str, value: Any, error: type[SeriesError], tmp_path: Path
) -> None:
    datasets = ct_stack()
    setattr(datasets[2], element, value)

    with pytest.raises(error):
        read(datasets, tmp_path)


def test_mixed_matrix_sizes_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[2] = ct_slice(datasets[2].ImagePositionPatient, shape=(6, 10))

    with pytest.raises(MixedSeriesError, match="matrix sizes"):
        read(datasets, tmp_path)


def test_a_kernel_that_some_images_leave_out_is_no_mixture(tmp_path: Path) -> None:
    datasets = ct_stack()
    del datasets[2].ConvolutionKernel

    assert not read(datasets, tmp_path).notes


def test_pixel_spacings_rounded_differently_are_one_grid(tmp_path: Path) -> None:
    datasets = ct_stack(spacing_mm=(0.976562, 0.976562))
    datasets[2].PixelSpacing = [0.97656, 0.97655]

    assert len(read(datasets, tmp_path).slices) == 5


def test_messages_never_name_the_patient(tmp_path: Path) -> None:
    datasets = ct_stack(PatientID="SECRET-ID")
    datasets[0].PatientID = "OTHER-SECRET"

    with pytest.raises(MixedPatientError) as refused:
        read(datasets, tmp_path)

    assert "SECRET" not in str(refused.value)


IDENTITY = {
    "PatientID": "P1",
    "PatientName": "Yamada^Tarou=山田^太郎",
    "PatientBirthDate": "19510203",
    "PatientSex": "F",
    "AccessionNumber": "A-4711",
}


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PatientID", "P2", "name 2 different patients"),
        ("PatientID", "p1", "name 2 different patients"),
        ("PatientID", "01", "name 2 different patients"),
        ("PatientName", "Yamada^Hanako=山田^花子", "name 2 different patients"),
        ("PatientName", "Yamada^Tarou=山田^次郎", "name 2 different patients"),
        ("PatientName", "Tarou^Yamada", "name 2 different patients"),
        ("PatientName", "=山田^花子", "name 2 different patients"),
        ("PatientBirthDate", "19510302", "birth date: 2 different"),
        ("PatientSex", "M", "sex: 2 different"),
    ],
)
def test_one_image_of_another_patient_refuses_the_series_in_words_without_patient_data(
    keyword: str, value: str, words: str, tmp_path: Path
) -> None:
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    setattr(datasets[3], keyword, value)

    with pytest.raises(MixedPatientError, match=words) as refused:
        read(datasets, tmp_path)

    assert refused.value.code == "mixed-patient"
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("StudyInstanceUID", "1.2.3.4", "study: 2 different"),
        ("AccessionNumber", "A-4712", "accession number: 2 different"),
    ],
)
def test_one_image_of_another_study_of_the_patient_is_not_called_another_patient(
    keyword: str, value: str, words: str, tmp_path: Path
) -> None:
    datasets = ct_stack(**IDENTITY, SpecificCharacterSet="ISO_IR 192")
    setattr(datasets[3], keyword, value)

    with pytest.raises(MixedStudyError, match=words) as refused:
        read(datasets, tmp_path)

    assert refused.value.code == "mixed-study"
    assert value not in str(refused.value)


def test_a_study_for_each_image_is_refused_as_mixed_studies(tmp_path: Path) -> None:
    datasets = ct_stack()
    for number, dataset in enumerate(datasets):
        dataset.StudyInstanceUID = f"1.2.3.{number}"

    with pytest.raises(MixedStudyError, match="study: 5 different"):
        read(datasets, tmp_path)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "P1 "),
        ("PatientName", "Yamada^Tarou^^^=山田^太郎"),
        ("PatientName", "YAMADA^TAROU=山田^太郎=やまだ^たろう"),
        ("PatientName", "Yamada^Tarou"),
        ("PatientName", "Ｙａｍａｄａ^Ｔａｒｏｕ"),  # noqa: RUF001 - full-width on purpose
        ("PatientBirthDate", "1951.02.03"),
        ("PatientSex", "F "),
        ("AccessionNumber", " A-4711"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_same_patient_written_another_way_is_the_same_patient(
    keyword: str, value: str, tmp_path: Path
) -> None:
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    setattr(datasets[3], keyword, value)

    assert not read(datasets, tmp_path).notes


def test_one_name_in_two_character_sets_is_one_patient(tmp_path: Path) -> None:
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    datasets[3].SpecificCharacterSet = ["", "ISO 2022 IR 87"]

    assert not read(datasets, tmp_path).notes


def test_a_localizer_of_another_patient_refuses_the_series_too(tmp_path: Path) -> None:
    datasets = ct_stack()
    scout = ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], PatientID="P2")

    with pytest.raises(MixedPatientError, match="2 different patients"):
        read([*datasets, scout], tmp_path)


def test_an_image_without_patient_id_among_others_refuses_the_series(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[1].PatientID = ""

    with pytest.raises(MixedPatientError, match="1 of 5 images of this series have no patient"):
        read(datasets, tmp_path)


def test_a_series_without_any_patient_id_is_read(tmp_path: Path) -> None:
    assert read(ct_stack(PatientID=""), tmp_path).volume.hu.shape == (5, 6, 8)


def test_results_take_the_identity_from_an_image_that_says_all_of_it(tmp_path: Path) -> None:
    """The lowest slice would be asked, but leaves out the name: noted, and asked elsewhere."""
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    datasets[0].PatientName = ""

    series = read(datasets, tmp_path)

    assert series.notes == ("1 of 5 images leave out the name that the others give",)
    assert series.header.PatientName == "Yamada^Tarou=山田^太郎"


def test_a_name_in_no_declared_character_set_is_noted(tmp_path: Path) -> None:
    paths = save(ct_stack(SpecificCharacterSet="ISO_IR 100", PatientName="Müller"), tmp_path)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 192"))

    (note,) = read_series(paths).notes

    assert note.startswith("PatientName is not written in the character set")
