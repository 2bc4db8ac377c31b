"""Sentences of the report, the key object and the picture, from the same terms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from inference.results import (
    FAT_BELOW_HU,
    LEAN_ABOVE_HU,
    CaseResult,
    Finding,
    ModelIdentity,
    SideGrade,
    StructureResult,
    Uncertainty,
    Verdict,
)
from inference.structures import BY_ABBREVIATION, Segment, Side
from sr_templates.terms import FINDING_TERMS, REGION_TERMS, VERDICT_TERMS

WEAK_FLAGS: Final = ("OE", "OI")
"""Structures whose uncertainty hardly tells good from bad: AUROC .534 and .413 for OE, .693
for OI, against .967 for the average (study, failure detection)."""

UNCALIBRATED_WORDS: Final = (
    "The model is not calibrated: its uncertainty was not judged, and what is accepted may "
    "be wrong."
)

UNMEASURED_WORDS: Final = (
    "The model has no measure of its uncertainty: no segmentation was judged by it, and any "
    "may be wrong."
)

KEY_SLICE_WORDS: Final = (
    "Key slices: a rendering of the measurement report for viewers that show outlines. Each "
    "outline is that of one slice, where the structure is largest; the numbers are those of "
    "the whole structure, the same as in the measurement report, which is the record and "
    "holds more of them. What failed has an outline here, but no numbers."
)

SIDE_WORDS: Final = {Side.RIGHT: "right", Side.LEFT: "left"}


def case_words(case: CaseResult) -> str:
    """The case in one short paragraph: verdict, reasons, coverage, structures."""
    reasons = [FINDING_TERMS[finding].words for finding in case.findings]
    sentences = [
        f"Case {VERDICT_TERMS[case.verdict].code.meaning.lower()}"
        + (f": {'; '.join(reasons)}." if reasons else "."),
        _count_words(case),
        coverage_words(case),
        metal_place_words(case),
        structures_words(case),
        _caution(case),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _count_words(case: CaseResult) -> str:
    """How many structures are accepted, of a case that is not whole; or nothing."""
    if case.verdict is not Verdict.TRUNCATED:
        return ""
    accepted = sum(result.verdict is Verdict.ACCEPTED for result in case.structures)
    provided = sum(result.verdict is not Verdict.NOT_PROVIDED for result in case.structures)
    return f"{accepted} of {provided} structures accepted."


def _caution(case: CaseResult) -> str:
    """Reason why an uncertainty was not judged; empty if it was."""
    if case.model.uncertainty is Uncertainty.NONE:
        return UNMEASURED_WORDS
    limits = case.mean_uncertainty_limits or case.judged_by
    return UNCALIBRATED_WORDS if limits is None else ""


def verdict_words(verdict: Verdict, findings: Collection[Finding]) -> str:
    """A verdict on a structure or a case, by what it rests on.

    Of what an amputation cuts no border is named; and a model may have a measure of its
    uncertainty and no bones.
    """
    if verdict is Verdict.NOT_JUDGED and Finding.REGION_UNKNOWN in findings:
        return "not judged: what the scan shows cannot be told with this model"
    by_stump = Finding.NO_KNEE in findings and Finding.CUT_BY_SCAN not in findings
    if verdict is Verdict.TRUNCATED and by_stump:
        return "not whole: the femur ends without a knee; no volume is given"
    return VERDICT_TERMS[verdict].words


def summary_words(case: CaseResult) -> str:
    """Summary that a reader of the report should know first."""
    caution = (
        " What the scan cuts or metal spoils has no volume." if withheld_words(case) else ""
    )
    return case_words(case) + caution


def coverage_words(case: CaseResult) -> str:
    """Sentences on what the scan shows and which structures its border cuts."""
    region = REGION_TERMS[case.coverage.region].words
    sentences = [_sentence(case.coverage.words or region)]
    if case.coverage.cut:
        sentences.append(f"Cut by the scan: {_listed(case.coverage.cut)}.")
    if case.coverage.stump:
        sentences.append(f"Not whole without a knee: {_listed(case.coverage.stump)}.")
    return " ".join(sentences)


def metal_words(case: CaseResult) -> str:
    """Amount and place of metal, what it lies in and what it spoils; nothing where none is."""
    metal, sentences = case.metal, []
    if metal.volume_cm3 > 0:
        sides = " and ".join(SIDE_WORDS[side] for side in metal.sides)
        where = f" ({sides})" if sides else ""
        sentences.append(f"About {metal.volume_cm3:.1f} cm3 of metal{where}.")
    sentences.append(metal_place_words(case))
    if metal.spoiled:
        sentences.append(f"Spoiled: {_listed(metal.spoiled)}.")
    return " ".join(filter(None, sentences))


def metal_place_words(case: CaseResult) -> str:
    """Structures that metal lies in, and the metal beside the body; or nothing."""
    metal, sentences = case.metal, []
    if metal.held_by:
        sentences.append(f"Metal in: {_listed(metal.held_by)}.")
    if metal.outside_cm3 > 0:
        sentences.append(f"About {metal.outside_cm3:.1f} cm3 of metal outside the body.")
    return " ".join(sentences)


def structures_words(case: CaseResult) -> str:
    """The structures with each verdict other than accepted, or nothing.

    Where no side is believed all have failed, which the case's words say.
    """
    if case.coverage.against_header:
        return ""
    sentences = []
    for verdict in Verdict:
        results = [result for result in case.structures if result.verdict is verdict]
        if results and verdict is not Verdict.ACCEPTED:
            sentences.append(f"{VERDICT_TERMS[verdict].code.meaning}: {_named(results)}.")
    return " ".join(sentences)


def withheld_words(case: CaseResult) -> str:
    """Structures that were found but carry no volume, and why, or nothing."""
    truncated = [one for one in case.structures if one.verdict is Verdict.TRUNCATED]
    reasons = {
        "cut by the border of the scan": [
            one for one in truncated if Finding.NO_KNEE not in one.findings
        ],
        "whose femur ends without a knee": [
            one for one in truncated if Finding.NO_KNEE in one.findings
        ],
        "spoiled by metal": [one for one in case.structures if one.verdict is Verdict.SPOILED],
    }
    told = [f"{_named(found)}, {reason}" for reason, found in reasons.items() if found]
    return f"No volume is given for {'; nor for '.join(told)}." if told else ""


UNCERTAINTY_WORDS: Final = {
    Uncertainty.VARIANCE: "the variance of the model's answers",
    Uncertainty.ENTROPY: "the entropy of the model's single answer",
}


def _uncertainty_words(model: ModelIdentity) -> str:
    if model.uncertainty is Uncertainty.NONE:
        return f"No predictive uncertainty is given ({model.doubt_words}). "
    meaning = UNCERTAINTY_WORDS[model.uncertainty]
    if model.uncertainty is Uncertainty.VARIANCE:
        meaning += f" ({model.doubt_words})"
    return (
        f"Predictive uncertainty is {meaning} inside the structure; the larger, the less sure. "
    )


def reading_words(model: ModelIdentity) -> str:
    """Meaning of the numbers of a report."""
    low, high = f"{FAT_BELOW_HU:.0f}", f"{LEAN_ABOVE_HU:.0f}"
    samples = model.samples_of.counted(model.samples)
    ranges = (
        f"The range (+, -) is how far the {samples} reach above and below the value. "
        if model.samples > 1
        else ""
    )
    agreement = (
        "The Dice between the samples is 1 where all give a structure the same voxels; the "
        "smaller, the less sure. "
        if model.samples > 1
        else ""
    )
    return (
        f"{ranges}{_uncertainty_words(model)}{agreement}Lean, mixed and fat are the shares of "
        f"voxels above {high}, from {low} to {high} and below {low} HU."
    )


def grade_words(case: CaseResult) -> str:
    """The disease grades of both sides, who graded, and why a side has none; or nothing.

    Without the grader where nothing was graded by it.
    """
    if not case.grades:
        return ""
    sides = "; ".join(f"{SIDE_WORDS[one.side]} {_grade_words(one)}" for one in case.grades)
    scale = next((one.scale for one in case.grades if one.scale), "Disease grade")
    graders = dict.fromkeys(one.grader.words for one in case.grades if one.grade is not None)
    by = f" Graded by {' and '.join(graders)}." if graders else ""
    return f"{scale[0].upper()}{scale[1:]} of the hips: {sides}.{by}"


def _grade_words(grade: SideGrade) -> str:
    if grade.grade is None:
        return f"not graded ({grade.reason})"
    if grade.probability is None:
        return grade.grade
    return f"{grade.grade} (probability {grade.probability:.2f})"


def weak_flag_words() -> str:
    """The caution about the structures whose flags mean little."""
    names = " and ".join(BY_ABBREVIATION[name].name for name in WEAK_FLAGS)
    return (
        f"Quality flags of {names} are weak: in the study behind this method their "
        "uncertainty hardly told good from bad segmentations."
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def _named(results: Sequence[StructureResult]) -> str:
    return _listed([result.segment for result in results])


def _listed(segments: Sequence[Segment]) -> str:
    """The segments by name, both sides of a structure in one."""
    sides: dict[str, list[str]] = {}
    for segment in segments:
        names = sides.setdefault(segment.structure.name, [])
        if segment.side is not None:
            names.append(SIDE_WORDS[segment.side])
    return ", ".join(f"{name}{_where(where)}" for name, where in sides.items())


def _where(sides: Sequence[str]) -> str:
    if not sides:
        return ""
    return f" ({sides[0]})" if len(sides) == 1 else " (both sides)"
