"""The contents of a report, read back from its content tree (TID 1500 with TID 1410 or 1411).

Written against the codes of `sr_templates` and the standard's templates, not against the code
that builds the report: who reads only this module's answer sees what a PACS can see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset
from pydicom.sr.coding import Code

from inference.results import Verdict
from inference.structures import BY_ABBREVIATION, Segment, Side, segment_of
from sr_templates.terms import (
    ASPECT_TERMS,
    QUANTITY_TERMS,
    SIDE_TERMS,
    STRUCTURE_TERMS,
    VERDICT_TERMS,
)

MEASUREMENT_GROUP: Final = ("125007", "DCM")
FINDING: Final = ("121071", "DCM")
FINDING_SITE: Final = ("363698007", "SCT")
LATERALITY: Final = ("272741003", "SCT")

CodeKey = tuple[str, str]
"""Code Value and Coding Scheme Designator; the meaning is for people."""


@dataclass(frozen=True, slots=True)
class ReportedStructure:
    """One measurement group: a segment, its numbers and its verdict, as reported.

    What the report does not give is None.
    """

    segment: Segment
    volume_cm3: float | None
    mean_hu: float | None
    uncertainty: float | None
    verdict: Verdict | None


def reported_structures(report: Dataset) -> tuple[ReportedStructure, ...]:
    """Every segment that the report measures or calls absent, in the report's order."""
    return tuple(
        one for item in _below(report) for one in (_measured(item), _absent(item)) if one
    )


def _measured(item: Dataset) -> ReportedStructure | None:
    """The segment that a measurement group is about."""
    segment = _segment(item) if _name(item) == MEASUREMENT_GROUP else None
    return _structure(item, segment) if segment else None


def _absent(item: Dataset) -> ReportedStructure | None:
    """The segment that an item calls absent."""
    if _name(item) != _key_of(ASPECT_TERMS["absent"].code) or _value(item) not in _STRUCTURES:
        return None
    segment = segment_of(BY_ABBREVIATION[_STRUCTURES[_value(item)]], _side(item))
    return ReportedStructure(segment, None, None, None, Verdict.ABSENT)


def _structure(group: Dataset, segment: Segment) -> ReportedStructure:
    return ReportedStructure(
        segment=segment,
        volume_cm3=_number(group, "volume"),
        mean_hu=_number(group, "mean_hu"),
        uncertainty=_number(group, "uncertainty"),
        verdict=_verdict(group),
    )


def _segment(group: Dataset) -> Segment | None:
    """The segment that finding and finding site name."""
    structure, side = None, None
    for item in _children(group):
        if _name(item) in (FINDING, FINDING_SITE) and item.ValueType == "CODE":
            structure = _STRUCTURES.get(_value(item), structure)
            side = side or _side(item)
    return None if structure is None else segment_of(BY_ABBREVIATION[structure], side)


def _side(item: Dataset) -> Side | None:
    """The side in an item's laterality modifier."""
    found = (_SIDES[_value(one)] for one in _children(item) if _name(one) == LATERALITY)
    return next(found, None)


def _number(group: Dataset, quantity: str) -> float | None:
    name = _key_of(QUANTITY_TERMS[quantity].name)
    for item in _children(group):
        if item.ValueType == "NUM" and _name(item) == name:
            measured = item.get("MeasuredValueSequence")
            return float(measured[0].NumericValue) if measured else None
    return None


def _verdict(group: Dataset) -> Verdict | None:
    name = _key_of(ASPECT_TERMS["structure_verdict"].code)
    found = (_VERDICTS.get(_value(one)) for one in _children(group) if _name(one) == name)
    return next(found, None)


def _children(item: Dataset) -> Iterator[Dataset]:
    yield from item.get("ContentSequence", ())


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in _children(item):
        yield child
        yield from _below(child)


def _name(item: Dataset) -> CodeKey | None:
    names = item.get("ConceptNameCodeSequence")
    return _key(names[0]) if names else None


def _value(item: Dataset) -> CodeKey:
    return _key(item.ConceptCodeSequence[0])


def _key(code: Dataset) -> CodeKey:
    return str(code.CodeValue), str(code.CodingSchemeDesignator)


def _key_of(code: Code) -> CodeKey:
    return str(code.value), str(code.scheme_designator)


_STRUCTURES: Final[dict[CodeKey, str]] = {
    _key_of(term.code): abbreviation for abbreviation, term in STRUCTURE_TERMS.items()
}
_SIDES: Final[dict[CodeKey, Side]] = {_key_of(code): side for side, code in SIDE_TERMS.items()}
_VERDICTS: Final[dict[CodeKey, Verdict]] = {
    _key_of(term.code): verdict for verdict, term in VERDICT_TERMS.items()
}
