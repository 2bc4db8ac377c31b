"""Runs of slices in which a segment is seen, and its area in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.structures import SEGMENTS

SLICE_AREA_MM2: Final = 30.0
"""Less of a segment than this in a slice is an island, not the segment's end."""

RUN_GAP_MM: Final = 15.0
"""A segment may be missing for this far along the body without ending there."""


def slice_areas_mm2(segments: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float64]:
    """(slices, 44) the area of every segment in every slice."""
    counts = [np.bincount(s[s > 0], minlength=len(SEGMENTS) + 1) for s in segments]
    return np.stack(counts) * np.float64(geometry.spacing_mm[0] * geometry.spacing_mm[1])


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring slices that show a segment, and how much of it."""

    first: int
    last: int
    volume_cm3: float


def main_run(areas_mm2: NDArray[np.float64], geometry: Geometry) -> Run | None:
    """The run of neighbouring slices that holds most of a segment."""
    seen = np.flatnonzero(areas_mm2 >= SLICE_AREA_MM2)
    if not seen.size:
        return None
    runs = runs_of(seen, geometry.slice_offsets_mm)
    volumes = [float(areas_mm2[run] @ geometry.extents_mm[run]) / 1000 for run in runs]
    best = int(np.argmax(volumes))
    return Run(int(runs[best][0]), int(runs[best][-1]), volumes[best])


def runs_of(seen: NDArray[np.intp], heights_mm: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Slices in which something is seen, by runs: neighbours, or `RUN_GAP_MM` apart at most."""
    breaks = (np.diff(heights_mm[seen]) > RUN_GAP_MM) & (np.diff(seen) > 1)
    return np.split(seen, np.flatnonzero(breaks) + 1)
