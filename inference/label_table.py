"""Label tables: which numbers of somebody's label map, or network, are which structures.

A label stands for a structure (`GMED`, `SACRUM`), for one on a side (`GMED_L`), or for
nothing that is measured here (an empty text). Several labels may stand for the same
structure, as where adductor longus and magnus were drawn apart: the structure is their union.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from inference.errors import LabelTableError
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

    def structure_of(self, labels: int) -> NDArray[np.uint8]:
        """(labels,) 0 to 22: the structure that each label from 0 upwards is part of."""
        found = np.zeros(labels, dtype=np.uint8)
        for label, meaning in self.meanings.items():
            if meaning is not None:
                structure = meaning.structure if isinstance(meaning, Segment) else meaning
                found[label] = structure.label
        found.flags.writeable = False
        return found

    @property
    def segments(self) -> frozenset[Segment]:
        """Those of the 43 that labels stand for; a structure without a side is both."""
        meanings = set(self.meanings.values())
        return frozenset(
            segment
            for segment in SEGMENTS
            if segment in meanings or segment.structure in meanings
        )


def _label(key: str, words: str) -> int:
    if (
        len(key) > len(str(LARGEST_LABEL))
        or not key.isdecimal()
        or not 0 <= int(key) <= LARGEST_LABEL
    ):
        raise LabelTableError(f"{words}: {key!r} is no label, a number up to {LARGEST_LABEL}")
    return int(key)


def _meaning(key: str, value: Any, words: str) -> Meaning:
    if isinstance(value, Mapping):
        side = value.get("side")
        value = f"{value.get('structure')}_{side}" if side else value.get("structure")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise LabelTableError(f"{words}: label {key} is {value!r}, not a text such as 'GMED_L'")
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
