"""Right and left: connected components, and a watershed where the two sides touch.

The network labels structures, not sides. The study separates them by connected component
analysis and, where the two sides touch (hemipelves at the pubic symphysis), by a watershed
and connected components again (Soufi et al. 2025, Methods). Here:

1. *Components.* A component lies on the side of the midline that holds most of it.
2. *Watershed.* A component that reaches further than `CORE_MM` into both sides, or lies
   about equally on both, is two bodies. It is cut by a watershed on its distance transform,
   grown from its cores (what lies beyond `CORE_MM`, or beyond half of what there is, where
   a slender muscle touches its fellow), so that the cut falls on the neck near the
   midline, not on the midline. Distances are taken within slices: they hold for any slice
   spacing, also an uneven one.
3. *Components again.* A piece of one half that hangs on the other half only goes there.
4. *Islands* stay on the side they lie on, but what is smaller than `ISLAND_SHARE` of the
   largest body of its segment and further than `ISLAND_REACH_MM` away from it is removed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from inference.anatomy.midline import Midline, find_midline
from inference.geometry import Geometry
from inference.structures import SEGMENTS, STRUCTURES, Segment, Side, segment_of

CORE_MM: Final = 15.0
"""Beyond this distance from the midline a voxel's side is certain enough to grow from."""

SPANNING_SHARE: Final = 0.02
"""A component with more than this share beyond `CORE_MM` on each side is two bodies."""

DEPTH_MM: Final = 30.0
"""The watershed tells depths below the surface apart up to this one."""

BALANCED_SHARE: Final = 0.2
"""So is one with more than this share on each side, however slender."""

ISLAND_SHARE: Final = 0.1
ISLAND_REACH_MM: Final = 25.0

Labels = NDArray[np.uint8]
Box = tuple[slice, ...]
"""Three slices: a part of a volume."""

_RIGHT: Final = 1
_LEFT: Final = 2
"""Sides while they are being worked out; the sacrum counts as right."""


def split_sides(
    labels: Labels, geometry: Geometry, provided: Collection[Segment] = SEGMENTS
) -> Labels:
    """Give every structure its side.

    Args:
        labels: `[slice, row, column]` 0 to 22, in the patient frame (the column index
            grows to the patient's left).
        geometry: the grid of `labels`.
        provided: what the model was made to find; of few structures fewer show the midline.

    Returns:
        Segment numbers 0 to 43 on the same grid.
    """
    segments = np.zeros_like(labels)
    boxes = ndimage.find_objects(labels, max_label=len(STRUCTURES))
    if not any(boxes):
        return segments
    midline = find_midline(labels, geometry, provided)
    for structure, box in zip(STRUCTURES, boxes, strict=True):
        if box is None:
            continue
        mask = labels[box] == structure.label
        sides = _sides(mask, box, midline if structure.paired else None)
        _remove_far_islands(sides, box, geometry)
        numbers = [0, *(segment_of(structure, side).number for side in Side)]
        segments[box] += np.array(numbers, dtype=np.uint8)[sides]
    return segments


def _sides(mask: NDArray[np.bool_], box: Box, midline: Midline | None) -> Labels:
    """1 where a structure is right (or has no sides), 2 where it is left."""
    if midline is None:
        return mask.astype(np.uint8)
    components, count = ndimage.label(mask)
    index = np.nonzero(mask)
    which = components[index]
    first = [part.start for part in box]
    leftward = midline.leftward_mm(*(i + f for i, f in zip(index, first, strict=True)))
    lefts = np.bincount(which, leftward > 0, minlength=count + 1)
    cores = [
        np.bincount(which, beyond, minlength=count + 1)
        for beyond in (leftward < -CORE_MM, leftward > CORE_MM)
    ]
    sizes = np.bincount(which, minlength=count + 1)
    side_of = np.where(lefts * 2 > sizes, _LEFT, _RIGHT).astype(np.uint8)
    side_of[0] = 0
    sides = side_of[components]
    both = np.minimum(*cores) > SPANNING_SHARE * sizes
    both |= np.minimum(lefts, sizes - lefts) > BALANCED_SHARE * sizes
    for number in np.flatnonzero(both):
        own = which == number
        _cut(sides, tuple(i[own] for i in index), leftward[own], midline.spacing_mm)
    return sides


def _cut(
    sides: Labels,
    index: tuple[NDArray[np.intp], ...],
    leftward_mm: NDArray[np.float32],
    spacing_mm: tuple[float, float],
) -> None:
    """Cut one component at its neck near the midline; writes into `sides`.

    Only a band somewhat wider than `CORE_MM` to both sides of the midline is flooded.
    """
    sides[index] = np.where(leftward_mm > 0, _LEFT, _RIGHT)
    band = np.abs(leftward_mm) <= CORE_MM * 1.5
    if not band.any():  # pixels wider than the band: the midline is the cut
        return
    near = tuple(i[band] for i in index)
    first = tuple(int(i.min()) for i in near)
    shape = tuple(int(i.max()) - f + 1 for i, f in zip(near, first, strict=True))
    local = tuple(i - f for i, f in zip(near, first, strict=True))
    mask = np.zeros(shape, dtype=bool)
    mask[local] = True
    markers = np.zeros(shape, dtype=np.int32)
    markers[local] = _cores(leftward_mm, index[0])[band]
    depth = _depth_mm(index, first, shape, spacing_mm)
    halves = watershed(-depth, markers, mask=mask)[local]
    # A part of the band that no core reaches keeps its side of the midline.
    sides[near] = np.where(halves > 0, halves, sides[near])
    _rejoin(sides, index)


def _cores(leftward_mm: NDArray[np.float32], slices: NDArray[np.intp]) -> Labels:
    """The side of voxels from which a half grows, 0 elsewhere."""
    cores = np.zeros(len(leftward_mm), dtype=np.uint8)
    for side, sign in ((_RIGHT, -1), (_LEFT, 1)):
        inward_mm = leftward_mm * sign
        reach_mm = np.zeros(int(slices.max()) + 1, dtype=np.float32)
        np.maximum.at(reach_mm, slices, inward_mm)
        needed_mm = np.minimum(CORE_MM, reach_mm / 2)[slices]
        cores[(inward_mm > needed_mm) & (inward_mm > 0)] = side
    return cores


def _depth_mm(
    index: tuple[NDArray[np.intp], ...],
    first: tuple[int, ...],
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float],
) -> NDArray[np.float32]:
    """Distance to the component's edge within each slice, in the box of the band.

    Seen through a window `DEPTH_MM` wider than the box, so true up to that depth.
    """
    slices, rows, columns = index
    margin = int(np.ceil(DEPTH_MM / spacing_mm[1]))
    left, top = first[2] - margin, int(rows.min()) - 1
    size = (shape[0], int(rows.max()) - top + 2, shape[2] + 2 * margin)
    local = (slices - first[0], rows - top, columns - left)
    shown = (local[0] >= 0) & (local[0] < size[0]) & (local[2] >= 0) & (local[2] < size[2])
    image = np.zeros(size, dtype=bool)
    image[tuple(i[shown] for i in local)] = True
    start = first[1] - top
    depth = np.empty(shape, dtype=np.float32)
    for number, cross_section in enumerate(image):
        distance = ndimage.distance_transform_edt(cross_section, sampling=spacing_mm)
        depth[number] = distance[start : start + shape[1], margin : margin + shape[2]]
    return depth


def _rejoin(sides: Labels, index: tuple[NDArray[np.intp], ...]) -> None:
    """Connected components again: pieces cut off from their own half go to the other."""
    whole = np.zeros_like(sides)
    whole[index] = sides[index]
    for side, other in ((_RIGHT, _LEFT), (_LEFT, _RIGHT)):
        pieces, _ = ndimage.label(whole == side)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        loose = (sizes > 0) & (sizes < ISLAND_SHARE * sizes.max(initial=0))
        sides[loose[pieces]] = other


def _remove_far_islands(sides: Labels, box: Box, geometry: Geometry) -> None:
    """Remove what is both small and far from the largest body of its side."""
    offsets_mm = geometry.slice_offsets_mm[box[0]]
    for side, part in enumerate(ndimage.find_objects(sides, max_label=_LEFT), start=_RIGHT):
        if part is None:
            continue
        own = sides[part]  # a view: of a pair each is half as wide as both
        components, count = ndimage.label(own == side)
        if count < 2:
            continue
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        boxes = ndimage.find_objects(components)
        main = int(sizes.argmax())
        far = np.zeros(count + 1, dtype=bool)
        for number in np.flatnonzero(sizes < ISLAND_SHARE * sizes[main])[1:]:
            one, other = boxes[number - 1], boxes[main - 1]
            gap = _gap_mm(one, other, offsets_mm[part[0]], geometry.spacing_mm)
            far[number] = gap > ISLAND_REACH_MM
        if far.any():
            own[far[components]] = 0


def _gap_mm(
    one: Box, other: Box, offsets_mm: NDArray[np.float64], spacing_mm: tuple[float, float]
) -> float:
    """The distance between two boxes."""
    gaps_mm = []
    for axis, (a, b) in enumerate(zip(one, other, strict=True)):
        lower, upper = sorted((a, b), key=lambda part: int(part.start))
        last, next_first = lower.stop - 1, upper.start
        if axis == 0:
            gap = float(offsets_mm[next_first] - offsets_mm[last])
        else:
            gap = (next_first - last) * spacing_mm[axis - 1]
        gaps_mm.append(max(0.0, gap))
    return float(np.linalg.norm(gaps_mm))
