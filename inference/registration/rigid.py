"""Rigid motions that lay a label map's bones on the bones of a CT.

The CT's bone surface is a cloud of points, the label map's bone a field of signed distances:
a motion is good where the points come to lie at distance zero. Unlike a comparison of masks
this works where the CT shows only some slices of a bone, and the label map less than the CT.
Points and distances are in mm from the first voxel, `[slice, row, column]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

Points = NDArray[np.float64]
Spacing = tuple[float, float, float]

MARGIN_MM: Final = 45.0
"""How far around a bone its distances are known."""

TRIMMED_MM: Final = (40.0, 20.0, 12.0, 8.0, 8.0)
"""Rounds of the fit: points farther from the bone than this belong to something else."""

ROBUST_MM: Final = 2.0
"""Beyond this a point pulls no harder (Charbonnier's loss): its edge may be another's."""

MOST_POINTS: Final = 4000
FEWEST_POINTS: Final = 50

ARM_MM: Final = 100.0
"""Turns are searched in units of a mm at this distance, so that all unknowns weigh alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Rigid:
    """A motion: turned about a centre, then shifted.

    turn: (3,) rotation vector in radians. centre_mm, shift_mm: (3,).
    """

    turn: Points
    centre_mm: Points
    shift_mm: Points

    @classmethod
    def shift(cls, shift_mm: Spacing) -> Self:
        """A motion that turns nothing."""
        return cls(np.zeros(3), np.zeros(3), np.asarray(shift_mm, float))

    def __call__(self, points_mm: Points) -> Points:
        """(n, 3) points moved."""
        turned: Points = Rotation.from_rotvec(self.turn).apply(points_mm - self.centre_mm)
        return turned + self.centre_mm + self.shift_mm

    def about(self, centre_mm: Points) -> Rigid:
        """The same motion, turning about another centre."""
        return Rigid(self.turn, centre_mm, self(centre_mm[None])[0] - centre_mm)


@dataclass(frozen=True, slots=True, eq=False)
class SignedDistance:
    """Distance to the surface of a mask, negative inside, in a box around it.

    values: `[slice, row, column]` in mm. first: (3,) index of the box's first voxel.
    """

    values: NDArray[np.float32]
    first: NDArray[np.intp]
    spacing_mm: Spacing

    @classmethod
    def of(cls, mask: NDArray[np.bool_], spacing_mm: Spacing) -> Self:
        """Of a mask that is not empty."""
        steps = np.asarray(spacing_mm)
        margin = np.ceil(MARGIN_MM / steps).astype(int)
        (box,) = ndimage.find_objects(mask.astype(np.uint8))
        first = np.maximum([side.start for side in box] - margin, 0)
        last = np.minimum([side.stop for side in box] + margin, mask.shape)
        part = mask[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
        outside = np.asarray(ndimage.distance_transform_edt(~part, sampling=spacing_mm))
        inside = np.asarray(ndimage.distance_transform_edt(part, sampling=spacing_mm))
        # Voxel centres on either side of the surface are half a voxel away from it.
        half = float(min(spacing_mm)) / 2
        values = np.where(part, half - inside, outside - half).astype(np.float32)
        return cls(values, first, spacing_mm)

    def at(self, points_mm: Points) -> Points:
        """(n,) distances of (n, 3) points, trilinear; the box's edge counts beyond it."""
        index = points_mm / self.spacing_mm - self.first
        found = ndimage.map_coordinates(self.values, index.T, order=1, mode="nearest")
        return np.asarray(found, float)


def fitted(
    points_mm: Points, bone: SignedDistance, start: Rigid, depth_mm: float = 0.0
) -> Rigid | None:
    """The motion that brings a surface's points onto a bone, from one that nearly does.

    Args:
        points_mm: (n, 3) of a CT's bones; those of other bones drop out by and by.
        bone: what they should lie on.
        start: within some 3 cm and 15 degrees.
        depth_mm: how far below the surface the points lie: half a pixel, where they are the
            outermost pixels of the bone.

    Returns:
        None where fewer than `FEWEST_POINTS` points remain.
    """
    step = -(-len(points_mm) // MOST_POINTS) or 1
    points_mm = points_mm[::step]
    motion = start
    for limit_mm in TRIMMED_MM:
        near = points_mm[np.abs(bone.at(motion(points_mm)) + depth_mm) < limit_mm]
        if len(near) < FEWEST_POINTS:
            return None
        motion = _round(near, bone, motion.about(near.mean(axis=0)), depth_mm)
    return motion


def _round(points_mm: Points, bone: SignedDistance, start: Rigid, depth_mm: float) -> Rigid:
    def motion(unknowns: Points) -> Rigid:
        return Rigid(unknowns[:3] / ARM_MM, start.centre_mm, unknowns[3:])

    def pulls(unknowns: Points) -> Points:
        far = (bone.at(motion(unknowns)(points_mm)) + depth_mm) / ROBUST_MM
        pull: Points = np.sqrt(2 * (np.sqrt(1 + far**2) - 1))
        return pull

    first = np.concatenate([start.turn * ARM_MM, start.shift_mm])
    found = optimize.least_squares(pulls, first, diff_step=[1e-3], x_scale=1.0)
    return motion(np.asarray(found.x))
