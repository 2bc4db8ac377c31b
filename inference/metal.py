"""Metal in a scan: how much, on which side, and which segments it spoils.

The study excluded scans with metal (by eye); here it is found by its attenuation. Dense
cortical bone stays below about 2000 HU, with a sharp kernel's overshoot below 2400; metal
lies above, also where a 12-bit scanner clips at 3071 HU.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.midline import find_midline
from inference.results import Metal
from inference.structures import SEGMENTS, Segment, Side
from inference.volume import Volume

METAL_ABOVE_HU: Final = 2500.0

METAL_MM3: Final = 50.0
"""Less than this in one piece is noise or a speck of calcium (a 3.5 mm screw of 10 mm: 96)."""

SIDE_SHARE: Final = 0.1
"""Metal is named on a side that holds at least this share of it."""

SPOILED_SHARE: Final = 0.01
"""A segment with more than this share within reach of metal is spoiled."""

REACH_OF_1_CM3_MM: Final = 20.0
REACH_LIMITS_MM: Final = (10.0, 60.0)
"""Streaks reach further the more metal there is: with the cube root of its volume, within
the slices that hold it. A surgical clip reaches 10 mm, a hip prosthesis 60 mm."""

Index = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


def find_metal(volume: Volume, segments: NDArray[np.uint8]) -> Metal:
    """Find metal anywhere in the scan, whatever it is part of.

    Args:
        volume: the CT.
        segments: `[slice, row, column]` 0 to 43 on the CT's grid.
    """
    index, piece_mm3 = _metal_voxels(volume)
    if not index[0].size:
        return Metal()
    voxel_mm3 = volume.geometry.voxel_volumes_mm3
    return Metal(
        volume_cm3=float(voxel_mm3[index[0]].sum()) / 1000,
        sides=_sides(index, volume, segments),
        spoiled=_spoiled(index, piece_mm3, volume, segments),
    )


def _metal_voxels(volume: Volume) -> tuple[Index, NDArray[np.float64]]:
    """Where the metal is, and how large the piece is that each voxel belongs to."""
    slices, rows, columns = np.nonzero(volume.hu > METAL_ABOVE_HU)
    if not slices.size:
        return (slices, rows, columns), np.zeros(0)
    first = [int(i.min()) for i in (slices, rows, columns)]
    local = tuple(i - f for i, f in zip((slices, rows, columns), first, strict=True))
    box = np.zeros([int(i.max()) + 1 for i in local], dtype=bool)
    box[local] = True
    components, _ = ndimage.label(box)
    which = components[local]
    weights = volume.geometry.voxel_volumes_mm3[slices]
    piece_mm3 = np.asarray(np.bincount(which, weights)[which], dtype=np.float64)
    kept = piece_mm3 >= METAL_MM3
    return (slices[kept], rows[kept], columns[kept]), piece_mm3[kept]


def _sides(index: Index, volume: Volume, segments: NDArray[np.uint8]) -> tuple[Side, ...]:
    """On which side of the patient's midline it lies; nothing where no anatomy is found."""
    if not segments.any():
        return ()
    midline = find_midline(_LABEL_OF[segments], volume.geometry)
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
    """How far streaks of a piece of metal are expected to reach within a slice."""
    reach = REACH_OF_1_CM3_MM * math.cbrt(piece_mm3 / 1000)
    return min(max(reach, REACH_LIMITS_MM[0]), REACH_LIMITS_MM[1])
