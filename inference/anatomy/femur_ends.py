"""What the lower end of a segmented femur is: a knee, a stump, or where the labels stop.

That a femur ends inside the scan does not make its end a knee: the leg may be amputated, or the
network may have lost the bone. The signs, from labels and CT together:

*Wide*: condyles, several times as large as the shaft.
*Goes on*: bone in the CT where the femur would go on; below a knee that is the tibia.
*Gone*: air in the CT where the leg would go on.
*Shorter*: than the other side's femur, where both are seen from the hip joint on.

A stump needs two of them: no bone goes on, and either the leg is gone or the end is narrow and
the femur shorter than the other. Where the thighs are drawn up, so that slices cut the femur
lengthwise, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.anatomy.runs import Run, main_run, slice_areas_mm2
from inference.geometry import Geometry
from inference.hounsfield import BODY_ABOVE_HU
from inference.structures import BY_KEY, Side
from inference.volume import Volume


class FemurEnd(StrEnum):
    """What a femur's lower end is.

    KNEE: nothing speaks against a knee.
    STUMP: the femur ends without one.
    LOST: the bone goes on where its segmentation ends.
    """

    KNEE = "knee"
    STUMP = "stump"
    LOST = "lost"


BONE_SEEN_CM3: Final = 10.0
"""A smaller femur is not judged."""

LENGTH_MM: Final = 30.0
"""Nor is a shorter one."""

SHAFT_LENGTH_MM: Final = 200.0
CONDYLES: Final = 4.0
CONDYLES_OF_PART: Final = 2.5
"""The condyles' section is at least so many times the smallest of the shaft; of a part of less
than `SHAFT_LENGTH_MM`, which may hold none of the shaft, less is enough. (On two published
label maps and the phantom 6.4 to 7.4 times; 50 mm above the joint 3.5, 60 mm 2.5.)"""

CONDYLES_WITHIN: Final = 0.6
"""They lie in this lower share of a femur; above are the trochanters and the head."""

BELOW_HEAD: Final = 0.85
"""The shaft lies in this lower share of a femur."""

PART_MM2: Final = 1500.0
"""The lowest part of a femur alone has no shaft to compare with: as large, it is wide."""

WINDOW_MM: Final = 40.0
"""The CT is looked at so far around the line that the femur follows."""

AXIS_MM: Final = 120.0
"""That line is drawn through the lowest part of the femur, this long."""

STEEPEST: Final = 1.0
"""A femur that goes further across than along the body is not judged."""

BONE_ABOVE_HU: Final = 200.0
BONE_MM2: Final = 100.0
"""Less in a slice is no bone that goes on."""

JOINT_GAP_MM: Final = 25.0
"""Between a femur's end and the bone that goes on: cartilage, the plastic of an implant."""

GOES_ON_MM: Final = 30.0
"""Bone that ends above belongs to the femur's own end, which the labels miss by a slice."""

NO_AIR_HU: Final = -1100.0
"""Scanners write less than this outside what they reconstruct, and for nothing else."""

SEEN_BELOW_MM: Final = 20.0
"""A scan that ends nearer below a femur does not tell whether bone goes on."""

GONE_SHARE: Final = 0.1
GONE_WITHIN_MM: Final = 150.0
"""The leg is gone where less than this share of the window is tissue, so far below the femur
at most: soft tissue covers a stump."""

KNOWN_SHARE: Final = 0.5
"""Where more of the window lies outside the image, it tells nothing."""

OTHER_BONE_CM3: Final = 40.0
OTHER_BONE_MM: Final = 60.0
"""Bone that is no femur, so much and so near an end that is wide: the tibia of a bent knee. A
patella has half as much at most."""

OWN_EDGE_MM: Final = 6.0
"""What the labels of a femur miss at its edge."""

SHORTER: Final = 0.85
"""Of the other femur's length; people differ by some per cent between their legs."""


def femur_ends(segments: NDArray[np.uint8], volume: Volume) -> Mapping[Side, FemurEnd]:
    """The lower end of each femur that is seen and ends inside the scan.

    Args:
        segments: `[slice, row, column]` 0 to 43.
        volume: the CT.
    """
    areas = slice_areas_mm2(segments, volume.geometry)
    seen = {side: _femur(side, areas, segments, volume) for side in Side}
    femora = {side: femur for side, femur in seen.items() if femur is not None}
    whole = {
        side: femur.length_mm
        for side, femur in femora.items()
        if _has_hip_joint(side, femur.run, areas, volume.geometry)
    }
    ends = {}
    for side, femur in femora.items():
        others = [length for other, length in whole.items() if other is not side]
        shorter = side in whole and femur.length_mm < SHORTER * max(others, default=0.0)
        if femur.run.first > 0:
            ends[side] = _end(femur, segments, volume, shorter=shorter)
    return ends


def femur_ends_words(ends: Mapping[Side, FemurEnd]) -> str:
    """Sentences on ends that are no knees; empty where there are none."""
    words = {
        FemurEnd.STUMP: "The femur ends without a knee",
        FemurEnd.LOST: "The segmentation of the femur ends above the knee",
    }
    told = []
    for end, sentence in words.items():
        sides = [side for side in Side if ends.get(side) is end]
        if sides:
            told.append(f"{sentence} {_on(sides)}.")
    return " ".join(told)


def _on(sides: list[Side]) -> str:
    if len(sides) == len(Side):
        return "on both sides"
    return f"on the {'right' if sides[0] is Side.RIGHT else 'left'}"


@dataclass(frozen=True, slots=True, eq=False)
class _Femur:
    """A femur in its run of slices.

    areas_mm2: (slices of the run,), from the lowest.
    end_mm: the lower face of its lowest slice, along the normal.
    foot_mm, drift: row and column of its axis at `end_mm`, and how far that goes across for
        every millimetre upwards.
    """

    number: int
    run: Run
    areas_mm2: NDArray[np.float64]
    end_mm: float
    length_mm: float
    foot_mm: NDArray[np.float64]
    drift: NDArray[np.float64]

    @property
    def is_wide(self) -> bool:
        """True if its lower end has condyles."""
        lower = self.areas_mm2[: max(1, round(CONDYLES_WITHIN * len(self.areas_mm2)))]
        top = int(lower.argmax())
        # The head ends in a tip, which is no shaft.
        below_head = max(top + 1, round(BELOW_HEAD * len(self.areas_mm2)))
        shaft = float(self.areas_mm2[top:below_head].min())
        if self.length_mm >= SHAFT_LENGTH_MM:
            return bool(lower[top] >= CONDYLES * shaft)
        return bool(lower[top] >= min(PART_MM2, CONDYLES_OF_PART * shaft))


def _femur(
    side: Side, areas: NDArray[np.float64], segments: NDArray[np.uint8], volume: Volume
) -> _Femur | None:
    number, geometry = BY_KEY[f"FEMUR_{side}"].number, volume.geometry
    run = main_run(areas[:, number], geometry)
    if run is None or run.volume_cm3 < BONE_SEEN_CM3:
        return None
    heights, half = geometry.slice_offsets_mm, geometry.extents_mm / 2
    end = float(heights[run.first] - half[run.first])
    length = float(heights[run.last] + half[run.last]) - end
    axis_slices = [
        n
        for n in range(run.first, run.last + 1)
        if heights[n] - end <= AXIS_MM and areas[n, number] > 0
    ]
    middles = np.array(
        [np.argwhere(segments[n] == number).mean(axis=0) for n in axis_slices]
    ) * np.array(geometry.spacing_mm)
    if length < LENGTH_MM or len(axis_slices) < 2:
        return None
    up = heights[axis_slices] - end
    drift, foot = np.polyfit(up, middles, 1)
    if np.linalg.norm(drift) > STEEPEST:
        return None
    return _Femur(
        number, run, areas[run.first : run.last + 1, number], end, length, foot, drift
    )


def _has_hip_joint(
    side: Side, femur: Run, areas: NDArray[np.float64], geometry: Geometry
) -> bool:
    """True if the pelvis of a side reaches down to its femur, and goes on above it."""
    pelvis = main_run(areas[:, BY_KEY[f"PELVIS_{side}"].number], geometry)
    return pelvis is not None and pelvis.first <= femur.last < pelvis.last


def _end(
    femur: _Femur, segments: NDArray[np.uint8], volume: Volume, *, shorter: bool
) -> FemurEnd:
    """What the signs together say."""
    below = _Below.of(femur, volume)
    narrow = not femur.is_wide
    if below.goes_on:
        lost = narrow and femur.length_mm >= SHAFT_LENGTH_MM / 2
        return FemurEnd.LOST if lost else FemurEnd.KNEE
    if below.goes_on is None:
        return FemurEnd.KNEE
    if below.gone and (narrow or not _has_other_bone(femur, segments, volume)):
        return FemurEnd.STUMP
    return FemurEnd.STUMP if narrow and shorter else FemurEnd.KNEE


@dataclass(frozen=True, slots=True)
class _Below:
    """What the CT shows where a femur would go on.

    goes_on: bone; None where the scan, or the image, ends too near to tell.
    gone: nothing but air.
    """

    goes_on: bool | None
    gone: bool

    @classmethod
    def of(cls, femur: _Femur, volume: Volume) -> _Below:
        """Follow the femur's line downwards, slice by slice, as far as the image shows it."""
        geometry = volume.geometry
        heights, half = geometry.slice_offsets_mm, geometry.extents_mm / 2
        pixel_mm2 = geometry.spacing_mm[0] * geometry.spacing_mm[1]
        outside = _outside(volume)
        bone_to_mm, seen_to_mm, gone = femur.end_mm, femur.end_mm, False
        for number in range(femur.run.first - 1, -1, -1):
            upper = float(heights[number] + half[number])
            lower = float(heights[number] - half[number])
            box = _window(femur, volume, number)
            window, known = volume.hu[number][box], ~outside[box]
            is_shown = known.sum() * pixel_mm2 >= KNOWN_SHARE * (2 * WINDOW_MM) ** 2
            if femur.end_mm - upper > GONE_WITHIN_MM or not is_shown:
                break
            seen_to_mm = lower
            is_bone = (window > BONE_ABOVE_HU).sum() * pixel_mm2 >= BONE_MM2
            if is_bone and bone_to_mm - upper <= JOINT_GAP_MM:
                bone_to_mm = lower
            tissue = (window > BODY_ABOVE_HU) & known
            gone = bool(tissue.sum() < GONE_SHARE * known.sum())
        bone_mm, seen_mm = femur.end_mm - bone_to_mm, femur.end_mm - seen_to_mm
        if bone_mm >= GOES_ON_MM:
            return cls(goes_on=True, gone=False)
        hidden = bone_mm > 0 and bone_mm >= seen_mm - JOINT_GAP_MM
        if seen_mm < SEEN_BELOW_MM or hidden:
            return cls(goes_on=None, gone=False)
        return cls(goes_on=False, gone=gone)


def _window(femur: _Femur, volume: Volume, number: int) -> tuple[slice, slice]:
    """Rows and columns around the line that a femur follows; less at the image's edge."""
    height_mm = float(volume.geometry.slice_offsets_mm[number])
    middle = femur.foot_mm + femur.drift * (height_mm - femur.end_mm)
    parts = []
    for mm, spacing, size in zip(
        middle, volume.geometry.spacing_mm, volume.hu.shape[1:], strict=True
    ):
        first, last = (round((mm + reach) / spacing) for reach in (-WINDOW_MM, WINDOW_MM))
        parts.append(slice(min(max(first, 0), size), min(max(last + 1, 0), size)))
    rows, columns = parts
    return rows, columns


def _outside(volume: Volume) -> NDArray[np.bool_]:
    """[row, column] outside the reconstructed circle: in every slice what fills the corners.

    Air that was clipped or masked has that value too, but not where a slice shows the leg; a
    value that no air has is outside wherever it is.
    """
    corners = volume.hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    value = corners.flat[0]
    if not (corners == value).all():
        return np.zeros(volume.hu.shape[1:], dtype=bool)
    combine = np.logical_or if value < NO_AIR_HU else np.logical_and
    return np.asarray(combine.reduce([image == value for image in volume.hu]))


def _has_other_bone(femur: _Femur, segments: NDArray[np.uint8], volume: Volume) -> bool:
    """True if bone that is no femur lies at a femur's end."""
    geometry = volume.geometry
    heights = geometry.slice_offsets_mm
    near = np.flatnonzero(np.abs(heights - femur.end_mm) <= OTHER_BONE_MM)
    found_cm3 = 0.0
    for number in near:
        margin = max(1, round(OWN_EDGE_MM / max(geometry.spacing_mm)))
        own = ndimage.binary_dilation(segments[number] == femur.number, iterations=margin)
        bone = (volume.hu[number] > BONE_ABOVE_HU) & ~own
        rows, columns = np.nonzero(bone)
        middle = femur.foot_mm
        across = np.hypot(
            rows * geometry.spacing_mm[0] - middle[0],
            columns * geometry.spacing_mm[1] - middle[1],
        )
        voxel_cm3 = float(geometry.voxel_volumes_mm3[number]) / 1000
        found_cm3 += float((across <= 2 * WINDOW_MM).sum()) * voxel_cm3
    return found_cm3 >= OTHER_BONE_CM3
