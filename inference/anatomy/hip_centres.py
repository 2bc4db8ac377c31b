"""Centres of the hip joints: a sphere fitted to each femoral head.

The centre of the head is the centre of the joint (Wu et al., J Biomech 35, 2002, 543-548: the
ISB's frame of the femur begins there). What is fitted is the femur's outline, slice by slice:

1. Points of the outline near the pelvis are the joint's surface, for the most part.
2. Spheres through four of them are drawn, and the one that most points lie on is kept
   (RANSAC: Fischler and Bolles, Commun ACM 24, 1981, 381-395), drawn with a fixed seed.
3. It is refined on all points of the outline that lie on it and do not look at the shaft, by
   the algebraic fit (Coope, J Optim Theory Appl 76, 1993, 381-388), then by least squares of
   the distances.

A fit has to look like a femoral head: its radius, its residual, and how much of the sphere
has points. One that does not, and a head that is not there, is cut by the scan, or has metal
at it, is answered with a reason in words instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.anatomy.metal import METAL_ABOVE_HU, METAL_MM3
from inference.geometry import Geometry
from inference.results import HipCentre
from inference.structures import BY_KEY, Side
from inference.volume import Volume

PROXIMAL_MM: Final = 110.0
"""The head lies within this of the femur's upper end (a head of 60 mm, upright or turned)."""

JOINT_MM: Final = 8.0
"""Points of the femur this near the pelvis are of the joint: cartilage of both is 4 mm thick,
and a label may be a pixel short on either side."""

RADIUS_LIMITS_MM: Final = (16.0, 34.0)
"""Adults' heads have radii from 19 to 29 mm (Young et al., Clin Orthop 471, 2013); with room
for small labels and for deformed heads."""

ON_SPHERE_MM: Final = 2.0
"""A point this near the sphere is on it, for the fit."""

RESIDUAL_MM: Final = 1.5
"""Root mean square of the distances of those points: a fit above is no sphere."""

LEAST_SHARE: Final = 0.55
"""A head has points in this share of the parts of its sphere that do not look at the neck."""

LEAST_BELIEVED: Final = 0.6
"""... and this share of the joint's points is on it."""

NECK_DEGREES: Final = 55.0
"""Half the opening of the cone about the neck in which nothing is asked of the sphere."""

LEAST_POINTS: Final = 40
TRIALS: Final = 400
MOST_POINTS: Final = 6000
"""The joint's points that spheres are drawn through; of more, evenly every so many."""

METAL_REACH_MM: Final = 15.0
"""Metal this near the upper femur's labels, or in them, is at the hip."""

UNSEEN_CAP: Final = 0.25
"""How much of the head's radius a scan may cut off at the top."""

Points = NDArray[np.float64]
"""(n, 3) in millimetres along the volume's own axes: slice, row, column."""

NO_FEMUR: Final = "no femur was found"
NO_PELVIS: Final = "no pelvis was found"
CUT: Final = "the scan cuts the femoral head"
METAL: Final = "metal at the hip"
NO_JOINT: Final = "no femoral head was found at the pelvis"
NO_SPHERE: Final = "the femoral head is no sphere"


class NoHipCentre(str):
    """The reason in words why a hip has no centre."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Upper:
    """The upper femur and the pelvis around it, in a box of the volume.

    origin: slice, row and column of the box's first voxel.
    """

    femur: NDArray[np.bool_]
    pelvis: NDArray[np.bool_]
    hu: NDArray[np.int16] | NDArray[np.float32]
    origin: tuple[int, int, int]
    geometry: Geometry

    @property
    def heights_mm(self) -> NDArray[np.float64]:
        """Of the box's slices, along the normal."""
        first = self.origin[0]
        return self.geometry.slice_offsets_mm[first : first + len(self.femur)]


def find_hip_centres(
    volume: Volume, segments: NDArray[np.uint8]
) -> dict[Side, HipCentre | NoHipCentre]:
    """The centre of each hip, or the reason why it has none.

    Args:
        volume: the CT, in the patient frame.
        segments: `[slice, row, column]` 0 to 43 on its grid.
    """
    return {side: _hip_centre(volume, segments, side) for side in Side}


def _hip_centre(
    volume: Volume, segments: NDArray[np.uint8], side: Side
) -> HipCentre | NoHipCentre:
    upper = _upper_femur(volume, segments, side)
    if isinstance(upper, NoHipCentre):
        return upper
    if _has_metal(upper):
        return NoHipCentre(METAL)
    outline = _outline_mm(upper)
    joint = outline[_near_pelvis(outline, upper)]
    if len(joint) < LEAST_POINTS:
        return NoHipCentre(CUT if _reaches_top(upper) else NO_JOINT)
    drawn = _ransac(joint[:: max(1, len(joint) // MOST_POINTS)])
    if drawn is None:
        return NoHipCentre(NO_SPHERE)
    return _believed(_refined(drawn, outline, _shaft_mm(upper)), joint, upper)


def _upper_femur(
    volume: Volume, segments: NDArray[np.uint8], side: Side
) -> _Upper | NoHipCentre:
    """The box of the femur's upper end with room for the joint around it."""
    geometry = volume.geometry
    number, pelvis = BY_KEY[f"FEMUR_{side}"].number, BY_KEY[f"PELVIS_{side}"].number
    shown = np.flatnonzero((segments == number).any(axis=(1, 2)))
    if not shown.size:
        return NoHipCentre(NO_FEMUR)
    if not (segments == pelvis).any():
        return NoHipCentre(NO_PELVIS)
    heights = geometry.slice_offsets_mm
    low = np.searchsorted(heights, heights[shown[-1]] - PROXIMAL_MM)
    high = np.searchsorted(heights, heights[shown[-1]] + METAL_REACH_MM, side="right")
    part = segments[low:high] == number
    spans = [slice(int(low), int(high))]
    for axis, mm in zip((1, 2), geometry.spacing_mm, strict=True):
        found = np.flatnonzero(part.any(axis=tuple({0, 1, 2} - {axis})))
        margin = int(np.ceil(METAL_REACH_MM / mm)) + 1
        spans.append(slice(max(0, int(found[0]) - margin), int(found[-1]) + margin + 1))
    box = (spans[0], spans[1], spans[2])
    return _Upper(
        femur=segments[box] == number,
        pelvis=segments[box] == pelvis,
        hu=volume.hu[box],
        origin=(box[0].start, box[1].start, box[2].start),
        geometry=geometry,
    )


def _has_metal(upper: _Upper) -> bool:
    """True if metal lies at the upper femur, in one piece of some size."""
    pieces, count = ndimage.label(upper.hu > METAL_ABOVE_HU)
    if not count:
        return False
    first = upper.origin[0]
    voxel_mm3 = upper.geometry.voxel_volumes_mm3[first : first + len(pieces)]
    each_mm3 = np.zeros(count + 1)
    for labels, mm3 in zip(pieces, voxel_mm3, strict=True):
        each_mm3 += np.bincount(labels.ravel(), minlength=count + 1) * mm3
    return bool((each_mm3[1:] >= METAL_MM3).any())


def _outline_mm(upper: _Upper) -> Points:
    """Points half-way between voxels of the femur and their neighbours in the same slice.

    Not between slices: those lie anywhere within a slice's thickness.
    """
    found = []
    for axis in (1, 2):
        before = np.diff(upper.femur.astype(np.int8), axis=axis)
        index = np.argwhere(before != 0).astype(np.float64)
        index[:, axis] += 0.5
        found.append(index)
    return _to_mm(np.concatenate(found), upper)


def _to_mm(index: NDArray[np.float64], upper: _Upper) -> Points:
    """Indices in the box as millimetres along the volume's axes."""
    row_mm, column_mm = upper.geometry.spacing_mm
    slices, rows, columns = upper.origin
    starts = _starts_mm(upper.geometry)[slices + index[:, 0].astype(int)]
    return np.stack(
        [
            upper.heights_mm[index[:, 0].astype(int)],
            starts[:, 0] + (rows + index[:, 1]) * row_mm,
            starts[:, 1] + (columns + index[:, 2]) * column_mm,
        ],
        axis=-1,
    )


def _starts_mm(geometry: Geometry) -> NDArray[np.float64]:
    """(slices, 2) where each slice's first voxel lies along the row and column axes."""
    return np.stack(
        [
            geometry.positions_mm @ geometry.row_axis,
            geometry.positions_mm @ geometry.column_axis,
        ],
        axis=-1,
    )


def _near_pelvis(outline: Points, upper: _Upper) -> NDArray[np.bool_]:
    """Which points of the outline lie near the pelvis of their side."""
    if not upper.pelvis.any():
        return np.zeros(len(outline), dtype=bool)
    thickness = float(np.median(np.diff(upper.heights_mm))) if len(upper.femur) > 1 else 1.0
    distance_mm = ndimage.distance_transform_edt(
        ~upper.pelvis, sampling=(thickness, *upper.geometry.spacing_mm)
    )
    row_mm, column_mm = upper.geometry.spacing_mm
    slices, rows, columns = upper.origin
    numbers = np.searchsorted(upper.heights_mm, outline[:, 0] - 1e-6)
    starts = _starts_mm(upper.geometry)[slices + numbers]
    at = (
        numbers,
        ((outline[:, 1] - starts[:, 0]) / row_mm - rows).astype(int),
        ((outline[:, 2] - starts[:, 1]) / column_mm - columns).astype(int),
    )
    return np.asarray(distance_mm[at] <= JOINT_MM)


def _reaches_top(upper: _Upper) -> bool:
    """True if the femur goes on to the uppermost slice of the scan."""
    last = upper.origin[0] + int(np.flatnonzero(upper.femur.any(axis=(1, 2)))[-1])
    return last == len(upper.geometry.positions_mm) - 1


@dataclass(frozen=True, slots=True, eq=False)
class _Sphere:
    centre_mm: NDArray[np.float64]
    radius_mm: float

    def off_mm(self, points: Points) -> NDArray[np.float64]:
        """How far points lie outside the sphere; negative inside."""
        return np.asarray(np.linalg.norm(points - self.centre_mm, axis=1) - self.radius_mm)


def _ransac(points: Points) -> _Sphere | None:
    """Of spheres through four points each, the one that most points lie on."""
    rng = np.random.default_rng(0)
    best, most = None, 0
    for _ in range(TRIALS):
        sphere = _algebraic(points[rng.choice(len(points), 4, replace=False)])
        if sphere is None or not RADIUS_LIMITS_MM[0] <= sphere.radius_mm <= RADIUS_LIMITS_MM[1]:
            continue
        on_it = int((np.abs(sphere.off_mm(points)) <= ON_SPHERE_MM).sum())
        if on_it > most:
            best, most = sphere, on_it
    return best


def _algebraic(points: Points) -> _Sphere | None:
    """The sphere with 2 c.p + (r^2 - c.c) = p.p in the least squares sense (Coope, 1993)."""
    middle = points.mean(axis=0)
    moved = points - middle
    matrix = np.column_stack([2 * moved, np.ones(len(moved))])
    solved, _, rank, _ = np.linalg.lstsq(matrix, (moved**2).sum(axis=1), rcond=None)
    squared = float(solved[3] + solved[:3] @ solved[:3])
    if rank < matrix.shape[1] or squared <= 0:
        return None
    return _Sphere(solved[:3] + middle, float(np.sqrt(squared)))


def _geometric(sphere: _Sphere, points: Points) -> _Sphere:
    """Least squares of the points' distances from the sphere, by Gauss and Newton."""
    for _ in range(20):
        away = points - sphere.centre_mm
        distance = np.maximum(np.linalg.norm(away, axis=1), 1e-9)
        jacobian = np.column_stack([away / distance[:, np.newaxis], np.ones(len(points))])
        step = np.linalg.lstsq(jacobian, distance - sphere.radius_mm, rcond=None)[0]
        sphere = _Sphere(sphere.centre_mm + step[:3], sphere.radius_mm + float(step[3]))
        if float(np.abs(step).max()) < 1e-6:
            break
    return sphere


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """A sphere with the points that it was fitted to, and where the neck goes (a unit)."""

    sphere: _Sphere
    points: Points
    neck: NDArray[np.float64]


def _refined(sphere: _Sphere, outline: Points, shaft_mm: NDArray[np.float64]) -> _Fit:
    """The fit to all points on the sphere but those that look at the neck."""
    points, neck = outline, np.zeros(3)
    for _ in range(10):
        neck = _unit(shaft_mm - sphere.centre_mm)
        looks = _directions(outline, sphere) @ neck
        on_it = np.abs(sphere.off_mm(outline)) <= ON_SPHERE_MM
        points = outline[on_it & (looks < np.cos(np.deg2rad(NECK_DEGREES)))]
        if len(points) < LEAST_POINTS:
            break
        start = _algebraic(points) or sphere
        again = _geometric(start, points)
        moved_mm = float(np.linalg.norm(again.centre_mm - sphere.centre_mm))
        sphere = again
        if moved_mm < 1e-3:
            break
    return _Fit(sphere, points, neck)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _directions(points: Points, sphere: _Sphere) -> Points:
    away = points - sphere.centre_mm
    return np.asarray(away / np.maximum(np.linalg.norm(away, axis=1), 1e-9)[:, np.newaxis])


def _shaft_mm(upper: _Upper) -> NDArray[np.float64]:
    """The middle of the lower half of the upper femur: shaft and trochanters, not the head."""
    index = np.argwhere(upper.femur).astype(np.float64)
    points = _to_mm(index, upper)
    low, high = points[:, 0].min(), points[:, 0].max()
    return np.asarray(points[points[:, 0] <= (low + high) / 2].mean(axis=0))


def _believed(fit: _Fit, joint: Points, upper: _Upper) -> HipCentre | NoHipCentre:
    """The fit as a hip's centre, if it looks like a femoral head."""
    sphere, heights = fit.sphere, upper.geometry.slice_offsets_mm
    top_mm = float(heights[-1] + upper.geometry.extents_mm[-1] / 2)
    if sphere.centre_mm[0] + (1 - UNSEEN_CAP) * sphere.radius_mm > top_mm:
        return NoHipCentre(CUT)
    if len(fit.points) < LEAST_POINTS:
        return NoHipCentre(NO_SPHERE)
    residual = float(np.sqrt((sphere.off_mm(fit.points) ** 2).mean()))
    believed = float((np.abs(sphere.off_mm(joint)) <= ON_SPHERE_MM).mean())
    is_head = (
        RADIUS_LIMITS_MM[0] <= sphere.radius_mm <= RADIUS_LIMITS_MM[1]
        and residual <= RESIDUAL_MM
        and believed >= LEAST_BELIEVED
        and _share_of_sphere(fit) >= LEAST_SHARE
    )
    if not is_head:
        return NoHipCentre(NO_SPHERE)
    geometry = upper.geometry
    axes = np.stack([geometry.normal, geometry.row_axis, geometry.column_axis])
    x, y, z = (sphere.centre_mm @ axes).tolist()
    return HipCentre((x, y, z), sphere.radius_mm, residual)


def _share_of_sphere(fit: _Fit) -> float:
    """Share of the sphere's parts, without those that look at the neck, that have points.

    Its parts are 200 evenly spread directions, each with what lies within 15 degrees.
    """
    number = np.arange(200) + 0.5
    height, turn = 1 - 2 * number / 200, np.pi * (1 + np.sqrt(5)) * number
    across = np.sqrt(1 - height**2)
    parts = np.stack([height, across * np.cos(turn), across * np.sin(turn)], axis=-1)
    asked = parts[parts @ fit.neck < np.cos(np.deg2rad(NECK_DEGREES))]
    found = _directions(fit.points[:: max(1, len(fit.points) // MOST_POINTS)], fit.sphere)
    return float(((asked @ found.T).max(axis=1) > np.cos(np.deg2rad(15.0))).mean())
