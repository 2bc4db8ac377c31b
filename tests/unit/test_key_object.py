"""The key object: a quality issue on the images of a series, with its reason."""

from __future__ import annotations

from pydicom.dataset import Dataset
from support.cases import CREATED, source_datasets

from dicom_node.results.headers import Identity, Letterhead, Maker, readable_header
from dicom_node.results.key_object import build_key_object
from dicom_node.results.renderings import Rendering
from dicom_node.results.sources import InstanceReference

CT = "1.2.840.10008.5.1.4.1.1.2"


def key_object() -> Dataset:
    sources = source_datasets(offsets_mm=(0.0, 5.0, 10.0))
    identity = Identity(Rendering.KO, "2.25.1", "2.25.2", revision=1)
    maker = Maker(CREATED, "2.25.3", ("0.1.0",))
    return build_key_object(
        "Not analysed (gantry-tilt): the slices are sheared",
        [InstanceReference(CT, one.SOPInstanceUID) for one in sources],
        Letterhead(readable_header(sources[0]), identity, maker),
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


def test_no_stand_in_of_an_image_header_is_written():
    """Rows and Columns only tell highdicom that the references are images."""
    assert "Rows" not in key_object()
