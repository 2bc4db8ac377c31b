"""Items of a report about one structure, whichever template shows where it is.

TID 1410 (an outline on one slice) and TID 1411 (a segment) differ in how they point at a
structure; its names, numbers, verdict and algorithm are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

from highdicom import sr
from pydicom.sr.coding import Code

from inference.results import (
    JudgedBy,
    ModelIdentity,
    SampleKind,
    Score,
    Spread,
    StructureResult,
    Uncertainty,
    Verdict,
)
from inference.structures import Side
from sr_templates.terms import (
    ASPECT_TERMS,
    CATEGORY,
    DOCUMENT_TERMS,
    FINDING_TERMS,
    QUANTITY_TERMS,
    SIDE_TERMS,
    STRUCTURE_TERMS,
    VERDICT_TERMS,
    QuantityTerm,
)
from sr_templates.words import verdict_words

CONTAINS: Final = sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD: Final = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
INFERRED_FROM: Final = sr.RelationshipTypeValues.INFERRED_FROM


def measurement_group(
    template: Literal["1410", "1411"],
    result: StructureResult,
    model: ModelIdentity,
    tracking_uid: str,
    said: Iterable[Any],
) -> Any:
    """One structure and side: its names and its algorithm, then what is said of it.

    Args:
        template: its identifier (PS3.16).
        result: of the structure.
        model: that segmented it.
        tracking_uid: the same wherever the structure is named.
        said: numbers, evaluations and the place, in the order of the template's rows.
    """
    segment = result.segment
    term = STRUCTURE_TERMS[segment.structure.abbreviation]
    codes = [term.code] if term.parent is None else [term.code, term.parent]
    group = sr.ContainerContentItem(
        name=DOCUMENT_TERMS["measurement_group"].code,
        template_id=template,
        relationship_type=CONTAINS,
    )
    group.ContentSequence = sr.ContentSequence(
        [
            *sr.TrackingIdentifier(identifier=segment.title, uid=tracking_uid),
            _code_item(DOCUMENT_TERMS["finding_category"].code, CATEGORY),
            _code_item(DOCUMENT_TERMS["finding"].code, term.code),
            *(_finding_site(code, segment.side) for code in codes),
            *_algorithm(model),
            *said,
        ]
    )
    return group


def number_items(result: StructureResult, terms: Iterable[QuantityTerm]) -> Iterator[Any]:
    """Those of the quantities that the structure has, in the order asked for."""
    for term in terms:
        value = term.of(result.measured)
        if value is not None:
            yield _measurement(term, term.rounded(value), term.range_of(result.measured))


def evaluation_items(result: StructureResult, grounds: Sequence[Any]) -> Iterator[Any]:
    """The verdict, with what it was inferred from; each reason; and what it means, in words."""
    verdict = _code_item(
        ASPECT_TERMS["structure_verdict"].code, VERDICT_TERMS[result.verdict].code
    )
    infer(verdict, grounds)
    yield verdict
    for finding in result.findings:
        yield _code_item(ASPECT_TERMS["structure_finding"].code, FINDING_TERMS[finding].code)
    if result.verdict is not Verdict.ACCEPTED:
        yield sr.TextContentItem(
            name=ASPECT_TERMS["verdict_words"].code,
            value=verdict_words(result.verdict, result.findings),
            relationship_type=CONTAINS,
        )


def uncertainty_items(result: StructureResult) -> list[Any]:
    """The uncertainty as the ground of a verdict; none where there is no number."""
    term = QUANTITY_TERMS["uncertainty"]
    value = term.of(result.measured)
    return [] if value is None else [number_item(term, value)]


def limit_items(limits: tuple[float, float] | None) -> list[Any]:
    """The calibrated limits that an uncertainty is judged by; none if not calibrated."""
    if limits is None:
        return []
    terms = (QUANTITY_TERMS["limit_inaccurate"], QUANTITY_TERMS["limit_failed"])
    return [number_item(term, limit) for term, limit in zip(terms, limits, strict=True)]


def judged_items(judged_by: JudgedBy | None, prefix: str | None = None) -> list[Any]:
    """The limits that a verdict rests on where they are not the uncertainty's.

    Disagreement is told as what it comes of, the Dice between the samples, which is bad below
    its limits. `prefix`: of the name under which the number itself is told too: `mean_` of
    a case's, empty of a structure's; None where it is told elsewhere.
    """
    if judged_by is None or judged_by.score is Score.UNCERTAINTY:
        return []
    by_dice = judged_by.score is Score.DISAGREEMENT
    name = "pairwise_dice" if by_dice else "volume_cv"
    numbers = {
        f"{prefix or ''}{name}": None if prefix is None else judged_by.value,
        f"limit_{name}_inaccurate": judged_by.limits[0],
        f"limit_{name}_failed": judged_by.limits[1],
    }
    return [
        number_item(QUANTITY_TERMS[key], 1 - number if by_dice else number)
        for key, number in numbers.items()
        if number is not None
    ]


def number_item(term: QuantityTerm, value: float, name: Code | None = None) -> Any:
    """A number that something else was inferred from; under another name if one is given."""
    return sr.NumContentItem(
        name=name or term.name,
        value=term.rounded(value),
        unit=term.unit,
        relationship_type=INFERRED_FROM,
    )


def infer(item: Any, grounds: Sequence[Any]) -> None:
    """Put numbers below an item that was inferred from them."""
    if grounds:
        content = item.get("ContentSequence") or sr.ContentSequence()
        content.extend(grounds)
        item.ContentSequence = content


def _measurement(term: QuantityTerm, value: float, spread: Spread | None) -> Any:
    """TID 300 as TID 1419 has it, with the reach of the samples where there is one."""
    (measured,) = sr.Measurement(
        name=term.name, value=value, unit=term.unit, derivation=term.derivation
    )
    if spread is not None:
        infer(measured, _range(value, spread, term))
    return measured


def _range(value: float, spread: Spread, term: QuantityTerm) -> list[Any]:
    """Reach of the Monte Carlo samples above and below the value, in its own unit.

    The label is that of the mean of the samples, so all samples may lie on one side of it.
    These are the items of TID 310. They are related as TID 1419 (rows 13 and 14) relates
    numbers below a number; PixelMed's validator reports any other relation as an error.
    """
    reaches = {
        "upper_range": max(0.0, spread.high - value),
        "lower_range": max(0.0, value - spread.low),
    }
    return [
        number_item(term, reach, DOCUMENT_TERMS[name].code) for name, reach in reaches.items()
    ]


def _finding_site(code: Code, side: Side | None) -> Any:
    laterality = None if side is None else SIDE_TERMS[side]
    return sr.FindingSite(anatomic_location=code, laterality=laterality)


def _algorithm(model: ModelIdentity) -> Any:
    """TID 4019: enough to repeat the analysis."""
    return sr.AlgorithmIdentification(
        name=f"msk-node {model.name}",
        version=model.version,
        manufacturer="msk-node project",
        family=DOCUMENT_TERMS["artificial_intelligence"].code,
        parameters=[
            (
                f"Monte Carlo samples: {model.samples}"
                if model.samples_of is SampleKind.DROPOUT
                else f"samples: {model.samples_of.counted(model.samples)}"
            ),
            f"seed: {model.seed}",
            f"weights sha256: {model.weights_sha256}",
            *(
                [f"uncertainty: {model.uncertainty}"]
                if model.uncertainty is not Uncertainty.VARIANCE
                else []
            ),
            *([f"origin: {model.origin}"] if model.origin else []),
        ],
    )


def _code_item(name: Code, value: Code) -> Any:
    return sr.CodeContentItem(name=name, value=value, relationship_type=CONTAINS)
