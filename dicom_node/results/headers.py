"""The part on patient, study, series and equipment that every result object has.

`add_common_modules` puts onto an object what is taken over from the source image
(`series/study_header.py`), and the node's own identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.results.kinds import ResultKind
from dicom_node.series.study_header import (
    EMPTY_WHERE_UNKNOWN,
    PATIENT_AND_STUDY,
    UNICODE,
    local_time,
    source_words,
)
from dicom_node.uids import IMPLEMENTATION_CLASS_UID
from sr_templates.terms import SCHEME

log = structlog.get_logger()

MANUFACTURER: Final = "msk-node project"
MODEL_NAME: Final = "msk-node"


PER_FRAME_GROUPS: Final = 0x52009230


@dataclass(frozen=True, slots=True)
class Equipment:
    """The node that makes an object, and when.

    created: with a time zone; every date and time of the object is this one.
    software_versions: of the node, and of the model bundle where one took part.
    device_uid: of this installation of this version.
    """

    created: datetime
    device_uid: str
    software_versions: tuple[str, ...]
    station_name: str | None = None
    institution_name: str | None = None

    def __post_init__(self) -> None:
        """Refuse a time that could mean any zone."""
        if self.created.tzinfo is None:
            raise ValueError("created needs a time zone")


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that tells one result object from every other."""

    kind: ResultKind
    sop_instance_uid: str
    series_instance_uid: str
    revision: int


@dataclass(frozen=True, slots=True, eq=False)
class ObjectHeader:
    """All that goes onto an object beside its content.

    header: from `readable_header`, of the series that the object answers.
    """

    header: Dataset
    identity: Identity
    equipment: Equipment


def add_common_modules(dataset: Dataset, object_header: ObjectHeader) -> None:
    """Give an object its patient, study, series, equipment and file meta information.

    Args:
        dataset: the object with its content; what it already says of these is replaced.
        object_header: what goes onto it.
    """
    header, identity, equipment = (
        object_header.header,
        object_header.identity,
        object_header.equipment,
    )
    _put_patient_and_study(dataset, header)
    _put_series(dataset, header, identity, equipment)
    _put_equipment(dataset, equipment)
    _put_contributors(dataset, header, equipment)
    _put_sop_common(dataset, header, identity, equipment)
    dataset.file_meta = _file_meta(identity)
    dataset.preamble = b"\0" * 128


def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence (PS3.3 Table 8.8-1)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _put_patient_and_study(dataset: Dataset, header: Dataset) -> None:
    for keyword in PATIENT_AND_STUDY:
        if keyword in dataset:
            del dataset[keyword]
        if keyword in header:
            dataset.add(header[keyword])
    for keyword in EMPTY_WHERE_UNKNOWN:
        if keyword not in dataset:
            setattr(dataset, keyword, "")


def _put_series(
    dataset: Dataset, header: Dataset, identity: Identity, equipment: Equipment
) -> None:
    created = local_time(header, equipment.created)
    dataset.Modality = identity.kind.traits.modality
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.SeriesNumber = series_number(header, identity)
    dataset.SeriesDescription = _series_description(header, identity)
    dataset.SeriesDate = dataset.ContentDate = created.strftime("%Y%m%d")
    dataset.SeriesTime = dataset.ContentTime = created.strftime("%H%M%S")
    dataset.InstanceNumber = 1


def series_number(header: Dataset, identity: Identity) -> int:
    """Series 3 gives 30101 for its segmentation and 30202 for the report of revision 2.

    The source's last five digits, two for the revision, two for the kind: 999999999 at most,
    which an IS holds (PS3.5 Table 6.2-1: less than 2**31).
    """
    try:
        source = int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        source = 0
    revision = min(identity.revision, 99)
    return abs(source) % 100_000 * 10_000 + revision * 100 + identity.kind.traits.number


def _series_description(header: Dataset, identity: Identity) -> str:
    revised = f", revision {identity.revision}" if identity.revision > 1 else ""
    return f"{identity.kind.traits.title}{source_words(header)}{revised}"[:64]


def _put_equipment(dataset: Dataset, equipment: Equipment) -> None:
    """General and Enhanced General Equipment, PS3.3 C.7.5.1 and C.7.5.2."""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.DeviceSerialNumber = equipment.device_uid
    dataset.SoftwareVersions = list(equipment.software_versions)
    if equipment.station_name:
        dataset.StationName = equipment.station_name
    if equipment.institution_name:
        dataset.InstitutionName = equipment.institution_name


def _put_contributors(dataset: Dataset, header: Dataset, equipment: Equipment) -> None:
    """The scanner that made the images and the node that worked on them, C.12.1.1."""
    scanner = Dataset()
    scanner.PurposeOfReferenceCodeSequence = [
        code_item(Code("109101", "DCM", "Acquisition Equipment"))
    ]
    for keyword in (
        "Manufacturer",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
        "StationName",
        "InstitutionName",
        "InstitutionalDepartmentName",
    ):
        if header.get(keyword):
            scanner.add(header[keyword])
    node = Dataset()
    node.PurposeOfReferenceCodeSequence = [
        code_item(Code("109102", "DCM", "Processing Equipment"))
    ]
    node.Manufacturer = MANUFACTURER
    node.ManufacturerModelName = MODEL_NAME
    node.DeviceSerialNumber = equipment.device_uid
    node.SoftwareVersions = list(equipment.software_versions)
    created = local_time(header, equipment.created)
    node.ContributionDateTime = created.strftime("%Y%m%d%H%M%S%z")
    node.ContributionDescription = "Automatic segmentation and measurement"
    # Manufacturer is required of a contributor, so an unknown scanner goes unnamed.
    known = [scanner] if "Manufacturer" in scanner else []
    dataset.ContributingEquipmentSequence = [*known, node]


def _put_sop_common(
    dataset: Dataset, header: Dataset, identity: Identity, equipment: Equipment
) -> None:
    created = local_time(header, equipment.created)
    dataset.SpecificCharacterSet = UNICODE
    dataset.SOPClassUID = identity.kind.traits.sop_class_uid
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.InstanceCreationDate = created.strftime("%Y%m%d")
    dataset.InstanceCreationTime = created.strftime("%H%M%S")
    dataset.InstanceCreatorUID = equipment.device_uid
    dataset.pop("CodingSchemeIdentificationSequence", None)
    if _uses_own_codes(dataset):
        dataset.CodingSchemeIdentificationSequence = [_coding_scheme_item()]


def _uses_own_codes(dataset: Dataset) -> bool:
    """True if a code of the project's private scheme is anywhere in an object."""
    if dataset.get("CodingSchemeDesignator") == SCHEME.designator:
        return True
    # The groups of thousands of frames are encoded already, and name no code of their own.
    sequences = (
        tag
        for tag in dataset.keys()  # noqa: SIM118 - a dataset's iterator takes values apart
        if tag != PER_FRAME_GROUPS and dataset.get_item(tag).VR == "SQ"
    )
    return any(_uses_own_codes(item) for tag in sequences for item in dataset[tag].value)


def _coding_scheme_item() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME.designator
    item.CodingSchemeUID = SCHEME.uid
    item.CodingSchemeName = SCHEME.name
    item.CodingSchemeVersion = SCHEME.version
    item.CodingSchemeResponsibleOrganization = SCHEME.organization
    return item


def _file_meta(identity: Identity) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(identity.kind.traits.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(identity.sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = "MSK_NODE"
    return meta
