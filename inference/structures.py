"""The 22 bones and muscles of the method, their sides, and the 43 segments reported.

The abbreviations and the order are those of the study (Soufi et al., Sci Rep 15, 2025,
doi 10.1038/s41598-024-83793-7, Methods): label 0 is background, labels 1 to 22 the
structures below. Every structure is reported for the right and for the left, except the
sacrum, which is whole: 43 segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Side(StrEnum):
    """The patient's own right or left."""

    RIGHT = "R"
    LEFT = "L"


class Group(StrEnum):
    """Group of structures in the study."""

    BONE = "bone"
    HIP_MUSCLE = "hip muscle"
    THIGH_MUSCLE = "thigh muscle"


@dataclass(frozen=True, slots=True)
class Structure:
    """One label of the network.

    `colour_rgb` is the display colour (0 to 255), the same for both sides.
    """

    label: int
    abbreviation: str
    name: str
    group: Group
    colour_rgb: tuple[int, int, int]
    paired: bool = True


@dataclass(frozen=True, slots=True)
class Segment:
    """A structure on one side; what one SEG segment or one row of a report stands for.

    `number` counts from 1 to 43 in an order that never changes: by structure, right
    before left. `side` is None for the sacrum alone.
    """

    number: int
    structure: Structure
    side: Side | None

    @property
    def key(self) -> str:
        """The segment in a script's words: `GMED_L`, `SACRUM`."""
        if self.side is None:
            return self.structure.abbreviation
        return f"{self.structure.abbreviation}_{self.side.value}"

    @property
    def title(self) -> str:
        """The segment in a reader's words: `Gluteus medius, left`."""
        name = self.structure.name[0].upper() + self.structure.name[1:]
        if self.side is None:
            return name
        return f"{name}, {'right' if self.side is Side.RIGHT else 'left'}"


_BONE, _HIP, _THIGH = Group.BONE, Group.HIP_MUSCLE, Group.THIGH_MUSCLE

STRUCTURES: Final[tuple[Structure, ...]] = (
    Structure(1, "PELVIS", "pelvis", _BONE, (241, 214, 145)),
    Structure(2, "FEMUR", "femur", _BONE, (183, 156, 220)),
    Structure(3, "SACRUM", "sacrum", _BONE, (255, 255, 207), paired=False),
    Structure(4, "GMAX", "gluteus maximus", _HIP, (224, 82, 60)),
    Structure(5, "GMED", "gluteus medius", _HIP, (246, 153, 61)),
    Structure(6, "GMIN", "gluteus minimus", _HIP, (255, 221, 87)),
    Structure(7, "ILI", "iliacus", _HIP, (46, 160, 67)),
    Structure(8, "OE", "obturator externus", _HIP, (0, 151, 167)),
    Structure(9, "OI", "obturator internus", _HIP, (92, 107, 192)),
    Structure(10, "PE", "pectineus", _HIP, (216, 27, 96)),
    Structure(11, "PI", "piriformis", _HIP, (121, 85, 72)),
    Structure(12, "PSOAS", "psoas major", _HIP, (129, 199, 132)),
    Structure(13, "AD", "adductor muscles", _THIGH, (100, 181, 246)),
    Structure(14, "BF", "biceps femoris", _THIGH, (171, 71, 188)),
    Structure(15, "GRAC", "gracilis", _THIGH, (255, 138, 101)),
    Structure(16, "RF", "rectus femoris", _THIGH, (239, 83, 80)),
    Structure(17, "SART", "sartorius", _THIGH, (205, 220, 57)),
    Structure(18, "SM", "semimembranosus", _THIGH, (38, 198, 218)),
    Structure(19, "ST", "semitendinosus", _THIGH, (66, 133, 244)),
    Structure(20, "TFL", "tensor fasciae latae", _THIGH, (255, 241, 118)),
    Structure(21, "VLVI", "vastus lateralis and vastus intermedius", _THIGH, (255, 112, 167)),
    Structure(22, "VM", "vastus medialis", _THIGH, (174, 213, 129)),
)

LABEL_COUNT: Final = len(STRUCTURES) + 1
"""Output channels of the network: the structures and background."""

BY_ABBREVIATION: Final = {s.abbreviation: s for s in STRUCTURES}


def _segments() -> tuple[Segment, ...]:
    sided = [
        (structure, side)
        for structure in STRUCTURES
        for side in ((Side.RIGHT, Side.LEFT) if structure.paired else (None,))
    ]
    return tuple(Segment(n, *pair) for n, pair in enumerate(sided, start=1))


SEGMENTS: Final[tuple[Segment, ...]] = _segments()
"""All 43 segments; `SEGMENTS[n - 1].number == n`."""

BY_KEY: Final = {segment.key: segment for segment in SEGMENTS}


def segment_of(structure: Structure, side: Side | None) -> Segment:
    """The segment of a structure on a side; the side is ignored for the sacrum."""
    return BY_KEY[Segment(0, structure, side if structure.paired else None).key]
