"""The measured and the drawn tubes of the reference body, about 1.60 m tall.

Lengths and cross-sections were measured on the Visible Human Female's label map of Andreassen
et al., Sci Data 10:34 (2023), CC BY 4.0; what that map lacks is drawn by hand.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np

from inference.phantom.tissues import BY_NAME, LEFT
from inference.phantom.tube import Tube, ellipses

REFERENCE_HEIGHT_M: Final = 1.60

_SKIN_MM: Final = 2.0


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Tubes of the reference body, each group in the order in which it is painted.

    Paired tubes are there twice, right before left.
    """

    skin: tuple[Tube, ...]
    surroundings: tuple[Tube, ...]
    structures: tuple[Tube, ...]


@cache
def reference_anatomy() -> Anatomy:
    """Read both tables."""
    measured = _table("anatomy.toml")
    skin = [_both(_measured_tube(row)) for row in measured if row["tissue"] == "skin"]
    bodies = [row for row in measured if row["tissue"] != "skin"]
    paired = [
        _both(_measured_tube(row))
        if BY_NAME[row["tissue"]].label != 3
        else (_measured_tube(row),)
        for row in bodies
    ]
    drawn = [
        _both(_drawn_tube(row)) if row.get("paired", False) else (_drawn_tube(row),)
        for row in _table("surroundings.toml")
    ]
    flat = [tube for pair in paired for tube in pair]
    neighbours = [tube for tube in flat if not _is_structure(tube)]
    return Anatomy(
        skin=_with_fat([tube for pair in skin for tube in pair]),
        surroundings=(*(tube for pair in drawn for tube in pair), *neighbours),
        structures=tuple(tube for tube in flat if _is_structure(tube)),
    )


@cache
def lower_leg_anatomy() -> tuple[Tube, ...]:
    """The legs below the knee in the order of painting, right before left."""
    rows = _table("lower_legs.toml")
    tubes = [_goes_on(row) if row.get("goes_on", False) else _drawn_tube(row) for row in rows]
    skin = [tube for tube in tubes if tube.code == BY_NAME["skin"].code]
    inner = [tube for tube in tubes if tube.code != BY_NAME["skin"].code]
    paired = [[both for tube in part for both in _both(tube)] for part in (skin, inner)]
    return (*_with_fat(paired[0]), *paired[1])


def _goes_on(row: dict[str, Any]) -> Tube:
    """Drawn ellipses that run into the lowest measured outline of their tissue."""
    drawn, anatomy = _drawn_tube(row), reference_anatomy()
    measured = min(
        (t for t in (*anatomy.skin, *anatomy.surroundings) if t.code == drawn.code),
        key=lambda tube: float(tube.heights_mm[0]),
    )
    ends = np.zeros((len(drawn.outlines), measured.outlines.shape[1]), np.complex128)
    ends[:, measured.harmonics - 1 : measured.harmonics + 2] = drawn.outlines
    return Tube(
        drawn.code,
        np.append(drawn.heights_mm, measured.heights_mm[0]),
        np.concatenate([ends, measured.outlines[:1]]),
    )


def _table(name: str) -> list[dict[str, Any]]:
    text = files("inference.phantom").joinpath(name).read_text(encoding="utf-8")
    return list(tomllib.loads(text)["tube"])


def _measured_tube(row: dict[str, Any]) -> Tube:
    parts = np.array(row["outlines"], dtype=np.float64) / 10
    return Tube(
        code=BY_NAME[row["tissue"]].code,
        heights_mm=np.array(row["heights_mm"], dtype=np.float64),
        outlines=parts[:, 0::2] + 1j * parts[:, 1::2],
    )


def _drawn_tube(row: dict[str, Any]) -> Tube:
    return ellipses(BY_NAME[row["tissue"]].code, np.array(row["knots"], dtype=np.float64))


def _both(tube: Tube) -> tuple[Tube, Tube]:
    return tube, tube.mirrored(tube.code | LEFT)


def _is_structure(tube: Tube) -> bool:
    return tube.code & ~LEFT in _STRUCTURE_CODES


_STRUCTURE_CODES: Final = frozenset(t.code for t in BY_NAME.values() if t.label)


def _with_fat(skin: list[Tube]) -> tuple[Tube, ...]:
    """Skin tubes, then what they wrap: fat, a skin's thickness further in."""
    fat = []
    for tube in skin:
        radius_mm = np.sqrt(tube.areas_mm2(tube.heights_mm) / np.pi)
        code = BY_NAME["fat"].code | (tube.code & LEFT)
        inner = tube.grown(1 - _SKIN_MM / radius_mm)
        fat.append(Tube(code, inner.heights_mm, inner.outlines))
    return (*skin, *fat)
