"""Metal in a scan: how much, on which side, and which segments it spoils.

The study excluded scans with metal (by eye); here it is found by its attenuation. Dense
cortical bone stays below about 2000 HU, with a sharp kernel's overshoot below 2400; metal
lies above, also where a 12-bit scanner clips at 3071 HU.

An implant lies in the body. What lies on the skin, in the clothes or in the table (a coin, a
zip, a rail) is told apart and spoils nothing, as far as this method is concerned.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.anatomy.midline import find_midline, only_side
from inference.hounsfield import BODY_ABOVE_HU
from inference.results import Metal
from inference.structures import BY_KEY, SEGMENTS, Group, Segment, Side
from inference.volume import Volume

METAL_ABOVE_HU: Final = 2500.0

METAL_MM3: Final = 50.0
"""Less than this in one piece is noise or a speck of calcium (a 3.5 mm screw of 10 mm: 96)."""

SIDE_SHARE: Final = 0.1
"""Metal is named on a side that holds at least this share of it."""

SPOILED_SHARE: Final = 0.01
"""A segment with more than this share within reach of metal is spoiled."""

HOLDING_MM: Final = 8.0
HOLDING_SHARE: Final = 0.01
"""Metal lies in the nearest bone, or else muscle, that is labelled this near; a segment with
less than this share of all the metal does not hold any."""

PIXEL_MM: Final = 2.0
BLUR_MM: Final = 4.0
"""The body is sought on pixels of about this size, blurred by a Gaussian of this standard
deviation: so streaks are evened out, and cloth and the shell of a table are no body."""

BODY_SHARE: Final = 0.1
"""Parts of a slice below this share of the largest are no body, but table or blanket."""

REACH_OF_1_CM3_MM: Final = 20.0
REACH_LIMITS_MM: Final = (10.0, 60.0)
"""Streaks reach further the more metal there is: with the cube root of its volume, within
the slices that hold it. A surgical clip reaches 10 mm, a hip prosthesis 60 mm."""

Index = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


def find_metal(
    volume: Volume, segments: NDArray[np.uint8], provided: Collection[Segment] = SEGMENTS
) -> Metal:
    """Find metal anywhere in the body, whatever it is part of; and beside the body.

    Args:
        volume: the CT.
        segments: `[slice, row, column]` 0 to 43 on the CT's grid.
        provided: what the model was made to find.
    """
    found, _ = _metal_voxels(volume)
    inside = _in_body(found, volume)
    outside, _ = _pieces(_those(found, ~inside), volume)
    index, piece_mm3 = _pieces(_those(found, inside), volume)
    outside_cm3 = _volume_cm3(outside, volume)
    if not index[0].size:
        return Metal(outside_cm3=outside_cm3)
    return Metal(
        volume_cm3=_volume_cm3(index, volume),
        sides=_sides(index, volume, segments, provided),
        held_by=_held_by(index, volume, segments, provided),
        spoiled=_spoiled(index, piece_mm3, volume, segments),
        outside_cm3=outside_cm3,
    )


def _those(index: Index, which: NDArray[np.bool_]) -> Index:
    slices, rows, columns = (each[which] for each in index)
    return slices, rows, columns


def _volume_cm3(index: Index, volume: Volume) -> float:
    return float(volume.geometry.voxel_volumes_mm3[index[0]].sum()) / 1000


def _metal_voxels(volume: Volume) -> tuple[Index, NDArray[np.float64]]:
    """Voxels of metal, and the volume of the piece that each of them belongs to."""
    slices, rows, columns = np.nonzero(volume.hu > METAL_ABOVE_HU)
    return _pieces((slices, rows, columns), volume)


def _pieces(index: Index, volume: Volume) -> tuple[Index, NDArray[np.float64]]:
    """The voxels that belong to pieces of some size, and the size of each one's piece."""
    if not index[0].size:
        return index, np.zeros(0)
    first = [int(i.min()) for i in index]
    local = tuple(i - f for i, f in zip(index, first, strict=True))
    box = np.zeros([int(i.max()) + 1 for i in local], dtype=bool)
    box[local] = True
    components, _ = ndimage.label(box)
    which = components[local]
    weights = volume.geometry.voxel_volumes_mm3[index[0]]
    piece_mm3 = np.asarray(np.bincount(which, weights)[which], dtype=np.float64)
    kept = piece_mm3 >= METAL_MM3
    return _those(index, kept), piece_mm3[kept]


def _in_body(index: Index, volume: Volume) -> NDArray[np.bool_]:
    """True where a metal voxel lies in the body, slice by slice."""
    slices, rows, columns = index
    inside = np.zeros(len(slices), dtype=bool)
    for number in np.unique(slices):
        here = slices == number
        body = _body(volume.hu[number], volume.geometry.spacing_mm)
        inside[here] = body[rows[here], columns[here]]
    return inside


def _body(
    hu: NDArray[np.int16] | NDArray[np.float32], spacing_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """The body in a slice, with what it encloses, on the slice's own pixels.

    Metal is no evidence of a body, nor of air: what lies on the skin would belong to it, and
    what lies in a bone would leave a hole.
    """
    steps = [max(1, int(PIXEL_MM // mm)) for mm in spacing_mm]
    coarse = hu[:: steps[0], :: steps[1]].astype(np.float32)
    known = (coarse <= METAL_ABOVE_HU).astype(np.float32)
    sigma = [BLUR_MM / (mm * step) for mm, step in zip(spacing_mm, steps, strict=True)]
    clipped = np.clip(coarse, -1000, 300) * known
    weights = ndimage.gaussian_filter(known, sigma)
    blurred = ndimage.gaussian_filter(clipped, sigma) / np.maximum(weights, 1e-3)
    parts, count = ndimage.label(blurred > BODY_ABOVE_HU)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    body = ndimage.binary_fill_holes((sizes >= max(1, BODY_SHARE * sizes.max()))[parts])
    fine = np.repeat(np.repeat(body, steps[0], axis=0), steps[1], axis=1)
    return np.asarray(fine[: hu.shape[0], : hu.shape[1]])


def _held_by(
    index: Index,
    volume: Volume,
    segments: NDArray[np.uint8],
    provided: Collection[Segment],
) -> tuple[Segment, ...]:
    """Segments that the metal lies in; a muscle only on a side where it lies in no bone.

    Nor where the model does not provide the bones of that side: they may well hold it.
    """
    slices, rows, columns = index
    voxel_mm3 = volume.geometry.voxel_volumes_mm3
    mm3 = np.zeros(len(SEGMENTS) + 1)
    for number in np.unique(slices):
        here = slices == number
        found = _nearest(rows[here], columns[here], segments[number], volume)
        mm3 += np.bincount(found, minlength=len(mm3)) * voxel_mm3[number]
    least = max(METAL_MM3, HOLDING_SHARE * float(voxel_mm3[slices].sum()))
    held = [segment for segment in SEGMENTS if mm3[segment.number] >= least]
    in_bone = {segment.side for segment in held if segment.structure.group is Group.BONE}
    return tuple(
        segment
        for segment in held
        if segment.structure.group is Group.BONE
        or (segment.side not in in_bone and _has_bones(segment.side, provided))
    )


def _has_bones(side: Side | None, provided: Collection[Segment]) -> bool:
    """True if the model can find the large bones of a side."""
    return all(BY_KEY[f"{bone}_{side}"] in provided for bone in ("PELVIS", "FEMUR"))


def _nearest(
    rows: NDArray[np.intp], columns: NDArray[np.intp], labels: NDArray[np.uint8], volume: Volume
) -> NDArray[np.uint8]:
    """The bone near each place of a slice, else the muscle; 0 where neither is near."""
    spacing = volume.geometry.spacing_mm
    spans = [
        slice(max(0, int(i.min()) - m), int(i.max()) + m + 1)
        for i, mm in zip((rows, columns), spacing, strict=True)
        for m in [math.ceil(HOLDING_MM / mm)]
    ]
    window = labels[spans[0], spans[1]]
    place = rows - spans[0].start, columns - spans[1].start
    found = np.zeros(len(rows), dtype=np.uint8)
    for wanted in (_IS_BONE[window], window > 0):
        if not wanted.any():
            continue
        distance_mm, at = ndimage.distance_transform_edt(
            ~wanted, sampling=spacing, return_indices=True
        )
        near = (found == 0) & (distance_mm[place] <= HOLDING_MM)
        found[near] = window[at[0], at[1]][place][near]
    return found


_IS_BONE: Final = np.array([False, *(s.structure.group is Group.BONE for s in SEGMENTS)])


def _sides(
    index: Index,
    volume: Volume,
    segments: NDArray[np.uint8],
    provided: Collection[Segment],
) -> tuple[Side, ...]:
    """On which side of the patient's midline it lies; nothing where no anatomy is found.

    Nor where the model finds one side alone, which shows no midline.
    """
    if not segments.any() or only_side(provided) is not None:
        return ()
    midline = find_midline(_LABEL_OF[segments], volume.geometry, provided)
    leftward = float((midline.leftward_mm(*index) > 0).mean())
    shares = {Side.RIGHT: 1 - leftward, Side.LEFT: leftward}
    return tuple(side for side, share in shares.items() if share >= SIDE_SHARE)


_LABEL_OF: Final = np.array([0, *(s.structure.label for s in SEGMENTS)], dtype=np.uint8)


def _spoiled(
    index: Index,
    piece_mm3: NDArray[np.float64],
    volume: Volume,
    segments: NDArray[np.uint8],
) -> tuple[Segment, ...]:
    """Segments that metal or its streaks reach, in the slices that hold it."""
    slices, rows, columns = index
    reached = np.zeros(len(SEGMENTS) + 1, dtype=np.int64)
    for number in np.unique(slices):
        here = slices == number
        reach = reach_mm(float(piece_mm3[here].max()))
        near = _near(rows[here], columns[here], reach, segments[number], volume)
        reached += np.bincount(near, minlength=len(reached))
    sizes = np.bincount(segments.ravel(), minlength=len(reached))
    return tuple(s for s in SEGMENTS if reached[s.number] > SPOILED_SHARE * sizes[s.number])


def _near(
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    reach: float,
    labels: NDArray[np.uint8],
    volume: Volume,
) -> NDArray[np.uint8]:
    """The labels of one slice within reach of the metal in it."""
    margins = [math.ceil(reach / spacing) for spacing in volume.geometry.spacing_mm]
    first = [max(0, int(i.min()) - m) for i, m in zip((rows, columns), margins, strict=True)]
    last = [int(i.max()) + m + 1 for i, m in zip((rows, columns), margins, strict=True)]
    window = labels[first[0] : last[0], first[1] : last[1]]
    clear = np.ones(window.shape, dtype=bool)
    clear[rows - first[0], columns - first[1]] = False
    distance_mm = ndimage.distance_transform_edt(clear, sampling=volume.geometry.spacing_mm)
    return window[distance_mm <= reach]


def reach_mm(piece_mm3: float) -> float:
    """Expected reach of the streaks of a piece of metal within a slice."""
    reach = REACH_OF_1_CM3_MM * math.cbrt(piece_mm3 / 1000)
    return min(max(reach, REACH_LIMITS_MM[0]), REACH_LIMITS_MM[1])
