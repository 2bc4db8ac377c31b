"""Around the muscles: fascia, subcutaneous fat, skin; arms beside the body, table, clothes."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from inference.training.synthesis.canvas import Canvas
from inference.training.synthesis.fields import blur, dilated, distance_mm, eroded, smooth_noise
from inference.training.synthesis.tags import GMAX, Tag, put

COARSE_MM: Final = 4.0
"""Pixels of the grid for smooth envelopes, in the plane."""

HOLLOW_MM: Final = 16.0
"""Hollows between muscles up to twice as wide hold fat, not air: groin, hollow of the knee."""


def add_skin(canvas: Canvas, trunk: Tensor) -> Tensor:
    """Fascia, subcutaneous fat and skin around everything; the mask of the whole body."""
    tags, marks = canvas.tags, canvas.marks
    fine = (tags.shape[1], tags.shape[2])
    filled = ((tags > 0) | trunk).float()
    factor = marks.pixels(COARSE_MM)
    coarse = functional.max_pool2d(filled[:, None], factor)[:, 0]
    step, row_mm, column_mm = marks.spacing_mm
    spacing = (step, factor * row_mm, factor * column_mm)
    middle = int(float(marks.midline.mean()) / spacing[2])
    coarse = without_hollows(coarse > 0, spacing, middle).float()
    envelope = blur(coarse, (6.0 / step, 2.2, 2.2))
    near = distance_mm(envelope > 0.42, spacing, 64.0)
    thickness = _fat_mm(canvas, coarse.shape, spacing)
    depth = functional.interpolate((near - thickness)[:, None], size=fine, mode="bilinear")[
        :, 0
    ]
    fascia = functional.interpolate(envelope[:, None], size=fine, mode="bilinear")[:, 0] > 0.42
    couch = _couch_mm(canvas)
    body = ((depth < 0) | (tags > 0)) & (canvas.y < couch)
    _grow(canvas, fascia)
    _waste(canvas)
    put(tags, fascia & body, Tag.INTERMUSCULAR)
    tags.masked_fill_((tags > 0) & ~body, int(Tag.AIR))
    skin = marks.pixels(2.0)
    body = dilated(eroded(body, skin), skin)
    _creases(canvas, body)
    put(tags, body & ~eroded(body, skin), Tag.SKIN)
    put(tags, body, Tag.SUBCUTANEOUS)
    return body


def without_hollows(
    filled: Tensor, spacing_mm: tuple[float, float, float], middle: int
) -> Tensor:
    """A mask closed in the plane by `HOLLOW_MM`, each side of the body by itself."""
    step, row_mm, column_mm = spacing_mm
    apart = (1e3 * step, row_mm, column_mm)  # slices do not reach each other
    edge = math.ceil(HOLLOW_MM / min(row_mm, column_mm)) + 1
    sides = []
    for side in (filled[:, :, :middle], filled[:, :, middle:]):
        room = functional.pad(side, (edge,) * 4)
        grown = distance_mm(room, apart, HOLLOW_MM) <= HOLLOW_MM
        closed = distance_mm(~grown, apart, HOLLOW_MM) > HOLLOW_MM
        sides.append(closed[:, edge:-edge, edge:-edge])
    return torch.cat(sides, 2) | filled


def _fat_mm(canvas: Canvas, shape: torch.Size, spacing_mm: tuple[float, ...]) -> Tensor:
    """Thickness of skin and subcutaneous fat, from lean to obese, thicker at the buttocks."""
    marks, draw = canvas.marks, canvas.draw
    base = float(draw.scalars.lognormal(2.5, 0.55))
    base = min(max(base, 3.0), 42.0)
    size = (shape[0], shape[1], shape[2])
    steps = (spacing_mm[0], spacing_mm[1], spacing_mm[2])
    uneven = smooth_noise(draw, size, steps, draw.uniform(60, 140)).mul_(0.22).exp_()
    z = marks.z
    buttocks = torch.exp(-(((z - marks.hip - 50) / 110) ** 2)) * draw.uniform(0.1, 0.8)
    shin = ((max(marks.knee) + 60 - z) / 80).clamp(0, 1) * draw.uniform(0.2, 0.6)
    return (base * uneven * (1 + buttocks - shin)[:, None, None]).clamp(3.0, 60.0)


def _couch_mm(canvas: Canvas) -> float:
    """Row of the table: the body lies flat on it."""
    marks = canvas.marks
    lowest = float(marks.back[canvas.slices(marks.hip, marks.crest)].max())
    return lowest + canvas.draw.uniform(6, 30)


def _grow(canvas: Canvas, fascia: Tensor) -> None:
    """Let muscles meet: gaps between labels are often wider than the fat in them is."""
    tags, draw = canvas.tags, canvas.draw
    rounds = int(draw.scalars.choice(4, p=(0.4, 0.3, 0.2, 0.1)))
    for _ in range(rounds * canvas.marks.pixels(2.0)):
        shifts = [(1, 1), (1, -1), (2, 1), (2, -1)]
        axis, step = shifts[int(draw.scalars.integers(4))]
        moved = tags.roll(step, axis)
        muscle = ((moved >= GMAX) & (moved < 32)) | (moved == Tag.MUSCLE)
        tags.copy_(torch.where((tags == 0) & fascia & muscle, moved, tags))


def _waste(canvas: Canvas) -> None:
    """Some bodies have lost muscle at its surface, one side more than the other."""
    tags, marks, draw = canvas.tags, canvas.marks, canvas.draw
    if not draw.chance(0.45):
        return
    shape = (tags.shape[0], tags.shape[1], tags.shape[2])
    middle = int(float(marks.midline.mean()) / marks.spacing_mm[2])
    loss = smooth_noise(draw, shape, marks.spacing_mm, 60.0)
    loss[:, :, :middle] += draw.normal(0, 0.8)
    loss[:, :, middle:] += draw.normal(0, 0.8)
    lost = loss > draw.uniform(0.2, 1.4)
    for _ in range(marks.pixels(2.0)):
        edge = torch.zeros_like(tags, dtype=torch.bool)
        edge[:, 1:] |= tags[:, 1:] != tags[:, :-1]
        edge[:, :, 1:] |= tags[:, :, 1:] != tags[:, :, :-1]
        muscle = (tags >= GMAX) & (tags < 32)
        tags.masked_fill_(muscle & edge & lost, int(Tag.INTERMUSCULAR))


def _creases(canvas: Canvas, body: Tensor) -> None:
    """Skin against skin where the thighs touch, in the natal cleft and the groin."""
    marks, tags = canvas.marks, canvas.tags
    wave = 4 * torch.sin(marks.z / 60 + canvas.draw.uniform(0, 6))
    between = marks.femur_column.mean(0) + wave
    line = (canvas.x - between[:, None, None]).abs() < 2.1
    crotch = canvas.slices(min(marks.knee), marks.hip - 4)
    put(tags[crotch], line[crotch] & body[crotch], Tag.SKIN)
    cleft = canvas.slices(marks.hip - 4, marks.symphysis + 40)
    behind = canvas.y > marks.back[cleft][:, None, None] - 45
    put(tags[cleft], line[cleft] & behind & body[cleft], Tag.SKIN)


def add_arms(canvas: Canvas, body: Tensor) -> None:
    """Forearm or hand beside the body, on one side, both or none."""
    marks, draw = canvas.marks, canvas.draw
    for outward in (-1.0, 1.0):
        if not draw.chance(0.7):
            continue
        start = marks.hip + draw.uniform(-160, 120)
        where = canvas.slices(start, float(marks.z[-1]) + 1)
        if where.stop - where.start < 2:
            continue
        up = marks.z[where] - start
        columns = torch.arange(body.shape[2]) * marks.spacing_mm[2]
        inside = body[where].any(1)
        reach = torch.where(inside, columns, 0 if outward > 0 else 1e3)
        flank = reach.amax(1) if outward > 0 else reach.amin(1)
        ry = 16 + 24 * (up / 160).clamp(0, 1)
        rx = 26 + 12 * (up / 200).clamp(0, 1)
        column = (flank.amax() if outward > 0 else flank.amin()) + outward * (rx + 3)
        limit = (body.shape[2] - 1) * marks.spacing_mm[2]
        column = column.clamp(rx.max() - 14, limit - rx.max() + 14)
        row = float(marks.back[where].mean()) - draw.uniform(10, 190) + 0 * up
        _arm_bones(canvas, where, (row, column), (ry, rx), up)
        canvas.ellipse(where, Tag.MUSCLE, (row, column), (ry - 6, rx - 6))
        canvas.ellipse(where, Tag.SUBCUTANEOUS, (row, column), (ry - 1.5, rx - 1.5))
        canvas.ellipse(where, Tag.SKIN, (row, column), (ry, rx))


def _arm_bones(
    canvas: Canvas,
    where: slice,
    centre: tuple[Tensor, Tensor],
    radii: tuple[Tensor, Tensor],
    up: Tensor,
) -> None:
    """Radius and ulna, below them a row of metacarpals, turned as hands are laid."""
    draw = canvas.draw
    tilt = draw.uniform(-1.4, 1.4)
    reach = torch.minimum(radii[0], radii[1]) * abs(math.sin(tilt)) + radii[1] * math.cos(tilt)
    size = draw.uniform(0.7, 1.3)
    is_hand = up < (75 if draw.chance(0.6) else 0)
    for k in range(5):
        along = (-0.64 + 0.32 * k) * reach
        metacarpal = torch.where(is_hand, size * draw.uniform(3.5, 6), 0.0)
        at = (centre[0] + along * math.sin(tilt), centre[1] + along * math.cos(tilt))
        canvas.ellipse(where, Tag.BONE, at, (metacarpal, metacarpal * draw.uniform(0.7, 1.8)))
    for along in (-0.42 * reach, 0.42 * reach):
        shaft = torch.where(is_hand, 0.0, size * draw.uniform(6, 9))
        at = (centre[0] + along * math.sin(tilt), centre[1] + along * math.cos(tilt))
        canvas.ellipse(where, Tag.BONE, at, (shaft, shaft * draw.uniform(0.8, 1.3)))


def add_surroundings(canvas: Canvas, body: Tensor) -> None:
    """Table and mattress below, cloth on the skin."""
    marks, draw, tags = canvas.marks, canvas.draw, canvas.tags
    rows = body.any(2).any(0).nonzero()
    bottom = float(rows.max()) * marks.spacing_mm[1]
    centre = float(marks.midline.mean())
    if draw.chance(0.8):
        curve = draw.uniform(0, 4e-4) * (canvas.x - centre) ** 2
        surface = bottom + draw.uniform(2, 30) - curve + curve.max() * 0.3
        thick, mattress = draw.uniform(15, 60), draw.uniform(0, 25)
        below = (canvas.y - surface).expand(tags.shape)
        wide = ((canvas.x - centre).abs() < draw.uniform(190, 270)).expand(tags.shape)
        shell = ((below - mattress).abs() < 1.6) | ((below - mattress - thick).abs() < 1.6)
        put(tags, wide & shell, Tag.TABLE)
        put(tags, wide & (below > 0) & (below < mattress + thick), Tag.FOAM)
    if draw.chance(0.5):
        thick = int(draw.scalars.integers(1, 4)) * marks.pixels(2.0)
        cloth = dilated(body, thick) & ~body
        patchy = smooth_noise(draw, tuple(tags.shape), marks.spacing_mm, 90.0)  # type: ignore[arg-type]
        put(tags, cloth & (patchy > draw.uniform(-1, 1)), Tag.CLOTH)
