"""Text of a source, in any character set of the standard, read for writing as Unicode."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import CREATED, source_datasets
from support.encoded_names import GARBLED, NAMES, EncodedName, save_encoded

from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.key_object import build_key_object
from dicom_node.results.kinds import ResultKind
from dicom_node.series.character_sets import readable, texts_of
from dicom_node.series.ct_series import InstanceReference
from dicom_node.series.study_header import readable_header

# The library warns of what is wrong here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

by_title = pytest.mark.parametrize("name", NAMES, ids=lambda name: name.title)
garbled_by_title = pytest.mark.parametrize("name", GARBLED, ids=lambda name: name.title)


def source(
    folder: Path, declared: str, raw: dict[str, bytes], one: Dataset | None = None
) -> Dataset:
    """A source image of which some texts are other bytes, as the node reads it."""
    datasets = source_datasets(offsets_mm=(0.0,), PatientName="NAME") if one is None else [one]
    return dcmread(save_encoded(datasets, folder, declared, raw)[0], stop_before_pixels=True)


def result(header: Dataset) -> bytes:
    """A result object with this header, as a file."""
    identity = Identity(ResultKind.KO, "2.25.1", "2.25.2", revision=1)
    object_header = ObjectHeader(header, identity, Equipment(CREATED, "2.25.3", ("0.1.0",)))
    sources = [InstanceReference(ResultKind.SC.traits.sop_class_uid, "1.2.3")]
    buffer = io.BytesIO()
    build_key_object("words", sources, object_header).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@by_title
def test_a_name_is_the_same_text_in_the_result(tmp_path: Path, name: EncodedName):
    encoded = result(readable_header(source(tmp_path, name.declared, {"NAME": name.raw})))

    read = dcmread(io.BytesIO(encoded))
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert str(read.PatientName) == name.text
    assert name.text.encode() in encoded


@by_title
def test_every_text_is_read_in_the_declared_set_at_whatever_depth(
    tmp_path: Path, name: EncodedName
):
    """The delimiters of a name are plain characters in a description; a backslash is not."""
    request = Dataset()
    request.RequestedProcedureDescription = "TEXT"
    request.RequestedProcedureID = "RP1"
    (one,) = source_datasets(
        offsets_mm=(0.0,),
        PatientName="NAME",
        StudyDescription="TEXT",
        ReferringPhysicianName="NAME",
        RequestAttributesSequence=[request],
    )

    header = readable_header(source(tmp_path, name.declared, {"TEXT": name.raw}, one))

    assert header.StudyDescription.rstrip("=") == name.text
    (copied,) = header.RequestAttributesSequence
    assert copied.RequestedProcedureDescription.rstrip("=") == name.text


def test_an_item_is_read_in_its_own_character_set(tmp_path: Path):
    """PS3.5 7.5.3: an item that declares a set is in it, one that does not inherits."""
    greek, inherited = Dataset(), Dataset()
    greek.SpecificCharacterSet = "ISO_IR 126"
    greek.PatientID, greek.IssuerOfPatientID = "1", "GREEK"
    inherited.PatientID, inherited.IssuerOfPatientID = "2", "LATIN"
    (one,) = source_datasets(
        offsets_mm=(0.0,), PatientName="NAME", OtherPatientIDsSequence=[greek, inherited]
    )
    raw = {"NAME": b"M\xfcller", "GREEK": b"\xc1\xe8\xde\xed\xe1", "LATIN": b"Z\xfcrich"}

    header = readable_header(source(tmp_path, "ISO_IR 100", raw, one))

    read = dcmread(io.BytesIO(result(header)))
    assert str(read.PatientName) == "Müller"
    items = read.OtherPatientIDsSequence
    assert [item.IssuerOfPatientID for item in items] == ["Αθήνα", "Zürich"]
    assert not any("SpecificCharacterSet" in item for item in items)


@garbled_by_title
def test_a_name_that_is_not_in_its_declared_set_is_left_out_not_garbled(
    tmp_path: Path, name: EncodedName, capsys: pytest.CaptureFixture[str]
):
    """Groups in plain ASCII stay, as whole groups; the attribute is named, its text is not."""
    header = readable_header(source(tmp_path, name.declared, {"NAME": name.raw}))

    said = capsys.readouterr()
    assert "PatientName" in said.out
    assert "\\x" not in said.out
    read = dcmread(io.BytesIO(result(header)))
    assert str(read.PatientName) == name.text


@garbled_by_title
def test_other_text_that_is_not_in_its_declared_set_is_left_out_as_a_whole(
    tmp_path: Path, name: EncodedName
):
    (one,) = source_datasets(
        offsets_mm=(0.0,), StudyDescription="TEXT", AccessionNumber="TEXT", StudyID="77"
    )

    header = readable_header(source(tmp_path, name.declared, {"TEXT": name.raw}, one))

    read = dcmread(io.BytesIO(result(header)))
    assert "StudyDescription" not in read
    assert read.AccessionNumber == ""
    assert read.StudyID == "77"


def test_what_cannot_be_read_in_an_item_is_named_and_the_rest_stays(tmp_path: Path):
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", "TEXT"
    (one,) = source_datasets(offsets_mm=(0.0,), RequestAttributesSequence=[request])
    image = source(tmp_path, "ISO_IR 192", {"TEXT": b"H\xfcfte"}, one)

    read = readable(image, ["RequestAttributesSequence"])

    assert read.lost == ("RequestedProcedureDescription",)
    assert read.dataset.RequestAttributesSequence[0].RequestedProcedureID == "RP1"


def test_a_backslash_separates_values_but_is_a_character_in_long_text(tmp_path: Path):
    """PS3.5 6.2: LO has values, LT is one text."""
    (one,) = source_datasets(
        offsets_mm=(0.0,), StudyDescription="TEXT", AdditionalPatientHistory="TEXT"
    )
    image = source(tmp_path, "ISO_IR 192", {"TEXT": b"a\\b"}, one)

    assert readable(image, ["StudyDescription"]).dataset.StudyDescription == ["a", "b"]
    history = readable(image, ["AdditionalPatientHistory"]).dataset.AdditionalPatientHistory
    assert history == "a\\b"
    assert texts_of(image, ["StudyDescription"]) == {"StudyDescription": "a\\b"}


def test_only_in_a_name_do_carets_and_equals_signs_end_a_character_set(tmp_path: Path):
    """PS3.5 6.1.2.5.3: Korean goes on after "=" in a description, not in a name."""
    (one,) = source_datasets(offsets_mm=(0.0,), PatientName="TEXT", StudyDescription="TEXT")
    korean = "길동".encode("euc_kr")
    raw = {"TEXT": b"\x1b$)C" + korean + b"=" + korean}

    header = readable_header(source(tmp_path, r"\ISO 2022 IR 149", raw, one))

    assert header.StudyDescription == "길동=길동"
    assert "PatientName" not in header


def test_padding_at_the_end_is_no_part_of_a_value(tmp_path: Path):
    """PS3.5 6.2: trailing spaces, and the NUL that some write instead, are padding."""
    (one,) = source_datasets(offsets_mm=(0.0,), PatientID="A", AccessionNumber="B")
    image = source(tmp_path, "", {"A": b" 0042  ", "B": b"A-4711\0"}, one)

    read = dcmread(io.BytesIO(result(readable_header(image))))

    assert read.AccessionNumber == "A-4711"
    assert read.PatientID.strip() == "0042"


def test_a_value_in_the_wrong_representation_goes_out_in_the_right_one(tmp_path: Path):
    """An identifier written as ST is an LO in the result, as PS3.6 has it."""
    path = save_encoded(source_datasets(offsets_mm=(0.0,)), tmp_path, "ISO_IR 100", {})[0]
    right, wrong = b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00ST"
    assert path.read_bytes().count(right) == 1
    path.write_bytes(path.read_bytes().replace(right, wrong))

    header = readable_header(dcmread(path))

    assert header["PatientID"].VR == "LO"
    assert header.PatientID == "MSK0001"


def test_code_strings_and_dates_are_ascii_or_left_out(tmp_path: Path):
    """PS3.5 6.2: CS and DA do not follow Specific Character Set."""
    (one,) = source_datasets(offsets_mm=(0.0,), PatientSex="O", PatientBirthDate="19510203")
    image = source(tmp_path, "ISO_IR 144", {"O": b"\xb6", "19510203": b"\xb1951"}, one)

    header = readable_header(image)

    assert "PatientSex" not in header
    assert "PatientBirthDate" not in header
    assert result(header)


def test_group_lengths_and_private_attributes_stay_behind_in_items(tmp_path: Path):
    request = Dataset()
    request.add_new(0x00400000, "UL", 42)
    request.RequestedProcedureID = "RP1"
    request.private_block(0x0041, "SCANNER WORKS", create=True).add_new(1, "LO", "secret")
    (one,) = source_datasets(offsets_mm=(0.0,), RequestAttributesSequence=[request])

    (item,) = readable(one, ["RequestAttributesSequence"]).dataset.RequestAttributesSequence

    assert [element.keyword for element in item] == ["RequestedProcedureID"]
