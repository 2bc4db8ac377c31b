"""Words and figures on the pages, and the colours of verdicts on dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from inference.pictures.canvas import NO_BREAK, Colour
from inference.results import (
    CaseResult,
    Finding,
    Metal,
    Score,
    StructureResult,
    Uncertainty,
    Verdict,
)
from inference.structures import Segment, Side

VERDICT_COLOURS: Final[dict[Verdict, Colour]] = {
    Verdict.ACCEPTED: (96, 200, 120),
    Verdict.INACCURATE: (246, 190, 70),
    Verdict.FAILED: (240, 92, 84),
    Verdict.TRUNCATED: (110, 170, 245),
    Verdict.SPOILED: (214, 130, 240),
    Verdict.ABSENT: (160, 164, 172),
    Verdict.NOT_JUDGED: (226, 226, 232),
    Verdict.NOT_PROVIDED: (160, 164, 172),
}
"""Never alone: the verdict's word stands in its colour."""


def made_by(case: CaseResult) -> str:
    """The model, and what the page is for."""
    model = case.model
    return f"{model.name} {model.version}, {model.doubt_words}. Research use only."


def case_uncertainty(case: CaseResult) -> str:
    """The average that the case is judged by, with its limits, in words."""
    if case.model.uncertainty is Uncertainty.NONE:
        return "the model has no measure of its uncertainty"
    if case.mean_uncertainty is None:
        return "nothing measured" if case.coverage.against_header else "nothing found"
    by = case.judged_by
    if by is not None and by.score is Score.DISAGREEMENT and by.value is not None:
        inaccurate, failed = (1 - limit for limit in by.limits)
        limits = f"(inaccurate < {inaccurate:.2f}, failed < {failed:.2f})"
        return f"mean Dice between samples {1 - by.value:.2f} {limits}"
    value = f"mean uncertainty {case.mean_uncertainty:.1e}"
    if case.mean_uncertainty_limits is None:
        return f"{value} (not calibrated)"
    inaccurate, failed = case.mean_uncertainty_limits
    return f"{value} (inaccurate > {inaccurate:.1e}, failed > {failed:.1e})"


def case_reasons(case: CaseResult) -> str:
    """Sentences on the reasons for the verdict, the place of metal, and what the scan shows.

    What was left out below the knee and above the abdomen, femora that end without a knee,
    and metal, are told once.
    """
    told_else = {
        Finding.BELOW_KNEE_LEFT_OUT,
        Finding.CHEST_LEFT_OUT,
        Finding.NO_KNEE,
        Finding.FEMUR_LOST,
    }
    if _has_metal(case.metal):
        told_else.add(Finding.METAL_PRESENT)
    told = [each.value for each in case.findings if each not in told_else]
    parts = ("; ".join(told), metal_place(case.metal), case.coverage.words)
    return " ".join(sentence(part) for part in parts if part)


def metal_place(metal: Metal) -> str:
    """`metal in PELVIS L, FEMUR L`, its side where it lies in none of them, or nothing."""
    words = []
    if _has_metal(metal):
        sides = " and ".join(_SIDES[side] for side in metal.sides)
        place = f" on the {sides}" if sides else " present"
        held = segment_names(metal.held_by)
        words.append(f"metal in {held}" if held else f"metal{place}")
    if metal.outside_cm3 > 0:
        words.append("metal outside the body")
    return "; ".join(words)


def _has_metal(metal: Metal) -> bool:
    return metal.volume_cm3 > 0


_SIDES: Final = {Side.RIGHT: "right", Side.LEFT: "left"}


def sentence(words: str) -> str:
    """With a capital and a full stop; nothing stays nothing."""
    return f"{words[0].upper()}{words[1:].rstrip('.')}." if words else ""


def in_figures(result: StructureResult) -> str:
    """Reasons against a structure: `6.2e-04 > 5.0e-04, 900 cm³ implausible`, or nothing."""
    reasons = []
    measured, limits = result.measured, result.uncertainty_limits
    weak = " (weak flag)" if Finding.WEAK_FLAG in result.findings else ""
    uncertain = Finding.UNCERTAIN in result.findings
    if uncertain and measured.uncertainty is not None and limits is not None:
        inaccurate, failed = limits
        limit = failed if measured.uncertainty > failed else inaccurate
        reasons.append(f"{measured.uncertainty:.1e} > {limit:.1e}{weak}")
    by = result.judged_by
    if Finding.SAMPLES_DISAGREE in result.findings and by is not None and by.value is not None:
        limit = by.limits[1] if by.value > by.limits[1] else by.limits[0]
        if by.score is Score.DISAGREEMENT:
            reasons.append(f"Dice of samples {1 - by.value:.2f} < {1 - limit:.2f}{weak}")
        else:
            reasons.append(f"volume varies {by.value:.2f} > {limit:.2f}{weak}")
    if Finding.VOLUME_IMPLAUSIBLE in result.findings and measured.volume_cm3 is not None:
        reasons.append(f"{measured.volume_cm3:.0f} cm\u00b3 implausible")
    if Finding.HU_IMPLAUSIBLE in result.findings and measured.mean_hu is not None:
        reasons.append(f"{measured.mean_hu:.0f} HU implausible")
    return ", ".join(reasons)


def abbreviated(result: StructureResult) -> str:
    """`GMED L`."""
    segment = result.segment
    side = f" {segment.side.value}" if segment.side else ""
    return f"{segment.structure.abbreviation}{side}"


def names(results: Sequence[StructureResult]) -> str:
    """Structures by abbreviation, with their sides: `GMAX R L, SACRUM`."""
    return segment_names([result.segment for result in results])


def segment_names(segments: Sequence[Segment]) -> str:
    """The same of segments."""
    sides: dict[str, list[str]] = {}
    for segment in segments:
        found = sides.setdefault(segment.structure.abbreviation, [])
        if segment.side:
            found.append(segment.side.value)
    return ", ".join(NO_BREAK.join([name, *found]) for name, found in sides.items())
