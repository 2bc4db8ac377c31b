"""Knee and lower leg: the bones and muscles right below the femur, which are none of its.

The label maps end a hand's breadth below the joint, one of them without a tibia. Sizes are
those of an adult whose femoral condyles are 80 mm wide, and follow the condyles; depths are
millimetres below the tibial plateau.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.training.synthesis.canvas import Canvas
from inference.training.synthesis.tags import FEMUR, Tag

CONDYLES_MM = 80.0
"""Width of the condyles that the sizes here belong to."""

KNOWN_MM2 = 400.0
"""More tibia than this in a slice: the label map shows it."""

FIBULA_MM2 = 40.0

SHANK_MM = (320.0, 400.0)
"""Between the plateau and the ankle, for condyles as wide as above."""


@dataclass(frozen=True, slots=True, eq=False)
class _Leg:
    """One leg's frame below the knee.

    half: the columns of this side. outward: +1 where lateral is towards higher columns.
    where: the slices from the feet to the lowest part of the femur.
    depth: (slices of `where`,) below the plateau. row, column: middle of the tibia in mm.
    size: relative to the sizes above; angle: how far the foot points outwards.
    """

    canvas: Canvas
    half: slice
    outward: float
    where: slice
    depth: Tensor
    row: float
    column: float
    size: float
    angle: float

    def put(
        self,
        tag: int,
        offset: tuple[Tensor | float, Tensor | float],
        radii: tuple[Tensor | float, Tensor | float],
        shown: Tensor,
    ) -> None:
        """Put an ellipse where shown; offset (backward, outward) and radii before sizing."""
        back, out = (torch.as_tensor(v, dtype=torch.float32) * self.size for v in offset)
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        centre = (
            self.row + back * cosine + out * sine,
            self.column + self.outward * (out * cosine - back * sine),
        )
        present = shown.float() * self.size
        self.canvas.ellipse(self.where, tag, centre, (radii[0] * present, radii[1] * present))


def add_shanks(canvas: Canvas) -> None:
    """Tibia, fibula, joint space, patellar tendon and calf where the label map has none."""
    for side, outward in enumerate((-1.0, 1.0)):
        leg, without_tibia, without_fibula = _leg(canvas, side, outward)
        _fibula(leg, without_fibula)
        _tibia(leg, without_tibia)
        _joint(leg)
        _calf(leg)
        _foot(leg)


def _leg(canvas: Canvas, side: int, outward: float) -> tuple[_Leg, Tensor, Tensor]:
    """The leg's frame, and the slices where tibia and fibula have to be drawn."""
    marks, draw, tags = canvas.marks, canvas.draw, canvas.tags
    step, row_mm, column_mm = marks.spacing_mm
    knee = marks.knee[side]
    middle = int(float(marks.midline[int(knee / step)]) / column_mm)
    half = slice(middle, None) if side else slice(0, middle)
    where = canvas.slices(0, knee + 4)
    z = marks.z[where]
    condyles = tags[canvas.slices(knee + 20, knee + 40), :, half] == FEMUR
    columns = condyles.any(1).any(0).nonzero().float() * column_mm
    width = float(columns.max() - columns.min()) if len(columns) else CONDYLES_MM
    near = int((knee + 20) / step)
    row, column = float(marks.femur_row[side][near]), float(marks.femur_column[side][near])
    tibia = tags[where, :, half] == Tag.TIBIA
    known = tibia.sum((1, 2)) * row_mm * column_mm > KNOWN_MM2
    if known.any():  # go on below the one that is there
        first = tibia[int(known.nonzero().min())].nonzero().float().mean(0)
        row = float(first[0]) * row_mm
        column = (float(first[1]) + (half.start or 0)) * column_mm
    else:
        row += draw.normal(9, 3)  # as in the body that has one
        column += draw.normal(0, 2)
    fibula = (tags[where, :, half] == Tag.BONE).sum((1, 2)) * row_mm * column_mm > FIBULA_MM2
    leg = _Leg(
        canvas=canvas,
        half=half,
        outward=outward,
        where=where,
        depth=knee - draw.uniform(0, 6) - z,
        row=row,
        column=column,
        size=min(max(width / CONDYLES_MM, 0.8), 1.2) * draw.uniform(0.93, 1.07),
        angle=draw.normal(0.1, 0.2),
    )
    return leg, ~_at_or_above(known), ~_at_or_above(fibula & (z < knee - 8))


def _at_or_above(known: Tensor) -> Tensor:
    """From the lowest known slice on upwards; nowhere if none is."""
    return known.to(torch.uint8).cummax(0).values > 0


def _tibia(leg: _Leg, absent: Tensor) -> None:
    """A plateau of two condyles, the tuberosity in front, tapering to the shaft."""
    draw, depth = leg.canvas.draw, leg.depth
    end, slope = draw.uniform(45, 65), draw.uniform(0, 4)
    wide = (1 - (depth - 8) / end).clamp(0, 1)
    slim = 1 - wide
    apart = draw.uniform(14, 18) * wide
    medial, lateral = absent & (depth > 0), absent & (depth > slope)
    leg.put(Tag.TIBIA, (1.0, -apart), (25 * wide + 13 * slim, 20 * wide + 12 * slim), medial)
    leg.put(Tag.TIBIA, (0.0, apart), (23 * wide + 12 * slim, 20 * wide + 11 * slim), lateral)
    leg.put(Tag.TIBIA, (-4 * wide, 0.0), (23 * wide + 12 * slim, 13 + 6 * wide), medial)
    crest = absent & (depth > draw.uniform(8, 20))
    leg.put(Tag.TIBIA, (-(8 + 15 * wide), 2 * wide), (9.0, 7 + 6 * wide), crest)
    eminence = draw.uniform(5, 10)
    rise = (1 + depth / eminence).clamp(0.2, 1)
    leg.put(
        Tag.TIBIA, (1.0, 0.0), (9 * rise, 8 * rise), absent & (depth > -eminence) & (depth <= 0)
    )


def _fibula(leg: _Leg, absent: Tensor) -> None:
    """Behind and outside the tibia: a head, then a thin shaft."""
    draw, depth = leg.canvas.draw, leg.depth
    below = ((depth - 10) / 30).clamp(0, 1)
    radius = 9.5 - 3.5 * below
    offset = (draw.uniform(18, 30), 34 - draw.uniform(4, 12) * below)
    leg.put(Tag.BONE, offset, (radius, radius), absent & (depth > draw.uniform(8, 18)))


def _joint(leg: _Leg) -> None:
    """Menisci and cartilage on the plateau, and the patellar tendon in front of it."""
    draw, depth = leg.canvas.draw, leg.depth
    disc = (depth > -9) & (depth <= 2)
    for out in (-17.0, 17.0):
        leg.put(Tag.CARTILAGE, (1.0, out), (25.0, 20.0), disc)
    thick = draw.uniform(2.0, 4.5)
    tendon = (depth > -40) & (depth < 40)
    leg.put(Tag.CARTILAGE, (-35.0, 2.0), (thick, draw.uniform(10, 16)), tendon)


def _calf(leg: _Leg) -> None:
    """Both heads of gastrocnemius, soleus and popliteus, and the muscles in front."""
    draw, depth = leg.canvas.draw, leg.depth
    bulk = draw.uniform(0.75, 1.2)
    belly = (1 - ((depth - 110) / 300).abs().clamp(0, 1) ** 2) * bulk
    upper, lower = depth > draw.uniform(-5, 15), depth > draw.uniform(15, 35)
    apart, behind = draw.uniform(14, 18), draw.uniform(36, 44)
    for out in (-apart, apart):
        leg.put(Tag.MUSCLE, (behind, out), (16 * belly, 17 * belly), upper)
    leg.put(Tag.MUSCLE, (29.0, 2.0), (18 * belly, 32 * belly), lower)
    leg.put(Tag.MUSCLE, (-2.0, 26.0), (17 * belly, 13 * belly), lower)


def _foot(leg: _Leg) -> None:
    """The ankle's flare, tarsal bones and heel, and in front of them the metatarsals.

    A patient on the back points the toes to the ceiling: towards lower rows.
    """
    draw, depth = leg.canvas.draw, leg.depth
    ankle = draw.uniform(*SHANK_MM) * leg.size
    if not len(depth) or float(depth.max()) < ankle - 45:
        return
    flare = (1 - (depth - ankle).abs() / 45).clamp(0, 1)
    leg.put(
        Tag.TIBIA, (0.0, -2.0), (12 + 8 * flare, 12 + 10 * flare), (depth < ankle) & (flare > 0)
    )
    below = depth - ankle
    foot = (below > 0) & (below < draw.uniform(60, 80))
    leg.put(Tag.BONE, (20 + 0.3 * below, 0.0), (26.0, 17.0), foot & (below > 8))  # heel
    leg.put(Tag.BONE, (-12.0, -2.0), (26.0, 18.0), foot & (below < 35))  # talus
    spread = draw.uniform(9, 14)
    for k in range(-2, 3):
        front = -45 - draw.uniform(0, 20) - 0.8 * below
        size = (draw.uniform(8, 30), draw.uniform(5, 8))
        leg.put(Tag.BONE, (front, k * spread), size, foot & (below > draw.uniform(5, 30)))
    leg.put(Tag.MUSCLE, (-20.0, 0.0), (70.0, 30.0), foot & (below > 25))
    achilles = (depth > ankle - 90) & (depth < ankle + 20)
    leg.put(Tag.CARTILAGE, (40.0, 0.0), (3.5, 8.0), achilles)
