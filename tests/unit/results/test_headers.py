"""Headers of result objects: the patient and study of the source, the node's own series."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from support.cases import (
    CONTEXT,
    CREATED,
    RECORD,
    UNEVEN,
    of_kind,
    small_case,
    source_datasets,
)
from support.ct import save

from dicom_node.results.builders import publish_case
from dicom_node.results.headers import Equipment, Identity, series_number
from dicom_node.results.kinds import ResultKind
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from dicom_node.series.study_header import EMPTY_WHERE_UNKNOWN, readable_header
from sr_templates.context import InstanceInSeries
from sr_templates.terms import SCHEME

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def series_with(folder: Path, **elements: Any) -> CtSeries:
    """A series of which every source has these elements; None leaves one out."""
    with disable_value_validation():
        return read_series(save(source_datasets(**elements), folder))


def encoded(folder: Path, **elements: Any) -> Dataset:
    """The segmentation of such a series, written and read again."""
    series = series_with(folder, **elements)
    dataset = of_kind(
        publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD), "SEG"
    )
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], JAPANESE),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Ναρίνε^Σαλάμ"),
        (None, "Smith^John"),
    ],
)
def test_a_name_survives_the_change_to_unicode(
    tmp_path: Path, character_set: str | list[str] | None, name: str
):
    result = encoded(tmp_path, SpecificCharacterSet=character_set, PatientName=name)

    assert result.SpecificCharacterSet == "ISO_IR 192"
    assert str(result.PatientName) == name
    assert name.encode() in result.PatientName.original_string


def test_text_in_nested_items_survives_too(tmp_path: Path):
    request = Dataset()
    request.RequestedProcedureDescription = "股関節ＣＴ"
    request.RequestedProcedureID = "RP1"

    result = encoded(
        tmp_path,
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        StudyDescription="股関節から膝",
        RequestAttributesSequence=[request],
    )

    assert result.StudyDescription == "股関節から膝"
    (copied,) = result.RequestAttributesSequence
    assert copied.RequestedProcedureDescription == "股関節ＣＴ"


def test_private_attributes_stay_behind_at_every_depth(tmp_path: Path):
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.private_block(0x0009, "SCANNER WORKS", create=True).add_new(1, "LO", "secret")
    datasets = source_datasets(RequestAttributesSequence=[request])
    for dataset in datasets:
        block = dataset.private_block(0x0011, "SCANNER WORKS", create=True)
        block.add_new(1, "LO", "secret")

    header = readable_header(datasets[0])

    assert "RequestAttributesSequence" in header
    assert not any(element.tag.is_private for element in header.iterall())


def test_missing_identifiers_are_present_and_empty(tmp_path: Path):
    names = ("StudyID", "AccessionNumber", "PatientName", "PatientBirthDate", "PatientSex")
    names = (*names, "ReferringPhysicianName", "StudyTime")

    result = encoded(tmp_path, **dict.fromkeys(names))

    for name in names:
        assert name in result
        assert not result[name].value


def test_empty_identifiers_stay_empty(tmp_path: Path):
    result = encoded(tmp_path, PatientName="", AccessionNumber="", StudyDate="")

    assert not result.PatientName
    assert not result.AccessionNumber
    assert not result.StudyDate


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "1951.02.03"),
        ("PatientSex", "female"),
        ("StudyDate", "20261341"),
        ("StudyDate", "19700230"),
        ("StudyTime", "101500.123456"),
        ("StudyTime", "10:15"),
        ("AccessionNumber", "ACCESSION-NUMBER-OF-25-CHARS"),
        ("AccessionNumber", r"A-1\A-2"),
        ("PatientID", "x" * 80),
        ("PatientID", "00042"),
        ("PatientID", "A*^?'42"),
        ("PatientAge", "75"),
        ("PatientSize", "172"),
        ("PatientSize", "0"),
        ("StudyDescription", "= ^ 50% \u00b5"),
        ("StudyID", " 7"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Value")
def test_values_that_break_a_rule_go_over_as_they_are(tmp_path: Path, keyword: str, value: str):
    """An archive matches a result to its study by exactly what the images say."""
    with disable_value_validation():
        result = encoded(tmp_path, **{keyword: value})

        found = result[keyword].value
        assert ("\\".join(found) if result[keyword].VM > 1 else str(found)) == value


def test_what_archives_match_on_goes_over_unchanged(tmp_path: Path):
    other, issuer, universal = Dataset(), Dataset(), Dataset()
    other.PatientID, other.TypeOfPatientID = "OTHER-1", "TEXT"
    other.IssuerOfPatientID = "Stadtspital"
    issuer.LocalNamespaceEntityID = "RIS"
    universal.UniversalEntityID, universal.UniversalEntityIDType = "1.2.3.9", "ISO"
    elements: dict[str, Any] = {
        "IssuerOfPatientID": "Kantonsspital Zürich",
        "IssuerOfPatientIDQualifiersSequence": [universal],
        "OtherPatientIDsSequence": [other],
        "OtherPatientNames": ["Yamada^Hanako", "Suzuki^Hanako"],
        "IssuerOfAccessionNumberSequence": [issuer],
        "AdmissionID": "ADM-9",
        "ReferringPhysicianIdentificationSequence": [physician()],
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.99",
    }

    result = encoded(tmp_path, **elements)

    expected = source_datasets(offsets_mm=(0.0,), **elements)[0]
    for keyword in (*elements, "PatientID", "AccessionNumber", "StudyID", "StudyDescription"):
        assert result[keyword].to_json() == expected[keyword].to_json()


def physician() -> Dataset:
    """An item of the Person Identification macro (PS3.3 Table 10-1)."""
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "4711", "99HOSP", "Dr. Frey"
    item.PersonIdentificationCodeSequence = [code]
    item.InstitutionName = "Spital Zürich"
    return item


def test_an_unreadable_value_is_left_out_and_logged_by_name_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (dataset, *_) = source_datasets()
    del dataset.PatientSize
    path = save([dataset], tmp_path)[0]
    element = b"\x10\x00\x20\x10DS\x04\x001,58"
    path.write_bytes(
        path.read_bytes().replace(b"\x18\x00\x50\x00DS", element + b"\x18\x00\x50\x00DS", 1)
    )

    header = readable_header(dcmread(path))

    assert "PatientSize" not in header
    said = capsys.readouterr().out
    assert "PatientSize" in said
    assert "1,58" not in said


def test_deidentification_is_carried_on(tmp_path: Path):
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"

    result = encoded(
        tmp_path,
        PatientIdentityRemoved="YES",
        DeidentificationMethod="profile of the site",
        DeidentificationMethodCodeSequence=[method],
    )

    assert result.PatientIdentityRemoved == "YES"
    assert result.DeidentificationMethod == "profile of the site"
    assert result.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_times_are_in_the_zone_that_the_source_states(tmp_path: Path):
    """15:04:05 at +09:00 is 06:04:05 at +00:00."""
    result = encoded(tmp_path, TimezoneOffsetFromUTC="+0000")

    assert result.TimezoneOffsetFromUTC == "+0000"
    assert result.ContentTime == "060405"
    assert result.ContributingEquipmentSequence[1].ContributionDateTime == "20261122060405+0000"


@pytest.mark.parametrize("odd", ["+9000", "+2460", "0900", "JST", "-1300", "+1430"])
@pytest.mark.filterwarnings("ignore:.*[Vv]alue")
def test_an_offset_that_is_none_does_not_speak_for_the_nodes_own_times(
    tmp_path: Path, odd: str
):
    """PS3.3 C.12.1.1.8: from -1200 to +1400."""
    result = encoded(tmp_path, TimezoneOffsetFromUTC=odd)

    assert "TimezoneOffsetFromUTC" not in result
    assert (result.ContentDate, result.ContentTime) == ("20261122", "150405")


def test_without_a_stated_zone_times_are_the_nodes_own(tmp_path: Path):
    result = encoded(tmp_path)

    assert "TimezoneOffsetFromUTC" not in result
    assert (result.ContentDate, result.ContentTime) == ("20261122", "150405")


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        Equipment(datetime(2026, 11, 22), "2.25.1", ("0.1.0",))  # noqa: DTZ001 - the point

    assert Equipment(CREATED, "2.25.1", ("0.1.0",)).created == CREATED


@pytest.mark.parametrize(
    ("number", "expected"),
    [(3, 30101), (0, 101), (None, 101), (2_147_483_647, 836_470_101)],
)
def test_the_series_number_tells_source_kind_and_revision(
    tmp_path: Path, number: int | None, expected: int
):
    """Source 3, revision 1, segmentation 1: 3 01 01; always within IS (2**31 - 1)."""
    assert encoded(tmp_path, SeriesNumber=number).SeriesNumber == expected


@given(
    st.integers(0, 10**9),
    st.tuples(st.integers(1, 99), st.sampled_from(ResultKind)),
    st.tuples(st.integers(1, 99), st.sampled_from(ResultKind)),
)
def test_series_numbers_of_one_source_collide_for_no_kinds_and_revisions(
    source: int, one: tuple[int, ResultKind], other: tuple[int, ResultKind]
):
    header = Dataset()
    header.SeriesNumber = source
    numbers = [
        series_number(header, Identity(kind, "2.25.1", "2.25.2", revision))
        for revision, kind in (one, other)
    ]

    assert (numbers[0] == numbers[1]) == (one == other)
    assert all(0 < number < 2**31 for number in numbers)


def test_a_revision_after_the_99th_keeps_its_number():
    """Two digits are full; it is told apart by its UIDs and its description."""
    header = Dataset()
    header.SeriesNumber = 3
    late = Identity(ResultKind.SR, "2.25.1", "2.25.2", revision=120)

    assert series_number(header, late) == 39902


def test_the_series_uid_does_not_depend_on_the_series_number(tmp_path: Path):
    """So a version that numbers differently names the same object by the same UID."""
    first, other = encoded(tmp_path / "a"), encoded(tmp_path / "b", SeriesNumber=77)

    assert first.SeriesNumber != other.SeriesNumber
    assert first.SeriesInstanceUID == other.SeriesInstanceUID


def test_a_revision_is_told_apart_by_number_description_and_uid(tmp_path: Path):
    series = series_with(tmp_path)
    case = small_case(series.volume.geometry)
    first = of_kind(publish_case(series, case, CONTEXT, RECORD), "SEG")
    second = of_kind(publish_case(series, case, replace(CONTEXT, revision=2), RECORD), "SEG")

    assert second.SeriesNumber == first.SeriesNumber + 100
    assert second.SeriesDescription == first.SeriesDescription + ", revision 2"
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    assert second.SOPInstanceUID != first.SOPInstanceUID


def test_scanner_and_node_are_both_named_as_contributors(tmp_path: Path):
    scanner, node = encoded(tmp_path).ContributingEquipmentSequence

    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert scanner.Manufacturer == "Scanner Works"
    assert node.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert list(node.SoftwareVersions) == ["0.1.0", "compact 1.0"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[ResultKind, Dataset]:
    """Every kind of object for a series with odd but lawful words in its header."""
    folder = tmp_path_factory.mktemp("everything")
    series = series_with(
        folder,
        IssuerOfPatientID="Zürich",
        TimezoneOffsetFromUTC="-0330",
        **UNEVEN,
    )
    case = small_case(series.volume.geometry)
    earlier = InstanceInSeries(ResultKind.SR.traits.sop_class_uid, "2.25.7", "2.25.8")
    context = replace(CONTEXT, revision=2, replaced=(earlier,))
    return {
        one.kind: one.dataset
        for one in publish_case(series, case, context, frozenset(ResultKind))
    }


@pytest.mark.parametrize("kind", ResultKind)
def test_every_object_is_of_the_patient_and_study_of_its_source(
    everything: dict[ResultKind, Dataset], kind: ResultKind
):
    dataset = everything[kind]
    source = source_datasets(offsets_mm=(0.0,), IssuerOfPatientID="Zürich")[0]

    for keyword in (*EMPTY_WHERE_UNKNOWN, "StudyInstanceUID", "IssuerOfPatientID"):
        assert dataset[keyword].to_json() == source[keyword].to_json()
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    # 15:04:05 at +09:00 is 02:34:05 at -03:30.
    assert (dataset.TimezoneOffsetFromUTC, dataset.ContentTime) == ("-0330", "023405")
    assert not any(element.tag.is_private for element in dataset)


@pytest.mark.parametrize("kind", ResultKind)
def test_the_private_scheme_is_declared_wherever_it_is_used_and_only_there(
    everything: dict[ResultKind, Dataset], kind: ResultKind
):
    """PS3.3 C.12.1.1.5: with a UID, so that a reader can tell it from another 99MSK."""
    dataset = everything[kind]
    used = any(
        element.keyword == "CodingSchemeDesignator" and element.value == SCHEME.designator
        for element in _all_but_the_declaration(dataset).iterall()
    )

    declared = dataset.get("CodingSchemeIdentificationSequence") or []
    assert [item.CodingSchemeUID for item in declared] == [SCHEME.uid] * used


def _all_but_the_declaration(dataset: Dataset) -> Dataset:
    rest = Dataset()
    for element in dataset:
        if element.keyword not in {"CodingSchemeIdentificationSequence", "PixelData"}:
            rest.add(element)
    return rest


@pytest.mark.parametrize("kind", [ResultKind.SC, ResultKind.SC_DENSITY, ResultKind.PDF])
def test_a_picture_or_document_says_whether_words_are_burned_in(
    everything: dict[ResultKind, Dataset], kind: ResultKind
):
    assert everything[kind].BurnedInAnnotation in {"YES", "NO"}
