"""Labelled cases that a run sees, and those that it is tried on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from inference.errors import TrainingError
from inference.training.labelled.preparation import (
    Case,
    Preparation,
    PreparedCase,
    prepare,
    ready_cases,
)
from inference.training.recipe import Recipe

ListCases = Callable[[Path, Path | None], Sequence[Case]]
"""The cases of a listing or folder, whose labels mean what a table says, if there is one."""

HASH_DIGITS: Final = 16
"""Of a case's image in a bundle: enough to know it again."""


@dataclass(frozen=True, slots=True)
class TrainingCases:
    """The cases of a run.

    seen: trained on.
    held_out: not trained on; empty without folds.
    """

    seen: tuple[PreparedCase, ...]
    held_out: tuple[PreparedCase, ...]

    @classmethod
    def of(cls, recipe: Recipe, cases: Iterable[PreparedCase]) -> Self:
        """Part the cases by the recipe's folds: no patient is on both sides.

        Raises:
            TrainingError: there are fewer patients than folds.
        """
        known = tuple(cases)
        away: frozenset[str] = frozenset()
        if recipe.folds is not None:
            away = recipe.folds.held_out(case.patient for case in known)
        return cls(
            tuple(case for case in known if case.patient not in away),
            tuple(case for case in known if case.patient in away),
        )

    @property
    def identity(self) -> str:
        """A hash of all images and labels that are trained on, and of their order."""
        said = [[case.name, case.image_sha256, case.labels_sha256] for case in self.seen]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def provenance(self) -> dict[str, Any]:
        """For the bundle: the names that the user gave the cases, their images as hashes."""
        return {
            "cases": {case.name: case.image_sha256[:HASH_DIGITS] for case in self.seen},
            "held_out_cases": {
                case.name: case.image_sha256[:HASH_DIGITS] for case in self.held_out
            },
        }


def cases_of(
    recipe: Recipe,
    data: Path,
    cache: Path,
    list_cases: ListCases | None,
    say: Callable[[str], None] = lambda _: None,
) -> TrainingCases | None:
    """The cases of a recipe, made ready; None where it trains on synthetic bodies.

    Args:
        recipe: names the listing and the folds.
        data: folder below which they lie.
        cache: keeps what is ready.
        list_cases: finds and reads the cases; None on a machine that cannot read them, which
            then takes what the cache holds.
        say: told the name of a case that is being made ready.

    Raises:
        TrainingError: cases that cannot be used, each with its reason, or none at all.
    """
    if not recipe.data.cases:
        return None
    preparation = Preparation(recipe.architecture, recipe.grid, recipe.data.slice_mm)
    if list_cases is None:
        return TrainingCases.of(recipe, ready_cases(preparation, cache))
    table = data / recipe.data.table if recipe.data.table else None
    listed = list_cases(data / recipe.data.cases, table)
    if not listed:
        raise TrainingError(f"{data / recipe.data.cases}: no case there")
    return TrainingCases.of(recipe, prepare(listed, preparation, cache, say))
