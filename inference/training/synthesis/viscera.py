"""Contents of the abdominal wall: bowel, bladder, the organs of the pelvis, fat between them.

A network that has never seen them takes a full bladder or a loop of bowel for muscle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.training.synthesis.canvas import Canvas
from inference.training.synthesis.fields import smooth_noise
from inference.training.synthesis.tags import (
    GMAX,
    ILIACUS,
    OBTURATOR_INTERNUS,
    PELVIS,
    SACRUM,
    Tag,
    is_any,
    put,
)


def add_wall(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """The space inside the abdominal wall, and the wall itself, put as muscle.

    Returns:
        Two masks on the fine grid: all inside the wall's outer surface, and the wall.
    """
    marks, draw, z = canvas.marks, canvas.draw, canvas.marks.z
    rise = ((z - marks.symphysis) / (marks.crest - marks.symphysis)).clamp(0, 1)
    belly = draw.uniform(-8, 60)
    waist = 1 - draw.uniform(-0.06, 0.12) * ((z - marks.crest) / 100).clamp(0, 1)
    half = (marks.crest_half_width + draw.uniform(-6, 6)) * (0.62 + 0.38 * rise) * waist
    bulge = (rise * (2 - rise)).clamp(0, 1)
    front = (marks.pubis_row - 10) + (marks.asis_row - belly - marks.pubis_row + 10) * bulge
    back_above = marks.spine_row + draw.uniform(60, 72)
    back = torch.where(z > marks.sacrum_top - 20, back_above, marks.sacrum_back + 4)
    centre, depth = ((front + back) / 2)[:, None, None], ((back - front) / 2)[:, None, None]
    power = draw.uniform(2.0, 2.7)
    u = ((canvas.x - marks.midline[:, None, None]).abs() / half[:, None, None]) ** power
    v = ((canvas.y - centre).abs() / depth) ** power
    shape = (canvas.tags.shape[0], canvas.tags.shape[1], canvas.tags.shape[2])
    r = (u + v) ** (1 / power) + 0.02 * smooth_noise(draw, shape, marks.spacing_mm, 70.0)
    present = (z > marks.symphysis - 6)[:, None, None]
    trunk = (r < 1) & present
    thick = draw.uniform(8, 20) + 3 * smooth_noise(draw, shape, marks.spacing_mm, 50.0)
    wall = trunk & (r > 1 - thick.clamp_min(4) / torch.minimum(half[:, None, None], depth))
    alba = ((canvas.x - marks.midline[:, None, None]).abs() < draw.uniform(1, 9)) & (
        canvas.y < centre
    )
    # Inside the pelvis only the front of the ring is abdominal wall.
    is_wall = (
        wall & ~alba & ((z > marks.crest - 8)[:, None, None] | (canvas.y < marks.asis_row + 25))
    )
    behind = canvas.y > marks.spine_row[:, None, None] + 30
    put(canvas.tags, is_wall & ~behind, Tag.WALL)
    return trunk, wall


def add_viscera(canvas: Canvas, trunk: Tensor, wall: Tensor) -> None:
    """All that lies inside the abdominal wall and the bony pelvis; masks as of `add_wall`."""
    _pelvic_organs(canvas)
    _beside_psoas(canvas)
    _bowel(canvas, trunk, wall)


def _pelvic_organs(canvas: Canvas) -> None:
    """Bladder, rectum and what lies between them."""
    marks, draw = canvas.marks, canvas.draw
    middle = float(marks.midline[canvas.slices(marks.symphysis, marks.crest)].mean())
    fill = draw.uniform(0.4, 1.15)
    radii = (34 * fill + 6, 36 * fill + 6, 44 * fill + 6)
    z = marks.symphysis + 0.55 * radii[0]
    row = marks.pubis_back + 0.85 * radii[1]
    column = middle + draw.normal(0, 6)
    for tag, extra in ((Tag.URINE, 0.0), (Tag.ORGAN, draw.uniform(2, 6))):
        _ellipsoid(canvas, tag, (z, row, column), tuple(r + extra for r in radii))
    uterus = (draw.uniform(12, 32), draw.uniform(12, 26), draw.uniform(18, 34))
    where = (z + draw.uniform(-10, 35), row + radii[1] + uterus[1], middle + draw.normal(0, 8))
    _ellipsoid(canvas, Tag.ORGAN, where, uterus)
    _rectum(canvas, middle)
    if draw.chance(0.4):
        genital = (marks.hip + 5, marks.pubis_row + 8, float(middle))
        _ellipsoid(canvas, Tag.ORGAN, genital, (38, 22, 22))
    floor = canvas.slices(marks.hip + 5, marks.symphysis + 15)
    rows = marks.sacrum_back[floor] * 0.45 + marks.pubis_back * 0.55
    canvas.ellipse(floor, Tag.MUSCLE, (rows + 14, middle), (26.0, draw.uniform(10, 26)))


def _rectum(canvas: Canvas, middle: float) -> None:
    marks, draw = canvas.marks, canvas.draw
    where = canvas.slices(marks.hip + 12, marks.sacrum_top - 25)
    size = draw.uniform(11, 26)
    swing = 10 * torch.sin(marks.z[where] / 22 + draw.uniform(0, 6))
    row = marks.sacrum_front[where] - size - 6
    content = (Tag.GAS, Tag.FAECES, Tag.BOWEL)[int(draw.scalars.integers(3))]
    canvas.ellipse(where, content, (row, middle + swing), (size - 3.5, size - 3))
    canvas.ellipse(where, Tag.ORGAN, (row, middle + swing), (size, size + 1))


def _ellipsoid(
    canvas: Canvas,
    tag: int,
    centre: tuple[float, float, float],
    radii: tuple[float, ...],
) -> None:
    where = canvas.slices(centre[0] - radii[0], centre[0] + radii[0])
    share = (1 - ((canvas.marks.z[where] - centre[0]) / radii[0]) ** 2).clamp_min(0).sqrt()
    canvas.ellipse(where, tag, (centre[1], centre[2]), (radii[1] * share, radii[2] * share))


def _beside_psoas(canvas: Canvas) -> None:
    """Put neighbours of the psoas: colon, a loop of small bowel, the kidney's lower pole."""
    marks, draw = canvas.marks, canvas.draw
    top = float(marks.z[-1]) + 1
    for outward in (-1.0, 1.0):
        if draw.chance(0.5):
            pole = marks.crest + draw.uniform(15, 90)
            row = float(marks.psoas_row[canvas.slices(pole, top)].mean()) if pole < top else 0.0
            aside = float(marks.psoas_half.mean()) + draw.uniform(5, 25)
            centre = (pole + 55, row + draw.uniform(-15, 15))
            kidney = (*centre, float(marks.midline.mean()) + outward * aside)
            _ellipsoid(canvas, Tag.ORGAN, kidney, (55.0, 27.0, 25.0))
        _loop(canvas, outward, draw.uniform(0.9, 1.6))
        if draw.chance(0.8):
            _loop(canvas, outward, draw.uniform(0.2, 0.9))


def _loop(canvas: Canvas, outward: float, aside: float) -> None:
    """A winding piece of bowel in front of a psoas, `aside` of its reach from the midline."""
    marks, draw = canvas.marks, canvas.draw
    low = marks.sacrum_top + draw.uniform(-70, 40)
    where = canvas.slices(low, min(low + draw.uniform(60, 220), float(marks.z[-1]) + 1))
    z = marks.z[where]
    size, winding = draw.uniform(9, 24), draw.uniform(15, 40)
    swing = draw.uniform(2, 12) * torch.sin(z / winding + draw.uniform(0, 6))
    row = marks.psoas_row[where] - draw.uniform(8, 24) - size * 0.8 + 0.5 * swing
    column = marks.midline[where] + outward * aside * marks.psoas_half[where] + swing
    content = (Tag.GAS, Tag.FAECES, Tag.BOWEL, Tag.ORGAN)[int(draw.scalars.integers(4))]
    canvas.ellipse(where, content, (row, column), (size - 3, size * 1.2 - 3))
    canvas.ellipse(where, Tag.ORGAN, (row, column), (size, size * 1.2))


def _bowel(canvas: Canvas, trunk: Tensor, wall: Tensor) -> None:
    """Bowel loops in fat, inside the wall and inside the bony pelvis."""
    tags, marks, draw = canvas.tags, canvas.marks, canvas.draw
    cavity = _cavity(canvas) & trunk & ~wall
    shape = (tags.shape[0], tags.shape[1], tags.shape[2])
    loops = smooth_noise(draw, shape, marks.spacing_mm, draw.uniform(20, 38))
    kind = smooth_noise(draw, shape, marks.spacing_mm, draw.uniform(45, 80))
    less = draw.uniform(-0.5, 0.7)
    lumen = cavity & (loops > less + 0.35)
    put(tags, lumen & (kind > 0.9), Tag.GAS)
    put(tags, lumen & (kind < -0.7), Tag.FAECES)
    put(tags, lumen, Tag.BOWEL)
    put(tags, cavity & (loops > less), Tag.ORGAN)
    put(tags, cavity, Tag.VISCERAL_FAT)


def _cavity(canvas: Canvas) -> Tensor:
    """Space before the spine that can be reached from the midline without crossing bone."""
    tags, marks = canvas.tags, canvas.marks
    sides = is_any(tags, (PELVIS, GMAX, 5, 6, ILIACUS, OBTURATOR_INTERNUS, Tag.PARASPINAL))
    behind = is_any(tags, (SACRUM, GMAX, Tag.VERTEBRA, Tag.DISC, Tag.PARASPINAL))
    middle = int(float(marks.midline.mean()) / marks.spacing_mm[2])
    right = sides[:, :, :middle].flip(2).to(torch.uint8).cummax(2).values.flip(2)
    left = sides[:, :, middle:].to(torch.uint8).cummax(2).values
    hidden = torch.cat([right, left], 2) | behind.to(torch.uint8).cummax(1).values
    level = (marks.z > marks.symphysis - 10)[:, None, None]
    # Beside the spine lie psoas, quadratus lumborum and fat; further out, flank and kidney.
    aside = (canvas.x - marks.midline[:, None, None]).abs()
    shape = (tags.shape[0], tags.shape[1], tags.shape[2])
    uneven = 7 * smooth_noise(canvas.draw, shape, marks.spacing_mm, 35.0)
    rear = marks.spine_row[:, None, None] + 6 + 0.3 * (aside - 45).clamp_min(0) + uneven
    beside = (marks.z > marks.sacrum_top - 30)[:, None, None] & (canvas.y > rear)
    return (hidden == 0) & level & ~beside
