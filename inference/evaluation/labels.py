"""Meaning of the numbers in somebody's label map, and the map in the project's own numbers.

A label stands for a structure (`GMED`, `SACRUM`), for one on a side (`GMED_L`), or for
nothing that is evaluated (an empty text). Several labels may stand for the same structure,
as where adductor longus and magnus were drawn apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from inference.anatomy.sides import split_sides
from inference.errors import LabelTableError
from inference.geometry import Geometry
from inference.structures import (
    BY_ABBREVIATION,
    BY_KEY,
    SEGMENTS,
    STRUCTURES,
    Segment,
    Structure,
)

LARGEST_LABEL: Final = 2**16 - 1

Meaning = Structure | Segment | None
"""A structure whose sides are still to be told apart, one on a side, or nothing."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Label to meaning. Label 0 is always nothing.

    words: which table it is, for the report.
    """

    meanings: Mapping[int, Meaning]
    words: str

    @classmethod
    def read(cls, entries: Mapping[str, Any], words: str) -> Self:
        """A table from a file's keys and values.

        A value is a structure's abbreviation, a segment's key (`GMED_L`), an empty text, or
        a table of `structure` and `side` as in the `labels.json` of `msk-node segment`.

        Raises:
            LabelTableError: a key is no label, or a value no structure.
        """
        meanings = {_label(key, words): _meaning(key, v, words) for key, v in entries.items()}
        if not any(meanings.values()):
            raise LabelTableError(f"{words}: no label stands for a structure")
        return cls(MappingProxyType(meanings), words)

    def segments(self, labels: NDArray[Any], geometry: Geometry) -> NDArray[np.uint8]:
        """Segment numbers 0 to 43 from a label map.

        Where the table names no side, sides are told apart as those of a prediction are.

        Args:
            labels: whole numbers `[slice, row, column]` in the patient frame.
            geometry: the grid of `labels`.

        Raises:
            LabelTableError: a label is not in the table, or no label is found at all.
        """
        self._check(labels)
        structure_of = np.zeros(max(self.meanings, default=0) + 1, dtype=np.uint8)
        segment_of_label = np.zeros_like(structure_of)
        for label, meaning in self.meanings.items():
            match meaning:
                case Segment():
                    structure_of[label] = meaning.structure.label
                    segment_of_label[label] = meaning.number
                case Structure():
                    structure_of[label] = meaning.label
        whole: NDArray[np.uint8] = structure_of[labels]
        sided: NDArray[np.uint8] = segment_of_label[labels]
        if not whole.any():
            raise LabelTableError(f"no structure is labelled, by the table: {self.words}")
        if ((whole > 0) & (sided == 0)).any():
            split = split_sides(whole, geometry)
            return np.where(sided > 0, sided, split)
        return sided

    def _check(self, labels: NDArray[Any]) -> None:
        """Refuse labels that the table does not know."""
        unknown = [label for label in _used(labels) if label not in self.meanings]
        if unknown:
            listed = ", ".join(str(label) for label in unknown[:10])
            raise LabelTableError(f"label(s) {listed} are not in the table: {self.words}")


def _used(labels: NDArray[Any]) -> list[int]:
    """The labels that occur, slice by slice: sorting a whole scan takes its memory anew."""
    found: set[int] = set()
    for image in labels:
        found.update(int(label) for label in np.unique(image))
    return sorted(found - {0})


def _label(key: str, words: str) -> int:
    if not key.isdecimal() or not 0 <= int(key) <= LARGEST_LABEL:
        raise LabelTableError(f"{words}: {key!r} is no label, a number up to {LARGEST_LABEL}")
    return int(key)


def _meaning(key: str, value: Any, words: str) -> Meaning:
    if isinstance(value, Mapping):
        side = value.get("side")
        value = f"{value.get('structure')}_{side}" if side else value.get("structure")
    if value in {"", None}:
        return None
    if value in BY_ABBREVIATION and BY_ABBREVIATION[value].paired:
        return BY_ABBREVIATION[value]
    if value in BY_KEY:
        return BY_KEY[value]
    raise LabelTableError(
        f"{words}: label {key} is {value!r}; it must be one of {', '.join(BY_ABBREVIATION)},"
        " with _R or _L behind it where the side is known"
    )


STUDY_TABLE: Final = LabelTable(
    MappingProxyType({s.label: s if s.paired else BY_KEY[s.abbreviation] for s in STRUCTURES}),
    "labels 1 to 22 in the study's order, sides together",
)
SEGMENT_TABLE: Final = LabelTable(
    MappingProxyType({segment.number: segment for segment in SEGMENTS}),
    "labels 1 to 43 as in the labels.json of `msk-node segment`",
)
