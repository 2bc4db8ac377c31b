"""A TID 1500 report as a Bundle of FHIR R5, as HL7's guide 'DICOM SR to FHIR' maps it.

The guide (hl7.fhir.uv.dicom-sr, STU1) makes of a measurement group an Observation with a
BodyStructure for its site and an ImagingSelection for its segment, of each number and each
evaluation in it an Observation that the group has as a member, and of equipment and algorithm
a Device. Patient, study and order are named by their identifiers and not made: a hospital's
server has them. Everything is derived from the report, so the same report gives the same
bundle, and put under its own identifier, so that sent twice it is there once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from pydicom.dataset import Dataset

from dicom_node.results.fhir.elements import (
    DCM,
    GUIDE,
    UID_SYSTEM,
    Element,
    child,
    children,
    coded,
    concept,
    key_of,
    name_of,
    observation_identifier,
    patient_reference,
    request_references,
    study_reference,
    uid_identifier,
)
from dicom_node.results.kinds import SEGMENTATION_STORAGE
from dicom_node.uids import NAMESPACE, derived_uid

FHIR_VERSION: Final = "5.0.0"
"""Of the guide."""

GROUP: Final = ("125007", "DCM")
FINDING: Final = ("121071", "DCM")
CATEGORY: Final = ("276214006", "SCT")
SITE: Final = ("363698007", "SCT")
LATERALITY: Final = ("272741003", "SCT")
TRACKING_ID: Final = ("112039", "DCM")
TRACKING_UID: Final = ("112040", "DCM")
SEGMENT: Final = ("121191", "DCM")
ALGORITHM_FAMILY: Final = ("111000", "DCM")
ALGORITHM_NAME: Final = ("111001", "DCM")
ALGORITHM_PARAMETERS: Final = ("111002", "DCM")
ALGORITHM_VERSION: Final = ("111003", "DCM")
PROCESSING_EQUIPMENT: Final = ("109102", "DCM")
NO_EVALUATION: Final = frozenset(
    {
        FINDING,
        CATEGORY,
        SITE,
        TRACKING_ID,
        ALGORITHM_FAMILY,
        ALGORITHM_NAME,
        ALGORITHM_PARAMETERS,
        ALGORITHM_VERSION,
        ("122405", "DCM"),  # Algorithm Manufacturer
    }
)
"""What a group says of itself rather than of the structure."""

SOP_CLASSES: Final = "https://dicom.nema.org/medical/dicom/current/output/chtml/part04/sect_B.5"
EVALUATIONS: Final = coded(
    "http://terminology.hl7.org/CodeSystem/umls", "C0034375", "Qualitative Evaluations"
)
REPORT_PROFILES: Final = {
    "group": f"{GUIDE}/StructureDefinition/imaging-measurement-group",
    "measurement": f"{GUIDE}/StructureDefinition/imaging-measurement",
    "evaluation": f"{GUIDE}/StructureDefinition/imaging-qualitative-evaluation",
    "site": f"{GUIDE}/StructureDefinition/dicom-sr-finding-site",
    "segment": f"{GUIDE}/StructureDefinition/referenced-segment",
    "equipment": f"{GUIDE}/StructureDefinition/dicom-general-equipment",
    "algorithm": f"{GUIDE}/StructureDefinition/algorithm-identification",
}


def measurement_bundle(report: Dataset) -> Element:
    """The transaction that puts a report's resources onto a server."""
    made = _Resources(report)
    equipment = made.add(_equipment(report), "equipment")
    groups = [
        _group(made, item, equipment) for item in _below(report) if name_of(item) == GROUP
    ]
    overall = [
        _evaluation(made, item, equipment, {})
        for item in children(report)
        if item.ValueType in {"CODE", "TEXT"} and item.RelationshipType == "CONTAINS"
    ]
    made.add(_report(report, [*groups, *overall], made.issued))
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "identifier": uid_identifier(str(report.SOPInstanceUID)),
        "timestamp": made.issued,
        "entry": made.entries,
    }


@dataclass(slots=True)
class _Resources:
    """The resources of a bundle, each under a URL that others refer to.

    issued: when the report was made.
    """

    report: Dataset
    entries: list[Element] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)

    @property
    def issued(self) -> str:
        """The instant at which the report was made."""
        return _made_at(self.report)

    def uid(self, *facts: str) -> str:
        """A UID of the report's own, for what has none in it."""
        return derived_uid("fhir", str(self.report.SOPInstanceUID), *facts)

    def add(self, resource: Element, profile: str = "") -> Element:
        """Add a resource, once, and return the reference to it."""
        identifier = resource["identifier"][-1]
        key = f"{resource['resourceType']}?identifier={UID_SYSTEM}|{identifier['value']}"
        if key not in self._known:
            url = f"urn:uuid:{uuid.uuid5(NAMESPACE, key)}"
            self._known[key] = url
            if profile:
                resource = {**resource, "meta": {"profile": [REPORT_PROFILES[profile]]}}
            request = {"method": "PUT", "url": quote(key, safe="?=:./")}
            self.entries.append({"fullUrl": url, "resource": resource, "request": request})
        return {"reference": self._known[key]}

    def observation(self, uid: str, device: Element, **elements: object) -> Element:
        """What every observation of the report has."""
        return {
            "resourceType": "Observation",
            "identifier": [observation_identifier(uid)],
            **request_references(self.report),
            "partOf": [study_reference(self.report)],
            "status": "final",
            "subject": patient_reference(self.report),
            "issued": self.issued,
            "device": device,
            **elements,
        }


def _group(made: _Resources, group: Dataset, equipment: Element) -> Element:
    """A structure and side: its site, its segment, and all that is said of it."""
    device = _algorithm(made, group, equipment)
    site = _site(made, group)
    place = _place(made, group)
    about: Element = {"bodyStructure": site} if site else {}
    about |= {"derivedFrom": [place]} if place else {}
    members = [
        one
        for item in children(group)
        for one in (
            _measurement(made, group, item, device, about),
            _evaluation_in(made, group, item, device, about),
        )
        if one
    ]
    finding, category = child(group, FINDING), child(group, CATEGORY)
    value = {"valueCodeableConcept": concept(finding.ConceptCodeSequence[0])} if finding else {}
    code = concept(category.ConceptCodeSequence[0]) if category else {"text": "Finding"}
    observation = made.observation(
        made.uid("group", _tracking(group)),
        device,
        category=[coded(DCM, "125007", "Measurement Group")],
        code=code,
        **value,
        **about,
        **({"hasMember": members} if members else {}),
    )
    return made.add(observation, "group")


def _measurement(
    made: _Resources, group: Dataset, item: Dataset, device: Element, about: Element
) -> Element | None:
    """A number with its unit; None of anything else, and of one without a value."""
    measured = item.get("MeasuredValueSequence") if item.ValueType == "NUM" else None
    if not measured:
        return None
    unit = measured[0].MeasurementUnitsCodeSequence[0]
    quantity = {
        "value": float(measured[0].NumericValue),
        "unit": str(unit.get("CodeMeaning", unit.CodeValue)),
        "system": "http://unitsofmeasure.org",
        "code": str(unit.CodeValue),
    }
    uid = made.uid("measurement", _tracking(group), *name_of(item))
    code = concept(item.ConceptNameCodeSequence[0])
    observation = made.observation(uid, device, code=code, valueQuantity=quantity, **about)
    return made.add(observation, "measurement")


def _evaluation_in(
    made: _Resources, group: Dataset, item: Dataset, device: Element, about: Element
) -> Element | None:
    """An evaluation of a structure; None of anything else in its group."""
    if item.ValueType not in {"CODE", "TEXT"} or name_of(item) in NO_EVALUATION:
        return None
    return _evaluation(made, item, device, about, _tracking(group))


def _evaluation(
    made: _Resources, item: Dataset, device: Element, about: Element, whose: str = ""
) -> Element:
    """An evaluation, by its code or in its words."""
    code = item.get("ConceptCodeSequence")
    value = concept(code[0]) if code else {"text": str(item.get("TextValue", ""))}
    said = key_of(code[0]) if code else (str(item.get("TextValue", "")),)
    uid = made.uid("evaluation", whose, *name_of(item), *said)
    observation = made.observation(
        uid,
        device,
        category=[EVALUATIONS],
        code=concept(item.ConceptNameCodeSequence[0]),
        valueCodeableConcept=value,
        **about,
    )
    return made.add(observation, "evaluation")


def _tracking(group: Dataset) -> str:
    """The Tracking UID of a group."""
    item = child(group, TRACKING_UID)
    return str(item.UID) if item is not None else ""


def _site(made: _Resources, group: Dataset) -> Element | None:
    """The structure with its side, under the UID by which it is followed over time."""
    sites = [each for each in children(group) if name_of(each) == SITE]
    uid, name = _tracking(group), child(group, TRACKING_ID)
    if not sites or not uid:
        return None
    site = sites[0]
    side = child(site, LATERALITY)
    included: Element = {"structure": concept(site.ConceptCodeSequence[0])}
    if side is not None:
        included["laterality"] = concept(side.ConceptCodeSequence[0])
    identifiers = [
        *(
            [
                {
                    "type": coded(DCM, "112039", "Tracking Identifier"),
                    "value": str(name.TextValue),
                }
            ]
            if name is not None
            else []
        ),
        uid_identifier(uid, coded(DCM, "112040", "Tracking Unique Identifier")),
    ]
    resource = {
        "resourceType": "BodyStructure",
        "identifier": identifiers,
        "includedStructure": [included],
        "patient": patient_reference(made.report),
    }
    return made.add(resource, "site")


def _place(made: _Resources, group: Dataset) -> Element | None:
    """The segment that was measured; None where a group refers to none."""
    item = child(group, SEGMENT)
    if item is None or not item.get("ReferencedSOPSequence"):
        return None
    reference = item.ReferencedSOPSequence[0]
    sop_class, instance = (
        str(reference.ReferencedSOPClassUID),
        reference.ReferencedSOPInstanceUID,
    )
    number = str(reference.get("ReferencedSegmentNumber", ""))
    resource = {
        "resourceType": "ImagingSelection",
        "identifier": [uid_identifier(made.uid("segment", str(instance), number))],
        "status": "available",
        **request_references(made.report),
        "subject": patient_reference(made.report),
        "derivedFrom": [study_reference(made.report)],
        "code": coded(DCM, "121191", "Referenced Segment"),
        "studyUid": str(made.report.StudyInstanceUID),
        "seriesUid": _series_of(made.report, str(instance)),
        "instance": [
            {
                "uid": str(instance),
                "sopClass": {"system": SOP_CLASSES, "code": sop_class},
                "subset": [number],
            }
        ],
    }
    # The guide's profile is for Segmentation Storage alone, not for label maps.
    return made.add(resource, "segment" if sop_class == SEGMENTATION_STORAGE else "")


def _series_of(report: Dataset, instance: str) -> str:
    """The series of an object that the report names as evidence."""
    for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.ReferencedSeriesSequence:
            for each in series.ReferencedSOPSequence:
                if str(each.ReferencedSOPInstanceUID) == instance:
                    return str(series.SeriesInstanceUID)
    return str(report.SeriesInstanceUID)


def _equipment(report: Dataset) -> Element:
    """The node, as General Equipment says (PS3.3 C.7.5.1)."""
    uid = str(report.get("DeviceSerialNumber", "")) or derived_uid("fhir", "equipment")
    versions = report.get("SoftwareVersions") or ()
    texts = [versions] if isinstance(versions, str) else [str(each) for each in versions]
    return {
        "resourceType": "Device",
        "identifier": [uid_identifier(uid)],
        "manufacturer": str(report.get("Manufacturer", "")),
        "displayName": str(report.get("ManufacturerModelName", "")),
        "version": [{"value": each} for each in texts],
    }


def _algorithm(made: _Resources, group: Dataset, equipment: Element) -> Element:
    """The algorithm of a group (TID 4019); the equipment where none is named."""
    name = child(group, ALGORITHM_NAME)
    if name is None:
        return equipment
    version = child(group, ALGORITHM_VERSION)
    family = child(group, ALGORITHM_FAMILY)
    parameters = [each for each in children(group) if name_of(each) == ALGORITHM_PARAMETERS]
    words = [str(name.TextValue), str(version.TextValue) if version else ""]
    resource: Element = {
        "resourceType": "Device",
        "identifier": [uid_identifier(made.uid("algorithm", *words))],
        "displayName": words[0],
        "parent": equipment,
    }
    if version is not None:
        resource["version"] = [{"value": words[1]}]
    if family is not None:
        resource["type"] = [concept(family.ConceptCodeSequence[0])]
    if parameters:
        kind = coded(DCM, "111002", "Algorithm Parameters")
        resource["property"] = [
            {"type": kind, "valueString": str(each.TextValue)} for each in parameters
        ]
    return made.add(resource, "algorithm")


def _report(report: Dataset, results: list[Element], issued: str) -> Element:
    """The report itself, with all its observations."""
    title = report.get("ConceptNameCodeSequence")
    return {
        "resourceType": "DiagnosticReport",
        "identifier": [uid_identifier(str(report.SOPInstanceUID))],
        **request_references(report),
        "status": "final",
        "code": concept(title[0]) if title else {"text": "Imaging Measurement Report"},
        "subject": patient_reference(report),
        "issued": issued,
        "study": [study_reference(report)],
        "result": results,
    }


def _below(item: Dataset) -> Iterator[Dataset]:
    """Every content item of a tree."""
    for each in children(item):
        yield each
        yield from _below(each)


def _made_at(report: Dataset) -> str:
    """When a report was made, with its zone; in UTC where it does not say which."""
    for item in report.get("ContributingEquipmentSequence") or ():
        purposes = item.get("PurposeOfReferenceCodeSequence") or ()
        if any(key_of(each) == PROCESSING_EQUIPMENT for each in purposes):
            text = str(item.get("ContributionDateTime", ""))
            form = "%Y%m%d%H%M%S%z" if "+" in text or "-" in text else "%Y%m%d%H%M%S"
            return _instant(datetime.strptime(text, form))  # noqa: DTZ007 - see `_instant`
    stated = f"{report.get('ContentDate', '19700101')}{str(report.get('ContentTime', ''))[:6]}"
    return _instant(datetime.strptime(f"{stated}000000"[:14], "%Y%m%d%H%M%S"))  # noqa: DTZ007


def _instant(moment: datetime) -> str:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
