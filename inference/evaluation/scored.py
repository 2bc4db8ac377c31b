"""Scores of many cases, as the tables and figures look at them.

An arm is what was tried on all cases: a bundle with a number of samples, or a folder of
ready results. Columns of numbers keep the order of the cases; `nan` stands where a case has
nothing to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.scores import CaseScore, Scope, StructureScore
from inference.structures import STRUCTURES, Side, Structure

Values = NDArray[np.float64]


class Quantity(StrEnum):
    """Number that is read from a structure's score; the value is the score's own attribute."""

    DICE = "dice"
    ASD = "asd_mm"
    AVE = "ave_percent"
    AIE = "aie_hu"
    UNCERTAINTY = "uncertainty"
    DISAGREEMENT = "disagreement"
    VOLUME_CV = "volume_cv"
    VOLUME = "volume_cm3"
    TRUE_VOLUME = "true_volume_cm3"
    MEAN_HU = "mean_hu"
    TRUE_MEAN_HU = "true_mean_hu"


VOLUMES = (Quantity.VOLUME, Quantity.TRUE_VOLUME)


class SideClass(StrEnum):
    """A side by what is wrong with it."""

    AFFECTED = "affected"
    UNAFFECTED = "unaffected"


@dataclass(frozen=True, slots=True)
class Arm:
    """Bundle or results that were tried, with the score of every case.

    name: of the bundle, or of the folder of results.
    samples: Monte Carlo samples; None where results do not say, or differ.
    trained_on: in words, from the bundle's own declaration.
    """

    name: str
    cases: tuple[CaseScore, ...]
    samples: int | None = None
    trained_on: str = ""

    def values(
        self, structure: Structure, quantity: Quantity, scope: Scope = Scope.BOTH
    ) -> Values:
        """(cases,) of one structure."""
        scores = (case.of(structure.abbreviation, scope) for case in self.cases)
        return _column([_read(score, quantity) for score in scores])

    def of_side(
        self,
        structure: Structure,
        quantity: Quantity,
        side: SideClass,
        *,
        normalised: bool = False,
    ) -> Values:
        """(cases,) of the affected or the unaffected side; the sacrum is not affected.

        normalised: volumes in cm3/m2 (study, Table 7) instead of cm3.
        """
        scopes = [_scope(case, structure, side) for case in self.cases]
        return self._of_scopes(structure, quantity, scopes, normalised=normalised)

    def together(
        self, structure: Structure, quantity: Quantity, *, normalised: bool = False
    ) -> Values:
        """(cases,) of both sides together; volumes normalised on request."""
        scopes = [Scope.BOTH] * len(self.cases)
        return self._of_scopes(structure, quantity, scopes, normalised=normalised)

    def _of_scopes(
        self,
        structure: Structure,
        quantity: Quantity,
        scopes: Sequence[Scope | None],
        *,
        normalised: bool,
    ) -> Values:
        column = []
        for case, scope in zip(self.cases, scopes, strict=True):
            score = case.of(structure.abbreviation, scope) if scope else None
            value = _read(score, quantity)
            if normalised and quantity in VOLUMES and value is not None:
                value = value / case.height_m**2 if case.height_m else None
            column.append(value)
        return _column(column)

    def averages(
        self, quantity: Quantity, structures: Sequence[Structure] = STRUCTURES
    ) -> Values:
        """(cases,) mean over the structures that a case has a value of."""
        if not structures:
            return np.full(len(self.cases), np.nan)
        table = np.stack([self.values(structure, quantity) for structure in structures])
        known = np.isfinite(table)
        sums = np.where(known, table, 0.0).sum(axis=0)
        averages = np.full(len(self.cases), np.nan)
        np.divide(sums, known.sum(axis=0), out=averages, where=known.any(axis=0))
        return averages

    def structures(self) -> tuple[Structure, ...]:
        """Those that any case has annotated, in the study's order."""
        return tuple(
            one for one in STRUCTURES if np.isfinite(self.values(one, Quantity.DICE)).any()
        )

    def only(self, data_set: str) -> Arm:
        """The cases of one data set."""
        cases = tuple(case for case in self.cases if case.data_set == data_set)
        return Arm(self.name, cases, self.samples, self.trained_on)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case that could not be evaluated by an arm, and why."""

    case: str
    arm: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that a report is made of.

    arms: one, or two that are compared: with the same cases in the same order.
    by_samples: one bundle with growing numbers of samples, for the study's Table 9.
    left_out: cases that are in no table.
    facts: what was evaluated on what, by the words of the listing: (name, value).
    """

    arms: tuple[Arm, ...]
    by_samples: tuple[Arm, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())

    @property
    def first(self) -> Arm:
        """The arm that the figures of a single bundle are of."""
        return self.arms[0]

    @property
    def shared_structures(self) -> tuple[Structure, ...]:
        """Those annotated that every arm's model was made to find."""
        each = [arm.structures() for arm in self.arms]
        return tuple(one for one in STRUCTURES if all(one in known for known in each))

    @property
    def all_structures(self) -> tuple[Structure, ...]:
        """Those annotated that any arm's model was made to find."""
        each = [arm.structures() for arm in self.arms]
        return tuple(one for one in STRUCTURES if any(one in known for known in each))

    @property
    def data_sets(self) -> tuple[str, ...]:
        """Names of the data sets, in the order of the cases."""
        return tuple(dict.fromkeys(case.data_set for case in self.first.cases))

    @property
    def names_affected_sides(self) -> bool:
        """True if any case says which side is affected."""
        return any(case.affected for case in self.first.cases)

    @property
    def knows_heights(self) -> bool:
        """True if every case says how tall the patient is."""
        return all(case.height_m for case in self.first.cases)


def _scope(case: CaseScore, structure: Structure, side: SideClass) -> Scope | None:
    if not structure.paired:
        return Scope.BOTH if side is SideClass.UNAFFECTED else None
    if case.affected is None:
        return None
    affected = Scope(case.affected.value)
    if side is SideClass.AFFECTED:
        return affected
    return Scope.LEFT if case.affected is Side.RIGHT else Scope.RIGHT


def _read(score: StructureScore | None, quantity: Quantity) -> float | None:
    return None if score is None else getattr(score, quantity.value)


def _column(values: Sequence[float | None]) -> Values:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
