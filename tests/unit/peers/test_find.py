"""Claims about the values of an answer, whatever its archive declares."""

from __future__ import annotations

import io
import warnings

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_node.peers.archives import Level, Query
from dicom_node.peers.find import identifier_of, values_of


def answer(**elements: tuple[str, bytes]) -> Dataset:
    """A dataset as it comes: values as bytes, in Explicit VR Little Endian."""
    tags = {
        "SpecificCharacterSet": b"\x08\x00\x05\x00",
        "PatientName": b"\x10\x00\x10\x00",
        "SeriesNumber": b"\x20\x00\x11\x00",
        "StudyInstanceUID": b"\x20\x00\x0d\x00",
    }
    encoded = b""
    for keyword, (vr, value) in elements.items():
        padded = value + b" " * (len(value) % 2)
        encoded += tags[keyword] + vr.encode() + len(padded).to_bytes(2, "little") + padded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_dataset(io.BytesIO(encoded), is_implicit_VR=False, is_little_endian=True)


@pytest.mark.parametrize("declared", [b"ISO_IR 999", b"\\\\", b"\xff\xff", b"ISO 2022 IR 87"])
def test_a_character_set_that_is_none_hides_no_plain_letters(declared: bytes) -> None:
    found = values_of(
        answer(
            SpecificCharacterSet=("CS", declared),
            PatientName=("PN", b"M\xfcller^J"),
            StudyInstanceUID=("UI", b"1.2.3\0"),
        ),
        ["PatientName", "StudyInstanceUID", "SeriesNumber"],
    )

    assert found == {"PatientName": "M\ufffdller^J", "StudyInstanceUID": "1.2.3"}


def test_a_value_has_an_end() -> None:
    found = values_of(answer(PatientName=("PN", b"x" * 60_000)), ["PatientName"])

    assert len(found["PatientName"]) == 16_384


def test_what_is_no_number_is_given_as_it_stands() -> None:
    assert values_of(answer(SeriesNumber=("IS", b"7th")), ["SeriesNumber"]) == {
        "SeriesNumber": "7th"
    }


def test_a_question_asks_for_its_level_and_all_above_it() -> None:
    identifier = identifier_of(Query(Level.SERIES, {"Modality": "CT"}))

    assert {each.keyword: each.value for each in identifier} == {
        "QueryRetrieveLevel": "SERIES",
        "StudyInstanceUID": "",
        "SeriesInstanceUID": "",
        "Modality": "CT",
    }
