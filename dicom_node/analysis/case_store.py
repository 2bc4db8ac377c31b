"""A case result as files, so that segmenting and publishing may be different processes.

A folder holds one case:

    case.json        everything but the arrays: structures, verdicts, coverage, metal, model
    grid.npz         the geometry: positions_mm, extents_mm, row_axis, column_axis,
                     spacing_mm, rows, columns
    segments.npz     uint8 [slice, row, column], compressed
    uncertainty.npy  float32 [slice, row, column]

The folder appears under its name only when it is whole. Numbers come back exactly as they
were. It is a hand-over between two steps of one node of one version, not an archive.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter

from inference.geometry import Geometry
from inference.results import (
    CaseResult,
    Coverage,
    Finding,
    Metal,
    ModelIdentity,
    StructureResult,
    Verdict,
)


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


_FACTS: Final = TypeAdapter(CaseFacts)


def save_case(folder: Path, case: CaseResult) -> None:
    """Write a case into `folder`, replacing what is there."""
    facts = CaseFacts(**{each.name: getattr(case, each.name) for each in fields(CaseFacts)})
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        (part / "case.json").write_bytes(_FACTS.dump_json(facts, indent=1))
        grid = case.geometry
        np.savez(
            part / "grid.npz", **{each.name: getattr(grid, each.name) for each in fields(grid)}
        )
        np.savez_compressed(part / "segments.npz", segments=case.segments)
        np.save(part / "uncertainty.npy", case.uncertainty)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load_case(folder: Path) -> CaseResult:
    """The case that `save_case` wrote."""
    facts = _FACTS.validate_json((folder / "case.json").read_bytes())
    with np.load(folder / "segments.npz") as arrays:
        segments = arrays["segments"]
    return CaseResult(
        geometry=_load_geometry(folder / "grid.npz"),
        segments=segments,
        uncertainty=np.load(folder / "uncertainty.npy"),
        **{each.name: getattr(facts, each.name) for each in fields(facts)},
    )


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
