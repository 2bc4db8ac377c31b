"""The anatomy that label maps of bones and muscles lack, added around them.

What surrounds the structures is what a network confuses them with: muscles of the abdominal
wall and of the back, bowel and bladder, vertebrae above the sacrum, calves below the knee,
arms beside the body. Each part is a simple shape hung on landmarks, made irregular by
noise. Parts are put in order of precedence and never over something already there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.training.synthesis.canvas import Canvas
from inference.training.synthesis.fields import dilated, smooth_noise
from inference.training.synthesis.knee import add_shanks
from inference.training.synthesis.landmarks import Landmarks
from inference.training.synthesis.surface import add_arms, add_skin, add_surroundings
from inference.training.synthesis.tags import FEMUR, PELVIS, SACRUM, Tag, is_any, put
from inference.training.synthesis.viscera import add_viscera, add_wall


def add_background(canvas: Canvas) -> None:
    """Everything that is not one of the structures, from the inside to the outside."""
    add_shanks(canvas)
    _spine(canvas)
    _septa(canvas)
    _vessels(canvas)
    _joints(canvas)
    trunk, wall = add_wall(canvas)
    add_viscera(canvas, trunk, wall)
    body = add_skin(canvas, trunk)
    add_arms(canvas, body)
    add_surroundings(canvas, body)


def _spine(canvas: Canvas) -> None:
    """Lumbar vertebrae and discs above the sacrum, and the muscles of the back."""
    marks, draw = canvas.marks, canvas.draw
    top = float(marks.z[-1]) + 1
    level, disc = draw.uniform(32, 39), draw.uniform(7, 11)
    wide, deep = draw.uniform(21, 27), draw.uniform(14.5, 18.5)
    where = canvas.slices(marks.sacrum_top - 6, top)
    z, row, column = marks.z[where], marks.spine_row[where], marks.midline[where]
    phase = (z - marks.sacrum_top).remainder(level)
    is_disc = phase < disc
    body = torch.where(is_disc, 0.0, 1.0)
    # The endplates flare: the waist of a vertebra is half-way up.
    flare = 0.9 + 0.1 * (2 * (phase - disc) / (level - disc) - 1).abs().clamp(0, 1)
    canvas.ellipse(
        where, Tag.VERTEBRA, (row, column), (deep * body * flare, wide * body * flare)
    )
    canvas.ellipse(where, Tag.DISC, (row, column), (deep * (1 - body), wide * (1 - body)))
    canal = row + deep + 8
    canvas.ellipse(where, Tag.NERVE, (canal, column), (8.0, 11.0))
    arch = torch.where((phase > disc) & (phase < disc + 20), 1.0, 0.35)
    canvas.ellipse(where, Tag.VERTEBRA, (canal + 3, column), (12.5 * arch, 15.5 * arch))
    canvas.ellipse(where, Tag.VERTEBRA, (canal + 22, column), (14.0 * arch, 3.5 + 0 * arch))
    transverse = torch.where((phase > disc + 6) & (phase < disc + 15), 1.0, 0.0)
    canvas.ellipse(
        where, Tag.VERTEBRA, (canal - 3, column), (4.5 * transverse, 42 * transverse)
    )
    bulk, apart, broad = draw.uniform(0.8, 1.2), draw.uniform(27, 36), draw.uniform(25, 37)
    for outward in (-1.0, 1.0):
        facet = torch.where((phase < disc + 8) | (phase > level - 6), 1.0, 0.0)
        canvas.ellipse(
            where, Tag.VERTEBRA, (canal + 5, column + outward * 19), (9 * facet, 7.5 * facet)
        )
        canvas.ellipse(
            where,
            Tag.PARASPINAL,
            (canal + 19, column + outward * apart),
            (20 * bulk, broad * bulk),
        )
        lumborum = canvas.slices(marks.crest - 15, top)
        canvas.ellipse(
            lumborum,
            Tag.MUSCLE,
            (
                marks.spine_row[lumborum] + 20,
                marks.midline[lumborum] + outward * (58 + 8 * bulk),
            ),
            (9.0 * bulk, 17.0 * bulk),
        )
        _multifidus(canvas, outward, bulk)


def _multifidus(canvas: Canvas, outward: float, bulk: float) -> None:
    """The back's muscles end behind the sacrum, thinner and thinner."""
    marks = canvas.marks
    where = canvas.slices(marks.sacrum_top - 70, marks.sacrum_top - 6)
    z = marks.z[where]
    share = ((z - (marks.sacrum_top - 70)) / 64).clamp(0, 1)
    canvas.ellipse(
        where,
        Tag.PARASPINAL,
        (marks.sacrum_back[where] - 4, marks.midline[where] + outward * 20),
        (6 + 16 * share * bulk, 12 + 12 * share * bulk),
    )


def _septa(canvas: Canvas) -> None:
    """Fat between the bellies of the muscles drawn so far, which are many in one shape."""
    tags, draw = canvas.tags, canvas.draw
    shape = (tags.shape[0], tags.shape[1], tags.shape[2])
    cells = smooth_noise(draw, shape, canvas.marks.spacing_mm, draw.uniform(18, 40))
    seam = cells.abs() < draw.uniform(0.0, 0.11)
    drawn = (tags == Tag.MUSCLE) | (tags == Tag.PARASPINAL)
    tags.masked_fill_(seam & drawn, int(Tag.INTERMUSCULAR))


def _vessels(canvas: Canvas) -> None:
    """Aorta's branches down to the popliteal vessels, an artery beside a vein a side."""
    marks, draw = canvas.marks, canvas.draw
    height = marks.crest - marks.hip
    femur = marks.hip + 0.45 * height
    for side, outward in enumerate((-1.0, 1.0)):
        knots = _vessel_knots(marks, side, outward, femur)
        z, row, column = (torch.tensor(v) for v in zip(*knots, strict=True))
        where = canvas.slices(float(z[0]), float(z[-1]))
        along = marks.z[where]
        rows, columns = _interpolated(along, z, row), _interpolated(along, z, column)
        artery, vein = draw.uniform(3.5, 6), draw.uniform(4, 7.5)
        beside = outward * draw.uniform(8, 11)
        canvas.ellipse(where, Tag.ARTERY, (rows, columns), (artery, artery))
        canvas.ellipse(where, Tag.VEIN, (rows + 5, columns - beside), (vein, vein))
        nerve = canvas.slices(marks.knee[side] + 90, marks.hip + 0.35 * height)
        canvas.ellipse(
            nerve,
            Tag.NERVE,
            (marks.femur_row[side][nerve] + 38, marks.femur_column[side][nerve] - outward * 8),
            (3.5, 6.0),
        )
    above = canvas.slices(marks.crest + 5, float(marks.z[-1]) + 1)
    size = draw.uniform(7, 11)
    front = marks.spine_row[above] - 17 - size
    canvas.ellipse(above, Tag.ARTERY, (front, marks.midline[above] + 8), (size, size))
    canvas.ellipse(above, Tag.VEIN, (front, marks.midline[above] - 14), (size, size * 1.2))


def _vessel_knots(
    marks: Landmarks, side: int, outward: float, head: float
) -> list[tuple[float, float, float]]:
    """(slice, row, column) positions from the knee up to the forking of the aorta."""

    def femur(z: float) -> tuple[float, float]:
        k = min(max(0, int(z / marks.spacing_mm[0])), len(marks.z) - 1)
        return float(marks.femur_row[side][k]), float(marks.femur_column[side][k])

    def middle(z: float) -> tuple[float, float]:
        k = min(max(0, int(z / marks.spacing_mm[0])), len(marks.z) - 1)
        return float(marks.spine_row[k]), float(marks.midline[k])

    knee = marks.knee[side]
    thigh = marks.hip - knee
    knots = [(knee - 60, femur(knee + 8)[0] + 30, femur(knee + 8)[1])]
    for share, back, inward in ((0.05, 36, 2), (0.25, 24, 14), (0.5, 4, 26), (0.85, -22, 30)):
        z = knee + share * thigh
        row, column = femur(z)
        knots.append((z, row + back, column - outward * inward))
    row, column = femur(head)
    knots.append((head, row - 34, column - outward * 12))
    z = marks.sacrum_top - 10
    row, column = middle(z)
    knots.append((max(z, head + 20), row - 30, column + outward * 38))
    row, column = middle(marks.crest + 5)
    knots.append((max(marks.crest + 5, z + 30), row - 26, column + outward * 8))
    return knots


def _interpolated(z: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    k = torch.searchsorted(knots, z).clamp(1, len(knots) - 1)
    share = ((z - knots[k - 1]) / (knots[k] - knots[k - 1]).clamp_min(1e-3)).clamp(0, 1)
    return values[k - 1] * (1 - share) + values[k] * share


def _joints(canvas: Canvas) -> None:
    """Cartilage and fluid between the bones of a joint."""
    tags = canvas.tags
    wide, narrow = canvas.marks.pixels(6.0), canvas.marks.pixels(4.0)
    femur = dilated(tags == FEMUR, wide)
    others = is_any(tags, (PELVIS, Tag.BONE, Tag.TIBIA))
    put(tags, femur & dilated(others, wide), Tag.CARTILAGE)
    sacroiliac = dilated(tags == PELVIS, narrow) & dilated(tags == SACRUM, narrow)
    put(tags, sacroiliac, Tag.CARTILAGE)
