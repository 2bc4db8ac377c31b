"""Border between the patient's right and left, slice by slice, from labels alone.

Evidence, best first:

1. structures that come as two separate bodies (both femora, or three others): half-way
   between them, along the line that joins them. Which of the two is the right one is read
   at their upper end, so that crossed legs keep their names;
2. the sacrum, which lies on the midline;
3. where only one leg is in view: anatomy tells its side (vastus lateralis lies lateral,
   gracilis medial), and the midline runs along its medial edge. Of a model that provides the
   structures of one side only all is of that side, where anatomy does not contradict it;
4. a part without any such landmark: half-way between its edges if it is wider than one
   leg, else the sign of its LPS x: a scanner's table, and with it the patient, is centred
   on x = 0.

A model that provides few structures has fewer of them to be two bodies.
The centre of the image is never used: reconstructions are often centred on one leg.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.geometry import Geometry
from inference.structures import (
    BY_ABBREVIATION,
    SEGMENTS,
    STRUCTURES,
    Segment,
    Side,
    Structure,
    segment_of,
)

PAIR_DISTANCE_MM: Final = 60.0
"""Two bodies of one structure closer than this are no evidence of two legs."""

PAIR_BALANCE: Final = 0.25
"""The smaller of two bodies has at least this share of the larger, where both are seen."""

PAIRS_NEEDED: Final = 3
"""Without both femora, this many structures in two bodies show two sides; where a model
provides fewer than twice as many on both, half of those."""

LANDMARK_MM3: Final = 1000.0
"""Bodies below this size are no landmarks."""

PIXEL_MM: Final = 2.0
"""The midline is sought on every n-th row and column, up to about this pixel size."""

TWO_LEGS_MM: Final = 300.0
"""What is wider than this is not one leg."""

SMOOTHING_MM: Final = 20.0
"""Standard deviation of the Gaussian along the body that steadies the midline."""

LATERAL: Final = tuple(BY_ABBREVIATION[a] for a in ("GMED", "GMIN", "TFL", "VLVI", "BF"))
MEDIAL: Final = tuple(
    BY_ABBREVIATION[a] for a in ("SACRUM", "PSOAS", "OI", "PE", "AD", "GRAC", "SM", "VM")
)
_SACRUM: Final = BY_ABBREVIATION["SACRUM"]
_FEMUR: Final = BY_ABBREVIATION["FEMUR"]

Labels = NDArray[np.uint8]
PerSlice = NDArray[np.float64]
"""(slices, 2) millimetres or unit vectors `[row, column]`; NaN where there is no evidence."""


@dataclass(frozen=True, slots=True, eq=False)
class Midline:
    """One line per slice between right and left.

    point_mm: (slices, 2) a point on it, `[row, column]`, from the first voxel's centre.
    direction: (slices, 2) unit vector across it, towards the patient's left.
    spacing_mm: of rows and columns.
    """

    point_mm: PerSlice
    direction: PerSlice
    spacing_mm: tuple[float, float]

    def leftward_mm(
        self, slices: NDArray[np.intp], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Distance of voxels to the patient's left of it; negative means right."""
        across = (self.direction * self.spacing_mm).astype(np.float32)
        offset = np.sum(self.direction * self.point_mm, axis=1).astype(np.float32)
        leftward = rows * across[slices, 0] + columns * across[slices, 1] - offset[slices]
        return np.asarray(leftward, dtype=np.float32)


def find_midline(
    labels: Labels, geometry: Geometry, provided: Collection[Segment] = SEGMENTS
) -> Midline:
    """The midline of a volume that shows at least one structure.

    Args:
        labels: `[slice, row, column]` 0 to 22, in the patient frame.
        geometry: the grid of `labels`.
        provided: what the model was made to find.
    """
    coarse, pixel_mm = _coarse(labels, geometry)
    bodies = _bodies(coarse, pixel_mm, geometry.extents_mm)
    paired = paired_structures(provided)
    pairs = [pair for s in paired if (pair := _pair(bodies[s])) is not None]
    has_femora = any(pair.structure == _FEMUR for pair in pairs)
    two_legs = has_femora or len(pairs) >= max(1, min(PAIRS_NEEDED, len(paired) // 2))
    points, directions = _between(pairs if two_legs else [], len(labels))
    if bodies[_SACRUM]:
        sacrum_mm = bodies[_SACRUM][0].centroids_mm
        alone = np.isnan(points[:, 0]) & ~np.isnan(sacrum_mm[:, 0])
        points[alone], directions[alone] = sacrum_mm[alone], (0.0, 1.0)
    if np.isnan(points).all():
        points, directions = _without_landmarks(bodies, coarse, pixel_mm, geometry, provided)
    return Midline(
        _along_the_body(points, geometry.slice_offsets_mm),
        _unit(_along_the_body(directions, geometry.slice_offsets_mm)),
        geometry.spacing_mm,
    )


def paired_structures(provided: Collection[Segment]) -> list[Structure]:
    """Those that a model can find on both sides; of others two bodies are no two legs."""
    return [
        structure
        for structure in STRUCTURES
        if structure.paired and all(segment_of(structure, side) in provided for side in Side)
    ]


def only_side(provided: Collection[Segment]) -> Side | None:
    """The one side of all that the model was made to find; None where there are both."""
    sides = {segment.side for segment in provided} - {None}
    return sides.pop() if len(sides) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """A connected body of one structure: its outline in numbers, slice by slice.

    areas: (slices,) pixels. centroids_mm: (slices, 2). edges_mm: (slices, 2) its lowest and
    highest column. NaN where the body is not.
    """

    structure: Structure
    volume_mm3: float
    areas: NDArray[np.float64]
    centroids_mm: PerSlice
    edges_mm: PerSlice


def _coarse(labels: Labels, geometry: Geometry) -> tuple[Labels, tuple[float, float]]:
    steps = [max(1, int(PIXEL_MM // spacing)) for spacing in geometry.spacing_mm]
    coarse = labels[:, :: steps[0], :: steps[1]]
    return coarse, (geometry.spacing_mm[0] * steps[0], geometry.spacing_mm[1] * steps[1])


def _bodies(
    coarse: Labels, pixel_mm: tuple[float, float], extents_mm: NDArray[np.float64]
) -> dict[Structure, list[_Body]]:
    """The two largest bodies of every structure that are large enough, largest first."""
    bodies: dict[Structure, list[_Body]] = {structure: [] for structure in STRUCTURES}
    boxes = ndimage.find_objects(coarse, max_label=len(STRUCTURES))
    for structure, box in zip(STRUCTURES, boxes, strict=True):
        if box is None:
            continue
        components, _ = ndimage.label(coarse[box] == structure.label)
        index = np.nonzero(components)
        which = components[index]
        weights = extents_mm[index[0] + box[0].start] * pixel_mm[0] * pixel_mm[1]
        volumes = np.bincount(which, weights)
        for number in np.argsort(-volumes, kind="stable")[:2]:
            if number and volumes[number] >= LANDMARK_MM3:
                own = which == number
                place = [i[own] + b.start for i, b in zip(index, box, strict=True)]
                bodies[structure].append(
                    _body(structure, volumes[number], place, len(coarse), pixel_mm)
                )
    return bodies


def _body(
    structure: Structure,
    volume_mm3: float,
    place: list[NDArray[np.intp]],
    slices: int,
    pixel_mm: tuple[float, float],
) -> _Body:
    which, row, column = place
    areas = np.bincount(which, minlength=slices).astype(np.float64)
    areas[areas == 0] = np.nan
    centroids = [
        np.bincount(which, i, minlength=slices) / areas * mm
        for i, mm in zip((row, column), pixel_mm, strict=True)
    ]
    low, high = np.full(slices, np.inf), np.full(slices, -np.inf)
    np.minimum.at(low, which, column * pixel_mm[1])
    np.maximum.at(high, which, column * pixel_mm[1])
    edges = np.stack([low, high], axis=1)
    edges[~np.isfinite(edges)] = np.nan
    return _Body(structure, float(volume_mm3), areas, np.stack(centroids, axis=1), edges)


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """The right and the left body of one structure: centroids, NaN where one is missing."""

    structure: Structure
    right_mm: PerSlice
    left_mm: PerSlice


def _pair(bodies: list[_Body]) -> _Pair | None:
    """Two bodies that can only be right and left, or None."""
    if len(bodies) < 2 or not bodies[0].structure.paired:
        return None
    first, second = bodies
    common = np.flatnonzero(~np.isnan(first.areas) & ~np.isnan(second.areas))
    if not common.size:
        return None
    sizes = first.areas[common].sum(), second.areas[common].sum()
    apart = second.centroids_mm[common] - first.centroids_mm[common]
    balanced = min(sizes) >= PAIR_BALANCE * max(sizes)
    if not balanced or np.linalg.norm(apart, axis=1).mean() < PAIR_DISTANCE_MM:
        return None
    upper = apart[-max(1, len(common) // 4) :, 1].mean()
    right, left = (first, second) if upper > 0 else (second, first)
    return _Pair(first.structure, right.centroids_mm, left.centroids_mm)


def _between(pairs: list[_Pair], slices: int) -> tuple[PerSlice, PerSlice]:
    """Half-way between paired bodies, and the direction that joins them: medians of all."""
    points, directions = np.full((slices, 2), np.nan), np.full((slices, 2), np.nan)
    if not pairs:
        return points, directions
    halfway = np.stack([(pair.right_mm + pair.left_mm) / 2 for pair in pairs])
    joining = np.stack([_unit(pair.left_mm - pair.right_mm) for pair in pairs])
    seen = ~np.isnan(halfway).all(axis=(0, 2))
    points[seen] = np.nanmedian(halfway[:, seen], axis=0)
    directions[seen] = np.nanmedian(joining[:, seen], axis=0)
    return points, directions


def _without_landmarks(
    bodies: dict[Structure, list[_Body]],
    coarse: Labels,
    pixel_mm: tuple[float, float],
    geometry: Geometry,
    provided: Collection[Segment],
) -> tuple[PerSlice, PerSlice]:
    """A midline where neither pairs nor the sacrum show it."""
    side, declared = _side_of_one_leg(bodies), only_side(provided)
    if declared is not None and side in (None, declared):
        return _beside_one_leg(declared, {}, coarse, pixel_mm)
    if side is not None:
        return _beside_one_leg(side, bodies, coarse, pixel_mm)
    edges = [body.edges_mm for found in bodies.values() for body in found]
    low, high = (np.nanmin(edges), np.nanmax(edges)) if edges else (0.0, 0.0)
    if high - low > TWO_LEGS_MM:
        middle = np.tile([0.0, float(low + high) / 2], (len(coarse), 1))
        return middle, np.tile([0.0, 1.0], (len(coarse), 1))
    return _beside_one_leg(_side_of_table(coarse, pixel_mm, geometry), bodies, coarse, pixel_mm)


def _beside_one_leg(
    side: Side,
    bodies: dict[Structure, list[_Body]],
    coarse: Labels,
    pixel_mm: tuple[float, float],
) -> tuple[PerSlice, PerSlice]:
    """A midline along the medial edge of the only leg in view."""
    largest = [found[0].edges_mm for found in bodies.values() if found]
    points = np.full((len(coarse), 2), np.nan)
    if largest:
        edges = np.stack(largest)
        seen = ~np.isnan(edges).all(axis=(0, 2))
        low, high = np.nanmin(edges[:, seen, 0], axis=0), np.nanmax(edges[:, seen, 1], axis=0)
        points[seen, 0] = 0.0
        points[seen, 1] = low if side is Side.LEFT else high
    else:
        width = coarse.shape[2] * pixel_mm[1]
        points[:] = (0.0, 0.0 if side is Side.LEFT else width)
    return points, np.tile([0.0, 1.0], (len(coarse), 1))


def _side_of_one_leg(bodies: dict[Structure, list[_Body]]) -> Side | None:
    """The side of the only leg in view, by what lies lateral and what medial in it."""
    leftward = 0.0
    for lateral in (body for s in LATERAL for body in bodies[s][:1]):
        for medial in (body for s in MEDIAL for body in bodies[s][:1]):
            apart = lateral.centroids_mm[:, 1] - medial.centroids_mm[:, 1]
            leftward += float(np.nansum(apart * np.fmin(lateral.areas, medial.areas)))
    if leftward == 0.0:
        return None
    return Side.LEFT if leftward > 0 else Side.RIGHT


def _side_of_table(coarse: Labels, pixel_mm: tuple[float, float], geometry: Geometry) -> Side:
    columns = np.flatnonzero(coarse.any(axis=(0, 1)))
    centre_mm = float(columns.mean()) * pixel_mm[1] if columns.size else 0.0
    x_mm = geometry.positions_mm[0, 0] + centre_mm * geometry.column_axis[0]
    return Side.LEFT if x_mm > 0 else Side.RIGHT


def _along_the_body(values: PerSlice, offsets_mm: NDArray[np.float64]) -> PerSlice:
    """Fill slices without evidence from their neighbours, and smooth along the body."""
    known = np.flatnonzero(~np.isnan(values[:, 0]))
    grid = np.arange(offsets_mm[0], offsets_mm[-1] + 1.0, 1.0)
    smooth = np.empty_like(values)
    for axis in range(2):
        even = np.interp(grid, offsets_mm[known], values[known, axis])
        even = ndimage.gaussian_filter1d(even, SMOOTHING_MM, mode="nearest")
        smooth[:, axis] = np.interp(offsets_mm, grid, even)
    return smooth


def _unit(vectors: PerSlice) -> PerSlice:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1.0, length)
