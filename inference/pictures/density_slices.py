"""The density picture slice by slice: the CT, its muscles from yellow (fat) to red (lean)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.pictures.canvas import Picture
from inference.pictures.density import BONE_RGB, fat_to_lean
from inference.pictures.panels import SOFT_TISSUE_HU, borders
from inference.structures import SEGMENTS, Group
from inference.volume import Volume

HU_RANGE: Final = (-1024, 3071)
"""What a colour is looked up for; attenuations beyond have the colour of the nearer end."""

BONE_WINDOW_HU: Final = (-200.0, 1000.0)
BONE_DARKEST: Final = 0.45
"""Bones keep their structure: pale where dense, this bright where marrow is."""

EDGE: Final = 0.55
"""Brightness of a segment's outermost pixels, so that neighbours of one colour stay apart."""

_IS_BONE: Final = np.array([False, *(s.structure.group is Group.BONE for s in SEGMENTS)])
_IS_MUSCLE: Final = np.array([False, *(s.structure.group is not Group.BONE for s in SEGMENTS)])


def segmented_slices(segments: NDArray[np.uint8]) -> tuple[int, ...]:
    """The slices from the first to the last that holds a segment; none without a segment.

    Args:
        segments: `[slice, row, column]` 0 to 43.
    """
    used = np.flatnonzero(segments.any(axis=(1, 2)))
    return tuple(range(int(used[0]), int(used[-1]) + 1)) if used.size else ()


def density_slice(volume: Volume, segments: NDArray[np.uint8], number: int) -> Picture:
    """One axial slice on the CT's own pixels; uint8 `[row, column, 3]`.

    Every muscle voxel has the colour of its own HU on the scale of the density picture;
    bones are pale, and what is not segmented is grey in a soft tissue window.

    Args:
        volume: the CT.
        segments: `[slice, row, column]` 0 to 43 on the CT's grid.
        number: which slice.
    """
    labels = segments[number]
    low, high = HU_RANGE
    index = np.clip(np.rint(volume.hu[number]), low, high).astype(np.intp) - low
    rgb: Picture = _GREY[index]
    for inside, table in ((_IS_MUSCLE, _MUSCLE), (_IS_BONE, _BONE)):
        chosen = inside[labels]
        rgb[chosen] = table[index[chosen]]
    edge = borders(labels)
    rgb[edge] = (rgb[edge] * EDGE).astype(np.uint8)
    return rgb


def _table(colours: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(colours), 0, 255), dtype=np.uint8)


def _share(window_hu: Sequence[float]) -> NDArray[np.float32]:
    """Position of each HU in a window, 0 to 1, as a column."""
    low, high = window_hu
    return np.asarray(np.clip((_HU - low) / (high - low), 0, 1)[:, np.newaxis], np.float32)


_HU: Final = np.arange(HU_RANGE[0], HU_RANGE[1] + 1, dtype=np.float32)
_GREY: Final = _table(np.repeat(_share(SOFT_TISSUE_HU) * 255, 3, axis=1))
_MUSCLE: Final = _table(fat_to_lean(_HU))
_BONE: Final = _table(
    (BONE_DARKEST + (1 - BONE_DARKEST) * _share(BONE_WINDOW_HU))
    * np.array(BONE_RGB, dtype=np.float32)
)
"""A row of red, green and blue for each HU of `HU_RANGE`."""
