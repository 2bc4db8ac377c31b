"""The quality image: pixels as painted, words as text, sources named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import CREATED, source_datasets

from dicom_node.results.builders import DENSITY_DERIVATION, QUALITY_DERIVATION
from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.kinds import ResultKind
from dicom_node.results.secondary_capture import build_secondary_capture
from dicom_node.series.ct_series import InstanceReference
from dicom_node.series.study_header import readable_header

SOURCES = (
    InstanceReference("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),
    InstanceReference("1.2.840.10008.5.1.4.1.1.2", "1.2.4"),
)


def object_header(kind: ResultKind = ResultKind.SC, **elements: object) -> ObjectHeader:
    identity = Identity(kind, "2.25.1", "2.25.2", revision=1)
    header = readable_header(source_datasets(**elements)[0])
    return ObjectHeader(header, identity, Equipment(CREATED, "2.25.3", ("0.1.0",)))


def capture(picture: np.ndarray, **elements: object) -> Dataset:
    """The object, written and read again."""
    dataset = build_secondary_capture(
        picture, "Not hip", SOURCES, object_header(**elements), derivation=QUALITY_DERIVATION
    )
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


@pytest.mark.parametrize("shape", [(4, 6, 3), (5, 7, 3)])
def test_the_picture_comes_back_pixel_by_pixel(shape: tuple[int, int, int]):
    """5 x 7 x 3 is odd: the pixel data is padded to an even length."""
    picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)

    dataset = capture(picture)

    np.testing.assert_array_equal(dataset.pixel_array, picture)
    assert dataset.PhotometricInterpretation == "RGB"
    assert len(dataset.PixelData) % 2 == 0


def test_it_says_that_it_is_derived_and_bears_words():
    dataset = capture(np.zeros((4, 4, 3), np.uint8))

    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.ConversionType == "WSD"
    assert dataset.ImageComments == "Not hip"


def test_each_kind_of_picture_says_how_it_was_derived():
    picture = np.zeros((4, 4, 3), np.uint8)
    quality, density = (
        build_secondary_capture(picture, "", SOURCES, object_header(kind), derivation=words)
        for kind, words in (
            (ResultKind.SC, QUALITY_DERIVATION),
            (ResultKind.SC_DENSITY, DENSITY_DERIVATION),
        )
    )

    assert quality.DerivationDescription == "Quality image of an automatic segmentation"
    assert "mean HU" in density.DerivationDescription
    assert density.SeriesDescription.startswith("MSK muscle density")


def test_it_names_its_source_images():
    dataset = capture(np.zeros((4, 4, 3), np.uint8))

    assert [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence] == [
        "1.2.3",
        "1.2.4",
    ]


def test_the_body_part_is_the_sources_own_and_never_asks_for_a_side():
    dataset = capture(np.zeros((4, 4, 3), np.uint8), BodyPartExamined="LEG")

    assert dataset.BodyPartExamined == "LEG"
    assert dataset.ImageLaterality == "U"


def test_a_picture_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"float32 \(4, 4\)"):
        build_secondary_capture(
            np.zeros((4, 4), np.float32), "", SOURCES, object_header(), derivation=""
        )
