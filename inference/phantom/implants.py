"""Metal in the phantom: what orthopaedic surgeons leave between hip and ankle.

Drawn by hand in the frame of `anatomy.toml`, on the right; the left is its mirror image. Sizes
are those of common products: a cup of 50 mm, a nail of 11 mm, cannulated screws of 6.5 mm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from inference.phantom.tissues import BY_NAME, LEFT
from inference.phantom.tube import Tube, ellipses
from inference.structures import Side

METAL: Final = BY_NAME["metal"].code
POLYETHYLENE: Final = BY_NAME["polyethylene"].code


class ImplantKind(StrEnum):
    """Kind of implant."""

    HIP = "hip"
    KNEE = "knee"
    NAIL = "nail"
    PLATE = "plate"
    SCREWS = "screws"


@dataclass(frozen=True, slots=True)
class Implant:
    """An implant in one leg."""

    kind: ImplantKind
    side: Side

    @classmethod
    def named(cls, name: str) -> Implant:
        """The implant of a name: `hip-left`, `nail-right`.

        Raises:
            ValueError: there is no such implant.
        """
        kind, _, side = name.partition("-")
        known = [each.value for each in ImplantKind]
        if kind not in known or side not in _SIDES:
            raise ValueError(f"{name!r} is none of {', '.join(known)} with -right or -left")
        return cls(ImplantKind(kind), _SIDES[side])


_SIDES: Final = {"right": Side.RIGHT, "left": Side.LEFT}


def implant_tubes(implant: Implant) -> list[Tube]:
    """An implant's parts in the order of painting, in the reference body."""
    tubes = _PARTS[implant.kind]()
    if implant.side is Side.RIGHT:
        return tubes
    return [tube.mirrored(tube.code | LEFT) for tube in tubes]


def hip_replacement() -> list[Tube]:
    """Cup, neck and stem of a total hip replacement."""
    cup = (
        [376, -96, -9, 5, 5],
        [382, -97, -9, 20, 20],
        [394, -98, -9, 25, 25],
        [406, -98, -9, 22, 22],
        [416, -98, -9, 6, 6],
    )
    neck = ([355, -128, 10, 11, 8], [372, -118, 2, 13, 8], [392, -104, -5, 12, 8])
    stem = (
        [205, -110, -6, 4, 4],
        [260, -119, 0, 6, 6],
        [320, -127, 8, 8, 8],
        [366, -126, 9, 12, 9],
    )
    return [_metal(*knots) for knots in (cup, neck, stem)]


def _hip() -> list[Tube]:
    """The same with a polyethylene liner between the cup and a head of 28 mm."""
    cup, neck, stem = hip_replacement()
    liner = (
        [380, -97, -9, 8, 8],
        [386, -97, -9, 19, 19],
        [394, -98, -9, 21, 21],
        [404, -98, -9, 18, 18],
        [412, -98, -9, 5, 5],
    )
    head = (
        [380, -98, -9, 2, 2],
        [384, -98, -9, 10, 10],
        [394, -98, -9, 14, 14],
        [404, -98, -9, 10, 10],
        [408, -98, -9, 2, 2],
    )
    return [cup, _plastic(*liner), _metal(*head), neck, stem]


def _knee() -> list[Tube]:
    """Femoral component, polyethylene inlay, tibial component with its stem."""
    runners = (
        ([-2, -58, 8, 8, 12], [2, -58, 8, 14, 20], [9, -58, 8, 15, 24]),
        ([-2, -99, 12, 8, 12], [2, -99, 12, 13, 20], [9, -99, 12, 14, 25]),
    )
    condyles = (
        ([9, -58, 34, 14, 6], [24, -58, 36, 14, 5], [34, -58, 30, 10, 4]),
        ([9, -99, 36, 14, 6], [24, -99, 37, 14, 5], [34, -99, 31, 10, 4]),
    )
    flange = ([9, -79, -20, 26, 5], [30, -79, -23, 26, 4], [58, -83, -23, 14, 3])
    inlay = ([-10, -80, 14, 34, 25], [-2, -80, 14, 34, 25])
    tray = ([-14, -80, 14, 35, 26], [-10, -80, 14, 35, 26])
    stem = ([-58, -82, 13, 5, 5], [-30, -82, 13, 7, 7], [-14, -82, 13, 9, 8])
    parts = [_metal(*knots) for knots in (*runners, *condyles, flange, tray, stem)]
    return [_plastic(*inlay), *parts]


def _nail() -> list[Tube]:
    """A femoral nail with its screw into the head and two across the condyles."""
    nail = (
        [48, -84, -5, 5.5, 5.5],
        [90, -92, -8, 5.5, 5.5],
        [150, -101, -8, 5.5, 5.5],
        [210, -110, -6, 5.5, 5.5],
        [270, -120, 1, 6, 6],
        [330, -128, 10, 8, 8],
        [388, -137, 12, 8, 8],
    )
    return [
        _metal(*nail),
        _rod((-144, 14, 328), (-98, -8, 396), 5.0),
        _pin((-112, -66), -7, 70, 2.5),
        _pin((-111, -70), -7, 95, 2.5),
    ]


def _plate() -> list[Tube]:
    """A plate along the outside of the lower shaft, with seven screws through the bone."""
    plate = (
        [36, -115, 2, 2.5, 8],
        [60, -111, -6, 2.5, 8],
        [100, -113, -8, 2.5, 8],
        [150, -116, -8, 2.5, 8],
        [200, -123, -6, 2.5, 8],
        [232, -130, -3, 2.5, 8],
    )
    screws = (
        (48, -112, -56, 0),
        (78, -112, -68, -8),
        (108, -113, -78, -8),
        (138, -116, -85, -8),
        (168, -119, -91, -7),
        (198, -123, -96, -6),
        (224, -129, -100, -4),
    )
    return [_metal(*plate), *(_pin((x, end), y, z, 2.25) for z, x, end, y in screws)]


def _screws() -> list[Tube]:
    """Three cannulated screws along the neck of the femur."""
    return [
        _rod((-141, 8, 322), (-92, -12, 402), 3.25),
        _rod((-142, 18, 330), (-96, -2, 408), 3.25),
        _rod((-138, 2, 312), (-100, -14, 392), 3.25),
    ]


_PARTS: Final[dict[ImplantKind, Callable[[], list[Tube]]]] = {
    ImplantKind.HIP: _hip,
    ImplantKind.KNEE: _knee,
    ImplantKind.NAIL: _nail,
    ImplantKind.PLATE: _plate,
    ImplantKind.SCREWS: _screws,
}


def _metal(*knots: Sequence[float]) -> Tube:
    return ellipses(METAL, np.array(knots, dtype=np.float64))


def _plastic(*knots: Sequence[float]) -> Tube:
    return ellipses(POLYETHYLENE, np.array(knots, dtype=np.float64))


def _rod(
    low: tuple[float, float, float], high: tuple[float, float, float], radius_mm: float
) -> Tube:
    """A slanting cylinder between two points (x, y, z), cut level at both ends.

    Its section is an ellipse, longer along the slant by 1 / sin(elevation).
    """
    (x, y, z), (x_end, y_end, z_end) = low, high
    along = complex(x_end - x, y_end - y)
    longer = radius_mm * np.hypot(abs(along), z_end - z) / (z_end - z)
    turn = along / abs(along)
    section = turn * (longer - radius_mm) / 2, turn * (longer + radius_mm) / 2
    centres = complex(x, y), complex(x_end, y_end)
    outlines = np.array([[section[0], centre, section[1]] for centre in centres])
    return Tube(METAL, np.array([z, z_end], dtype=np.float64), outlines)


def _pin(ends_x_mm: tuple[float, float], y_mm: float, z_mm: float, radius_mm: float) -> Tube:
    """A screw that lies level, from right to left."""
    middle, half = sum(ends_x_mm) / 2, abs(ends_x_mm[1] - ends_x_mm[0]) / 2
    shares = np.array([-1, -0.8, -0.4, 0, 0.4, 0.8, 1])
    depths = np.maximum(np.sqrt(1 - shares**2), 0.05) * radius_mm
    knots = [
        [z_mm + share * radius_mm, middle, y_mm, half, depth]
        for share, depth in zip(shares, depths, strict=True)
    ]
    return _metal(*knots)
