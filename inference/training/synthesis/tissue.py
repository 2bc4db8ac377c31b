"""Attenuation of a synthetic body in Hounsfield units, tissue by tissue.

Means and spreads follow what CT of hip and thigh shows (Soufi 2025, Table 7, for muscles
and bones); a share of the bodies is domain-randomised: any tissue may look like anything
as long as neighbours can be told apart by shape.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from inference.training.synthesis.fields import Draw, blur, eroded, smooth_noise
from inference.training.synthesis.landmarks import Landmarks
from inference.training.synthesis.tags import (
    FEMUR,
    GMAX,
    PELVIS,
    SACRUM,
    TAG_COUNT,
    Tag,
    is_any,
)

TISSUE_HU: Final = {
    # tag: (mean, spread between bodies, texture inside a body)
    Tag.AIR: (-1000.0, 4.0, 0.0),
    Tag.SUBCUTANEOUS: (-104.0, 7.0, 7.0),
    Tag.SKIN: (5.0, 25.0, 10.0),
    Tag.INTERMUSCULAR: (-62.0, 30.0, 28.0),
    Tag.MUSCLE: (45.0, 14.0, 8.0),
    Tag.BONE: (180.0, 70.0, 60.0),
    Tag.TIBIA: (170.0, 70.0, 60.0),
    Tag.VERTEBRA: (170.0, 60.0, 45.0),
    Tag.DISC: (85.0, 15.0, 10.0),
    Tag.CARTILAGE: (60.0, 25.0, 25.0),
    Tag.VISCERAL_FAT: (-100.0, 10.0, 12.0),
    Tag.URINE: (8.0, 8.0, 2.0),
    Tag.ORGAN: (42.0, 14.0, 10.0),
    Tag.GAS: (-950.0, 40.0, 10.0),
    Tag.FAECES: (10.0, 30.0, 90.0),
    Tag.BOWEL: (38.0, 16.0, 12.0),
    Tag.ARTERY: (45.0, 8.0, 3.0),
    Tag.VEIN: (42.0, 8.0, 3.0),
    Tag.WALL: (42.0, 16.0, 12.0),
    Tag.PARASPINAL: (38.0, 20.0, 18.0),
    Tag.TABLE: (-150.0, 250.0, 30.0),
    Tag.FOAM: (-920.0, 40.0, 15.0),
    Tag.CLOTH: (-850.0, 120.0, 60.0),
    Tag.NERVE: (28.0, 12.0, 6.0),
}
SPONGY_BONE_HU: Final = {
    PELVIS: (190.0, 60.0, 60.0),
    FEMUR: (210.0, 60.0, 60.0),
    SACRUM: (110.0, 45.0, 50.0),
}
CORTEX_HU: Final = {
    PELVIS: (620.0, 160.0),
    FEMUR: (760.0, 200.0),
    SACRUM: (330.0, 90.0),
    int(Tag.BONE): (700.0, 220.0),
    int(Tag.TIBIA): (700.0, 220.0),
    int(Tag.VERTEBRA): (330.0, 90.0),
}
FAT_HU: Final = -85.0


def attenuation(tags: Tensor, marks: Landmarks, draw: Draw) -> Tensor:
    """float32 HU of every voxel of a body."""
    shape = (tags.shape[0], tags.shape[1], tags.shape[2])
    middle = int(float(marks.midline.mean()) / marks.spacing_mm[2])
    randomised = draw.chance(0.12)
    shared = _tables(draw, randomised=randomised)
    contrast = draw.uniform(90, 260) if draw.chance(0.25) else 0.0
    shared[0][[Tag.ARTERY, Tag.VEIN]] += torch.tensor(
        [contrast, contrast * draw.uniform(0.3, 1)]
    )
    shared[0][Tag.URINE] += draw.uniform(100, 600) if draw.chance(0.08) else 0.0
    fine = smooth_noise(draw, shape, marks.spacing_mm, 4.5)
    hu, infiltration = torch.empty(shape), torch.empty(shape)
    fatty = draw.uniform(-2.6, -0.9)
    for half in (slice(0, middle), slice(middle, None)):
        mean, texture = _one_side(shared, draw)
        kind = tags[:, :, half].int()
        hu[:, :, half] = mean[kind] + texture[kind] * fine[:, :, half]
        infiltration[:, :, half] = _fatty(draw, fatty)[kind]
    _infiltrate(hu, infiltration, fine, marks, draw)
    _line_with_fat(hu, tags, marks, draw)
    _bones(hu, tags, fine, marks, draw, randomised=randomised)
    return hu


def _tables(draw: Draw, *, randomised: bool) -> tuple[Tensor, Tensor]:
    mean, texture = torch.zeros(256), torch.zeros(256)
    muscle = draw.normal(46, 9)
    for tag in range(GMAX, 23):
        mean[tag], texture[tag] = muscle, draw.uniform(3, 12)
    for tag, (hu, between, inside) in (TISSUE_HU | SPONGY_BONE_HU).items():
        mean[tag] = draw.normal(hu, between)
        texture[tag] = inside * draw.uniform(0.4, 1.5)
    if draw.chance(0.6):  # muscles of one body resemble each other
        for tag in (Tag.MUSCLE, Tag.WALL, Tag.PARASPINAL):
            mean[tag] = draw.normal(muscle, 6)
    if randomised:
        muscle = draw.uniform(-10, 110)
        mean[GMAX:23] = muscle
        mean[[Tag.MUSCLE, Tag.WALL, Tag.PARASPINAL]] = muscle
        for tag in (Tag.SUBCUTANEOUS, Tag.INTERMUSCULAR, Tag.VISCERAL_FAT, Tag.ORGAN):
            mean[tag] = draw.uniform(-140, 60)
    return mean, texture


def _one_side(shared: tuple[Tensor, Tensor], draw: Draw) -> tuple[Tensor, Tensor]:
    mean, texture = shared[0].clone(), shared[1]
    muscles = torch.tensor(draw.scalars.normal(0, 6, 23 - GMAX), dtype=torch.float32)
    mean[GMAX:23] += muscles + draw.normal(0, 3)
    return mean, texture


def _fatty(draw: Draw, level: float) -> Tensor:
    """Per tag, how far the infiltration noise must not rise to leave muscle alone."""
    table = torch.full((256,), -9.0)
    spread = torch.tensor(draw.scalars.normal(level, 0.7, TAG_COUNT), dtype=torch.float32)
    for tag in (*range(GMAX, 23), Tag.MUSCLE, Tag.WALL, Tag.PARASPINAL):
        table[tag] = spread[tag] + 0.7 * float(tag in {GMAX, Tag.PARASPINAL})
    return table


def _infiltrate(hu: Tensor, level: Tensor, fine: Tensor, marks: Landmarks, draw: Draw) -> None:
    """Streaks of fat inside muscles, where a noise rises above one minus the level."""
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    step, row_mm, column_mm = marks.spacing_mm
    flat = math.exp(draw.normal(0, 0.5))  # streaks rather than specks
    pattern = smooth_noise(draw, shape, (step / 3, row_mm * flat, column_mm / flat), 6.0)
    share = (pattern + 0.5 * fine + level).mul_(0.9).clamp_(0, draw.uniform(0.4, 1.0))
    hu.add_((FAT_HU - hu) * share * (level > -8))


def _line_with_fat(hu: Tensor, tags: Tensor, marks: Landmarks, draw: Draw) -> None:
    """Put a film of fat where muscle meets muscle, thinner than a voxel: a faint line."""
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    muscle = ((tags >= GMAX) & (tags < 32)) | (tags == Tag.MUSCLE)
    met = torch.zeros_like(muscle)
    for axis in (1, 2):
        length = shape[axis] - 1
        ahead, behind = tags.narrow(axis, 1, length), tags.narrow(axis, 0, length)
        both = muscle.narrow(axis, 1, length) & muscle.narrow(axis, 0, length)
        met.narrow(axis, 0, length).logical_or_((ahead != behind) & both)
    uneven = smooth_noise(draw, shape, marks.spacing_mm, 25.0)
    share = (draw.uniform(-0.1, 0.45) + 0.15 * uneven).clamp_(0, 0.8)
    hu.add_((FAT_HU - hu) * share * met)


def _bones(  # noqa: PLR0913 - what a bone's looks depend on
    hu: Tensor,
    tags: Tensor,
    fine: Tensor,
    marks: Landmarks,
    draw: Draw,
    *,
    randomised: bool,
) -> None:
    """Dense cortex outside, spongy bone inside, fatty marrow in the shaft of the femur."""
    loss = draw.uniform(0.6, 1.25) * (draw.uniform(0.5, 1.2) if randomised else 1.0)
    table, inner_table = torch.zeros(256), torch.zeros(256)
    for tag, (mean, between) in CORTEX_HU.items():
        table[tag] = max(180.0, draw.normal(mean, between) * loss)
        inner_table[tag] = draw.uniform(0.0, 0.5)
    bone = is_any(tags, tuple(CORTEX_HU))
    thin = marks.pixels(2.0)
    surface = bone & ~eroded(bone, thin)
    # Bones that touch each other keep a cortex each.
    for tag in (PELVIS, FEMUR, SACRUM, int(Tag.TIBIA)):
        one = tags == tag
        surface |= one & ~eroded(one, thin)
    kind = tags.int()
    hu.copy_(torch.where(surface, table[kind] * (1 + 0.12 * fine), hu))
    inner = bone & ~surface
    second = inner & ~eroded(inner, thin)
    share = inner_table[kind]
    shaft = _shaft(tags, marks)
    thick = draw.uniform(0.5, 1.0)
    share = torch.where(shaft, thick, share)
    hu.copy_(torch.where(second, hu + (table[kind] - hu) * share, hu))
    hu.copy_(torch.where(surface & shaft, hu + draw.uniform(150, 500), hu))
    marrow = draw.uniform(-60, 50)
    hollow = inner & ~second & shaft
    hu.copy_(torch.where(hollow, marrow + 15 * fine, hu))


def _shaft(tags: Tensor, marks: Landmarks) -> Tensor:
    """The middle of the long bones."""
    z = marks.z[:, None, None]
    femoral = (z > max(marks.knee) + 75) & (z < marks.hip - 5) & (tags == FEMUR)
    return femoral | ((z < min(marks.knee) - 65) & is_any(tags, (Tag.BONE, Tag.TIBIA)))


def thick_slices(hu: Tensor, spacing_mm: tuple[float, float, float], draw: Draw) -> Tensor:
    """Partial volume: in the plane by the kernel, along the body by the slice thickness.

    A slice of thickness t blurs like a Gaussian of t / sqrt(12): up to 3 mm stand for 10 mm.
    """
    along = draw.uniform(0.0, 3.0) if draw.chance(0.6) else 0.0
    width = draw.uniform(0.6, 1.5)
    step, row_mm, column_mm = spacing_mm
    return blur(
        hu, (along / step if along > step / 4 else 0.0, width / row_mm, width / column_mm)
    )
