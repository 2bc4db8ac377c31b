"""The cut below the knee: what a scan shows of the lower legs is left out.

The study cut scans of the whole lower limb below the knee, by eye. Here it is done twice.
Before the network, what lies well below the knees that the CT shows is not segmented at all:
it would take half of the time, and the network knows no lower legs. Afterwards each leg is cut
`KEPT_BELOW_MM` below its knee joint, the lower end of its femur, as if the scan ended there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.anatomy.femur_ends import FemurEnd
from inference.anatomy.knees import SeenKnee, only_lower_legs_at
from inference.anatomy.region import FEMUR_LENGTH_MM
from inference.anatomy.runs import Run, main_run, slice_areas_mm2
from inference.geometry import Geometry
from inference.results import Knee, LowerLegs
from inference.structures import BY_KEY, SEGMENTS, Segment, Side
from inference.volume import Volume

KEPT_BELOW_MM: Final = 40.0
"""All that is segmented ends above: on two published label maps (Andreassen et al., Sci Data
10:34, 2023) the sartorius goes lowest, 4.5 mm below the femur."""

LOWER_LEG_MM: Final = 60.0
"""A scan that goes on less far below the knee is one from hip to knee, and is not cut."""

UNSURE_MM: Final = 30.0
"""How much further down the network is fed: the CT alone does not tell the joint exactly."""

AGREEING_MM: Final = 40.0
"""A femur that ends further from the knee that the CT shows was not segmented right."""

HALF_STANCE_MM: Final = 90.0
"""Where a knee is expected beside x = 0 when no femur tells."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Segments without the lower legs.

    segments: `[slice, row, column]` 0 to 43.
    legs: what was left out, or None where the scan shows no lower leg.
    first_slices: the first slice that counts, on sides that were cut.
    """

    segments: NDArray[np.uint8]
    legs: LowerLegs | None = None
    first_slices: Mapping[Side, int] = field(default_factory=dict)


def first_to_segment(volume: Volume, knees: Sequence[SeenKnee]) -> int:
    """The first slice that the network has to see; 0 where that is not certain."""
    geometry = volume.geometry
    heights = geometry.slice_offsets_mm
    deep = [k.height_mm for k in knees if k.height_mm - _bottom_mm(geometry) > LOWER_LEG_MM]
    if not deep:
        return 0
    lowest = min(deep) - KEPT_BELOW_MM - UNSURE_MM
    first = int(np.searchsorted(heights, lowest))
    return first if first and only_lower_legs_at(volume, float(heights[first])) else 0


def cut_below_knees(
    segments: NDArray[np.uint8],
    geometry: Geometry,
    knees: Sequence[SeenKnee],
    ends: Mapping[Side, FemurEnd] | None = None,
    provided: Collection[Segment] = SEGMENTS,
) -> Cut:
    """Take away what was segmented below each knee that has a lower leg in view.

    There is no knee without a thigh: where no femur is, and labels lie below, what the CT
    seems to show is none; where the model does not provide the femur, labels of that side
    above it are the thigh. Nor is the end of a femur that is no knee (`ends`). A leg that
    was cut without any slice being left out is told only if labels were taken away below a
    knee that the CT shows: the other leg is in those slices.

    Args:
        segments: `[slice, row, column]` 0 to 43.
        geometry: the grid of `segments`.
        knees: those that the CT shows.
        ends: of the femora; without it each that ends inside the scan ends in a knee.
        provided: what the model was made to find.
    """
    femora = _femora(segments, geometry)
    seen = _by_side(knees, femora, ends or {}, geometry)
    seen = {
        side: knee
        for side, knee in seen.items()
        if side in femora
        or not segments[: _first(knee.height_mm - UNSURE_MM, geometry)].any()
        or (
            BY_KEY[f"FEMUR_{side}"] not in provided
            and _OF_SIDE[side][segments[_first(knee.height_mm, geometry) :]].any()
        )
    }
    joints = {
        side: _joint_mm(femora.get(side), seen.get(side), geometry)
        for side in Side
        if side in seen or (ends or {}).get(side, FemurEnd.KNEE) is FemurEnd.KNEE
    }
    bottom = _bottom_mm(geometry)
    first = {
        side: _first(joint, geometry)
        for side, joint in joints.items()
        if joint is not None and joint - bottom > LOWER_LEG_MM
    }
    kept, slices = _without(first, segments)
    if not slices:
        first = {
            side: number
            for side, number in first.items()
            if side in seen and _OF_SIDE[side][segments[:number]].any()
        }
        kept, slices = _without(first, segments)
    if not any(first.values()):
        return Cut(segments)
    found = tuple(Knee(side, float(joints[side] or 0.0)) for side in first)
    return Cut(kept, LowerLegs(found, slices, KEPT_BELOW_MM), first)


def _first(joint_mm: float, geometry: Geometry) -> int:
    """The first slice that is kept above the cut of a leg."""
    return int(np.searchsorted(geometry.slice_offsets_mm, joint_mm - KEPT_BELOW_MM))


def _without(
    first: Mapping[Side, int], segments: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], int]:
    """The segments without what lies below the cuts, and how many slices hold nothing then."""
    if not any(first.values()):
        return segments, 0
    kept = segments.copy()
    for side, number in first.items():
        below = kept[:number]
        below[_OF_SIDE[side][below]] = 0
    labelled = np.flatnonzero(kept.any(axis=(1, 2)))
    return kept, min(*first.values(), *labelled[:1].tolist(), len(kept))


_OF_SIDE: Final = {
    side: np.array([False, *(segment.side is side for segment in SEGMENTS)]) for side in Side
}


def _bottom_mm(geometry: Geometry) -> float:
    return float(geometry.slice_offsets_mm[0] - geometry.extents_mm[0] / 2)


@dataclass(frozen=True, slots=True)
class _Femur:
    """Slices of a femur, and the middle (row, column) of its lowest one in millimetres."""

    run: Run
    foot_mm: tuple[float, float]


def _femora(segments: NDArray[np.uint8], geometry: Geometry) -> dict[Side, _Femur]:
    areas = slice_areas_mm2(segments, geometry)
    femora = {}
    for side in Side:
        number = BY_KEY[f"FEMUR_{side}"].number
        run = main_run(areas[:, number], geometry)
        if run is not None:
            rows, columns = np.nonzero(segments[run.first] == number)
            row_mm, column_mm = geometry.spacing_mm
            femora[side] = _Femur(run, (rows.mean() * row_mm, columns.mean() * column_mm))
    return femora


def _by_side(
    knees: Sequence[SeenKnee],
    femora: Mapping[Side, _Femur],
    ends: Mapping[Side, FemurEnd],
    geometry: Geometry,
) -> dict[Side, SeenKnee]:
    """The knees by the femora above them, as near as can be; at most one for each side.

    A stump has none.
    """
    sides = [side for side in Side if ends.get(side) is not FemurEnd.STUMP]
    expected = {side: _expected_mm(side, femora.get(side), geometry) for side in Side}

    def distance_mm(way: Mapping[Side, SeenKnee]) -> float:
        return sum(
            float(np.hypot(*np.subtract(expected[side], knee.across_mm)))
            for side, knee in way.items()
        )

    orders = permutations(sides, min(len(knees), len(sides)))
    return min((dict(zip(order, knees, strict=False)) for order in orders), key=distance_mm)


def _expected_mm(side: Side, femur: _Femur | None, geometry: Geometry) -> tuple[float, float]:
    """Row and column where a side's knee should be."""
    if femur is not None:
        return femur.foot_mm
    x = -HALF_STANCE_MM if side is Side.RIGHT else HALF_STANCE_MM
    row_mm = geometry.rows * geometry.spacing_mm[0] / 2
    return row_mm, x - float(geometry.positions_mm[0, 0])


def _joint_mm(femur: _Femur | None, knee: SeenKnee | None, geometry: Geometry) -> float | None:
    """The height of a knee joint: the femur's lower end, if nothing speaks against it."""
    end = None
    if femur is not None:
        first, last = femur.run.first, femur.run.last
        heights, extents = geometry.slice_offsets_mm, geometry.extents_mm
        end = float(heights[first] - extents[first] / 2)
        if knee is None:
            whole = first > 0 and heights[last] - end >= FEMUR_LENGTH_MM
            return end if whole else None
    if knee is None or (end is not None and abs(end - knee.height_mm) <= AGREEING_MM):
        return end
    return knee.height_mm
