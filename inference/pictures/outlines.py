"""Best slice of a segment, and its outline there: for viewers that draw contours only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.structures import SEGMENTS

TOLERANCE_PX: Final = 0.4
"""How far a simplified outline may leave the pixels' own: under half a pixel, so that hardly
the centre of a pixel changes sides."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The outer border of a segment's largest part in one slice.

    points: (row, column) indices, whole numbers at the centres of pixels; closed, so the
        last is the first again.
    """

    slice_index: int
    points: tuple[tuple[float, float], ...]


def key_slice_outlines(segments: NDArray[np.uint8]) -> Mapping[int, Outline]:
    """The outline of every segment in the slice where its area is largest.

    Holes are left out, and so are islands beside the largest part.

    Args:
        segments: `[slice, row, column]` 0 to 43.

    Returns:
        By `Segment.number`; nothing for segments that are not there.
    """
    areas_px = _slice_areas_px(segments)
    found = {}
    for segment in SEGMENTS:
        index = int(areas_px[:, segment.number].argmax())
        if areas_px[index, segment.number]:
            found[segment.number] = Outline(index, _outline(segments[index] == segment.number))
    return found


def _slice_areas_px(segments: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(slices, 44) how many pixels each segment has in each slice; column 0 unused."""
    counts = [np.bincount(s[s > 0], minlength=len(SEGMENTS) + 1) for s in segments]
    return np.stack(counts)


def _outline(mask: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """The longest way round anything in a mask that is not empty."""
    # Here, for it loads SciPy's statistics: seconds that whoever draws no outline can spare.
    from skimage.measure import approximate_polygon, find_contours  # noqa: PLC0415

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # A margin of nothing, so that what touches the image's border is closed there.
    # Pixels that touch at a corner are one part: thin bone runs so.
    padded = np.pad(inside, 1).astype(np.float64)
    contours = find_contours(padded, 0.5, fully_connected="high")
    largest = max(contours, key=_area_px)
    corner = np.array([rows[0] - 1, columns[0] - 1])
    points = corner + approximate_polygon(largest, TOLERANCE_PX)
    return tuple((float(row), float(column)) for row, column in points)


def _area_px(contour: NDArray[np.float64]) -> float:
    """The area inside a closed contour (shoelace formula)."""
    row, column = contour[:-1].T
    next_row, next_column = contour[1:].T
    return float(abs(row @ next_column - column @ next_row)) / 2
