"""The body against its frame: does it lie in the scan as the header says?

A patient who is registered the wrong way round (feet first for head first, prone for supine)
comes with a header that is well formed and wrong. The body is then turned by 180 degrees in
its frame, and right and left are exchanged; or, where software turned only pixels, it is a
mirror image. Neither shows in the network's uncertainty when slices are looked at one by one.
The segments' own places show it:

*Head and feet.* The heights of the structures' middles are compared with those of a body that
stands upright (`UPRIGHT_MM`): they must not fall where those rise. A part of a body compresses
the order and can blur it, but does not turn it round.

*Front and back.* In the slices that show both, what lies in front (rectus femoris, iliacus) is
in front of what lies behind (gluteus maximus, hamstrings).

Each takes several structures of some size, all that adjoin one skeleton, and an order that is
clearly the wrong one; where that is lacking nothing is said. Labels are looked at before any
cut: the cuts go by the same order. A mirror image of right and left alone contradicts nothing:
the structures are as symmetric as the body.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.anatomy.coverage import BONE_SEEN_CM3, MUSCLE_SEEN_CM3
from inference.anatomy.runs import Run, main_run
from inference.geometry import Geometry
from inference.structures import (
    BY_ABBREVIATION,
    LABEL_COUNT,
    SEGMENTS,
    STRUCTURES,
    Group,
    Segment,
    Structure,
)


class Exchanged(StrEnum):
    """The two ends of the body that a header exchanges."""

    HEAD_AND_FEET = "head and feet"
    FRONT_AND_BACK = "front and back"


UPRIGHT_MM: Final = MappingProxyType(
    {
        BY_ABBREVIATION[name]: height
        for name, height in {
            "PSOAS": 356.0,
            "SACRUM": 297.0,
            "GMED": 281.0,
            "PELVIS": 268.0,
            "ILI": 258.0,
            "GMIN": 256.0,
            "PI": 256.0,
            "GMAX": 212.0,
            "OI": 203.0,
            "TFL": 198.0,
            "OE": 180.0,
            "PE": 169.0,
            "RF": 99.0,
            "AD": 72.0,
            "GRAC": 35.0,
            "VLVI": 35.0,
            "SART": 33.0,
            "ST": 30.0,
            "FEMUR": 0.0,
            "BF": -30.0,
            "VM": -43.0,
            "SM": -64.0,
        }.items()
    }
)
"""Heights of the structures' middles above that of the femur: means of two published label
maps (Andreassen et al., Sci Data 10:34, 2023) and the phantom; they differ by 75 mm at most."""

STRUCTURES_NEEDED: Final = 6
"""So many structures have to be seen for an order of heights to be evidence."""

FALLING: Final = -0.3
"""Height in the scan over height in an upright body: above this slope nothing is upside down.
Of all parts of 60 mm and more of those label maps the lowest was -0.17 (the knee's end alone,
where the femur grows wide), and of whole bodies 0.94 to 1.1."""

FALLING_CORRELATION: Final = -0.6
"""... nor above this correlation: the structures have to agree."""

HIP_ABOVE_MM: Final = 150.0
"""In `UPRIGHT_MM` the structures about the hip lie above, those of the thigh below."""

PART_NEEDED: Final = 4
PART_SHARE: Final = 0.2
RISING_CORRELATION: Final = 0.5
"""So many structures of hip or thigh, with this share of all volume, that rise as they should
contradict what the others say."""

WHOLE_CM3: Final = 50.0
"""A structure as large as this counts whole, a smaller one less, a larger one no more: the
vasti shall not outweigh all others."""

ADJOINING_MM: Final = 30.0
"""Bones and muscles of one body are no further apart in height. An arm that was taken for a
thigh lies further from the pelvis."""

FRONT: Final = tuple(
    map(BY_ABBREVIATION.__getitem__, ("RF", "VM", "TFL", "ILI", "PSOAS", "PE"))
)
BEHIND: Final = tuple(
    map(BY_ABBREVIATION.__getitem__, ("GMAX", "PI", "SACRUM", "BF", "SM", "ST"))
)
"""The sartorius is in neither: it winds from the front to the back of the knee."""

IN_FRONT_OF_BUTTOCKS: Final = tuple(map(BY_ABBREVIATION.__getitem__, ("FEMUR", "GMED", "GMIN")))
BUTTOCKS: Final = tuple(map(BY_ABBREVIATION.__getitem__, ("GMAX", "SACRUM")))
"""What is compared where a model provides too few of the others."""

APART_MM: Final = 15.0
"""Middles that are closer from front to back are no evidence."""

COMMON_CM3: Final = 2.0
"""Slices that show less of either of a pair are none."""

PAIRS_OF: Final = 2
"""So many structures of the front and of the back have to take part."""

AGREEING_SHARE: Final = 0.8
"""This share of the evidence, by volume, has to point one way."""


def exchanged_ends(
    labels: NDArray[np.uint8], geometry: Geometry, provided: Collection[Segment] = SEGMENTS
) -> tuple[Exchanged, ...]:
    """The ends of the body that the frame exchanges, as far as the labels tell.

    Args:
        labels: `[slice, row, column]` 0 to 22, as the network gave them, before any cut.
        geometry: the grid of `labels`.
        provided: what the model was made to find.
    """
    places = _places(labels, geometry)
    found = []
    if _upside_down(_of_one_body(places, provided)):
        found.append(Exchanged.HEAD_AND_FEET)
    if any(_back_to_front(places, *ends) for ends in _opposites(provided)):
        found.append(Exchanged.FRONT_AND_BACK)
    return tuple(found)


def unchecked(provided: Collection[Segment]) -> str:
    """Sentence on a model that provides too little to tell how the body lies; or nothing."""
    structures = {segment.structure for segment in provided}
    if len(structures) >= STRUCTURES_NEEDED and _opposites(provided):
        return ""
    return (
        "Whether the body lies as the header says was not checked: the model provides too few "
        "structures."
    )


def _opposites(
    provided: Collection[Segment],
) -> list[tuple[Sequence[Structure], Sequence[Structure]]]:
    """What lies in front and what behind, of what a model provides; none of too few."""
    structures = {segment.structure for segment in provided}
    for ends in ((FRONT, BEHIND), (IN_FRONT_OF_BUTTOCKS, BUTTOCKS)):
        if all(len(structures.intersection(end)) >= PAIRS_OF for end in ends):
            return [ends]
    return []


def exchanged_words(ends: Sequence[Exchanged]) -> str:
    """Sentences on what contradicts the header, and what follows."""
    return (
        f"The body does not lie as the header says: {' and '.join(ends)} are exchanged. So "
        "right and left cannot be told: no segments and no numbers are given. Marks on "
        "pictures are the header's."
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a structure lies: its main run of slices, and its middle.

    low_mm, high_mm, middle_mm: along the normal.
    volumes_cm3, rows_mm: (slices,) its volume, and its middle from the first row; NaN where
        it is not.
    """

    low_mm: float
    high_mm: float
    middle_mm: float
    volumes_cm3: NDArray[np.float64]
    rows_mm: NDArray[np.float64]

    @property
    def volume_cm3(self) -> float:
        return float(self.volumes_cm3.sum())


def _places(labels: NDArray[np.uint8], geometry: Geometry) -> Mapping[Structure, _Place]:
    """The places of all structures that are seen."""
    counts, row_sums = np.zeros((2, len(labels), LABEL_COUNT))
    rows = np.repeat(np.arange(geometry.rows) * geometry.spacing_mm[0], geometry.columns)
    for number, image in enumerate(labels.reshape(len(labels), -1)):
        seen = np.flatnonzero(image)  # most of a slice is background
        counts[number] = np.bincount(image[seen], minlength=LABEL_COUNT)
        row_sums[number] = np.bincount(image[seen], rows[seen], minlength=LABEL_COUNT)
    areas = counts * geometry.spacing_mm[0] * geometry.spacing_mm[1]
    found = {}
    for structure in STRUCTURES:
        bone = structure.group is Group.BONE
        run = main_run(areas[:, structure.label], geometry)
        if run is not None and run.volume_cm3 >= (BONE_SEEN_CM3 if bone else MUSCLE_SEEN_CM3):
            of_structure = counts[:, structure.label], row_sums[:, structure.label]
            found[structure] = _place(run, *of_structure, geometry)
    return found


def _place(
    run: Run,
    counts: NDArray[np.float64],
    row_sums: NDArray[np.float64],
    geometry: Geometry,
) -> _Place:
    in_run = np.zeros(len(counts), bool)
    in_run[run.first : run.last + 1] = True
    volumes = np.where(in_run, counts * geometry.voxel_volumes_mm3 / 1000, 0.0)
    heights, half = geometry.slice_offsets_mm, geometry.extents_mm / 2
    seen = volumes > 0
    return _Place(
        low_mm=float(heights[run.first] - half[run.first]),
        high_mm=float(heights[run.last] + half[run.last]),
        middle_mm=float(volumes @ heights / volumes.sum()),
        volumes_cm3=volumes,
        rows_mm=np.where(seen, row_sums / np.where(seen, counts, 1), np.nan),
    )


def _of_one_body(
    places: Mapping[Structure, _Place], provided: Collection[Segment]
) -> Mapping[Structure, _Place]:
    """Those that adjoin the largest bone, or a bone that does; none without a bone.

    Muscles stand for bones where the model provides neither pelvis nor femur.
    """
    boneless = not any(s.structure.abbreviation in _LARGE_BONES for s in provided)
    bones = {s: place for s, place in places.items() if boneless or s.group is Group.BONE}
    if not bones:
        return {}
    largest = max(bones, key=lambda s: bones[s].volume_cm3)
    low, high = bones.pop(largest).low_mm, places[largest].high_mm
    while True:
        near = [s for s, place in bones.items() if _adjoins(place, low, high)]
        if not near:
            break
        for structure in near:
            place = bones.pop(structure)
            low, high = min(low, place.low_mm), max(high, place.high_mm)
    return {s: place for s, place in places.items() if _adjoins(place, low, high)}


_LARGE_BONES: Final = ("PELVIS", "FEMUR")


def _adjoins(place: _Place, low_mm: float, high_mm: float) -> bool:
    return place.low_mm <= high_mm + ADJOINING_MM and place.high_mm >= low_mm - ADJOINING_MM


def _upside_down(places: Mapping[Structure, _Place]) -> bool:
    """True if the structures' heights fall where those of an upright body rise.

    Of hip and thigh each, where it shows enough, neither may rise: the knees of a patient
    who lies with thighs drawn up are above the hips, which are as they should be.
    """
    if len(places) < STRUCTURES_NEEDED:
        return False
    whole = _Order.of(places)
    parts = [
        _Order.of(part)
        for part in (
            {s: place for s, place in places.items() if UPRIGHT_MM[s] >= HIP_ABOVE_MM},
            {s: place for s, place in places.items() if UPRIGHT_MM[s] < HIP_ABOVE_MM},
        )
        if len(part) >= PART_NEEDED and _share(part, places) >= PART_SHARE
    ]
    falls = whole.slope <= FALLING and whole.correlation <= FALLING_CORRELATION
    return falls and not any(part.correlation >= RISING_CORRELATION for part in parts)


def _share(part: Mapping[Structure, _Place], whole: Mapping[Structure, _Place]) -> float:
    """The share of a part in the volume of all."""
    volumes = [sum(place.volume_cm3 for place in each.values()) for each in (part, whole)]
    return volumes[0] / volumes[1]


@dataclass(frozen=True, slots=True)
class _Order:
    """How the heights in the scan follow those of an upright body: 1 and 1 if they do."""

    slope: float
    correlation: float

    @classmethod
    def of(cls, places: Mapping[Structure, _Place]) -> _Order:
        """By a line through the structures; one of `WHOLE_CM3` and more counts whole."""
        weights = np.sqrt([min(1.0, p.volume_cm3 / WHOLE_CM3) for p in places.values()])
        upright = np.array([UPRIGHT_MM[structure] for structure in places])
        seen = np.array([place.middle_mm for place in places.values()])
        upright -= np.average(upright, weights=weights)
        seen -= np.average(seen, weights=weights)
        common = float(weights @ (upright * seen))
        spread, seen_spread = float(weights @ upright**2), float(weights @ seen**2)
        if spread == 0.0 or seen_spread == 0.0:
            return cls(0.0, 0.0)
        return cls(common / spread, common / float(np.sqrt(spread * seen_spread)))


def _back_to_front(
    places: Mapping[Structure, _Place],
    in_front: Sequence[Structure],
    behind: Sequence[Structure],
) -> bool:
    """True if what belongs in front lies behind what belongs there, slice by slice."""
    right_cm3 = wrong_cm3 = 0.0
    fronts, backs = set(), set()
    for front in in_front:
        for back in behind:
            if front not in places or back not in places:
                continue
            apart_mm, common_cm3 = _behind_by(places[front], places[back])
            if common_cm3 < COMMON_CM3 or abs(apart_mm) < APART_MM:
                continue
            if apart_mm > 0:
                right_cm3 += common_cm3
            else:
                wrong_cm3 += common_cm3
                fronts.add(front)
                backs.add(back)
    several = min(len(fronts), len(backs)) >= PAIRS_OF
    total_cm3 = right_cm3 + wrong_cm3
    return several and wrong_cm3 >= AGREEING_SHARE * total_cm3


def _behind_by(front: _Place, back: _Place) -> tuple[float, float]:
    """How far one lies behind the other in slices that show both, and how much they show."""
    common = np.minimum(front.volumes_cm3, back.volumes_cm3)
    total = float(common.sum())
    if total == 0.0:
        return 0.0, 0.0
    return float(np.nansum((back.rows_mm - front.rows_mm) * common) / total), total
