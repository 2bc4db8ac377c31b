"""The encapsulated document: the PDF as it was, what it is about, and that it names nobody."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import CREATED, source_datasets
from support.golden import check_golden, header_text

from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.kinds import ResultKind
from dicom_node.results.pdf.encapsulated_pdf import build_encapsulated_pdf
from dicom_node.series.ct_series import InstanceReference
from dicom_node.series.study_header import readable_header

SOURCES = (
    InstanceReference("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),
    InstanceReference("1.2.840.10008.5.1.4.1.1.2", "1.2.4"),
)
PDF = b"%PDF-1.4\nnot much\n%%EOF"


def encapsulated(
    pdf: bytes = PDF, words: str = "Case failed: metal. Absent: sacrum."
) -> Dataset:
    """The object, written and read again."""
    identity = Identity(ResultKind.PDF, "2.25.1", "2.25.2", revision=1)
    equipment = Equipment(CREATED, "2.25.3", ("0.1.0",))
    object_header = ObjectHeader(readable_header(source_datasets()[0]), identity, equipment)
    buffer = io.BytesIO()
    dataset = build_encapsulated_pdf(pdf, words, SOURCES, object_header)
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


@pytest.mark.parametrize("pdf", [PDF, PDF + b"\n"])
def test_the_document_comes_back_byte_for_byte(pdf: bytes):
    """23 and 24 bytes: a value of odd length is padded, and the true length stands beside."""
    dataset = encapsulated(pdf)

    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == pdf
    assert len(dataset.EncapsulatedDocument) == 24
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_it_names_the_images_it_is_about():
    named = [item.ReferencedSOPInstanceUID for item in encapsulated().SourceInstanceSequence]

    assert named == ["1.2.3", "1.2.4"]


def test_the_title_is_what_it_is_and_its_first_sentence():
    assert encapsulated().DocumentTitle == "MSK summary. Case failed: metal."


def test_a_title_longer_than_its_representation_allows_is_cut():
    assert len(encapsulated(words="x" * 2000).DocumentTitle) == 1024


def test_something_that_is_no_pdf_is_refused():
    with pytest.raises(ValueError, match="<html>"):
        encapsulated(b"<html>")


def test_the_header_is_as_reviewed(request: pytest.FixtureRequest):
    check_golden("encapsulated_pdf", header_text(encapsulated()), request)
