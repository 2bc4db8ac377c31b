"""Pixels to look at in a rendered slice: one deep inside each structure, and some outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.structures import SEGMENTS, Segment

CLEAR_OF_SEGMENTS_PX = 6.0
"""How far a point of the background lies from anything segmented."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A pixel of the volume, and what the truth has there; None is background."""

    segment: Segment | None
    slice_index: int
    row: int
    column: int

    @property
    def name(self) -> str:
        """For messages."""
        what = self.segment.key if self.segment else "background"
        return f"{what} at slice {self.slice_index}, row {self.row}, column {self.column}"


def probes(segments: NDArray[np.uint8], body: NDArray[np.bool_]) -> tuple[Probe, ...]:
    """A probe for every segment, in as few slices as do, and one of the background in each.

    Args:
        segments: `[slice, row, column]`, 0 to 43.
        body: where the patient is; the background is looked at inside.
    """
    depths, places = _deepest(segments)
    return tuple(
        probe
        for index, numbers in _fewest_slices(depths).items()
        for probe in (*_inside(index, numbers, places), *_outside(index, segments, body))
    )


def _deepest(segments: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Per slice and number: how deep inside one can be, in pixels, and where."""
    shape = (len(segments), len(SEGMENTS) + 1)
    depths, places = np.zeros(shape), np.zeros((*shape, 2), np.intp)
    for index, image in enumerate(segments):
        for number in np.unique(image[image > 0]):
            depth = ndimage.distance_transform_edt(image == number)
            place = np.unravel_index(depth.argmax(), depth.shape)
            depths[index, number], places[index, number] = depth[place], place
    return depths, places


def _fewest_slices(depths: NDArray[np.float64]) -> dict[int, list[int]]:
    """Slices, each with the numbers to look at there, so that none is left out.

    Always the slice next that shows most of what is left; a segment counts as shown where it
    is at least two thirds as deep as it ever is.
    """
    most = depths.max(axis=0)
    shown = (depths >= most * 2 / 3) & (depths > 0)
    left, chosen = set(np.flatnonzero(most).tolist()), {}
    while left:
        numbers = sorted(left)
        index = int(shown[:, numbers].sum(axis=1).argmax())
        chosen[index] = [number for number in numbers if shown[index, number]]
        left -= set(chosen[index])
    return chosen


def _inside(index: int, numbers: list[int], places: NDArray[np.intp]) -> Iterator[Probe]:
    for number in numbers:
        row, column = places[index, number].tolist()
        yield Probe(SEGMENTS[number - 1], index, row, column)


def _outside(
    index: int, segments: NDArray[np.uint8], body: NDArray[np.bool_]
) -> Iterator[Probe]:
    """A point on either side of the picture, in the body but far from what is segmented."""
    distance = ndimage.distance_transform_edt(segments[index] == 0) * body[index]
    middle = distance.shape[1] // 2
    for first, half in ((0, distance[:, :middle]), (middle, distance[:, middle:])):
        row, column = np.unravel_index(half.argmax(), half.shape)
        if half[row, column] >= CLEAR_OF_SEGMENTS_PX:
            yield Probe(None, index, int(row), int(column) + first)
