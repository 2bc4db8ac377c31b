"""From a CT to what an nnU-Net is fed, and where that lies in the CT.

In nnunetv2's order: axes exchanged, cropped to what is not 0, normalised, resampled. Of the
whole scan there is one copy, the part that is fed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from inference.models.nnunet.resampling import image_resampled, lowres_axis, new_shape
from inference.volume import Volume

Millimetres = Annotated[float, Field(gt=0, le=1000)]
Box = tuple[slice, slice, slice]

_LEAST: Final = 1e-8
"""No deviation or range is smaller where something is divided by it."""

_SAME_MM: Final = 6
"""Decimals of a voxel's size: slices' positions have rounding errors, ties must stay ties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """From HU to the network's numbers; a scheme of nnU-Net.

    scheme: `ct` clips to two limits, takes a mean off and divides by a deviation, all four of
        the training data; `zscore` by the image's own mean and deviation; `rescale_to_0_1` by
        its own range; `none` as it is.
    low_hu, high_hu, mean_hu, deviation_hu: of `ct`.
    inside_alone: `zscore` of the voxels that are not 0, and those that they enclose.
    """

    scheme: Literal["ct", "zscore", "rescale_to_0_1", "none"]
    low_hu: float = 0.0
    high_hu: float = 0.0
    mean_hu: float = 0.0
    deviation_hu: float = 0.0
    inside_alone: bool = False

    def __post_init__(self) -> None:
        """Limits of a CT are in order."""
        if self.scheme == "ct" and (self.low_hu >= self.high_hu or self.deviation_hu < 0):
            raise ValueError("low_hu is not below high_hu, or deviation_hu is negative")

    def of(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised in place, float32 as all steps."""
        match self.scheme:
            case "ct":
                np.clip(hu, self.low_hu, self.high_hu, out=hu)
                hu -= self.mean_hu
                hu /= max(self.deviation_hu, _LEAST)
            case "zscore" if self.inside_alone:
                inside = ndimage.binary_fill_holes(hu != 0)
                values = hu[inside]
                hu[inside] = (values - values.mean()) / max(values.std(), np.float32(_LEAST))
            case "zscore":
                mean, deviation = hu.mean(), hu.std()
                hu -= mean
                hu /= max(deviation, np.float32(_LEAST))
            case "rescale_to_0_1":
                hu -= hu.min()
                hu /= max(hu.max(), np.float32(_LEAST))
        return hu


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How images are brought to the network; the `[preprocessing]` table.

    orientation: which way rows and columns of the training images ran, towards L, P, S or
        towards R, A, S.
    transpose: which axis of `[slice, row, column]` becomes the first, second, third.
    spacing_mm: the network's voxels along these, or pixels of the last two (2d).
    separate: whether slices are kept apart in resampling the image; absent: by the voxels.
    separate_logits: likewise on the way back.
    """

    orientation: Literal["LPS", "RAS"]
    transpose: tuple[int, int, int]
    spacing_mm: tuple[Millimetres, ...]
    normalisation: Normalisation
    separate: bool | None = None
    separate_logits: bool | None = None

    def __post_init__(self) -> None:
        """Three axes, each once; two or three sizes."""
        if sorted(self.transpose) != [0, 1, 2]:
            raise ValueError(f"transpose {list(self.transpose)} is no order of three axes")
        if len(self.spacing_mm) not in (2, 3):
            raise ValueError(f"{len(self.spacing_mm)} values in spacing_mm, not 2 or 3")


@dataclass(frozen=True, slots=True)
class Placing:
    """Where the image that is fed lies in the volume.

    whole: shape of the volume with its axes exchanged.
    box: of that, what was kept.
    shape: of the image that is fed.
    across: the axis of logits whose slices are kept apart on the way back, or None.
    """

    whole: tuple[int, int, int]
    box: Box
    shape: tuple[int, ...]
    across: int | None

    @property
    def boxed(self) -> tuple[int, int, int]:
        """Shape of the box."""
        first, second, third = (part.stop - part.start for part in self.box)
        return first, second, third


def prepared(volume: Volume, way: Preprocessing) -> tuple[NDArray[np.float32], Placing]:
    """The image to feed, and where it lies.

    Args:
        volume: HU, slices evenly spaced.
        way: of the network.
    """
    sizes = tuple(spacing_mm(volume)[axis] for axis in way.transpose)
    turned = volume.hu[:, ::-1, ::-1] if way.orientation == "RAS" else volume.hu
    turned = turned.transpose(way.transpose)
    box = not_zero(turned)
    image = way.normalisation.of(turned[box].astype(np.float32))
    goal = way.spacing_mm if len(way.spacing_mm) == 3 else (sizes[0], *way.spacing_mm)
    shape = new_shape(image.shape, sizes, goal)
    across = lowres_axis(sizes, goal, separate=way.separate)
    back = lowres_axis(goal, sizes, separate=way.separate_logits)
    first, second, third = turned.shape
    placing = Placing((first, second, third), box, shape, back)
    return image_resampled(image, shape, across), placing


def spacing_mm(volume: Volume) -> tuple[float, float, float]:
    """Voxel size along slices, rows and columns; of one slice its thickness."""
    geometry, offsets = volume.geometry, volume.geometry.slice_offsets_mm
    count = len(offsets)
    gap = (offsets[-1] - offsets[0]) / (count - 1) if count > 1 else geometry.extents_mm[0]
    row, column = geometry.spacing_mm
    return round(float(gap), _SAME_MM), round(row, _SAME_MM), round(column, _SAME_MM)


def not_zero(hu: NDArray[np.int16] | NDArray[np.float32]) -> Box:
    """The smallest box around all values but 0; the whole where there are none."""
    found = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(hu.any(axis=others))
        ends = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, hu.shape[axis])
        found.append(slice(*ends))
    return found[0], found[1], found[2]
