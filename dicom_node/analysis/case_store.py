"""An analysed case as files, so that segmenting and publishing may be different processes.

A folder holds one case, and of its series all that results need to know:

    case.json        everything of the case but the arrays: structures, verdicts, coverage ...
    grid.npz         the geometry: positions_mm, extents_mm, row_axis, column_axis,
                     spacing_mm, rows, columns
    segments.npz     uint8 [slice, row, column], compressed
    uncertainty.npy  float32 [slice, row, column]; not there where the model has none
    series.json      where each slice came from, how pixels were turned, what was noticed
    study.dcm        the header that results take over
    volume.npy       Hounsfield units, int16 or float32 [slice, row, column]

The files of the series are read once, by the analysis; publishing reads this folder. It
appears under its name only when it is whole and on disk. Numbers come back exactly as they
were. It is a hand-over between two steps of one node, not an archive: a folder that an older
node left has no series (`load_series` answers None).
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.durable_files import whole_folder
from dicom_node.series.bounded_files import read_whole
from dicom_node.series.ct_series import CtSeries, InstanceReference, SourceSlice
from dicom_node.series.selection import ExcludedImage
from inference.geometry import Geometry, Orientation
from inference.results import (
    CaseResult,
    Coverage,
    Finding,
    JudgedBy,
    Measurement,
    Metal,
    ModelIdentity,
    Region,
    SideGrade,
    StructureResult,
    Verdict,
)
from inference.volume import Patient, Volume


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """The fields of a `CaseResult` that are not arrays, under the same names."""

    structures: tuple[StructureResult, ...]
    verdict: Verdict
    findings: tuple[Finding, ...]
    coverage: Coverage
    metal: Metal
    model: ModelIdentity
    mean_uncertainty: float | None
    mean_uncertainty_limits: tuple[float, float] | None
    grades: tuple[SideGrade, ...] = ()
    judged_by: JudgedBy | None = None


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """The fields of a `CtSeries` that are neither voxels nor header, under the same names."""

    slices: tuple[SourceSlice, ...]
    orientation: Orientation
    instances: tuple[InstanceReference, ...]
    left_out: tuple[ExcludedImage, ...]
    notes: tuple[str, ...]
    patient: Patient


_CASE: Final = TypeAdapter(CaseFacts)
_SERIES: Final = TypeAdapter(SeriesFacts)
SERIES_FILE: Final = "series.json"

LATER_FINDINGS: Final = frozenset(
    {
        Finding.AGAINST_HEADER,
        Finding.NO_KNEE,
        Finding.FEMUR_LOST,
        Finding.REGION_UNKNOWN,
        Finding.SAMPLES_DISAGREE,
    }
)
"""Those that the version before does not know."""


def save_case(folder: Path, series: CtSeries, case: CaseResult) -> None:
    """Write a case and its series into `folder`, replacing what is there.

    Raises:
        OSError: the disk is full or fails.
    """
    of_case = CaseFacts(**{each.name: getattr(case, each.name) for each in fields(CaseFacts)})
    of_series = SeriesFacts(
        **{each.name: getattr(series, each.name) for each in fields(SeriesFacts)}
    )
    grid = case.geometry
    with whole_folder(folder) as part:
        (part / "case.json").write_bytes(_in_former_form_too(_CASE.dump_json(of_case)))
        (part / SERIES_FILE).write_bytes(_SERIES.dump_json(of_series, indent=1))
        np.savez(
            part / "grid.npz", **{each.name: getattr(grid, each.name) for each in fields(grid)}
        )
        np.savez_compressed(part / "segments.npz", segments=case.segments)
        if case.uncertainty is not None:
            np.save(part / "uncertainty.npy", case.uncertainty)
        np.save(part / "volume.npy", series.volume.hu)
        _write_header(part / "study.dcm", series.header)


def load_case(folder: Path) -> CaseResult:
    """The case that `save_case` wrote."""
    facts = _CASE.validate_json(_in_present_form((folder / "case.json").read_bytes()))
    with np.load(folder / "segments.npz") as arrays:
        segments = arrays["segments"]
    uncertainty = folder / "uncertainty.npy"
    return CaseResult(
        geometry=_load_geometry(folder / "grid.npz"),
        segments=segments,
        uncertainty=np.load(uncertainty) if uncertainty.exists() else None,
        **{each.name: getattr(facts, each.name) for each in fields(facts)},
    )


def load_series(folder: Path) -> CtSeries | None:
    """The series of a case.

    None where an older node wrote the case, without its series.
    """
    if not (folder / SERIES_FILE).exists():
        return None
    facts = _SERIES.validate_json((folder / SERIES_FILE).read_bytes())
    hu = np.load(folder / "volume.npy")
    return CtSeries(
        volume=Volume(hu, _load_geometry(folder / "grid.npz")),
        header=_read_header(folder / "study.dcm"),
        **{each.name: getattr(facts, each.name) for each in fields(facts)},
    )


def _in_former_form_too(case: bytes) -> bytes:
    """A case that a node of the version before can publish too.

    That one reads the numbers of a structure beside its verdict, and knows no
    `LATER_FINDINGS`: what they stand for is in the coverage's words too. Nor does it know
    `Region.UNKNOWN`, and takes the scan for a part. It passes over
    `grades`, a key of its own, and so publishes the case without them. It may be at work on
    the same database while nodes are updated one by one, or again afterwards.
    """
    facts = json.loads(case)
    for structure in facts["structures"]:
        structure.update(structure["measured"])
    shown = facts["coverage"]
    if shown["region"] == Region.UNKNOWN:
        shown["told_region"], shown["region"] = shown["region"], Region.PARTIAL
    for judged in (facts, *facts["structures"]):
        if set(judged["findings"]) & LATER_FINDINGS:
            judged["all_findings"] = judged["findings"]
            judged["findings"] = [
                one for one in judged["findings"] if one not in LATER_FINDINGS
            ]
    return json.dumps(facts, indent=1).encode()


def _in_present_form(case: bytes) -> bytes:
    """A case as it is written now, also where the version before wrote it.

    That one put the numbers of a structure beside its verdict. A node that is updated
    between the two steps has such a case, once.
    """
    facts = json.loads(case)
    names = [each.name for each in fields(Measurement)]
    for structure in facts["structures"]:
        if "measured" not in structure:
            numbers = {name: structure.pop(name) for name in names if name in structure}
            structure["measured"] = numbers
    shown = facts["coverage"]
    shown["region"] = shown.pop("told_region", shown["region"])
    for judged in (facts, *facts["structures"]):
        judged["findings"] = judged.pop("all_findings", judged["findings"])
    return json.dumps(facts).encode()


def _load_geometry(path: Path) -> Geometry:
    """The grid, with its plain numbers as Python's own."""
    with np.load(path) as grid:
        row_mm, column_mm = grid["spacing_mm"].tolist()
        return Geometry(
            positions_mm=grid["positions_mm"],
            extents_mm=grid["extents_mm"],
            row_axis=grid["row_axis"],
            column_axis=grid["column_axis"],
            spacing_mm=(row_mm, column_mm),
            rows=int(grid["rows"]),
            columns=int(grid["columns"]),
        )


def _write_header(path: Path, header: Dataset) -> None:
    """A header as a DICOM file; values go over as they are, as in `readable_header`."""
    kept = Dataset(header)
    kept.preamble = b"\0" * 128
    kept.file_meta = FileMetaDataset()
    kept.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with pydicom_config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept.save_as(path, enforce_file_format=False)


def _read_header(path: Path) -> Dataset:
    """A header that `_write_header` wrote, with every value taken apart."""
    # A warning of the library quotes the value it is about.
    with pydicom_config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = Dataset(read_whole(path))
        header.walk(lambda _dataset, _element: None)
        return header
