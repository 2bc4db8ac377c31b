"""A label map in somebody's numbers as segment numbers of this project."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.anatomy.sides import split_sides
from inference.errors import LabelTableError
from inference.geometry import Geometry
from inference.label_table import LabelTable
from inference.structures import Segment, Structure


def segments_of(
    labels: NDArray[Any], table: LabelTable, geometry: Geometry
) -> NDArray[np.uint8]:
    """Segment numbers 0 to 43 from a label map.

    Where the table names no side, sides are told apart as those of a prediction are.

    Args:
        labels: whole numbers `[slice, row, column]` in the patient frame.
        table: what they stand for.
        geometry: the grid of `labels`.

    Raises:
        LabelTableError: a label is not in the table, or no label is found at all.
    """
    _check(labels, table)
    structure_of = np.zeros(max(table.meanings, default=0) + 1, dtype=np.uint8)
    segment_of_label = np.zeros_like(structure_of)
    for label, meaning in table.meanings.items():
        match meaning:
            case Segment():
                structure_of[label] = meaning.structure.label
                segment_of_label[label] = meaning.number
            case Structure():
                structure_of[label] = meaning.label
    whole: NDArray[np.uint8] = structure_of[labels]
    sided: NDArray[np.uint8] = segment_of_label[labels]
    if not whole.any():
        raise LabelTableError(f"no structure is labelled, by the table: {table.words}")
    if ((whole > 0) & (sided == 0)).any():
        split = split_sides(whole, geometry)
        return np.where(sided > 0, sided, split)
    return sided


def _check(labels: NDArray[Any], table: LabelTable) -> None:
    """Refuse labels that the table does not know."""
    unknown = [label for label in _used(labels) if label not in table.meanings]
    if unknown:
        listed = ", ".join(str(label) for label in unknown[:10])
        raise LabelTableError(f"label(s) {listed} are not in the table: {table.words}")


def _used(labels: NDArray[Any]) -> list[int]:
    """The labels that occur, slice by slice: sorting a whole scan takes its memory anew."""
    found: set[int] = set()
    for image in labels:
        found.update(int(label) for label in np.unique(image))
    return sorted(found - {0})
