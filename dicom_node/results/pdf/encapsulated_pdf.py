"""A document as an Encapsulated PDF, so that an archive keeps it beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.headers import ObjectHeader, add_common_modules, code_item
from dicom_node.series.ct_series import InstanceReference

REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
PDF_MARK: Final = b"%PDF-"
LONGEST_TITLE: Final = 1024
"""Characters of the value representation ST (PS3.5 6.2)."""


def build_encapsulated_pdf(
    pdf: bytes,
    words: str,
    sources: Sequence[InstanceReference],
    object_header: ObjectHeader,
) -> Dataset:
    """A PDF as an Encapsulated PDF object (PS3.3 A.45.1 and C.24.2).

    Args:
        pdf: the document; it must not name the patient.
        words: what it says; the first sentence becomes part of its title, by which
            viewers list documents.
        sources: the images it is about.
        object_header: of the object.

    Raises:
        ValueError: `pdf` is no PDF.
    """
    if not pdf.startswith(PDF_MARK):
        raise ValueError(f"the document begins with {pdf[:8]!r}, not {PDF_MARK!r}")
    dataset = Dataset()
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""  # a document is not acquired
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    dataset.DocumentTitle = _title(words, object_header)
    dataset.ConceptNameCodeSequence = [code_item(REPORT)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = [source.item() for source in sources]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    dataset.EncapsulatedDocumentLength = len(pdf)
    if "RequestAttributesSequence" in object_header.header:
        dataset.add(object_header.header["RequestAttributesSequence"])
    add_common_modules(dataset, object_header)
    return dataset


def _title(words: str, object_header: ObjectHeader) -> str:
    first = words.split(". ", maxsplit=1)[0].rstrip(".")
    return f"{object_header.identity.kind.traits.title}. {first}."[:LONGEST_TITLE]
