"""The header that results take over from a source image: patient and study, decoded once.

Only public attributes of the Patient, Patient Study, Clinical Trial and General Study modules
go over, never a private one, and text as Unicode.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Final

import structlog
from pydicom.dataset import Dataset

from dicom_node.series.character_sets import readable

log = structlog.get_logger()

UNICODE: Final = "ISO_IR 192"

PATIENT_AND_STUDY: Final = (
    # Patient, PS3.3 C.7.1.1
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthDate",
    "PatientBirthDateInAlternativeCalendar",
    "PatientAlternativeCalendar",
    "PatientBirthTime",
    "PatientSex",
    "EthnicGroup",
    "SourcePatientGroupIdentificationSequence",
    "GroupOfPatientsIdentificationSequence",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    # Clinical Trial Subject and Study, C.7.1.3 and C.7.2.3
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    # General Study, C.7.2.1
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    # Patient Study, C.7.2.2
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientSexNeutered",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "IssuerOfServiceEpisodeIDSequence",
    # SOP Common and General Series, where they speak of the whole study
    "TimezoneOffsetFromUTC",
    "LongitudinalTemporalInformationModified",
)
"""Carried from the source onto every object, where present."""

EMPTY_WHERE_UNKNOWN: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Type 2 attributes: present in every object, empty where the source has none."""

SOURCE_ONLY: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "BodyPartExamined",
    "RequestAttributesSequence",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "StationName",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""Read from the source and used by some objects, each in its own way."""


def readable_header(source: Dataset) -> Dataset:
    """The attributes of a source image that results need, ready to be written as Unicode.

    Values go over as they are, also where they break a rule of their representation:
    archives match on them. Private attributes stay behind. What cannot be read, or is not
    in the character set that the image declares, is left out and logged by its name only:
    an empty name is seen and mended, a garbled one is believed.
    """
    read = readable(source, (*PATIENT_AND_STUDY, *SOURCE_ONLY))
    for keyword in read.lost:
        log.warning("header.unreadable", attribute=keyword)
    header = read.dataset
    if _offset(header) is None:
        # It would say of the node's own times too in which zone they are.
        header.pop("TimezoneOffsetFromUTC", None)
    header.SpecificCharacterSet = UNICODE
    return header


def local_time(header: Dataset, created: datetime) -> datetime:
    """The moment in the zone that the source says its own times are in, if it says so."""
    offset = _offset(header)
    return created if offset is None else created.astimezone(timezone(offset))


def _offset(header: Dataset) -> timedelta | None:
    """Timezone Offset From UTC, where it is one (-1200 to +1400, PS3.3 C.12.1.1.8)."""
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", str(header.get("TimezoneOffsetFromUTC", "")))
    if not found:
        return None
    sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    offset = -offset if sign == "-" else offset
    return offset if timedelta(hours=-12) <= offset <= timedelta(hours=14) else None


def source_words(header: Dataset) -> str:
    """The source series in a reader's words: its number, or nothing where it has none."""
    number = header.get("SeriesNumber")
    return "" if number in (None, "") else f" of series {number}"
