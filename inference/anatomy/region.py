"""The part of hip to knee that a scan shows, by the bones and muscles that are seen in it.

A model may provide some of the 43 segments only. What those cannot show is not missing from
the scan: a part of a leg that no structure of the model tells is not told (None), and where
that is all there is, the region is unknown. It is elsewhere only when the model could have
shown the anatomy, and it was not there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inference.anatomy.femur_ends import FemurEnd
from inference.results import Region
from inference.structures import BY_KEY, STRUCTURES, Group, Segment, Side

MUSCLES_NEEDED: Final = 3
"""Muscles that must be seen at the height of a bone for it to be believed."""

FEMORA_BALANCE: Final = 0.5
"""Two femora are believed without muscles around them (there are few at the condyles) when
the smaller has at least this share of the larger."""

PELVIS_ABOVE_MM: Final = 40.0
"""How far the pelvis shows above the femoral head before the hip counts as shown; less is a
scan of the thigh that begins at the joint. (A whole pelvis reaches 110 to 130 mm.)"""

FEMUR_LENGTH_MM: Final = 200.0
"""A shorter femur with its lower end in view is a stump, or not recognised."""

DOWN_TO_KNEE: Final = frozenset(
    structure
    for structure in STRUCTURES
    if structure.group is Group.THIGH_MUSCLE and structure.abbreviation != "TFL"
)
"""Muscles that an amputation anywhere in the thigh takes part of. The belly of the tensor
fasciae latae ends in its upper third."""

SIDE_WORDS: Final = {Side.RIGHT: "right", Side.LEFT: "left"}


@dataclass(frozen=True, slots=True)
class Extent:
    """From where to where a segment is seen, along the normal; and whether the scan ends."""

    low_mm: float
    high_mm: float
    in_first_slice: bool
    in_last_slice: bool
    volume_cm3: float

    def overlaps(self, other: Extent) -> bool:
        """True if both are seen at one height."""
        return self.low_mm < other.high_mm and other.low_mm < self.high_mm


@dataclass(frozen=True, slots=True)
class Leg:
    """Parts of one side that are shown; None where the model's structures do not tell."""

    side: Side
    hip: bool | None
    thigh: bool | None
    knee: bool | None

    @property
    def parts(self) -> tuple[bool | None, ...]:
        """Hip, thigh and knee."""
        return self.hip, self.thigh, self.knee


def leg_of(
    side: Side,
    extents: Mapping[Segment, Extent],
    end: FemurEnd,
    provided: Collection[Segment],
) -> Leg:
    """What is shown of one side: of the femur, and of the pelvis above it."""
    pelvis, femur = BY_KEY[f"PELVIS_{side}"], BY_KEY[f"FEMUR_{side}"]
    if femur not in provided:
        return Leg(side, hip=None, thigh=None, knee=None)
    if femur not in extents:
        return Leg(side, hip=False, thigh=False, knee=False)
    of_femur, of_pelvis = extents[femur], extents.get(pelvis)
    hip = (
        of_pelvis is not None
        and of_pelvis.overlaps(of_femur)
        and of_pelvis.high_mm - of_femur.high_mm >= PELVIS_ABOVE_MM
    )
    return Leg(
        side,
        hip=hip if pelvis in provided else None,
        thigh=of_femur.high_mm - of_femur.low_mm >= FEMUR_LENGTH_MM,
        knee=end is FemurEnd.KNEE and not of_femur.in_first_slice,
    )


def region_of(
    legs: Sequence[Leg], extents: Mapping[Segment, Extent], provided: Collection[Segment]
) -> Region:
    """The region that both legs, and the muscles around the bones, speak for."""
    if any(all(leg.parts) for leg in legs):
        return Region.HIP_TO_KNEE
    is_believed = _is_believed(extents, provided)
    if not is_believed:
        return Region.ELSEWHERE if is_believed is False else Region.UNKNOWN
    told = [leg for leg in legs if leg.parts != (None, None, None)]
    may_be_whole = any(False not in leg.parts for leg in told)
    return Region.UNKNOWN if may_be_whole or not told else Region.PARTIAL


def _is_believed(
    extents: Mapping[Segment, Extent], provided: Collection[Segment]
) -> bool | None:
    """True if what is seen supports each other; None if the model has too little to tell."""
    bones = [s for s in extents if s.structure.group is Group.BONE]
    around = [_muscles_around(bone, extents) for bone in bones]
    if any(count >= MUSCLES_NEEDED for count in around) or _two_femora(extents):
        return True
    if not extents:
        return False if any(_would_show(side, provided) for side in Side) else None
    lonely = any(_muscles_provided(bone, provided) < MUSCLES_NEEDED for bone in bones)
    boneless = any(
        bool(_bones_lacking(segment.side, provided))
        for segment in extents
        if segment.structure.group is not Group.BONE
    )
    return None if lonely or boneless else False


def _muscles_around(bone: Segment, extents: Mapping[Segment, Extent]) -> int:
    """Number of muscles of the bone's own side that are seen at its height."""
    return sum(
        segment.structure.group is not Group.BONE
        and bone.side in (None, segment.side)
        and extent.overlaps(extents[bone])
        for segment, extent in extents.items()
    )


def _muscles_provided(bone: Segment, provided: Collection[Segment]) -> int:
    """Number of the muscles around a bone, wherever it is cut, that the model can find."""
    of_femur = bone.structure.abbreviation == "FEMUR"
    return sum(
        bone.side in (None, segment.side)
        and (
            segment.structure in DOWN_TO_KNEE
            if of_femur
            else segment.structure.group is Group.HIP_MUSCLE
        )
        for segment in provided
    )


def _would_show(side: Side, provided: Collection[Segment]) -> bool:
    """True if no part of a side between hip and knee is without a structure of the model."""
    groups = [s.structure.group for s in provided if s.side is side]
    muscles = [groups.count(group) for group in (Group.HIP_MUSCLE, Group.THIGH_MUSCLE)]
    return not _bones_lacking(side, provided) or min(muscles) >= MUSCLES_NEEDED


def _bones_lacking(side: Side | None, provided: Collection[Segment]) -> list[str]:
    """Names of the bones of a side that the model cannot find."""
    return [
        BY_KEY[f"{bone}_{side}"].structure.name
        for bone in ("PELVIS", "FEMUR")
        if side is not None and BY_KEY[f"{bone}_{side}"] not in provided
    ]


def _two_femora(extents: Mapping[Segment, Extent]) -> bool:
    """True if both femora are seen, at one height and about equally large: two knees."""
    right, left = (extents.get(BY_KEY[f"FEMUR_{side}"]) for side in Side)
    if right is None or left is None or not right.overlaps(left):
        return False
    sizes = right.volume_cm3, left.volume_cm3
    return min(sizes) >= FEMORA_BALANCE * max(sizes)


def region_words(region: Region, legs: Sequence[Leg], provided: Collection[Segment]) -> str:
    """A sentence for the report and the picture; `cut` is told beside it."""
    if region is Region.ELSEWHERE:
        return "The scan shows neither hip nor thigh as far as this method can tell."
    if region is Region.HIP_TO_KNEE:
        complete = [leg.side for leg in legs if all(leg.parts)]
        return f"The scan shows hip to knee {_on(complete, legs)}."
    shown, missing, untold = _parts(legs)
    if region is Region.UNKNOWN:
        seen = f" It shows {', '.join(shown)}." if shown else ""
        return f"Whether the scan shows hip to knee cannot be told: {_lacking(provided)}.{seen}"
    told = f"The scan shows only part of hip to knee: {', '.join([*shown, *missing])}."
    if untold:
        told += f" Whether it shows {' or '.join(untold)} cannot be told: {_lacking(provided)}."
    return told


def no_femur_words(
    legs: Sequence[Leg], extents: Mapping[Segment, Extent], provided: Collection[Segment]
) -> str:
    """Sentence on a side with a pelvis and no femur, where the other side's hip is shown."""
    if not any(leg.hip for leg in legs):
        return ""
    without = [
        SIDE_WORDS[side]
        for side in Side
        if BY_KEY[f"FEMUR_{side}"] in provided
        and BY_KEY[f"PELVIS_{side}"] in extents
        and BY_KEY[f"FEMUR_{side}"] not in extents
    ]
    return f"No femur was found on the {without[0]}." if without else ""


def _lacking(provided: Collection[Segment]) -> str:
    """The reason why a model does not tell, by the bones that it has on neither side."""
    lacking = [set(_bones_lacking(side, provided)) for side in Side]
    bones = [name for name in ("pelvis", "femur") if all(name in each for each in lacking)]
    if bones:
        return f"the model does not provide the {' and the '.join(bones)}"
    return "the model provides too little of what lies there"


def _on(sides: Sequence[Side], legs: Sequence[Leg]) -> str:
    """The sides that show something; the other is not blamed where the model does not tell."""
    if len(sides) == len(Side):
        return "on both sides"
    side = SIDE_WORDS[sides[0]]
    other = next(leg for leg in legs if leg.side is not sides[0])
    if other.parts == (None, None, None):
        return f"on the {side} side (the model does not tell of the other)"
    return f"on the {side} side only"


def _parts(legs: Sequence[Leg]) -> tuple[list[str], list[str], list[str]]:
    """Parts that are shown, those that are not ("not the hip"), those that are not told."""
    shown, missing, untold = [], [], []
    for name, part in (
        ("the hip", {leg.side: leg.hip for leg in legs}),
        ("the shaft of the femur", {leg.side: leg.thigh for leg in legs}),
        ("the knee end of the femur", {leg.side: leg.knee for leg in legs}),
    ):
        sides = [side for side, is_shown in part.items() if is_shown]
        if sides:
            shown.append(f"{name} {_on(sides, legs)}")
        elif False in part.values():
            missing.append(f"not {name}")
        else:
            untold.append(name)
    return shown, missing, untold
