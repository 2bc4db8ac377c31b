"""Failure detection from the uncertainty alone: the study's Table 3 and Figs 5 and 6.

The Dice values of the cases draw the line between good and bad themselves (median + 1.4826
k MAD); a regression line turns those limits into limits of the uncertainty; AUROC says how
well the uncertainty finds the bad ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import FailureClasses, auroc
from inference.evaluation.scored import Arm, Quantity
from inference.evaluation.statistics import Line, both_known, pearson, regression
from inference.structures import Structure

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FailureDetection:
    """One structure, or the average of all, over the cases that have both values.

    dice, uncertainty: (cases,).
    classes: None where no case has both values.
    line: Dice on uncertainty; None where the uncertainty does not vary.
    """

    dice: Values
    uncertainty: Values
    classes: FailureClasses | None
    correlation: float | None
    line: Line | None

    @classmethod
    def of(cls, dice: Values, uncertainty: Values) -> FailureDetection:
        """From values with gaps."""
        dice, uncertainty = both_known(dice, uncertainty)
        return cls(
            dice,
            uncertainty,
            FailureClasses.of(dice) if len(dice) else None,
            pearson(uncertainty, dice),
            regression(uncertainty, dice),
        )

    @property
    def dice_limits(self) -> tuple[float, float] | None:
        """Dice below which a case is (inaccurate, failed)."""
        if self.classes is None:
            return None
        return self.classes.inaccurate_below, self.classes.failed_below

    @property
    def uncertainty_limits(self) -> tuple[float, float] | None:
        """Uncertainties where the line crosses the Dice limits; None where it does not fall."""
        if self.dice_limits is None or self.line is None or self.line.b >= 0:
            return None
        inaccurate, failed = (self.line.x_at(limit) for limit in self.dice_limits)
        return inaccurate, failed

    def bad(self, below: float) -> NDArray[np.bool_]:
        """(cases,) whose Dice is below a limit."""
        return self.dice < below

    def auroc(self, below: float) -> float | None:
        """AUROC of the uncertainty against the cases below a Dice limit."""
        return auroc(self.uncertainty, self.bad(below)) if len(self.dice) else None


def of_structure(arm: Arm, structure: Structure) -> FailureDetection:
    """Failure detection of one structure."""
    return FailureDetection.of(
        arm.values(structure, Quantity.DICE), arm.values(structure, Quantity.UNCERTAINTY)
    )


def of_average(arm: Arm) -> FailureDetection:
    """Failure detection of the average over the structures of each case."""
    return FailureDetection.of(arm.averages(Quantity.DICE), arm.averages(Quantity.UNCERTAINTY))
