"""The header that results take over from a source image: patient and study, decoded once.

Only public attributes of the Patient, Patient Study, Clinical Trial and General Study modules
go over, never a private one, and text as Unicode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import structlog
from pydicom.dataset import Dataset

from dicom_node.errors import SeriesError
from dicom_node.series.bounded_files import NotDicomError, read_intact
from dicom_node.series.character_sets import readable
from dicom_node.series.ct_series import InstanceReference
from dicom_node.series.slice_headers import value_of
from dicom_node.uids import is_uid

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
    "ConvolutionKernel",
    "KVP",
)
"""Read from the source and used by some objects, each in its own way."""

TAKEN_OVER: Final = (*PATIENT_AND_STUDY, *SOURCE_ONLY)
"""All that results read of a source image beside its pixels and its place."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceStudy:
    """The images of one study, as a refusal states them.

    header: what results take over, from the first of them.
    sources: those of its series, in the order of their files.
    """

    header: Dataset
    sources: tuple[InstanceReference, ...]


def read_studies(paths: Iterable[Path]) -> tuple[SourceStudy, ...]:
    """The studies that the readable ones of these files belong to; none where none says.

    Of a damaged file counts what stands before the damage.
    """
    return studies_of(_intact_headers(paths))


def studies_of(headers: Iterable[Dataset]) -> tuple[SourceStudy, ...]:
    """The studies that the images with these headers belong to, in their order.

    An image without a Study Instance UID, or with one that is none, names no study.
    Of each study the first header is kept; of the others only which image it is.
    """
    firsts: dict[str, Dataset] = {}
    sources: dict[str, dict[InstanceReference, None]] = {}
    for header in map(readable_header, headers):
        study = str(header.get("StudyInstanceUID", ""))
        if not is_uid(study):
            continue
        first = firsts.setdefault(study, header)
        reference, series = reference_of(header), str(header.get("SeriesInstanceUID", ""))
        if reference and is_uid(series) and series == first.get("SeriesInstanceUID"):
            sources.setdefault(study, {})[reference] = None
    return tuple(
        SourceStudy(first, tuple(sources.get(study, ()))) for study, first in firsts.items()
    )


def reference_of(header: Dataset) -> InstanceReference | None:
    """The instance with this header; None where it does not say which it is."""
    uids = [
        str(value_of(header, each) or "").strip() for each in ("SOPClassUID", "SOPInstanceUID")
    ]
    return InstanceReference(*uids) if all(map(is_uid, uids)) else None


def _intact_headers(paths: Iterable[Path]) -> Iterator[Dataset]:
    for path in sorted(paths):
        try:
            yield read_intact(path, TAKEN_OVER)
        except (NotDicomError, SeriesError, OSError) as error:
            log.warning("instance.unreadable", path=path.name, error=type(error).__name__)


def readable_header(source: Dataset) -> Dataset:
    """The attributes of a source image that results need, ready to be written as Unicode.

    Values go over as they are, also where they break a rule of their representation:
    archives match on them. Private attributes stay behind. What cannot be read, or is not
    in the character set that the image declares, is left out and logged by its name only:
    an empty name is seen and mended, a garbled one is believed.
    """
    read = readable(source, TAKEN_OVER)
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
