"""The disease grade of a side, among the Qualitative Evaluations of TID 1500 (row 12).

One item for each side that has a grade: coded where the grader's bundle gives a code, as text
otherwise; with the hip joint and its side, what graded, and the probability that it was
inferred from. Why a side has no grade stands in words beside them.

No measurement group (TID 1501): PixelMed's validator (20220618) takes every group of a report
for one of TID 1411 as soon as one refers to a segment, and reports errors in the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highdicom import sr
from pydicom.sr.coding import Code

from inference.results import CaseResult, GradeCode, GraderIdentity, SideGrade
from sr_templates.structure_items import CONTAINS, infer, number_item
from sr_templates.terms import (
    ASPECT_TERMS,
    DOCUMENT_TERMS,
    HIP_JOINT,
    QUANTITY_TERMS,
    SIDE_TERMS,
)


def grade_items(case: CaseResult) -> Iterator[Any]:
    """The sides that have a grade, right first."""
    for grade in case.grades:
        if grade.grade is not None:
            yield _evaluation(grade, grade.grade)


def _evaluation(grade: SideGrade, value: str) -> Any:
    """A grade under the name of its scale."""
    scale = ASPECT_TERMS["grade"].code if grade.scale_code is None else _code(grade.scale_code)
    item = (
        sr.TextContentItem(name=scale, value=value, relationship_type=CONTAINS)
        if grade.code is None
        else sr.CodeContentItem(name=scale, value=_code(grade.code), relationship_type=CONTAINS)
    )
    site = sr.FindingSite(anatomic_location=HIP_JOINT, laterality=SIDE_TERMS[grade.side])
    item.ContentSequence = sr.ContentSequence([site, *_algorithm(grade.grader)])
    if grade.probability is not None:
        infer(item, [number_item(QUANTITY_TERMS["grade_probability"], grade.probability)])
    return item


def _algorithm(grader: GraderIdentity) -> Any:
    """TID 4019: what graded; a table of people's grades is no algorithm."""
    if grader.kind == "table":
        return []
    return sr.AlgorithmIdentification(
        name=grader.name,
        version=grader.version,
        family=DOCUMENT_TERMS["artificial_intelligence"].code,
        parameters=[f"grader sha256: {grader.sha256}"],
    )


def _code(code: GradeCode) -> Code:
    return Code(code.value, code.scheme, code.meaning)
