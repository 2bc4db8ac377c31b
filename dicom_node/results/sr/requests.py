"""The orders behind the images, as reports and key objects refer to them."""

from __future__ import annotations

from pydicom.dataset import Dataset


def referenced_requests(header: Dataset) -> tuple[Dataset, ...]:
    """The requests behind the images, as documents refer to them (PS3.3 C.17.2, C.17.6)."""
    return tuple(
        _request(item, header) for item in header.get("RequestAttributesSequence") or ()
    )


def _request(attributes: Dataset, header: Dataset) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = attributes.get("StudyInstanceUID") or header.StudyInstanceUID
    item.ReferencedStudySequence = attributes.get("ReferencedStudySequence") or []
    item.AccessionNumber = attributes.get("AccessionNumber") or header.get(
        "AccessionNumber", ""
    )
    issuer = attributes.get("IssuerOfAccessionNumberSequence") or header.get(
        "IssuerOfAccessionNumberSequence"
    )
    if issuer:
        item.IssuerOfAccessionNumberSequence = issuer
    item.PlacerOrderNumberImagingServiceRequest = attributes.get(
        "PlacerOrderNumberImagingServiceRequest", ""
    )
    item.FillerOrderNumberImagingServiceRequest = attributes.get(
        "FillerOrderNumberImagingServiceRequest", ""
    )
    item.RequestedProcedureID = attributes.get("RequestedProcedureID", "")
    item.RequestedProcedureDescription = attributes.get("RequestedProcedureDescription", "")
    item.RequestedProcedureCodeSequence = attributes.get("RequestedProcedureCodeSequence") or []
    return item
