"""Source of every voxel of a new body in its label map: size, pose and shape.

The map is backward (from the new grid into the source), built on a coarse lattice and
interpolated: an affine part for size and tilt, legs spread and turned about their own
axes, and a smooth random displacement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from inference.training.synthesis.fields import Draw, blur, smooth_noise

LATTICE_MM = 12.0
"""Step of the lattice on which the map is computed."""

REFINING_SIGMA = (0.6, 0.8, 0.8)
REFINING_MARGIN = 3
"""Blur of the tags of a refined label map, and how far it reaches, in its old voxels."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """A labelled body in the patient frame: slices feet to head, rows front to back.

    tags: uint8 `[slice, row, column]`, structures 1 to 22 and the tags of `Tag`.
    spacing_mm: between slices, rows, columns.
    midline_mm: column position of the midsagittal plane.
    hip_mm: slice position of the lowest part of the pelvis; legs move below it.
    """

    name: str
    tags: Tensor
    spacing_mm: tuple[float, float, float]
    midline_mm: float
    hip_mm: float
    axes_mm: Tensor
    """(2, slices, 2): row and column of each side's centre, lower columns first."""

    def to(self, device: torch.device | str) -> Self:
        """The same body on another device, where new bodies are then made of it."""
        return replace(self, tags=self.tags.to(device), axes_mm=self.axes_mm.to(device))

    def refined(self) -> Self:
        """The same body with two voxels for one along rows and columns, edges smoothed.

        Otherwise a grid finer than the label map's would show its voxels as steps. A new
        voxel gets the tag whose blurred region is strongest there.
        """
        slices, rows, columns = self.tags.shape
        strongest = torch.zeros((slices, 2 * rows, 2 * columns), device=self.tags.device)
        tags = torch.zeros_like(strongest, dtype=torch.uint8)
        for tag in torch.bincount(self.tags.flatten()).nonzero()[:, 0].tolist():
            box = _box(self.tags == tag, margin=REFINING_MARGIN)
            fine = (box[0], *(slice(2 * side.start, 2 * side.stop) for side in box[1:]))
            with self.tags.device:
                region = blur((self.tags[box] == tag).float(), REFINING_SIGMA)[:, None]
            region = functional.interpolate(region, scale_factor=2, mode="bilinear")[:, 0]
            stronger = region > strongest[fine]
            tags[fine].masked_fill_(stronger, tag)
            strongest[fine] = torch.where(stronger, region, strongest[fine])
        step_mm, row_mm, column_mm = self.spacing_mm
        return replace(self, tags=tags, spacing_mm=(step_mm, row_mm / 2, column_mm / 2))


def _box(mask: Tensor, margin: int) -> tuple[slice, slice, slice]:
    """The smallest box around a mask that is not empty, with a margin inside the grid."""
    sides = []
    for axis, others in ((0, (1, 2)), (1, (0, 2)), (2, (0, 1))):
        places = mask.any(others[1]).any(others[0]).nonzero()[:, 0]
        low, high = int(places[0]) - margin, int(places[-1]) + 1 + margin
        sides.append(slice(max(0, low), min(high, mask.shape[axis])))
    return sides[0], sides[1], sides[2]


@dataclass(frozen=True, slots=True)
class Pose:
    """One draw of size and pose. Angles in radians; scales are new size over old."""

    scale: tuple[float, float, float]
    tilt: tuple[float, float, float]
    spread: tuple[float, float]
    turn: tuple[float, float]
    mirrored: bool
    displacement_mm: float
    displacement_scale_mm: float


def draw_pose(draw: Draw) -> Pose:
    """A body of another size, lying as people lie in a scanner."""
    overall = draw.uniform(0.9, 1.12)
    return Pose(
        scale=(
            overall * draw.uniform(0.95, 1.05),
            overall * draw.uniform(0.88, 1.12),
            overall * draw.uniform(0.9, 1.1),
        ),
        tilt=(draw.normal(0, 0.06), draw.normal(0, 0.03), draw.normal(0, 0.05)),
        spread=(draw.uniform(-0.015, 0.06), draw.uniform(-0.015, 0.06)),
        turn=(draw.normal(0, 0.17), draw.normal(0, 0.17)),
        mirrored=draw.chance(0.5),
        displacement_mm=draw.uniform(2.0, 7.0),
        displacement_scale_mm=draw.uniform(45.0, 90.0),
    )


def sample(  # noqa: PLR0913, PLR0917 - a grid and how to fill it
    source: LabelMap,
    pose: Pose,
    draw: Draw,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    below_mm: float,
) -> Tensor:
    """The label map on a new grid, deformed; uint8 of `shape`.

    Args:
        source: the body.
        pose: how to deform it.
        draw: for the smooth displacement.
        shape: slices, rows, columns of the new grid.
        spacing_mm: of the new grid.
        below_mm: how much of the new grid lies below the lowest slice of the source.
    """
    points = _lattice(shape, spacing_mm)
    points[0] -= below_mm
    points[1:] += _displacement(points.shape[1:], pose, draw)
    points[0] += _displacement(points.shape[1:], pose, draw)[0]
    points = _affine(points, source, pose)
    points = _legs(points, source, pose)
    return _look_up(source, points, shape)


def _lattice(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Tensor:
    """(3, ...) positions in mm: z from the first slice, y and x from the grid's centre."""
    axes = []
    for n, mm in zip(shape, spacing_mm, strict=True):
        count = max(2, round(n * mm / LATTICE_MM))
        axes.append(torch.linspace(0, (n - 1) * mm, count))
    axes[1] = axes[1] - axes[1][-1] / 2
    axes[2] = axes[2] - axes[2][-1] / 2
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _displacement(lattice: torch.Size, pose: Pose, draw: Draw) -> Tensor:
    """(2, ...) smooth random shifts in mm."""
    shape = (lattice[0], lattice[1], lattice[2])
    steps = (LATTICE_MM,) * 3
    fields = [
        smooth_noise(draw, shape, steps, pose.displacement_scale_mm) * pose.displacement_mm
        for _ in range(2)
    ]
    return torch.stack(fields)


def _affine(points: Tensor, source: LabelMap, pose: Pose) -> Tensor:
    """New positions to source positions in mm from the source's first voxel."""
    about_z, about_y, about_x = pose.tilt
    z, y, x = points
    hip = source.hip_mm * pose.scale[0]
    z = z - hip
    y, x = _turned(y, x, about_z)
    z, x = _turned(z, x, about_y)
    z, y = _turned(z, y, about_x)
    z = z + hip
    x = -x if pose.mirrored else x
    centre_row = source.tags.shape[1] * source.spacing_mm[1] / 2
    return torch.stack(
        [
            z / pose.scale[0],
            y / pose.scale[1] + centre_row,
            x / pose.scale[2] + source.midline_mm,
        ]
    )


def _turned(a: Tensor, b: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return a * cosine - b * sine, a * sine + b * cosine


def _legs(points: Tensor, source: LabelMap, pose: Pose) -> Tensor:
    """Spread each leg from the hip down and turn it about its own axis."""
    z, y, x = points
    depth = (source.hip_mm - z).clamp_min(0)
    slices = (z / source.spacing_mm[0]).round().long().clamp(0, source.tags.shape[0] - 1)
    left = x > source.midline_mm
    new_y, new_x = y.clone(), x.clone()
    for side, on_side in enumerate((~left, left)):
        outward = 1.0 if side else -1.0
        shifted = x - outward * pose.spread[side] * depth
        beyond = (shifted - source.midline_mm) * outward < 0
        shifted = torch.where(beyond, torch.full_like(x, source.midline_mm), shifted)
        axis = source.axes_mm[side][slices]
        angle = pose.turn[side] * (depth / 350.0).clamp_max(1.0)
        dy, dx = y - axis[..., 0], shifted - axis[..., 1]
        turned_y = axis[..., 0] + dy * angle.cos() - dx * angle.sin()
        turned_x = axis[..., 1] + dy * angle.sin() + dx * angle.cos()
        new_y = torch.where(on_side, turned_y, new_y)
        new_x = torch.where(on_side, turned_x, new_x)
    return torch.stack([z, new_y, new_x])


def _look_up(source: LabelMap, points: Tensor, shape: tuple[int, int, int]) -> Tensor:
    extent = [(n - 1) * mm for n, mm in zip(source.tags.shape, source.spacing_mm, strict=True)]
    scaled = torch.stack([points[i] / extent[i] * 2 - 1 for i in (2, 1, 0)])[None]
    grid = functional.interpolate(scaled, size=shape, mode="trilinear", align_corners=True)
    found = functional.grid_sample(
        source.tags[None, None].float(),
        grid.permute(0, 2, 3, 4, 1),
        mode="nearest",
        padding_mode="zeros",
        align_corners=True,
    )
    return found[0, 0].to(torch.uint8)
