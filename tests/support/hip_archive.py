"""An archive's worth of studies for a re-query: varied bodies, and what archives hold beside.

Sixty studies, or fewer, made from their numbers alone, so that every run has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset

from dicom_node.case_files.phantom_series import (
    PhantomHeader,
    localiser_instance,
    phantom_datasets,
)
from dicom_node.uids import derived_uid
from inference.phantom.body import BodySpec
from inference.phantom.spec import SMALL_PHANTOM, PhantomSpec, Zone

FIRST_DAY = datetime(2024, 1, 8, 9, 15)  # noqa: DTZ001 - DICOM local time
SCANNERS = (("GE MEDICAL SYSTEMS", "Phantom Scanner 64"), ("SIEMENS", "Phantom Scanner 2"))
SOFT_KERNELS, BONE_KERNELS = ("STANDARD", "B30s"), ("BONEPLUS", "B70f")
"""As the scanners call them."""
SLICE_MM = 15.25
"""The thickness of the slices: about 40 of a body."""
MISSING_SLICES = (17, 18, 19)
"""Instance numbers that the archive has lost of the incomplete study."""


class Sort(StrEnum):
    """What a study is to the re-query, and so what should become of it."""

    PROCESSED = "already processed"
    ELIGIBLE = "eligible"
    TWO_SERIES = "two series to choose from"
    OTHER_MODALITY = "not eligible: another modality"
    OTHER_REGION = "not eligible: another body part"
    TOO_FEW = "not eligible: only a localiser"
    CHILD = "not eligible: too young"
    INCOMPLETE = "incomplete"
    REFUSED = "refused by the analysis"


COUNTS = {
    Sort.PROCESSED: 20,
    Sort.ELIGIBLE: 23,
    Sort.TWO_SERIES: 5,
    Sort.OTHER_MODALITY: 3,
    Sort.OTHER_REGION: 3,
    Sort.TOO_FEW: 2,
    Sort.CHILD: 2,
    Sort.INCOMPLETE: 1,
    Sort.REFUSED: 1,
}
"""How many of each; 60 together."""


NOT_WANTED = (Sort.OTHER_MODALITY, Sort.OTHER_REGION, Sort.TOO_FEW, Sort.CHILD)
DIFFERENT: dict[Sort, dict[str, object]] = {
    Sort.OTHER_MODALITY: {"Modality": "MR"},
    Sort.OTHER_REGION: {"BodyPartExamined": "HEAD"},
    # Gantry tilted: the slices are sheared against each other.
    Sort.REFUSED: {"ImageOrientationPatient": [1, 0, 0, 0, 0.978, -0.2086]},
}
"""What the headers of a sort say otherwise."""


@dataclass(frozen=True, slots=True)
class ArchivedStudy:
    """One study: what it is, and the instances that the archive has of it.

    chosen: the series that is to be analysed; empty where none is.
    """

    number: int
    sort: Sort
    instances: tuple[FileDataset, ...]
    chosen: str = ""

    @property
    def study_instance_uid(self) -> str:
        """Its UID."""
        return str(self.instances[0].StudyInstanceUID)

    @property
    def series(self) -> frozenset[str]:
        """The UIDs of its series."""
        return frozenset(str(each.SeriesInstanceUID) for each in self.instances)

    def save(self, folder: Path) -> list[Path]:
        """Write its files."""
        own = folder / f"study-{self.number:02d}"
        own.mkdir(parents=True, exist_ok=True)
        paths = []
        for index, dataset in enumerate(self.instances):
            path = own / f"{index:04d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths


def counts_of(studies: int) -> Mapping[Sort, int]:
    """How many of each sort in an archive of so many studies (12 to 60): one at the least."""
    counts = {sort: max(1, studies * count // 60) for sort, count in COUNTS.items()}
    counts[Sort.ELIGIBLE] += studies - sum(counts.values())
    return counts


def hip_archive(
    counts: Mapping[Sort, int] = COUNTS, slice_mm: float = SLICE_MM
) -> Iterator[ArchivedStudy]:
    """The studies, the sorts mixed over the days."""
    sorts = [sort for sort, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(60).permutation(len(sorts))
    for number, at in enumerate(order):
        yield archived_study(number, sorts[at], slice_mm)


def archived_study(number: int, sort: Sort, slice_mm: float = SLICE_MM) -> ArchivedStudy:
    """One study of a body of its own; from the 50th on, second scans of earlier patients."""
    spec, header = _spec(number, sort, slice_mm), _header(number, sort)
    if sort is Sort.TOO_FEW:
        return ArchivedStudy(number, sort, (localiser_instance(spec, header),))
    instances = phantom_datasets(spec, header)
    chosen = str(instances[0].SeriesInstanceUID)
    if sort is Sort.TWO_SERIES:
        kernel = BONE_KERNELS[number % len(SCANNERS)]
        instances += _bone_kernel(kernel, spec, header, instances[0])
    if sort is Sort.INCOMPLETE:
        lost = MISSING_SLICES
        instances = [each for each in instances if each.InstanceNumber not in lost]
    for each in instances:
        for keyword, value in DIFFERENT.get(sort, {}).items():
            setattr(each, keyword, value)
    return ArchivedStudy(number, sort, tuple(instances), "" if sort in NOT_WANTED else chosen)


def _spec(number: int, sort: Sort, slice_mm: float) -> PhantomSpec:
    """A body that differs in size, build and muscles; few slices of one that is not scanned."""
    chance = np.random.default_rng([60, number % 50])
    body = BodySpec(
        height_m=round(float(chance.uniform(1.50, 1.78)), 2),
        girth=round(float(chance.uniform(0.92, 1.1)), 2),
        variation=1.0,
        variation_seed=1 + number % 50,
    )
    spec = replace(SMALL_PHANTOM, body=body, seed=number)
    if sort in {Sort.OTHER_MODALITY, Sort.OTHER_REGION, Sort.CHILD}:
        return replace(spec, zones=(Zone(60.0, 595.0),))
    return replace(spec, zones=(Zone(slice_mm, 595.0 * body.height_m / 1.60),))


def _header(number: int, sort: Sort) -> PhantomHeader:
    """A patient, a day and a scanner."""
    chance = np.random.default_rng([61, number % 50])
    patient = number % 50
    scanned = FIRST_DAY + timedelta(days=int(5 * number**0.5), hours=int(chance.integers(0, 9)))
    age = 11 if sort is Sort.CHILD else int(chance.integers(24, 88))
    maker, model = SCANNERS[number % len(SCANNERS)]
    return PhantomHeader(
        patient_name=f"Hip^Patient{patient:02d}",
        patient_id=f"HIP-{patient:04d}",
        birth_date=(FIRST_DAY - timedelta(days=int(365.25 * age) + 100)).date(),
        sex="FM"[int(chance.integers(0, 2))],
        weight_kg=round(float(chance.uniform(48, 90)), 1),
        scanned=scanned,
        accession_number=f"H{number:06d}",
        study_id=f"{number}",
        study_description="CT Hip to knee" if number % 3 else "CT PELVIS UND BEINE",
        manufacturer=maker,
        model=model,
        kernel=SOFT_KERNELS[number % len(SCANNERS)],
    )


def _bone_kernel(
    kernel: str, spec: PhantomSpec, header: PhantomHeader, sister: FileDataset
) -> list[FileDataset]:
    """The same scan reconstructed with a bone kernel: another series of study and frame.

    It has the lower number, so that it is the better one to whoever does not know kernels.
    """
    sharp = replace(
        header, kernel=kernel, series_number=2, series_description="Hip to knee, bone"
    )
    datasets = phantom_datasets(replace(spec, noise_hu=40.0), sharp)
    for each in datasets:
        each.StudyInstanceUID = sister.StudyInstanceUID
        each.FrameOfReferenceUID = sister.FrameOfReferenceUID
        each.SeriesInstanceUID = derived_uid("hip archive", sister.StudyInstanceUID, "bone")
    return datasets
