"""Coverage of a scan: hip to knee or not, and the segments that its border cuts.

Decided from the segments themselves, so it has to hold for a network that is unsure: small
islands are no evidence, nor is what has not the HU of its tissue, and no structure is
believed alone. Close below the lungs nothing is believed.

On each side the *hip* is shown when pelvis and femur overlap in height (the joint) and the
pelvis reaches `PELVIS_ABOVE_MM` above the femur; the *knee* when the femur's lower end lies
inside the scan, unless it is a stump or the segmentation ends there (`femur_ends`).
The region is hip to knee when one side shows both, with a femur at least
`FEMUR_LENGTH_MM` long; it is elsewhere when no bone is found with the muscles that belong
around it, nor both femora side by side. Where the model does not provide the bones that
would tell, it is unknown (`region`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.anatomy.femur_ends import FemurEnd, femur_ends, femur_ends_words
from inference.anatomy.region import (
    DOWN_TO_KNEE,
    SIDE_WORDS,
    Extent,
    leg_of,
    no_femur_words,
    region_of,
    region_words,
)
from inference.anatomy.runs import main_run, slice_areas_mm2
from inference.geometry import Geometry
from inference.results import Chest, Coverage, LowerLegs, Region
from inference.structures import BY_KEY, SEGMENTS, Group, Segment, Side
from inference.volume import Volume

BONE_SEEN_CM3: Final = 10.0
MUSCLE_SEEN_CM3: Final = 2.0
"""Less of a structure than this is no evidence that it is there."""

BONE_SEEN_MM2: Final = 200.0
MUSCLE_SEEN_MM2: Final = 100.0
"""In a thin slab less is enough: this cross-section through all of it."""

BELOW_LUNGS_MM: Final = 60.0
"""A scan that ends nearer below the lungs shows no pelvis: the iliac crest is level with the
fourth lumbar vertebra, and the lungs, breathed in, end at the first or second."""

BONE_MEAN_HU: Final = (100.0, 2000.0)
MUSCLE_MEAN_HU: Final = (-60.0, 130.0)
"""Mean HU outside these is not bone, or not muscle (not even fatty or enhanced): what the
network labelled so is no evidence."""

STUMP_REACH_MM: Final = 30.0
"""What comes as near to a stump's end may go on beyond it."""

CUT_SLICE_MM2: Final = 30.0
"""More of a segment than this in the first or last slice: the scan cuts it."""

CUT_SIDE_MM2: Final = 100.0
"""More surface of a segment than this on the field of view's rim: the rim cuts it."""

PADDING_BELOW_HU: Final = -900
TISSUE_ABOVE_HU: Final = -200
"""Tissue that adjoins padding within one pixel lies at the rim of the field of view: against
real air a scanner's blur always leaves a pixel between the two."""

_NEIGHBOURS: Final = ((-1, 0), (1, 0), (0, -1), (0, 1))


def coverage(  # noqa: PLR0913, PLR0917 - all that was cut, and what is known of it
    segments: NDArray[np.uint8],
    volume: Volume,
    lower_legs: LowerLegs | None = None,
    first_slices: Mapping[Side, int] | None = None,
    chest: Chest | None = None,
    ends: Mapping[Side, FemurEnd] | None = None,
    provided: Collection[Segment] = SEGMENTS,
) -> Coverage:
    """The part of hip to knee that a scan shows.

    Args:
        segments: `[slice, row, column]` 0 to 43 on the CT's grid.
        volume: the CT; its values only tell the rim of the field of view.
        lower_legs: what was cut off below the knee.
        first_slices: where it was cut: the first slice that counts on each side.
        chest: what was cut off above the abdomen.
        ends: of the femora, where they have been looked at already.
        provided: what the model was made to find.
    """
    ends = femur_ends(segments, volume) if ends is None else ends
    lowest = _lowest_slices(first_slices or {})
    areas = slice_areas_mm2(segments, volume.geometry)
    extents = _extents(areas, volume.geometry, _like_tissue(segments, volume), lowest)
    legs = tuple(
        leg_of(side, extents, ends.get(side, FemurEnd.KNEE), provided) for side in Side
    )
    region = region_of(legs, extents, provided)
    if chest is not None and height_below_mm(chest, volume.geometry) < BELOW_LUNGS_MM:
        region = Region.ELSEWHERE
    outermost = np.maximum(areas[lowest, np.arange(len(lowest))], areas[-1])
    rim = _rim_areas_mm2(segments, volume)
    believed = region is not Region.ELSEWHERE
    told = (
        region_words(region, legs, provided),
        femur_ends_words(ends) if believed else "",
        no_femur_words(legs, extents, provided) if believed else "",
        lower_legs_words(lower_legs),
        chest_words(chest),
    )
    return Coverage(
        region=region,
        cut=_cut(outermost, rim) if believed else (),
        words=" ".join(filter(None, told)),
        lower_legs=lower_legs,
        chest=chest,
        stump=_of_stumps(ends, areas, volume.geometry) if believed else (),
        lost=tuple(
            BY_KEY[f"FEMUR_{side}"]
            for side in Side
            if believed and ends.get(side) is FemurEnd.LOST
        ),
    )


def lower_legs_words(legs: LowerLegs | None) -> str:
    """Sentence on what was cut off below the knee; empty where nothing was."""
    if legs is None or not legs.knees:
        return ""
    several = len(legs.knees) > 1
    joint, leg = ("each knee joint", "legs") if several else ("the knee joint", "leg")
    if not legs.slices:  # the other leg, or thigh, is in all of them
        sides = " and the ".join(SIDE_WORDS[knee.side] for knee in legs.knees)
        return f"The {sides} leg was cut {legs.kept_mm:.0f} mm below {joint}."
    slices = f"{legs.slices} slice{'s' if legs.slices != 1 else ''} of the lower {leg}"
    return f"It was cut {legs.kept_mm:.0f} mm below {joint}: {slices} left out."


def stump_words(stump: Sequence[Segment]) -> str:
    """Sentence on femora that end without a knee, by what they leave incomplete; or nothing."""
    sides = {segment.side for segment in stump}
    return femur_ends_words({side: FemurEnd.STUMP for side in Side if side in sides})


def chest_words(chest: Chest | None) -> str:
    """Sentence on what was cut off above the abdomen; empty where nothing was."""
    if chest is None:
        return ""
    slices = f"{chest.slices} slice{'s' if chest.slices != 1 else ''} of the chest"
    where = f"{chest.kept_mm:.0f} mm above the lower end of the lungs"
    return f"It was cut {where}: {slices} left out."


def _lowest_slices(first_slices: Mapping[Side, int]) -> NDArray[np.intp]:
    """(44,) the first slice that counts for each segment."""
    sides = [None, *(segment.side for segment in SEGMENTS)]
    return np.array([first_slices.get(side, 0) if side else 0 for side in sides], dtype=np.intp)


def _like_tissue(segments: NDArray[np.uint8], volume: Volume) -> frozenset[Segment]:
    """Segments whose mean HU can be that of bone or muscle, whichever they should be."""
    counts, sums = np.zeros(len(SEGMENTS) + 1), np.zeros(len(SEGMENTS) + 1)
    for labels, hu in zip(segments, volume.hu, strict=True):
        where = labels > 0
        counts += np.bincount(labels[where], minlength=len(counts))
        sums += np.bincount(labels[where], hu[where], minlength=len(counts))
    mean_hu = sums / np.maximum(counts, 1)
    return frozenset(
        segment
        for segment in SEGMENTS
        for low, high in [
            BONE_MEAN_HU if segment.structure.group is Group.BONE else MUSCLE_MEAN_HU
        ]
        if low <= mean_hu[segment.number] <= high
    )


def _extents(
    areas: NDArray[np.float64],
    geometry: Geometry,
    like_tissue: frozenset[Segment],
    lowest: NDArray[np.intp],
) -> Mapping[Segment, Extent]:
    """The extents of all segments that are seen."""
    extents = {}
    for segment in SEGMENTS:
        if segment not in like_tissue:
            continue
        run = main_run(areas[:, segment.number], geometry)
        if run is not None and run.volume_cm3 >= _needed_cm3(segment, geometry):
            half = geometry.extents_mm / 2
            offsets = geometry.slice_offsets_mm
            extents[segment] = Extent(
                low_mm=float(offsets[run.first] - half[run.first]),
                high_mm=float(offsets[run.last] + half[run.last]),
                in_first_slice=run.first <= lowest[segment.number],
                in_last_slice=run.last == len(areas) - 1,
                volume_cm3=run.volume_cm3,
            )
    return extents


def _needed_cm3(segment: Segment, geometry: Geometry) -> float:
    """Smallest volume of a segment that is evidence of its presence."""
    bone = segment.structure.group is Group.BONE
    height_mm = float(geometry.extents_mm.sum())
    slab_cm3 = height_mm * (BONE_SEEN_MM2 if bone else MUSCLE_SEEN_MM2) / 1000
    return min(BONE_SEEN_CM3 if bone else MUSCLE_SEEN_CM3, slab_cm3)


def _cut(outermost: NDArray[np.float64], rim_mm2: NDArray[np.float64]) -> tuple[Segment, ...]:
    return tuple(
        segment
        for segment in SEGMENTS
        if outermost[segment.number] > CUT_SLICE_MM2 or rim_mm2[segment.number] > CUT_SIDE_MM2
    )


def _of_stumps(
    ends: Mapping[Side, FemurEnd], areas: NDArray[np.float64], geometry: Geometry
) -> tuple[Segment, ...]:
    """What is not whole on the sides whose femur is a stump.

    The femur, the muscles of the thigh that go down to the knee, and whatever else comes as
    far down as the stump's end.
    """
    found = []
    for segment in SEGMENTS:
        side = segment.side
        run = main_run(areas[:, segment.number], geometry)
        if side is None or run is None or ends.get(side) is not FemurEnd.STUMP:
            continue
        femur = main_run(areas[:, BY_KEY[f"FEMUR_{side}"].number], geometry)
        heights = geometry.slice_offsets_mm
        near = femur is not None and heights[run.first] <= heights[femur.first] + STUMP_REACH_MM
        if near or segment.structure in DOWN_TO_KNEE:
            found.append(segment)
    return tuple(found)


def _rim_areas_mm2(segments: NDArray[np.uint8], volume: Volume) -> NDArray[np.float64]:
    """(44,) how much surface of each segment lies at the rim of the field of view.

    The rim is the edge of the image, or padding: the value that fills all its corners.
    """
    padding = _padding_hu(volume.hu)
    rows, columns = segments.shape[1:]
    surface = np.zeros(len(SEGMENTS) + 1)
    spacing = min(volume.geometry.spacing_mm)
    for number, labels in enumerate(segments):
        row, column = np.nonzero(labels)
        at_rim = (row == 0) | (row == rows - 1) | (column == 0) | (column == columns - 1)
        if padding is not None and row.size:
            hu = volume.hu[number]
            tissue = ~at_rim & (hu[row, column] > TISSUE_ABOVE_HU)
            inner = row[tissue], column[tissue]
            beside = [hu[inner[0] + dr, inner[1] + dc] == padding for dr, dc in _NEIGHBOURS]
            at_rim[tissue] = np.any(beside, axis=0)
        counts = np.bincount(labels[row[at_rim], column[at_rim]], minlength=len(surface))
        surface += counts * spacing * volume.geometry.extents_mm[number]
    return surface


def _padding_hu(hu: NDArray[np.int16] | NDArray[np.float32]) -> float | None:
    """The value outside the reconstructed circle, or None where there is no such circle."""
    corners = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    value = float(corners.flat[0])
    return value if value < PADDING_BELOW_HU and (corners == value).all() else None


def height_below_mm(chest: Chest, geometry: Geometry) -> float:
    """Distance that the scan goes on below the lungs."""
    bottom_mm = geometry.slice_offsets_mm[0] - geometry.extents_mm[0] / 2
    return float(chest.lung_mm - bottom_mm)
