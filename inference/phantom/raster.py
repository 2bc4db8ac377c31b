"""Polygons to pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.phantom.tube import Tube


@dataclass(frozen=True, slots=True)
class Plane:
    """A grid of sample points in an axial plane: (x, y) of the first, their distance."""

    x_mm: float
    y_mm: float
    pitch_mm: float
    rows: int
    columns: int


def inside(
    polygon_mm: NDArray[np.float64], plane: Plane
) -> tuple[slice, slice, NDArray[np.bool_]] | None:
    """Points of a plane that lie inside a polygon, by the even-odd rule.

    Returns the window (rows, columns) that holds the polygon and the mask in it, or None
    where no point can lie inside.
    """
    x = (polygon_mm[:, 0] - plane.x_mm) / plane.pitch_mm
    y = (polygon_mm[:, 1] - plane.y_mm) / plane.pitch_mm
    top, bottom = max(int(np.ceil(y.min())), 0), min(int(np.ceil(y.max())), plane.rows)
    left, right = max(int(np.ceil(x.min())), 0), min(int(np.ceil(x.max())), plane.columns)
    if top >= bottom or left >= right:
        return None
    # Every edge crosses the rows in [ceil(y low), ceil(y high)); behind each crossing the
    # points of the row change between outside and inside.
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    first = np.clip(np.ceil(np.minimum(y, y_next)).astype(int), top, bottom)
    past = np.clip(np.ceil(np.maximum(y, y_next)).astype(int), top, bottom)
    crossings = past - first
    edge = np.repeat(np.arange(len(x)), crossings)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(crossings) - crossings, crossings)
    row += first[edge]
    slope = (x_next - x)[edge] / (y_next - y)[edge]
    column = np.ceil(x[edge] + (row - y[edge]) * slope).astype(int)
    width = right - left + 1
    at = (row - top) * width + np.clip(column - left, 0, width - 1)
    flips = np.bincount(at, minlength=(bottom - top) * width).astype(np.uint8)
    parity = np.add.accumulate(flips.reshape(-1, width), axis=1, dtype=np.uint8) & 1
    return slice(top, bottom), slice(left, right), parity[:, :-1].astype(bool)


def paint(
    section: NDArray[np.uint8], plane: Plane, tubes: Iterable[Tube], height_mm: float
) -> Iterator[tuple[Tube, int]]:
    """Paint the codes of tubes into a section at a height, later ones over earlier ones.

    Yields each tube that was met and how many points lie inside it, hidden ones as well.
    """
    for tube in tubes:
        polygon = tube.polygon_mm(height_mm)
        found = None if polygon is None else inside(polygon, plane)
        if found is not None:
            rows, columns, mask = found
            section[rows, columns][mask] = tube.code
            yield tube, int(np.count_nonzero(mask))
