"""Between an image's grid and the network's, as nnU-Net's default resampling does it.

Grids cover the same field: the centre of voxel i lies at (i + 0.5) * size / count. Images are
interpolated by cubic splines, logits linearly, beyond the outermost centres by their values.
Where voxels are more than three times as long as wide, they are resampled in the plane so,
and across by the nearest slice.

The splines are scikit-image's and SciPy's (`resize` with order 3 and edge mode), axis by axis
and a slab at a time: whole volumes in double precision would be eight times the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

ANISOTROPY: Final = 3.0
"""From which ratio of an image's longest to shortest voxel side slices are kept apart."""

_EDGE: Final = 12
"""Voxels by which SciPy repeats the border before it solves for a spline."""

_SLAB_VOXELS: Final = 2**22


def lowres_axis(
    one_mm: Sequence[float], other_mm: Sequence[float], *, separate: bool | None
) -> int | None:
    """The axis across which slices are kept apart, or None where all three are alike.

    Args:
        one_mm: voxel sizes of the grid that is left.
        other_mm: of the grid that is made; asked where the first is not anisotropic.
        separate: True or False where the plans force it; then only the first is asked.
    """
    if separate is False:
        return None
    if separate is None:
        one_mm = next((mm for mm in (one_mm, other_mm) if max(mm) > ANISOTROPY * min(mm)), ())
    longest = [axis for axis, mm in enumerate(one_mm) if mm == max(one_mm)]
    return longest[0] if len(longest) == 1 else None


def new_shape(
    shape: Sequence[int], old_mm: Sequence[float], new_mm: Sequence[float]
) -> tuple[int, ...]:
    """Voxels of the same field in another size, rounded half to even, at least one.

    nnunetv2 makes none of a slice that is thinner than half a voxel, and fails.
    """
    return tuple(
        max(1, round(old / new * count))
        for old, new, count in zip(old_mm, new_mm, shape, strict=True)
    )


def image_resampled(
    image: NDArray[np.float32], shape: Sequence[int], across: int | None
) -> NDArray[np.float32]:
    """An image of three axes on another grid of the same field.

    Args:
        image: float32.
        shape: of the result.
        across: the axis of `lowres_axis`; its slices are interpolated one by one.
    """
    if image.shape == tuple(shape):
        return image
    axes = [axis for axis in range(3) if axis != across and image.shape[axis] != shape[axis]]
    axes.sort(key=lambda axis: shape[axis] / image.shape[axis])  # the smaller the sooner
    others = tuple(axis for axis in range(3) if axis != across)
    least = image.min(axis=others, keepdims=True)
    most = image.max(axis=others, keepdims=True)
    found = image
    for axis in axes:
        found = _splined(found, axis, shape[axis])
    if axes:
        np.clip(found, least, most, out=found)
    if across is not None:
        found = found.take(nearest(image.shape[across], shape[across]), axis=across)
    return found


def nearest(count: int, wanted: int) -> NDArray[np.intp]:
    """(wanted,) which of `count` voxels each new one takes its value from."""
    if count == wanted:
        return np.arange(count)
    centres = _centres(count, wanted)
    return np.clip(np.floor(centres + 0.5), 0, count - 1).astype(np.intp)


def between(count: int, wanted: int, place: int) -> tuple[int, int, float]:
    """Between which two of `count` voxels a new one lies, and the share of the second."""
    centre = float(np.clip(_centres(count, wanted)[place], 0, count - 1))
    low = min(int(centre), count - 1)
    return low, min(low + 1, count - 1), centre - low


def plane_resampled(planes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Planes `(..., row, column)` linearly on another grid of the same field; float32."""
    if tuple(planes.shape[-2:]) == shape:
        return planes
    found: Tensor = torch.nn.functional.interpolate(
        planes[None], size=shape, mode="bilinear", align_corners=False
    )[0]
    return found


def _centres(count: int, wanted: int) -> NDArray[np.float64]:
    centres: NDArray[np.float64] = np.arange(wanted, dtype=np.float64) + 0.5
    return centres * (count / wanted) - 0.5


def _splined(image: NDArray[np.float32], axis: int, wanted: int) -> NDArray[np.float32]:
    """Cubic splines along one axis."""
    count = image.shape[axis]
    first, shares = _spline_shares(count, wanted)
    shape = tuple(wanted if a == axis else n for a, n in enumerate(image.shape))
    found = np.empty(shape, dtype=np.float32)
    source, target = np.moveaxis(image, axis, -1), np.moveaxis(found, axis, -1)
    lines = max(1, _SLAB_VOXELS // (source.shape[1] * (count + wanted + 2 * _EDGE)))
    for start in range(0, source.shape[0], lines):
        slab = source[start : start + lines].astype(np.float64)
        slab = np.pad(slab, [(0, 0), (0, 0), (_EDGE, _EDGE)], mode="edge")
        slab = ndimage.spline_filter1d(slab, 3, axis=-1, mode="nearest")
        target[start : start + lines] = sum(
            slab[..., first + tap] * shares[tap] for tap in range(4)
        )
    return found


def _spline_shares(count: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(wanted,) the first of four padded coefficients, and (4, wanted) their shares."""
    centres = _centres(count, wanted) + _EDGE
    low = np.floor(centres)
    t = centres - low
    shares = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    return low.astype(np.intp) - 1, shares / 6
