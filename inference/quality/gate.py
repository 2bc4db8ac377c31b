"""The quality gate: what may be done with each structure's numbers, and with the case.

Where the body does not lie as the header says no side is believed: every structure failed,
without a number. Else per structure, worst reason first:

1. *absent*: not found. Nothing to judge.
2. *spoiled by metal*, then *truncated* (by the scan's border, or by an amputation): the
   numbers would mislead, whatever the uncertainty.
3. *failed* or *inaccurate*: the score that the bundle's calibration rests on (its samples'
   disagreement, or the mean uncertainty inside the label: `results.Score`) exceeds the limit
   for k = -3 or k = -2 (study, Methods, "failure detection"). A volume or mean HU outside
   its plausible range makes it inaccurate, both together failed. A femur whose
   segmentation ends above the knee failed.
4. *not judged*: the model has no measure of its uncertainty, or not the score that the
   calibration rests on, so that nothing speaks against the structure, and nothing for it.
5. *accepted*.

What a model was not made to find is *not provided*, and counts nowhere. A bundle without
calibration has no limits: then only the plausibility ranges decide, and the case says so
through `uncertainty_limits` that are None.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from inference.quality.calibration import Calibration, PlausibleRange, StructureCalibration
from inference.results import (
    Coverage,
    Finding,
    JudgedBy,
    Measurement,
    Metal,
    Region,
    Score,
    StructureResult,
    Verdict,
)
from inference.structures import Group, Side

FLAGGED_SHARE: Final = 0.25
"""A case fails when more than this share of its judged structures failed, and is inaccurate
when more than this share is flagged at all."""

FLAGGED_AT_LEAST: Final = 3
"""... and no fewer than these: a partial scan may leave only a few to judge."""

REMNANTS: Final = 2
"""So many muscles of a thigh may be found where there is no leg."""

FINDINGS: Final = MappingProxyType(
    {
        Score.UNCERTAINTY: Finding.UNCERTAIN,
        Score.DISAGREEMENT: Finding.SAMPLES_DISAGREE,
        Score.VOLUME_CV: Finding.SAMPLES_DISAGREE,
    }
)
"""The reason where a score is above its limit."""

_WEAK: Final = tuple((reason, Finding.WEAK_FLAG) for reason in FINDINGS.values())
_FLAGGED: Final = (Verdict.INACCURATE, Verdict.FAILED)
_COUNTED: Final = (Verdict.ACCEPTED, Verdict.NOT_JUDGED, *_FLAGGED)


def judge_structure(
    measured: Measurement,
    calibration: Calibration | None,
    coverage: Coverage,
    metal: Metal,
) -> StructureResult:
    """One structure's verdict, with the numbers that would mislead taken out."""
    segment = measured.segment
    abbreviation = segment.structure.abbreviation
    limits = calibration.structures.get(abbreviation) if calibration else None
    plausible = calibration.plausible.get(abbreviation) if calibration else None
    if coverage.against_header:
        bare = Measurement(segment, 0)
        return StructureResult(bare, Verdict.FAILED, (Finding.AGAINST_HEADER,))
    if not measured.voxel_count:
        return StructureResult(measured, Verdict.ABSENT, (Finding.NOT_FOUND,))
    spoiled, cut = segment in metal.spoiled, segment in coverage.cut
    of_stump = segment in coverage.stump
    whole = not (spoiled or cut or of_stump)
    verdict, findings = _gate(measured, limits, plausible, whole=whole)
    if segment in coverage.lost:
        verdict, findings = Verdict.FAILED, (Finding.FEMUR_LOST, *findings)
    if of_stump:
        verdict, findings = Verdict.TRUNCATED, (Finding.NO_KNEE, *findings)
    if cut:
        verdict, findings = Verdict.TRUNCATED, (Finding.CUT_BY_SCAN, *findings)
    if spoiled:
        verdict, findings = Verdict.SPOILED, (Finding.METAL_INSIDE, *findings)
    judged = StructureResult(
        measured,
        verdict,
        findings,
        limits.uncertainty_limits if limits else None,
        JudgedBy(limits.gate, limits.gate.of(measured), limits.judging.limits)
        if limits
        else None,
    )
    return judged.withhold()


def judge_case(
    structures: Sequence[StructureResult],
    calibration: Calibration | None,
    coverage: Coverage,
    metal: Metal,
) -> tuple[Verdict, tuple[Finding, ...]]:
    """The verdict on a case: the worst reason that applies; and all reasons as findings.

    Failed: the body does not lie as the header says, nothing of the method's anatomy is
    found, the average of the score that the calibration rests on is above its limit for
    k = -3, or more than `FLAGGED_SHARE` of the structures failed. Spoiled: metal reaches a
    structure. Truncated: only part of hip to knee is shown, a femur ends without a knee, or
    more than `FLAGGED_SHARE` of the structures found are truncated. Inaccurate: that average
    above its limit for k = -2, more than `FLAGGED_SHARE` flagged, or the segmentation of a
    femur ends above the knee. Not judged: a structure is not, or the model does not provide
    the bones that would tell what the scan shows.
    """
    if coverage.against_header:
        return Verdict.FAILED, (Finding.AGAINST_HEADER,)
    if coverage.region is Region.ELSEWHERE:
        return Verdict.FAILED, (Finding.WRONG_REGION,)
    gate, findings = _gate_case(structures, judged_by(structures, calibration), coverage)
    reasons = [gate]
    if metal.volume_cm3 > 0:
        findings.append(Finding.METAL_PRESENT)
        reasons.append(Verdict.SPOILED if metal.spoiled else Verdict.ACCEPTED)
    for applies, finding, verdict in (
        (coverage.region is Region.PARTIAL, Finding.NOT_HIP_TO_KNEE, Verdict.TRUNCATED),
        (coverage.region is Region.UNKNOWN, Finding.REGION_UNKNOWN, Verdict.NOT_JUDGED),
        (coverage.stump, Finding.NO_KNEE, Verdict.TRUNCATED),
        (coverage.lost, Finding.FEMUR_LOST, Verdict.INACCURATE),
        (coverage.cut, Finding.CUT_BY_SCAN, Verdict.ACCEPTED),
        (coverage.lower_legs, Finding.BELOW_KNEE_LEFT_OUT, Verdict.ACCEPTED),
        (coverage.chest, Finding.CHEST_LEFT_OUT, Verdict.ACCEPTED),
    ):
        if applies:
            findings.append(finding)
            reasons.append(verdict)
    if _is_mostly_cut(structures):
        reasons.append(Verdict.TRUNCATED)
    return max(reasons, key=_SEVERITY.index), tuple(findings)


def mean_uncertainty(structures: Sequence[StructureResult]) -> float | None:
    """Average of the uncertainty of all structures found (the study's average)."""
    return mean_score(structures, Score.UNCERTAINTY)


def mean_score(structures: Sequence[StructureResult], score: Score) -> float | None:
    """Average of a score of all structures that have one."""
    each = [score.of(s.measured) for s in structures]
    found = [value for value in each if value is not None]
    return sum(found) / len(found) if found else None


def judged_by(
    structures: Sequence[StructureResult], calibration: Calibration | None
) -> JudgedBy | None:
    """The average that a case is judged by, and its limits; None where not calibrated."""
    if calibration is None or calibration.average is None:
        return None
    average = calibration.average
    return JudgedBy(average.gate, mean_score(structures, average.gate), average.judging.limits)


def average_limits(calibration: Calibration | None) -> tuple[float, float] | None:
    """Limits (inaccurate, failed) of the average uncertainty, where calibrated."""
    if calibration is None or calibration.average is None:
        return None
    return calibration.average.uncertainty_limits


_SEVERITY: Final = (
    Verdict.ACCEPTED,
    Verdict.NOT_JUDGED,
    Verdict.INACCURATE,
    Verdict.TRUNCATED,
    Verdict.SPOILED,
    Verdict.FAILED,
)


def _gate(
    measured: Measurement,
    limits: StructureCalibration | None,
    plausible: PlausibleRange | None,
    *,
    whole: bool,
) -> tuple[Verdict, tuple[Finding, ...]]:
    """Verdict and findings for one structure, by its score and plausibility.

    `whole`: the structure is neither cut nor spoiled, so its volume and mean HU can be
    compared with those of others.
    """
    findings = []
    verdict = Verdict.ACCEPTED if measured.uncertainty is not None else Verdict.NOT_JUDGED
    if limits is not None and measured.uncertainty is not None:
        value = limits.gate.of(measured)
        verdict = _above(value, limits.judging.limits)
        if verdict in _FLAGGED:
            findings.append(FINDINGS[limits.gate])
            if limits.judging.weak:
                findings.append(Finding.WEAK_FLAG)
    if plausible is not None and whole:
        odd = []
        if _outside(measured.volume_cm3, plausible.volume_cm3):
            odd.append(Finding.VOLUME_IMPLAUSIBLE)
        if _outside(measured.mean_hu, plausible.mean_hu):
            odd.append(Finding.HU_IMPLAUSIBLE)
        by_oddity = (Verdict.ACCEPTED, Verdict.INACCURATE, Verdict.FAILED)[len(odd)]
        verdict = max(verdict, by_oddity, key=_SEVERITY.index)
        findings += odd
    return verdict, tuple(findings)


def _above(value: float | None, limits: tuple[float, float]) -> Verdict:
    """Of a score; what has none is not judged."""
    if value is None:
        return Verdict.NOT_JUDGED
    inaccurate, failed = limits
    if value > failed:
        return Verdict.FAILED
    return Verdict.INACCURATE if value > inaccurate else Verdict.ACCEPTED


def _outside(value: float | None, limits: tuple[float, float] | None) -> bool:
    return value is not None and limits is not None and not limits[0] <= value <= limits[1]


def _gate_case(
    structures: Sequence[StructureResult],
    judged_by: JudgedBy | None,
    coverage: Coverage,
) -> tuple[Verdict, list[Finding]]:
    """Verdict and findings from the structures together, apart from what is shown."""
    verdict, findings = Verdict.ACCEPTED, []
    if judged_by is not None and judged_by.value is not None:
        verdict = _above(judged_by.value, judged_by.limits)
        if verdict is not Verdict.ACCEPTED:
            findings.append(FINDINGS[judged_by.score])
    missing = _missing(structures) if coverage.region is Region.HIP_TO_KNEE else 0
    if missing:
        findings.append(Finding.NOT_FOUND)
    if any(s.verdict is Verdict.NOT_JUDGED for s in structures):
        verdict = max(verdict, Verdict.NOT_JUDGED, key=_SEVERITY.index)
    judged = [s for s in structures if s.verdict in _COUNTED and not _only_weak(s)]
    failed = missing + sum(s.verdict is Verdict.FAILED for s in judged)
    flagged = missing + sum(s.verdict in _FLAGGED for s in judged)
    allowed = FLAGGED_SHARE * (len(judged) + missing)
    if flagged > allowed and flagged >= FLAGGED_AT_LEAST:
        by_share = Verdict.FAILED if failed > allowed else Verdict.INACCURATE
        verdict = max(verdict, by_share, key=_SEVERITY.index)
        findings += _common_reasons(judged, findings)
    return verdict, findings


def _is_mostly_cut(structures: Sequence[StructureResult]) -> bool:
    """True if so many of the structures found are truncated that the case is not whole."""
    nothing_there = (Verdict.ABSENT, Verdict.NOT_PROVIDED)
    found = sum(s.verdict not in nothing_there for s in structures)
    cut = sum(s.verdict is Verdict.TRUNCATED for s in structures)
    return cut > FLAGGED_SHARE * found and cut >= FLAGGED_AT_LEAST


def _missing(structures: Sequence[StructureResult]) -> int:
    """Structures not found on a side that is otherwise there.

    Where a side has neither femur nor, but for two at most, the muscles of a thigh, the leg
    is not there: they are not missing.
    """
    missing = 0
    for side in (*Side, None):
        of_side = [
            s
            for s in structures
            if s.segment.side is side and s.verdict is not Verdict.NOT_PROVIDED
        ]
        own = [s.verdict is Verdict.ABSENT for s in of_side if not _of_leg(s, of_side)]
        if sum(own) * 2 < len(own):
            missing += sum(own)
    return missing


def _of_leg(structure: StructureResult, of_side: Sequence[StructureResult]) -> bool:
    """True if a structure belongs to a leg that is not there."""
    leg = [s for s in of_side if _is_of_leg(s)]
    there = [s for s in leg if s.verdict is not Verdict.ABSENT]
    femur = any(s.segment.structure.group is Group.BONE for s in there)
    return structure in leg and not femur and len(there) <= REMNANTS


def _is_of_leg(structure: StructureResult) -> bool:
    """True for the femur and the muscles of the thigh."""
    of = structure.segment.structure
    return of.abbreviation == "FEMUR" or of.group is Group.THIGH_MUSCLE


def _only_weak(structure: StructureResult) -> bool:
    """True if flagged by nothing but a score that is known to tell little."""
    return structure.findings in _WEAK


def _common_reasons(
    judged: Sequence[StructureResult], known: Sequence[Finding]
) -> list[Finding]:
    """Reasons of the flagged structures, in the order of `Finding`, that are not known."""
    reasons = {finding for structure in judged for finding in structure.findings}
    reasons -= {Finding.WEAK_FLAG, *known}
    return [finding for finding in Finding if finding in reasons]
