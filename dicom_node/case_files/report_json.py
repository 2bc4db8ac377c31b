"""report.json: everything a case folder says in figures, for scripts.

The classes below are the format. The published JSON Schema, `report.schema.json`, is made
from them (`python -m dicom_node.case_files.report_json`, written into it); a test keeps the two
together. Units are in the names. Nothing in a report names the patient.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_type_hints

from pydantic import TypeAdapter

from inference.quality.calibration import Calibration
from inference.results import (
    QUANTITIES,
    CaseResult,
    Chest,
    Coverage,
    Finding,
    JudgedBy,
    LowerLegs,
    Measurement,
    Metal,
    ModelIdentity,
    Region,
    Score,
    SideGrade,
    StructureResult,
    Verdict,
)
from inference.structures import Segment, Side

REPORT_VERSION: Final = 1
SCHEMA_ID: Final = "urn:msk-node:report:1"


@dataclass(frozen=True, slots=True)
class Tool:
    """What wrote the report."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class LeftOutImage:
    """A DICOM image that did not count, and why; no UID for a file that is not DICOM."""

    sop_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Input:
    """What was analysed.

    slice_positions_mm: along the normal, from feet to head. slice_extents_mm: how much of
    the body each slice stands for. spacing_mm: between rows, between columns, in the
    patient frame. notes: what was noticed and tolerated.
    """

    kind: Literal["dicom", "image file"]
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    slice_positions_mm: tuple[float, ...]
    slice_extents_mm: tuple[float, ...]
    height_m: float | None
    series_instance_uid: str | None
    notes: tuple[str, ...]
    left_out: tuple[LeftOutImage, ...]


@dataclass(frozen=True, slots=True)
class NiftiGrid:
    """How labels.nii.gz and uncertainty.nii.gz lie to the input.

    shown_slices: only where the input's slices are unevenly spaced, which NIfTI cannot
    hold: for each slice of the files, from feet to head, the number of the input slice
    (from 0, likewise) that it repeats.
    """

    same_as_input: bool
    words: str
    shown_slices: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing was analysed: a code for scripts, words for people."""

    code: str
    words: str


@dataclass(frozen=True, slots=True)
class UncertaintyLimits:
    """Above these a segmentation counts as inaccurate (k = -2) or failed (k = -3)."""

    inaccurate: float
    failed: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The score that a verdict rests on: the higher, the worse; see docs/calibration.md.

    score: "disagreement" is 1 - pairwise_dice. value: null where there is none.
    """

    score: Score
    value: float | None
    limits: UncertaintyLimits


if TYPE_CHECKING:
    Measured: TypeAlias = Any
else:
    _TYPES: Final = get_type_hints(Measurement)
    Measured = make_dataclass(
        "Measured",
        [
            ("number", int),
            ("key", str),
            ("structure", str),
            ("name", str),
            ("side", Side | None),
            ("verdict", Verdict),
            ("findings", tuple[Finding, ...]),
            ("voxel_count", int),
            *((name, _TYPES[name]) for name in QUANTITIES),
            ("uncertainty_limits", UncertaintyLimits | None),
            ("judged_by", Judged | None, None),
        ],
        namespace={
            "__doc__": """One of the 43 segments. `number` is its value in labels.nii.gz.

    Numbers are null where they would mislead. Spreads are over the Monte Carlo samples.
    """
        },
        frozen=True,
        slots=True,
    )
# Every quantity of a `Measurement` under its own name: none can be forgotten here.


@dataclass(frozen=True, slots=True)
class Shown:
    """What of hip to knee the scan shows; keys of the segments that its border cuts.

    lower_legs: null where the scan does not go on below the knee.
    chest: null where it does not go on above the abdomen.
    stump: keys of the segments that are not whole because their femur ends without a knee.
    lost: keys of the femora whose segmentation ends above the knee.
    against_header: the body does not lie as the header says, so that no side is believed.
    """

    region: Region
    words: str
    cut: tuple[str, ...]
    lower_legs: LowerLegs | None
    chest: Chest | None
    stump: tuple[str, ...]
    lost: tuple[str, ...]
    against_header: bool


@dataclass(frozen=True, slots=True)
class MetalFound:
    """Metal in the body; keys of the segments that it lies in, and of those it spoils.

    outside_cm3: metal on the skin, in clothes or in the table.
    """

    volume_cm3: float
    sides: tuple[Side, ...]
    held_by: tuple[str, ...]
    spoiled: tuple[str, ...]
    outside_cm3: float


@dataclass(frozen=True, slots=True)
class CalibratedOn:
    """What the quality gate's limits were fitted on."""

    data_set: str
    fitted_on: str


@dataclass(frozen=True, slots=True)
class Case:
    """The result of an analysis.

    calibrated_on: null where the bundle has no calibration; verdicts then rest on no score.
    judged_by: the score that the verdict rests on, averaged over the structures.
    grades: the disease status of both sides, right first, each with a grade or the reason why
        it has none; empty where no grader was asked.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    words: str
    mean_uncertainty: float | None
    mean_uncertainty_limits: UncertaintyLimits | None
    calibrated_on: CalibratedOn | None
    coverage: Shown
    metal: MetalFound
    model: ModelIdentity
    structures: tuple[Measured, ...]
    grades: tuple[SideGrade, ...] = ()
    judged_by: Judged | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A case folder in figures. Exactly one of `case` and `refused` is there."""

    report_version: Literal[1]
    tool: Tool
    use: Literal["research use only"]
    input: Input | None
    nifti_grid: NiftiGrid | None
    refused: Refused | None
    case: Case | None


_REPORT: Final = TypeAdapter(Report)


def report_json(report: Report) -> bytes:
    """The report as it is written."""
    return _REPORT.dump_json(report, indent=1) + b"\n"


def report_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **_REPORT.json_schema(mode="serialization"),
    }


def case_of(case: CaseResult, calibration: Calibration | None, words: str) -> Case:
    """The case as a report gives it."""
    return Case(
        verdict=case.verdict,
        findings=case.findings,
        words=words,
        mean_uncertainty=case.mean_uncertainty,
        mean_uncertainty_limits=_limits(case.mean_uncertainty_limits),
        calibrated_on=calibrated_on(calibration),
        coverage=_shown(case.coverage),
        metal=_metal(case.metal),
        model=case.model,
        structures=tuple(_measured(result) for result in case.structures),
        grades=case.grades,
        judged_by=_judged(case.judged_by),
    )


def _shown(coverage: Coverage) -> Shown:
    return Shown(
        region=coverage.region,
        words=coverage.words,
        cut=_keys(coverage.cut),
        lower_legs=coverage.lower_legs,
        chest=coverage.chest,
        stump=_keys(coverage.stump),
        lost=_keys(coverage.lost),
        against_header=coverage.against_header,
    )


def _metal(metal: Metal) -> MetalFound:
    return MetalFound(
        volume_cm3=metal.volume_cm3,
        sides=metal.sides,
        held_by=_keys(metal.held_by),
        spoiled=_keys(metal.spoiled),
        outside_cm3=metal.outside_cm3,
    )


def _measured(result: StructureResult) -> Measured:
    segment = result.segment
    return Measured(
        number=segment.number,
        key=segment.key,
        structure=segment.structure.abbreviation,
        name=segment.structure.name,
        side=segment.side,
        verdict=result.verdict,
        findings=result.findings,
        voxel_count=result.measured.voxel_count,
        **{name: getattr(result.measured, name) for name in QUANTITIES},
        uncertainty_limits=_limits(result.uncertainty_limits),
        judged_by=_judged(result.judged_by),
    )


def _limits(limits: tuple[float, float] | None) -> UncertaintyLimits | None:
    return UncertaintyLimits(*limits) if limits else None


def _judged(by: JudgedBy | None) -> Judged | None:
    return Judged(by.score, by.value, UncertaintyLimits(*by.limits)) if by else None


def calibrated_on(calibration: Calibration | None) -> CalibratedOn | None:
    """What a bundle's limits were fitted on; None of one without."""
    if calibration is None:
        return None
    return CalibratedOn(calibration.data_set, calibration.fitted_on.isoformat())


def _keys(segments: Sequence[Segment]) -> tuple[str, ...]:
    return tuple(segment.key for segment in segments)


if __name__ == "__main__":
    print(json.dumps(report_schema(), indent=1))  # noqa: T201 - the schema is the output
