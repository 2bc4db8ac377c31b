"""Affected against unaffected sides: the study's comparison (Fig. 6 of the study's text).

Pairs are the two sides of one patient. Shapiro-Wilk on the differences decides between
Student's t and Wilcoxon's signed rank; Bonferroni over the structures of a quantity. By
grade, the pairs are those whose affected side has that grade.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.cohort.cohort import Cohort, Mask, Quantity, Values
from dicom_node.cohort.sides_file import KnownSides
from dicom_node.cohort.statistics import Effect, paired_effect
from inference.evaluation.statistics import PairedTest, bonferroni, both_known, paired_test
from inference.structures import STRUCTURES, Side, Structure


@dataclass(frozen=True, slots=True, eq=False)
class SideComparison:
    """One structure, one quantity: the pairs of which both sides count, and their test.

    affected, unaffected: (pairs,).
    """

    structure: Structure
    quantity: Quantity
    affected: Values
    unaffected: Values
    test: PairedTest
    effect: Effect


def compare_sides(
    cohort: Cohort, known: KnownSides, quantity: Quantity, grade: str | None = None
) -> tuple[SideComparison, ...]:
    """Every paired structure, corrected for each other.

    Args:
        cohort: the first scans of its patients take part.
        known: which side is affected.
        quantity: compared.
        grade: only of pairs whose affected side has it; None: all.
    """
    right_affected, left_affected = _rows(cohort, known, grade)
    pairs = []
    for structure in STRUCTURES:
        if not structure.paired:
            continue
        right, left = cohort.sides(quantity, structure)
        affected = np.concatenate([right[right_affected], left[left_affected]])
        unaffected = np.concatenate([left[right_affected], right[left_affected]])
        pairs.append((structure, *both_known(affected, unaffected)))
    tests = bonferroni([paired_test(affected, other) for _, affected, other in pairs])
    return tuple(
        SideComparison(
            structure, quantity, affected, other, test, paired_effect(affected, other)
        )
        for (structure, affected, other), test in zip(pairs, tests, strict=True)
    )


def grades_of_affected(cohort: Cohort, known: KnownSides) -> tuple[str, ...]:
    """The grades of affected sides, numbers by size before words."""
    sides = ((case.source.name, known.affected.get(case.source.name)) for case in cohort.cases)
    grades = {known.grades.get(name, {}).get(side, "") for name, side in sides if side}
    return tuple(sorted(grades - {""}, key=_by_size))


def _by_size(grade: str) -> tuple[bool, float, str]:
    try:
        return False, float(grade), grade
    except ValueError:
        return True, 0.0, grade


def _rows(cohort: Cohort, known: KnownSides, grade: str | None) -> tuple[Mask, Mask]:
    """(cases,) whose right, whose left side is affected: the first such scan of a patient."""
    affected = [_affected(case.source.name, known, grade) for case in cohort.cases]
    first = cohort.first_scans(np.array([side is not None for side in affected], dtype=bool))
    right, left = (
        np.array([one is side for one in affected], dtype=bool) & first
        for side in (Side.RIGHT, Side.LEFT)
    )
    return right, left


def _affected(name: str, known: KnownSides, grade: str | None) -> Side | None:
    side = known.affected.get(name)
    if side is None or grade is None:
        return side
    return side if known.grades.get(name, {}).get(side) == grade else None
