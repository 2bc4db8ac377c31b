"""The anatomy that label maps of bones and muscles lack, added around them.

What surrounds the structures is what a network confuses them with: muscles of the abdominal
wall and of the back, bowel and bladder, vertebrae above the sacrum, calves below the knee,
arms beside the body. Each part is a simple shape hung on landmarks, made irregular by
noise. Parts are put in order of precedence and never over something already there.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from inference.training.synthesis_canvas import Canvas
from inference.training.synthesis_fields import (
    blur,
    dilated,
    distance_mm,
    eroded,
    smooth_noise,
)
from inference.training.synthesis_knee import add_shanks
from inference.training.synthesis_landmarks import Landmarks
from inference.training.synthesis_tags import (
    FEMUR,
    GMAX,
    ILIACUS,
    OBTURATOR_INTERNUS,
    PELVIS,
    SACRUM,
    Tag,
    is_any,
    put,
)

COARSE_MM: Final = 4.0
"""Pixels of the grid for smooth envelopes, in the plane."""

HOLLOW_MM: Final = 16.0
"""Hollows between muscles up to twice as wide hold fat, not air: groin, hollow of the knee."""


def add_background(canvas: Canvas) -> None:
    """Everything that is not one of the structures, from the inside to the outside."""
    add_shanks(canvas)
    _spine(canvas)
    _septa(canvas)
    _vessels(canvas)
    _joints(canvas)
    trunk, wall = _trunk(canvas)
    _pelvic_organs(canvas)
    _beside_psoas(canvas)
    _viscera(canvas, trunk, wall)
    body = _body(canvas, trunk)
    _arms(canvas, body)
    _surroundings(canvas, body)


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


def _trunk(canvas: Canvas) -> tuple[Tensor, Tensor]:
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
    """What lies against the psoas: colon, a loop of small bowel, the kidney's lower pole."""
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


def _viscera(canvas: Canvas, trunk: Tensor, wall: Tensor) -> None:
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
    """What can be reached from the midline without crossing bone, and lies before the spine."""
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


def _body(canvas: Canvas, trunk: Tensor) -> Tensor:
    """Fascia, subcutaneous fat and skin around everything; the mask of the whole body."""
    tags, marks = canvas.tags, canvas.marks
    fine = (tags.shape[1], tags.shape[2])
    filled = ((tags > 0) | trunk).float()
    factor = marks.pixels(COARSE_MM)
    coarse = functional.max_pool2d(filled[:, None], factor)[:, 0]
    step, row_mm, column_mm = marks.spacing_mm
    spacing = (step, factor * row_mm, factor * column_mm)
    middle = int(float(marks.midline.mean()) / spacing[2])
    coarse = _without_hollows(coarse > 0, spacing, middle).float()
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


def _without_hollows(
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


def _arms(canvas: Canvas, body: Tensor) -> None:
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


def _surroundings(canvas: Canvas, body: Tensor) -> None:
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
