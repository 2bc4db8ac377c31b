"""From the reference anatomy to one body: its size, its build, its pose, its variation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.phantom.anatomy import (
    REFERENCE_HEIGHT_M,
    lower_leg_anatomy,
    reference_anatomy,
)
from inference.phantom.implants import Implant, hip_replacement, implant_tubes
from inference.phantom.tissues import BONES, BY_NAME, LEFT
from inference.phantom.tube import Tube
from inference.structures import Side

_HIP_MM: Final = 390.0
"""Height of the femoral heads; legs turn and swing about it."""

_SYMPHYSIS_REACH_MM: Final = 9.0
"""A pelvic outline that comes this close to the midline belongs to the symphysis."""

_KNOT_STEP_MM: Final = 20.0

_STIFF: Final = (
    "skin",
    "fat",
    "patella",
    "tibia",
    "fibula",
    "coccyx",
    "vertebra",
    "disc",
    "bone inside",
    "joint",
    "marrow",
    "cortex",
    "foot bone",
    "metal",
    "polyethylene",
)
"""Neighbours that keep their size and place when single muscles vary."""


def told(specification: Any, since: Collection[str]) -> str:
    """The `repr` of a frozen specification, without later fields that are not set.

    A phantom's UIDs derive from it: one that could be asked for before a field was added
    stays the same phantom.
    """
    kept = [
        (each.name, getattr(specification, each.name))
        for each in fields(specification)
        if each.name not in since or getattr(specification, each.name) != each.default
    ]
    values = ", ".join(f"{name}={value!r}" for name, value in kept)
    return f"{type(specification).__name__}({values})"


@dataclass(frozen=True, slots=True, repr=False)
class BodySpec:
    """Specification of a body.

    height_m: scales all three axes; 1.60 m is the body as measured.
    girth: scales the cross-sections alone.
    fat: thickness of the fat under the skin, 1 as drawn.
    variation: how far a drawn body strays from the reference, 0 not at all, 1 as far as
        adults of one build do; `variation_seed` draws it.
    touching_hemipelves: close the gap of the pubic symphysis.
    crossing_thighs: press the thighs together and lean them over to the left, so that
        right and left touch and the contact lies off the midline.
    implant: the side of a total hip replacement without a liner, if any. It keeps its place
        where the body varies.
    implants: any others; they move with the bone.
    lower_legs: sides that go on below the knee, down to the foot; others end 38 mm below it.
    """

    height_m: float = REFERENCE_HEIGHT_M
    girth: float = 1.0
    fat: float = 1.0
    variation: float = 0.0
    variation_seed: int = 0
    touching_hemipelves: bool = False
    crossing_thighs: bool = False
    implant: Side | None = None
    implants: tuple[Implant, ...] = ()
    lower_legs: tuple[Side, ...] = ()

    def __repr__(self) -> str:
        """As `told`."""
        return told(self, since=("implants", "lower_legs"))

    @property
    def length_scale(self) -> float:
        """Body millimetres per reference millimetre, along z."""
        return self.height_m / REFERENCE_HEIGHT_M


REFERENCE_BODY: Final = BodySpec()


@dataclass(frozen=True, slots=True)
class Body:
    """All tubes in the order of painting; later ones hide earlier ones."""

    tubes: tuple[Tube, ...]


Bend = Callable[[Tube], Tube]
"""One step from the reference to the body: a tube in, the bent tube out."""


@lru_cache(maxsize=8)
def body(spec: BodySpec) -> Body:
    """The body of a specification, in its own millimetres."""
    anatomy, legs = reference_anatomy(), lower_leg_anatomy()
    below = [tube for tube in legs if _side_of(tube) in spec.lower_legs]
    structures = sorted(anatomy.structures, key=_rank)
    implants = [tube for one in spec.implants for tube in implant_tubes(one)]
    tubes = [*below, *anatomy.skin, *anatomy.surroundings, *structures, *implants]
    bends: list[Bend] = [_fattened(spec.fat)]
    if spec.variation:
        bends += _variation(spec.variation, spec.variation_seed)
    if spec.touching_hemipelves:
        bends.append(_closed_symphysis)
    if spec.crossing_thighs:
        bends.append(_crossed)
    tubes = [_bent(tube, bends) for tube in tubes]
    if spec.implant is not None:
        tubes += [_on_side(tube, spec.implant) for tube in hip_replacement()]
    return Body(tuple(_sized(tube, spec) for tube in tubes))


def _rank(tube: Tube) -> int:
    """Muscles below bones below the insides of bones."""
    code = tube.code & ~LEFT
    if code not in BONES:
        return 0
    return 1 if code <= 3 else 2


def _bent(tube: Tube, bends: list[Bend]) -> Tube:
    tube = tube.refined(_KNOT_STEP_MM)
    for bend in bends:
        tube = bend(tube)
    return tube


def _sized(tube: Tube, spec: BodySpec) -> Tube:
    across = tube.mapped(spec.length_scale * spec.girth, 0, 0)
    return replace(across, heights_mm=tube.heights_mm * spec.length_scale)


def _fattened(fat: float) -> Bend:
    """Scale the skin about its centre: fat is about a fifth of a thigh's radius."""

    def bend(tube: Tube) -> Tube:
        return tube.grown(1 + 0.2 * (fat - 1)) if _name_is(tube, "skin", "fat") else tube

    return bend


def _name_is(tube: Tube, *names: str) -> bool:
    return tube.code & ~LEFT in {BY_NAME[name].code for name in names}


def _is_left(tube: Tube) -> bool:
    return bool(tube.code & LEFT)


def _side_of(tube: Tube) -> Side:
    return Side.LEFT if _is_left(tube) else Side.RIGHT


def _on_side(tube: Tube, side: Side) -> Tube:
    """A tube drawn on the right, on the side it is wanted on."""
    return tube.mirrored(tube.code | LEFT) if side is Side.LEFT else tube


def _variation(amount: float, seed: int) -> list[Bend]:
    """Build, pose of each leg, and size and place of every muscle, drawn once per body."""
    rng = np.random.default_rng([seed, 22])
    build = _build(amount, rng)
    legs = {side: _leg_pose(amount, rng) for side in (False, True)}
    muscles = {
        code: (
            1 + amount * rng.normal(0, 0.06) + amount * rng.normal(0, 0.04, 4),
            amount * rng.normal(0, 1.0, (2, 4)),
        )
        for code in range(256)
    }

    def muscle(tube: Tube) -> Tube:
        code = tube.code
        if code & ~LEFT in BONES or _name_is(tube, *_STIFF):
            return tube
        growth, shifts = muscles[code]
        along = np.linspace(tube.heights_mm[0], tube.heights_mm[-1], 4)
        factor = np.interp(tube.heights_mm, along, np.clip(growth, 0.7, 1.3))
        shift = np.interp(tube.heights_mm, along, shifts[0]) + 1j * np.interp(
            tube.heights_mm, along, shifts[1]
        )
        return tube.grown(factor).mapped(1, 0, shift)

    def leg(tube: Tube) -> Tube:
        return legs[_is_left(tube)](tube) if _is_sided(tube) else tube

    return [muscle, build, leg]


def _is_sided(tube: Tube) -> bool:
    """True if a tube lies to one side of the midline all along."""
    side = 1 if _is_left(tube) else -1
    return bool((tube.centres.real * side > 4).all())


def _build(amount: float, rng: np.random.Generator) -> Bend:
    """Width and depth of the whole body, changing slowly along it."""
    knots = np.linspace(-40, 680, 6)
    widths = 1 + amount * (rng.normal(0, 0.04) + rng.normal(0, 0.025, 6))
    depths = 1 + amount * (rng.normal(0, 0.05) + rng.normal(0, 0.03, 6))

    def bend(tube: Tube) -> Tube:
        width = np.interp(tube.heights_mm, knots, widths)
        depth = np.interp(tube.heights_mm, knots, depths)
        return tube.mapped((width + depth) / 2, (width - depth) / 2, 0)

    return bend


def _leg_pose(amount: float, rng: np.random.Generator) -> Bend:
    """Swing of a leg in the plane of the table and above it, and its turn about the femur."""
    sideways, upwards = amount * rng.normal(0, [9.0, 8.0])
    turn = amount * rng.normal(0, np.deg2rad(5.0))
    axis_heights, axis = _femur_axis()

    def bend(tube: Tube) -> Tube:
        z = tube.heights_mm
        below_hip = np.clip((_HIP_MM - z) / _HIP_MM, 0, None)
        angle = (-1 if _is_left(tube) else 1) * turn * np.clip((360 - z) / 120, 0, 1)
        centre = np.interp(z, axis_heights, axis.real) * (1 if _is_left(tube) else -1)
        centre = centre + 1j * np.interp(z, axis_heights, axis.imag)
        rotation = np.exp(1j * angle)
        shift = centre * (1 - rotation) + below_hip * (sideways + 1j * upwards)
        return tube.mapped(rotation, 0, shift)

    return bend


def _femur_axis() -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Heights and centres of the left femur."""
    code = BY_NAME["FEMUR"].code | LEFT
    femur = next(tube for tube in reference_anatomy().structures if tube.code == code)
    return femur.heights_mm, femur.centres


def _reach(tube: Tube) -> NDArray[np.float64]:
    """(knots,) how far each outline's innermost point lies from the midline, on its side."""
    side = 1 if _is_left(tube) else -1
    corners = np.arange(72) * (2 * np.pi / 72)
    k = np.arange(-tube.harmonics, tube.harmonics + 1)
    points = tube.outlines @ np.exp(1j * np.outer(k, corners))
    return np.asarray((side * points.real).min(axis=1))


def _closed_symphysis(tube: Tube) -> Tube:
    """Stretch the pubic bones over what is left of the gap, and a hair beyond."""
    if not _name_is(tube, "PELVIS", "PELVIS inside"):
        return tube
    fixed = 60.0 if _is_left(tube) else -60.0
    reach = _reach(tube)
    beyond = 0.3 if _name_is(tube, "PELVIS") else -1.5
    width = np.where(reach < _SYMPHYSIS_REACH_MM, (60 + beyond) / (60 - reach), 1.0)
    return tube.mapped((1 + width) / 2, (width - 1) / 2, fixed * (1 - width))


def _crossed(tube: Tube) -> Tube:
    """Move a thigh to its neighbour and both to the left, growing from the crotch down."""
    if not _is_sided(tube):
        return tube
    side = 1 if _is_left(tube) else -1
    heights, gap = _thigh_gap()
    inward = np.interp(tube.heights_mm, heights, gap) * side
    lean = 25.0 * np.clip((330 - tube.heights_mm) / 150, 0, 1)
    return tube.mapped(1, 0, lean - inward)


@lru_cache(maxsize=1)
def _thigh_gap() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights, and how far a thigh's innermost muscle lies from the midline there."""
    heights = np.arange(-40.0, 341.0, 10.0)
    gap = np.full(len(heights), 40.0)
    for tube in reference_anatomy().structures:
        if not _is_left(tube) or tube.code & ~LEFT in BONES:
            continue
        met = (heights >= tube.heights_mm[0]) & (heights <= tube.heights_mm[-1])
        if met.any():
            here = Tube(tube.code, heights[met], tube.at(heights[met]))
            gap[met] = np.minimum(gap[met], _reach(here))
    fade = np.clip((335 - heights) / 60, 0, 1)
    return heights, (gap + 0.2) * fade
