"""Key objects: a quality issue on the images of a series, and replaced results rejected."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from support.cases import CREATED, source_datasets
from support.golden import check_golden, header_text, tree_text

from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.key_object import build_key_object, build_rejection
from dicom_node.results.kinds import ResultKind
from dicom_node.series.ct_series import InstanceReference
from dicom_node.series.study_header import readable_header
from sr_templates.context import InstanceInSeries

CT = "1.2.840.10008.5.1.4.1.1.2"


def key_object() -> Dataset:
    sources = source_datasets(offsets_mm=(0.0, 5.0, 10.0))
    identity = Identity(ResultKind.KO, "2.25.1", "2.25.2", revision=1)
    equipment = Equipment(CREATED, "2.25.3", ("0.1.0",))
    return build_key_object(
        "Not analysed (gantry-tilt): the slices are sheared",
        [InstanceReference(CT, one.SOPInstanceUID) for one in sources],
        ObjectHeader(readable_header(sources[0]), identity, equipment),
    )


def test_it_is_titled_quality_issue():
    (title,) = key_object().ConceptNameCodeSequence

    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113010", "DCM")


def test_it_gives_the_reason_in_words():
    said = [item for item in key_object().ContentSequence if item.ValueType == "TEXT"]

    description = [i for i in said if i.ConceptNameCodeSequence[0].CodeValue == "113012"]
    assert description[0].TextValue == "Not analysed (gantry-tilt): the slices are sheared"


def test_it_points_at_every_image_of_the_source_series():
    dataset = key_object()

    images = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in dataset.ContentSequence
        if item.ValueType == "IMAGE"
    ]
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    listed = [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
    assert images == listed
    assert images == [f"1.2.826.0.1.3680043.8.498.7.{number}" for number in (1, 2, 3)]


def test_it_was_observed_by_this_node():
    observer = [item.UID for item in key_object().ContentSequence if item.ValueType == "UIDREF"]

    assert observer == ["2.25.3"]


def test_it_refers_to_the_request_behind_the_images():
    request, issuer = Dataset(), Dataset()
    issuer.LocalNamespaceEntityID = "WARD 7"
    request.RequestedProcedureID = "RP1"
    sources = source_datasets(
        offsets_mm=(0.0,),
        RequestAttributesSequence=[request],
        IssuerOfAccessionNumberSequence=[issuer],
    )
    identity = Identity(ResultKind.KO, "2.25.1", "2.25.2", revision=1)
    head = ObjectHeader(
        readable_header(sources[0]), identity, Equipment(CREATED, "2.25.3", ("1",))
    )

    dataset = build_key_object("words", [InstanceReference(CT, "1.2.3")], head)

    (referenced,) = dataset.ReferencedRequestSequence
    assert referenced.RequestedProcedureID == "RP1"
    assert referenced.AccessionNumber == "A-4711"
    assert referenced.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "WARD 7"
    assert referenced.StudyInstanceUID == dataset.StudyInstanceUID


def test_no_stand_in_of_an_image_header_is_written():
    """Rows and Columns only tell highdicom that the references are images."""
    assert "Rows" not in key_object()


def replaced(*kinds: ResultKind) -> list[InstanceInSeries]:
    """An object of each kind, each in a series of its own."""
    return [
        InstanceInSeries(each.traits.sop_class_uid, f"2.25.10{number}", f"2.25.20{number}")
        for number, each in enumerate(kinds)
    ]


def rejection(rejected: list[InstanceInSeries]) -> Dataset:
    identity = Identity(ResultKind.KO_REJECTED, "2.25.1", "2.25.2", revision=2)
    equipment = Equipment(CREATED, "2.25.3", ("0.1.0", "compact 1.0"), station_name="MSKNODE1")
    header = readable_header(source_datasets(offsets_mm=(0.0,))[0])
    words = "Replaced by revision 2: late images changed the series."
    return build_rejection(rejected, ObjectHeader(header, identity, equipment), words)


def test_a_rejection_is_titled_rejected_for_quality_reasons():
    (title,) = rejection(replaced(ResultKind.SR)).ConceptNameCodeSequence

    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    assert title.CodeMeaning == "Rejected for Quality Reasons"


def test_a_rejection_lists_each_object_under_its_own_series_of_the_one_study():
    objects = replaced(ResultKind.SEG, ResultKind.SR, ResultKind.SC, ResultKind.KO)
    dataset = rejection(objects)

    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == dataset.StudyInstanceUID
    listed = {
        (sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID, series.SeriesInstanceUID)
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    assert listed == {
        (one.sop_class_uid, one.sop_instance_uid, one.series_instance_uid) for one in objects
    }


@pytest.mark.parametrize(
    ("kind", "value_type"),
    [
        (ResultKind.SEG, "IMAGE"),
        (ResultKind.SEG_LABELMAP, "IMAGE"),
        (ResultKind.SC, "IMAGE"),
        (ResultKind.PM, "IMAGE"),
        (ResultKind.SR, "COMPOSITE"),
        (ResultKind.SR_KEY_SLICE, "COMPOSITE"),
        (ResultKind.KO, "COMPOSITE"),
        (ResultKind.PDF, "COMPOSITE"),
    ],
)
def test_only_objects_with_pixels_are_referred_to_as_images(kind: ResultKind, value_type: str):
    """PS3.16 TID 2010 rows 8 and 10; PS3.3 C.17.3 defines what an IMAGE may point at."""
    dataset = rejection(replaced(kind))

    (reference,) = [item for item in dataset.ContentSequence if "ReferencedSOPSequence" in item]
    assert reference.ValueType == value_type


def test_a_rejection_says_why_and_which_revision_replaces_the_objects():
    dataset = rejection(replaced(ResultKind.SEG, ResultKind.SR))

    (words,) = [
        item.TextValue
        for item in dataset.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]
    assert words == "Replaced by revision 2: late images changed the series."
    assert dataset.SeriesDescription == "MSK replaced results of series 3, revision 2"
    assert dataset.SeriesNumber == 30209


def test_a_rejection_of_nothing_is_no_object():
    with pytest.raises(ValueError, match=r"evidence|referenced"):
        rejection([])


def test_the_rejection_reads_as_reviewed(request: pytest.FixtureRequest):
    dataset = rejection(replaced(ResultKind.SEG, ResultKind.SR, ResultKind.SC, ResultKind.KO))

    check_golden("key_object_rejected", header_text(dataset) + tree_text(dataset), request)
