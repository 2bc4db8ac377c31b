"""A small case with its source images: boxes for structures, worked numbers for results.

The boxes lie on a 64 x 64 x 12 grid of 4 x 4 x 5 mm voxels (0.08 cm3 each), the patient's
right in the low columns. Everything not listed in `BOXES` is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.results.case_facts import PublishContext
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import ResultObject
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from inference.geometry import Geometry
from inference.results import (
    CaseResult,
    Composition,
    Coverage,
    Finding,
    Measurement,
    Metal,
    ModelIdentity,
    Region,
    Spread,
    StructureResult,
    Verdict,
)
from inference.structures import BY_KEY, SEGMENTS, Segment
from support.ct import AXIAL, ct_slice, save

SHAPE = (12, 64, 64)
SPACING_MM = (4.0, 4.0)
OFFSETS_MM = tuple(5.0 * index for index in range(12))
UNEVEN: dict[str, Any] = {
    "offsets_mm": (0.0, 6.0, 12.0, 18.0, 22.0, 24.0, 26.0, 28.0, 29.5, 30.5, 31.5, 32.5),
    "thickness_mm": (6.0, 6.0, 6.0, 6.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0),
}
"""Of touching slices, for `source_datasets`."""

BOXES = {
    # segment key: slices, rows, columns
    "FEMUR_R": (slice(1, 9), slice(28, 34), slice(12, 18)),
    "FEMUR_L": (slice(1, 9), slice(28, 34), slice(46, 52)),
    "SACRUM": (slice(8, 11), slice(40, 46), slice(28, 36)),
    "GMED_R": (slice(6, 11), slice(22, 27), slice(10, 20)),
    "GMED_L": (slice(6, 11), slice(22, 27), slice(44, 54)),
    "OE_R": (slice(5, 7), slice(34, 38), slice(20, 24)),
    "BF_L": (slice(0, 5), slice(38, 44), slice(46, 52)),
    "TFL_R": (slice(9, 12), slice(20, 22), slice(6, 9)),
    "VLVI_R": (slice(1, 6), slice(24, 28), slice(4, 12)),
}
MODEL = ModelIdentity(
    name="compact",
    version="1.0",
    weights_sha256="5f" * 32,
    samples=10,
    seed=20_211,
    device="cpu",
)
CREATED = datetime(2026, 11, 22, 15, 4, 5, tzinfo=timezone(timedelta(hours=9)))
CONTEXT = PublishContext(
    settings_hash="a1" * 32,
    created=CREATED,
    device_observer_uid="2.25.1001",
    software_version="0.1.0",
    station_name="MSKNODE1",
    closed_by="no image for 60 s",
)
RECORD = frozenset({ResultKind.SEG, ResultKind.SR})
FLAGGED = RECORD | {ResultKind.SC, ResultKind.KO}
"""What a destination gets by default: of an accepted case, and of one that is not."""


def source_datasets(
    *,
    offsets_mm: tuple[float, ...] = OFFSETS_MM,
    orientation: tuple[float, ...] = AXIAL,
    origin_mm: tuple[float, float, float] = (-128.0, -128.0, 0.0),
    thickness_mm: Sequence[float] = (),
    **elements: Any,
) -> list[Dataset]:
    """A plausible CT series with fixed UIDs; `elements` set or (with None) delete."""
    usual: dict[str, Any] = {
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientID": "MSK0001",
        "PatientBirthDate": "19510203",
        "PatientSex": "F",
        "PatientSize": "1.58",
        "PatientPosition": "HFS",
        "StudyID": "77",
        "StudyDate": "20261120",
        "StudyTime": "101500",
        "StudyDescription": "CT hip to knee",
        "AccessionNumber": "A-4711",
        "ReferringPhysicianName": "Suzuki^Hanako",
        "SeriesNumber": 3,
        "SeriesDescription": "Hip to knee 5 mm",
        "Manufacturer": "Scanner Works",
        "ManufacturerModelName": "Spiral 64",
        "StationName": "CT2",
    }
    # None deletes what `ct_slice` sets; of what is only usual here it says "leave out".
    only_here = usual.keys() - {"PatientName", "PatientID"}
    given = {
        keyword: value
        for keyword, value in {**usual, **elements}.items()
        if value is not None or keyword not in only_here
    }
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        ct_slice(
            np.asarray(origin_mm) + offset * normal,
            orientation=orientation,
            hu=np.full(SHAPE[1:], 40.0),
            spacing_mm=SPACING_MM,
            SOPInstanceUID=f"1.2.826.0.1.3680043.8.498.7.{number}",
            InstanceNumber=number,
            **{"SliceThickness": thickness, **given},
        )
        for number, (offset, thickness) in enumerate(
            zip(offsets_mm, thickness_mm or repeat(5.0, len(offsets_mm)), strict=True), start=1
        )
    ]


def small_series(folder: Path, **options: Any) -> CtSeries:
    """`source_datasets`, written to a folder and read as the node reads a series."""
    return read_series(save(source_datasets(**options), folder))


def box_labels() -> NDArray[np.uint8]:
    """uint8 [slice, row, column] in the patient frame: the boxes by segment number."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for key, box in BOXES.items():
        labels[box] = BY_KEY[key].number
    return labels


def small_case(
    geometry: Geometry,
    *,
    segments: NDArray[np.uint8] | None = None,
    verdict: Verdict = Verdict.INACCURATE,
    **changes: Any,
) -> CaseResult:
    """A case of the boxes: OE right inaccurate, TFL right truncated, the rest accepted."""
    labels = box_labels() if segments is None else segments
    case = CaseResult(
        geometry=geometry,
        segments=labels,
        uncertainty=np.zeros(geometry.shape, dtype=np.float32),
        structures=tuple(_result(segment, labels, geometry) for segment in SEGMENTS),
        verdict=verdict,
        findings=(Finding.NOT_HIP_TO_KNEE,) if verdict is not Verdict.ACCEPTED else (),
        coverage=Coverage(
            region=Region.PARTIAL,
            cut=(BY_KEY["TFL_R"],),
            words="the scan shows the thigh without the knee",
        ),
        metal=Metal(),
        model=MODEL,
        mean_uncertainty=4.1e-4,
        mean_uncertainty_limits=(6e-4, 9e-4),
    )
    return replace(case, **changes)


def _result(segment: Segment, labels: NDArray[np.uint8], geometry: Geometry) -> StructureResult:
    count = int((labels == segment.number).sum())
    if not count:
        return StructureResult(Measurement(segment, 0), Verdict.ABSENT, (Finding.NOT_FOUND,))
    per_slice = (labels == segment.number).sum(axis=(1, 2))
    volume_cm3 = float(per_slice @ geometry.voxel_volumes_mm3) / 1000
    measured = Measurement(
        segment=segment,
        voxel_count=count,
        volume_cm3=volume_cm3,
        volume_spread_cm3=Spread(volume_cm3 - 0.75, volume_cm3 + 0.5),
        normalised_volume_cm3_per_m2=volume_cm3 / 1.58**2,
        mean_hu=40.0 + segment.number / 10,
        mean_hu_spread=Spread(39.0, 45.0),
        composition=Composition(lean=0.75, mixed=0.2, fat=0.05),
        uncertainty=3.456e-4,
        pairwise_dice=0.9125,
        volume_cv=0.0125,
    )
    whole = StructureResult(measured, Verdict.ACCEPTED, uncertainty_limits=(5e-4, 8e-4))
    if segment.key == "OE_R":
        findings = (Finding.UNCERTAIN, Finding.WEAK_FLAG)
        return with_numbers(
            replace(whole, verdict=Verdict.INACCURATE, findings=findings), uncertainty=6.2e-4
        )
    if segment.key == "TFL_R":
        findings = (Finding.CUT_BY_SCAN,)
        return replace(whole, verdict=Verdict.TRUNCATED, findings=findings).withhold()
    return whole


def with_numbers(result: StructureResult, **numbers: Any) -> StructureResult:
    """The same verdict on other numbers."""
    return replace(result, measured=replace(result.measured, **numbers))


def of_kind(objects: tuple[ResultObject, ...], kind: str) -> Dataset:
    """The dataset of the one object of a kind."""
    found = [one.dataset for one in objects if one.kind == kind]
    assert len(found) == 1, [one.kind for one in objects]
    return found[0]
