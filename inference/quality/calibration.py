"""The quality gate's thresholds as frozen values: fitted per bundle, kept in its folder."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from inference.results import Score
from inference.structures import BY_ABBREVIATION

MAD_TO_SIGMA: Final = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
K_INACCURATE: Final = -2.0
K_FAILED: Final = -3.0
"""The study's two classes of failure (Methods, "failure detection")."""


def dice_limits(median: float, mad: float) -> tuple[float, float]:
    """Dice below which a case is (inaccurate, failed): median + 1.4826 k MAD (study)."""
    inaccurate, failed = (median + MAD_TO_SIGMA * k * mad for k in (K_INACCURATE, K_FAILED))
    return inaccurate, failed


@dataclass(frozen=True, slots=True)
class ScoreLimits:
    """How one score tells the bad segmentations of one structure, and from where on.

    a, b: the regression line Dice = a + b * score.
    limits: where the line crosses the Dice limits: (inaccurate, failed).
    auroc_inaccurate, auroc_failed: how well the score finds such cases; None without both
        good and bad ones.
    weak: the score hardly tells; a flag by it means little.
    """

    a: float
    b: float
    limits: tuple[float, float]
    auroc_inaccurate: float | None = None
    auroc_failed: float | None = None
    weak: bool = False

    def __post_init__(self) -> None:
        """Refuse limits in the wrong order: failed is worse than inaccurate."""
        if self.limits[0] > self.limits[1]:
            raise ValueError(f"limits {self.limits}: failed lies below inaccurate")

    @classmethod
    def from_line(  # noqa: PLR0913 - the line's and the classes' own numbers
        cls,
        dice_limits: tuple[float, float],
        *,
        a: float,
        b: float,
        auroc_inaccurate: float | None = None,
        auroc_failed: float | None = None,
        weak: bool = False,
    ) -> ScoreLimits:
        """Dice limits sent through the line.

        The line must fall (b < 0): a Dice that grows with a score has no threshold.
        """
        if b >= 0:
            raise ValueError(f"b is {b}: Dice must fall as the score grows")
        inaccurate, failed = dice_limits
        limits = (inaccurate - a) / b, (failed - a) / b
        return cls(a, b, limits, auroc_inaccurate, auroc_failed, weak)


@dataclass(frozen=True, slots=True)
class StructureCalibration:
    """Limits by which scores tell bad segmentations of one structure (study, Methods).

    dice_median, dice_mad: of the annotated cases; MAD is the median absolute deviation.
    dice_limits: Dice below which a case counts as (inaccurate, failed).
    gate: the score that verdicts rest on; the others are for information.
    scores: the limits on each score that has some, the gate's among them.
    """

    dice_median: float
    dice_mad: float
    dice_limits: tuple[float, float]
    gate: Score
    scores: Mapping[Score, ScoreLimits]

    def __post_init__(self) -> None:
        """Refuse limits in the wrong order, and a gate without limits; lock the table."""
        if self.dice_limits[0] < self.dice_limits[1]:
            raise ValueError(f"dice_limits {self.dice_limits}: failed lies above inaccurate")
        if self.gate not in self.scores:
            raise ValueError(f"gate is {self.gate.value}, of which there are no limits")
        object.__setattr__(self, "scores", MappingProxyType(dict(self.scores)))

    @property
    def judging(self) -> ScoreLimits:
        """The limits that verdicts rest on."""
        return self.scores[self.gate]

    @property
    def uncertainty_limits(self) -> tuple[float, float] | None:
        """The study's limits; None where the uncertainty tells nothing."""
        known = self.scores.get(Score.UNCERTAINTY)
        return known.limits if known else None

    @classmethod
    def from_line(  # noqa: PLR0913 - the line's and the classes' own numbers
        cls,
        *,
        dice_median: float,
        dice_mad: float,
        a: float,
        b: float,
        score: Score = Score.UNCERTAINTY,
        auroc_inaccurate: float | None = None,
        auroc_failed: float | None = None,
        weak: bool = False,
    ) -> StructureCalibration:
        """One score alone, by the study's rule: median + 1.4826 k MAD, through the line."""
        of_dice = dice_limits(dice_median, dice_mad)
        line = ScoreLimits.from_line(
            of_dice,
            a=a,
            b=b,
            auroc_inaccurate=auroc_inaccurate,
            auroc_failed=auroc_failed,
            weak=weak,
        )
        return cls(dice_median, dice_mad, of_dice, score, {score: line})


@dataclass(frozen=True, slots=True)
class PlausibleRange:
    """Lowest and highest believable value of one structure on one side; None is any."""

    volume_cm3: tuple[float, float] | None = None
    mean_hu: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse ranges that nothing lies in."""
        for limits in (self.volume_cm3, self.mean_hu):
            if limits is not None and limits[0] >= limits[1]:
                raise ValueError(f"{limits} is no range")


@dataclass(frozen=True, slots=True)
class Calibration:
    """The quality gate's thresholds, and what they were fitted on.

    average: of the scores averaged over the structures of a case.
    structures, plausible: by abbreviation (`GMED`); a structure may be missing.
    """

    data_set: str
    script: str
    fitted_on: dt.date
    expected_cases: int
    average: StructureCalibration | None = None
    structures: Mapping[str, StructureCalibration] = field(default_factory=dict)
    plausible: Mapping[str, PlausibleRange] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Know every structure that is named, and lock the tables."""
        for name in ("structures", "plausible"):
            table = getattr(self, name)
            unknown = sorted(set(table) - set(BY_ABBREVIATION))
            if unknown:
                raise ValueError(f"{name} names unknown structures: {', '.join(unknown)}")
            object.__setattr__(self, name, MappingProxyType(dict(table)))
