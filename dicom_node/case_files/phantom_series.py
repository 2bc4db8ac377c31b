"""The analytic phantom as a DICOM CT series, as a scanner would send it.

The header is that of a fictional scanner and a fictional patient with a Japanese name. UIDs
derive from the specification and the header, so that the same phantom is the same series
wherever and whenever it is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicom_node.uids import derived_uid
from inference.geometry import Orientation
from inference.phantom.render import known_answers, phantom
from inference.phantom.spec import DEFAULT_PHANTOM, PhantomSpec, Table
from inference.volume import Volume

_IMPLEMENTATION_CLASS_UID: Final = UID(derived_uid("implementation", "phantom series"))

_RESCALE_INTERCEPT: Final = -1024


class PatientPosition(StrEnum):
    """The patient's position in the scanner (PS3.3 C.7.3.1.1.2)."""

    HEAD_FIRST_SUPINE = "HFS"
    FEET_FIRST_SUPINE = "FFS"
    HEAD_FIRST_PRONE = "HFP"
    FEET_FIRST_PRONE = "FFP"

    @property
    def is_prone(self) -> bool:
        """Face down: the image is turned by half a turn, the table is at the belly."""
        return self in {PatientPosition.HEAD_FIRST_PRONE, PatientPosition.FEET_FIRST_PRONE}

    @property
    def is_feet_first(self) -> bool:
        """The scan runs from the feet to the head."""
        return self in {PatientPosition.FEET_FIRST_SUPINE, PatientPosition.FEET_FIRST_PRONE}


@dataclass(frozen=True, slots=True)
class PhantomHeader:
    """The header of a series, besides its pixels; everything in it is made up.

    patient_name: in alphabetic, ideographic and phonetic writing.
    patient_size_known: whether Patient's Size is given, from the body's height.
    shuffled: give the instance numbers in a random order, as some archives do.
    signed: store signed instead of unsigned pixels.
    transfer_syntax_uid: one of the uncompressed little endian ones.
    """

    patient_name: str = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    patient_id: str = "PHANTOM-0001"
    birth_date: date = date(1958, 3, 14)
    sex: str = "F"
    weight_kg: float = 54.0
    patient_size_known: bool = True
    scanned: datetime = datetime(2024, 4, 15, 10, 21, 30)  # noqa: DTZ001 (DICOM local time)
    accession_number: str = "A20240415001"
    study_id: str = "20240415"
    study_description: str = "CT pelvis and lower extremities"
    series_number: int = 3
    series_description: str = "Hip to knee, soft tissue"
    protocol_name: str = "Hip to knee plain"
    kernel: str = "B30s"
    peak_kilovoltage: float = 120.0
    manufacturer: str = "Fictional Imaging Systems"
    model: str = "Phantom Scanner 64"
    institution: str = "Fictional University Hospital"
    position: PatientPosition = PatientPosition.HEAD_FIRST_SUPINE
    shuffled: bool = False
    signed: bool = False
    transfer_syntax_uid: UID = ExplicitVRLittleEndian


DEFAULT_HEADER: Final = PhantomHeader()


def write_phantom_series(
    folder: Path, spec: PhantomSpec = DEFAULT_PHANTOM, header: PhantomHeader = DEFAULT_HEADER
) -> list[Path]:
    """Write one CT image per slice into a folder, and return the paths by instance number."""
    folder.mkdir(parents=True, exist_ok=True)
    datasets = sorted(phantom_datasets(spec, header), key=lambda d: int(d.InstanceNumber))
    paths = []
    for dataset in datasets:
        path = folder / f"IM{dataset.InstanceNumber:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_known_answers(path: Path, spec: PhantomSpec = DEFAULT_PHANTOM) -> None:
    """Write what an analysis of the series should find, as JSON: one entry a segment."""
    answers = {
        known.segment.key: {
            "volume_cm3": round(known.volume_cm3, 2),
            "mean_hu": round(known.mean_hu, 1),
            "complete": known.complete,
        }
        for known in known_answers(spec)
    }
    path.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


def phantom_datasets(
    spec: PhantomSpec = DEFAULT_PHANTOM, header: PhantomHeader = DEFAULT_HEADER
) -> list[FileDataset]:
    """The series' instances in memory, from feet to head."""
    if header.position.is_prone and spec.table is Table.BEHIND:
        spec = replace(spec, table=Table.IN_FRONT)
    volume = phantom(spec).volume
    numbers = _instance_numbers(volume.geometry.shape[0], header)
    return [
        _axial_instance(spec, header, volume, index, number)
        for index, number in enumerate(numbers)
    ]


def localiser_instance(
    spec: PhantomSpec = DEFAULT_PHANTOM, header: PhantomHeader = DEFAULT_HEADER
) -> FileDataset:
    """The scout view that a scanner takes before the scan, inside the same series."""
    volume = phantom(spec).volume
    dataset = _coronal_instance(spec, header, "localiser", volume.hu.mean(axis=1))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    del dataset.RescaleType  # a projection is not in Hounsfield units
    return dataset


def reformatted_instance(
    spec: PhantomSpec = DEFAULT_PHANTOM, header: PhantomHeader = DEFAULT_HEADER
) -> FileDataset:
    """A coronal reformat (MPR) made from the series, inside the same series."""
    volume = phantom(spec).volume
    middle = volume.hu[:, volume.geometry.rows // 2]
    dataset = _coronal_instance(spec, header, "reformat", middle)
    dataset.ImageType = ["DERIVED", "SECONDARY", "REFORMATTED"]
    dataset.DerivationDescription = "Coronal reformat"
    return dataset


def series_instance_uid(
    spec: PhantomSpec = DEFAULT_PHANTOM, header: PhantomHeader = DEFAULT_HEADER
) -> UID:
    """The Series Instance UID that this phantom is written under."""
    return _uid(spec, header, "series")


def _uid(spec: PhantomSpec, header: PhantomHeader, *facts: str) -> UID:
    return UID(derived_uid("phantom", repr(spec), repr(header), *facts))


def _instance_numbers(count: int, header: PhantomHeader) -> list[int]:
    """Instance numbers from feet to head: scans run away from where the patient went in."""
    numbers = np.arange(1, count + 1)
    if not header.position.is_feet_first:
        numbers = numbers[::-1]
    if header.shuffled:
        numbers = np.random.default_rng(count).permutation(numbers)
    return [int(number) for number in numbers]


def _axial_instance(
    spec: PhantomSpec, header: PhantomHeader, volume: Volume, index: int, number: int
) -> FileDataset:
    geometry = volume.geometry
    prone = header.position.is_prone
    turned = Orientation(rows_flipped=prone, columns_flipped=prone)
    corner = np.array([[index, geometry.rows - 1, geometry.columns - 1]], dtype=np.float64)
    first = geometry.to_patient_mm(corner)[0] if prone else geometry.positions_mm[index]
    towards = -1.0 if prone else 1.0
    dataset = _instance(spec, header, f"slice {index}", number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [round(float(value), 4) for value in first]
    dataset.ImageOrientationPatient = [towards, 0.0, 0.0, 0.0, towards, 0.0]
    dataset.PixelSpacing = [float(value) for value in geometry.spacing_mm]
    dataset.SliceThickness = float(geometry.extents_mm[index])
    dataset.SliceLocation = round(float(first[2]), 4)
    _set_pixels(dataset, turned.to_source(volume.hu[index]), header)
    return dataset


def _coronal_instance(
    spec: PhantomSpec, header: PhantomHeader, what: str, view: NDArray[Any]
) -> FileDataset:
    """A coronal image from (slices, columns) HU, head up, with square pixels."""
    geometry = spec.geometry()
    heights = geometry.positions_mm[:, 2]
    rows = np.arange(heights[-1], heights[0], -spec.pixel_mm)
    nearest = np.abs(heights[None, :] - rows[:, None]).argmin(axis=1)
    dataset = _instance(spec, header, what, 9000 + len(what))
    x, y = geometry.positions_mm[0, 0], spec.centre_mm[1]
    dataset.ImagePositionPatient = [round(float(value), 4) for value in (x, y, heights[-1])]
    dataset.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
    dataset.PixelSpacing = [spec.pixel_mm, spec.pixel_mm]
    dataset.SliceThickness = spec.pixel_mm
    _set_pixels(dataset, np.rint(view[nearest]).astype(np.int16), header)
    return dataset


def _instance(spec: PhantomSpec, header: PhantomHeader, what: str, number: int) -> FileDataset:
    """Everything that an instance says but for its place and its pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = header.transfer_syntax_uid
    meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "MSKNODE_PHANTOM"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(spec, header, "instance", what)
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    # The name's second and third part are written in kanji and kana (PS3.5 H.3).
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = _uid(spec, header, "study")
    dataset.SeriesInstanceUID = series_instance_uid(spec, header)
    dataset.FrameOfReferenceUID = _uid(spec, header, "frame of reference")
    dataset.InstanceNumber = number
    _set_patient(dataset, spec, header)
    _set_study(dataset, header)
    _set_scanner(dataset, header)
    _set_time(dataset, header, number)
    return dataset


def _set_patient(dataset: FileDataset, spec: PhantomSpec, header: PhantomHeader) -> None:
    dataset.PatientName = header.patient_name
    dataset.PatientID = header.patient_id
    dataset.PatientBirthDate = f"{header.birth_date:%Y%m%d}"
    dataset.PatientSex = header.sex
    days = (header.scanned.date() - header.birth_date).days
    dataset.PatientAge = f"{int(days / 365.25):03d}Y"
    dataset.PatientWeight = header.weight_kg
    if header.patient_size_known:
        dataset.PatientSize = spec.body.height_m


def _set_study(dataset: FileDataset, header: PhantomHeader) -> None:
    dataset.Modality = "CT"
    dataset.AccessionNumber = header.accession_number
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = header.study_id
    dataset.StudyDescription = header.study_description
    dataset.SeriesNumber = header.series_number
    dataset.SeriesDescription = header.series_description
    dataset.ProtocolName = header.protocol_name
    dataset.BodyPartExamined = "PELVIS"  # a paired part would need a laterality
    dataset.PatientPosition = header.position.value
    dataset.PositionReferenceIndicator = ""


def _set_scanner(dataset: FileDataset, header: PhantomHeader) -> None:
    dataset.Manufacturer = header.manufacturer
    dataset.ManufacturerModelName = header.model
    dataset.InstitutionName = header.institution
    dataset.StationName = "CT1"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "phantom 1"
    dataset.KVP = header.peak_kilovoltage
    dataset.ConvolutionKernel = header.kernel
    dataset.GantryDetectorTilt = 0.0
    dataset.ScanOptions = "HELICAL"
    dataset.XRayTubeCurrent = 180
    dataset.ExposureTime = 500
    dataset.RotationDirection = "CW"
    dataset.AcquisitionNumber = 1
    dataset.BurnedInAnnotation = "NO"


def _set_time(dataset: FileDataset, header: PhantomHeader, number: int) -> None:
    """The study starts first; slices follow each other by a twentieth of a second."""
    series = header.scanned + timedelta(minutes=2)
    acquired = series + timedelta(seconds=0.05 * number)
    for name, moment in (
        ("Study", header.scanned),
        ("Series", series),
        ("Acquisition", acquired),
        ("Content", acquired),
    ):
        setattr(dataset, f"{name}Date", f"{moment:%Y%m%d}")
        setattr(dataset, f"{name}Time", f"{moment:%H%M%S.%f}")


def _set_pixels(dataset: FileDataset, hu: NDArray[np.int16], header: PhantomHeader) -> None:
    stored = hu.astype(np.int32) - _RESCALE_INTERCEPT
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(header.signed)
    dataset.RescaleIntercept = _RESCALE_INTERCEPT
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.PixelData = stored.astype("<i2" if header.signed else "<u2").tobytes()
