"""A volume seen from the front or the side: DRR, colours of segments, uncertainty.

Projections are `[slice, column]` (coronal, seen from the front) or `[slice, row]`
(sagittal), still on the scan's grid. `upright` brings them to square pixels with the head
up, each slice at its own height, so that unevenly spaced slices look as they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.geometry import Geometry
from inference.structures import SEGMENTS, Group
from inference.volume import Volume

SOFT_FROM_HU: Final = -200.0
DENSE_TO_HU: Final = 1500.0
"""Attenuation outside these is clipped: neither air nor metal rules the radiograph."""

BONE_FROM_HU: Final = 150.0
BONE_GAIN: Final = 3.0
"""Bone counts more than physics says, so that it shows through the muscles."""

FULL_COLOUR_MM: Final = 25.0
"""A segment this thick along the ray shows its full colour."""

Plane = NDArray[np.float32]


class View(Enum):
    """From where the body is seen; the value is the axis within a slice that is summed."""

    CORONAL = 0
    SAGITTAL = 1


def radiograph(volume: Volume, view: View) -> Plane:
    """A digitally reconstructed radiograph (DRR), 0 to 1."""
    sums = np.stack([_attenuation(hu).sum(axis=view.value) for hu in volume.hu])
    lowest, highest = np.percentile(sums, (2, 99.7))
    scaled = np.clip((sums - lowest) / max(float(highest - lowest), 1e-6), 0, 1)
    return np.asarray(scaled, dtype=np.float32)


def _attenuation(hu: NDArray[np.int16] | NDArray[np.float32]) -> Plane:
    clipped = np.clip(hu, SOFT_FROM_HU, DENSE_TO_HU).astype(np.float32)
    bone = np.maximum(clipped - BONE_FROM_HU, 0)
    return np.asarray(clipped - SOFT_FROM_HU + BONE_GAIN * bone, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """Segments along the rays: mean colour `[..., 3]` 0 to 255, and how opaque, 0 to 1."""

    rgb: Plane
    opacity: Plane


def coloured(segments: NDArray[np.uint8], geometry: Geometry, view: View) -> Colours:
    """The segments' colours, mixed by how much of each lies along the ray."""
    thickness = np.stack([_counts(labels, view) for labels in segments])
    thickness *= geometry.spacing_mm[view.value]
    weights = thickness * _WEIGHTS
    total = weights.sum(axis=-1)
    rgb = weights @ _PALETTE / np.maximum(total, 1e-6)[..., np.newaxis]
    opacity = np.clip(total / FULL_COLOUR_MM, 0, 1)
    return Colours(rgb.astype(np.float32), opacity.astype(np.float32))


_PALETTE: Final = np.array(
    [(0, 0, 0), *(s.structure.colour_rgb for s in SEGMENTS)], dtype=np.float32
)
_WEIGHTS: Final = np.array(
    [0.0, *(3.0 if s.structure.group is Group.BONE else 1.0 for s in SEGMENTS)],
    dtype=np.float32,
)
"""Bones lie deep: they count more, so that they show through."""


def _counts(labels: NDArray[np.uint8], view: View) -> Plane:
    """Voxels of each segment along each ray of one slice: `[column or row, 44]`."""
    rays = labels.shape[1 - view.value]
    index = np.nonzero(labels)
    kept = index[1 - view.value]
    numbers = len(_PALETTE)
    counts = np.bincount(kept * numbers + labels[index], minlength=rays * numbers)
    return counts.reshape(rays, numbers).astype(np.float32)


def mean_inside(values: NDArray[np.float32], segments: NDArray[np.uint8], view: View) -> Plane:
    """Mean of the values inside all segments along each ray; NaN where there are none."""
    sums, counts = [], []
    for plane, labels in zip(values, segments, strict=True):
        inside = labels > 0
        sums.append(np.where(inside, plane, 0).sum(axis=view.value))
        counts.append(inside.sum(axis=view.value))
    total, count = np.stack(sums), np.stack(counts)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(mean, dtype=np.float32)


def upright(
    plane: Plane, geometry: Geometry, view: View, mm_per_pixel: float, *, smooth: bool = True
) -> Plane:
    """Bring a projection to square pixels, head up; `[height, width(, 3)]`.

    Args:
        plane: `[slice, column or row(, 3)]`.
        geometry: the scan's grid.
        view: which projection it is.
        mm_per_pixel: of the result.
        smooth: interpolate; else every pixel has the value of the nearest slice and ray.
    """
    offsets = geometry.slice_offsets_mm
    bottom = offsets[0] - geometry.extents_mm[0] / 2
    top = offsets[-1] + geometry.extents_mm[-1] / 2
    height = max(1, round((top - bottom) / mm_per_pixel))
    at = top - (np.arange(height) + 0.5) * (top - bottom) / height
    index = np.interp(at, offsets, np.arange(len(offsets)))
    lower = np.floor(index).astype(int)
    upper = np.minimum(lower + 1, len(offsets) - 1)
    share = (index - lower).astype(np.float32)
    if not smooth:
        share = np.round(share)
    share = share.reshape(-1, *(1,) * (plane.ndim - 1))
    stacked = np.where(
        share == 0, plane[lower], plane[lower] * (1 - share) + plane[upper] * share
    )
    stacked = np.where(share == 1, plane[upper], stacked)
    across_mm = plane.shape[1] * geometry.spacing_mm[1 - view.value]
    width = max(1, round(across_mm / mm_per_pixel))
    if not smooth:
        rays = (np.arange(width) + 0.5) * plane.shape[1] / width
        return np.asarray(stacked[:, rays.astype(int)])
    return _resized_across(stacked, width)


def _resized_across(plane: Plane, width: int) -> Plane:
    """Resize the second axis, averaging where it shrinks."""
    channels = plane[..., np.newaxis] if plane.ndim == 2 else plane
    size = (width, plane.shape[0])
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(channels[..., c], dtype=np.float32)).resize(
                size, Image.Resampling.BILINEAR
            )
        )
        for c in range(channels.shape[-1])
    ]
    return np.stack(resized, axis=-1).reshape(*resized[0].shape, *plane.shape[2:])
