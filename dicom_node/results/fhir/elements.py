"""Codes, identifiers and references of FHIR (R5), made of those of DICOM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydicom.dataset import Dataset

from sr_templates.terms import SCHEME

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
UID_SYSTEM: Final = "urn:dicom:uid"
IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
GUIDE: Final = "http://hl7.org/fhir/uv/dicom-sr"
OBSERVATION_UID: Final = f"{GUIDE}/CodeSystem/dicom-identifier-type"

SYSTEMS: Final = {
    "SCT": "http://snomed.info/sct",
    "DCM": DCM,
    "UCUM": "http://unitsofmeasure.org",
    "LN": "http://loinc.org",
    SCHEME.designator: f"urn:oid:{SCHEME.uid}",
}
"""The URIs of coding schemes; of one that is not here only the words go over."""

Element = dict[str, Any]
"""A part of a resource, as JSON has it."""


def concept(code: Dataset) -> Element:
    """A code sequence's item as a CodeableConcept."""
    meaning = str(code.get("CodeMeaning", ""))
    system = SYSTEMS.get(str(code.get("CodingSchemeDesignator", "")))
    if system is None:
        return {"text": meaning}
    return coded(system, str(code.get("CodeValue", "")), meaning)


def coded(system: str, code: str, display: str) -> Element:
    """A CodeableConcept of one code."""
    return {"coding": [{"system": system, "code": code, "display": display}]}


def uid_identifier(uid: str, kind: Element | None = None) -> Element:
    """A DICOM UID as an Identifier."""
    identifier: Element = {"system": UID_SYSTEM, "value": f"urn:oid:{uid}"}
    return {"type": kind, **identifier} if kind else identifier


def observation_identifier(uid: str) -> Element:
    """The UID of an observation."""
    return uid_identifier(uid, coded(OBSERVATION_UID, "observation-uid", "Observation UID"))


def patient_reference(report: Dataset) -> Element:
    """The patient, by the id that the report has: whose record that is, the server knows."""
    value = str(report.get("PatientID", ""))
    if not value:
        return {"type": "Patient", "display": "Patient without an id"}
    kind = coded(IDENTIFIER_TYPES, "MR", "Medical record number")
    identifier: Element = {"type": kind, "value": value}
    if issuer := str(report.get("IssuerOfPatientID", "")):
        identifier["assigner"] = {"display": issuer}
    return {"type": "Patient", "identifier": identifier}


def study_reference(report: Dataset) -> Element:
    """The study that the images are of, by its UID."""
    kind = coded(DCM, "110180", "Study Instance UID")
    uid = str(report.get("StudyInstanceUID", ""))
    return {"type": "ImagingStudy", "identifier": uid_identifier(uid, kind)}


def request_references(report: Dataset) -> Element:
    """The order that the study was made for, by its accession number; nothing without one."""
    value = str(report.get("AccessionNumber", ""))
    if not value:
        return {}
    kind = coded(IDENTIFIER_TYPES, "ACSN", "Accession ID")
    reference = {"type": "ServiceRequest", "identifier": {"type": kind, "value": value}}
    return {"basedOn": [reference]}


def children(item: Dataset) -> Iterator[Dataset]:
    """The content items below one."""
    yield from item.get("ContentSequence") or ()


def name_of(item: Dataset) -> tuple[str, str]:
    """Code and scheme of a content item's concept name; empty where it has none."""
    names = item.get("ConceptNameCodeSequence")
    return key_of(names[0]) if names else ("", "")


def key_of(code: Dataset) -> tuple[str, str]:
    """Code Value and Coding Scheme Designator."""
    return str(code.get("CodeValue", "")), str(code.get("CodingSchemeDesignator", ""))


def child(item: Dataset, name: tuple[str, str]) -> Dataset | None:
    """The first content item of a name below one."""
    return next((each for each in children(item) if name_of(each) == name), None)
