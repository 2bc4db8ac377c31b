"""Scores of cases that no network made: figures with a known relation to each other."""

from __future__ import annotations

import numpy as np

from inference.evaluation.scored import Arm
from inference.evaluation.scores import CaseScore, Scope, StructureScore
from inference.structures import STRUCTURES, Side, Structure

DATA_SETS = ("north", "south")


def scored_arm(
    name: str = "first",
    *,
    cases: int = 12,
    shift: float = 0.0,
    samples: int = 10,
    sides: bool = True,
    structures: tuple[Structure, ...] = STRUCTURES,
    seed: int = 1,
) -> Arm:
    """An arm of cases that are the worse, the more uncertain they are.

    Args:
        name: of the arm.
        cases: how many; every sixth is a bad one.
        shift: added to Dice, half of it to one and a half: an arm that is so much better.
        samples: as the arm says.
        sides: whether the cases name an affected side.
        structures: that are annotated; figures of few take less time.
        seed: of the truth, which two arms share, and of the noise.
    """
    rng = np.random.default_rng(seed)
    return Arm(
        name,
        tuple(_case(number, rng, shift, structures, sides=sides) for number in range(cases)),
        samples,
        "made up",
    )


def _case(
    number: int,
    rng: np.random.Generator,
    shift: float,
    structures: tuple[Structure, ...],
    *,
    sides: bool,
) -> CaseScore:
    loss = 0.25 if number % 6 == 5 else 0.03
    affected = (Side.RIGHT if number % 2 else Side.LEFT) if sides else None
    scores = []
    for place, structure in enumerate(structures):
        dice = 1 - loss * rng.uniform(0.8, 1.2) - 0.001 * place
        scopes = (Scope.BOTH, Scope.RIGHT, Scope.LEFT) if structure.paired else (Scope.BOTH,)
        gain = shift * rng.uniform(0.5, 1.5)
        scores += [_score(structure, scope, dice + gain, affected, rng) for scope in scopes]
    return CaseScore(
        case=f"case{number:02d}",
        structures=tuple(scores),
        data_set=DATA_SETS[number % 2],
        affected=affected,
        height_m=1.5 + 0.01 * number,
    )


def _score(
    structure: Structure,
    scope: Scope,
    dice: float,
    affected: Side | None,
    rng: np.random.Generator,
) -> StructureScore:
    wasted = affected is not None and scope.value == affected.value
    true_cm3 = rng.uniform(95, 105) * (0.8 if wasted else 1.0)
    true_hu = rng.uniform(40, 50) - (10 if wasted else 0)
    return StructureScore(
        structure=structure.abbreviation,
        scope=scope,
        true_voxels=1000,
        found_voxels=1000,
        dice=dice,
        asd_mm=10 * (1 - dice),
        true_volume_cm3=true_cm3,
        volume_cm3=true_cm3 * (1 + 0.5 * (1 - dice)),
        true_mean_hu=true_hu,
        mean_hu=true_hu - 20 * (1 - dice),
        uncertainty=(1 - dice) / 100 + rng.uniform(0, 2e-4),
    )
