"""Variations of the image: the body shifted, of other HU, or mirrored; and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.geometry import Geometry
from inference.models.guests.network import GuestLogits
from inference.volume import Volume

MOST_SHIFTED: Final = 64
MOST_OFFSET_HU: Final = 200.0
MOST_NOISE_HU: Final = 100.0
SCALES: Final = (0.5, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """A change of the image that leaves the anatomy what it is.

    mirrored: right and left change places, and so do the network's labels that have a side.
    shift_voxels: slices, rows, columns by which the body lies further from the image's first
        voxel. The image grows by as many, which repeat its border: nothing is cut off.
    scale, offset_hu: HU become HU x scale + offset.
    noise_hu: deviation of noise that is added, the same each time: no normalisation and no
        crop undoes it.
    """

    mirrored: bool = False
    shift_voxels: tuple[int, int, int] = (0, 0, 0)
    scale: float = 1.0
    offset_hu: float = 0.0
    noise_hu: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what would be another body."""
        if not all(0 <= one <= MOST_SHIFTED for one in self.shift_voxels):
            raise ValueError(f"shift_voxels is {self.shift_voxels}, not 0 to {MOST_SHIFTED}")
        if not SCALES[0] <= self.scale <= SCALES[1]:
            raise ValueError(f"scale is {self.scale}, not {SCALES[0]} to {SCALES[1]}")
        if not abs(self.offset_hu) <= MOST_OFFSET_HU:
            raise ValueError(f"offset_hu is {self.offset_hu}, beyond {MOST_OFFSET_HU:g}")
        if not 0 <= self.noise_hu <= MOST_NOISE_HU:
            raise ValueError(f"noise_hu is {self.noise_hu}, not 0 to {MOST_NOISE_HU:g}")

    def of(self, volume: Volume) -> Volume:
        """The changed image of even slices; the volume itself where nothing changes."""
        if self == AS_IT_IS:
            return volume
        hu: Any = self._other_hu(volume.hu)  # numpy's stubs lose the type of its pixels
        if self.mirrored:
            hu = hu[:, :, ::-1]
        hu = np.pad(hu, [(n, 0) for n in self.shift_voxels], mode="edge")
        hu = np.ascontiguousarray(hu)  # torch takes no array that runs backwards
        return Volume(hu, self._grown(volume.geometry))

    def _other_hu(
        self, hu: NDArray[np.int16] | NDArray[np.float32]
    ) -> NDArray[np.int16] | NDArray[np.float32]:
        if self.scale == 1 and self.offset_hu == 0 and self.noise_hu == 0:
            return hu
        changed = np.empty_like(hu)
        limits = np.iinfo(np.int16)
        for place, image in enumerate(hu):  # one slice at a time: no volume of floats
            values = image.astype(np.float32) * self.scale + self.offset_hu
            if self.noise_hu:
                drawn = np.random.default_rng(place).standard_normal(image.shape, np.float32)
                values += np.float32(self.noise_hu) * drawn
            if hu.dtype == np.int16:
                values = values.round().clip(limits.min, limits.max)
            changed[place] = values
        return changed

    def _grown(self, grid: Geometry) -> Geometry:
        slices, rows, columns = self.shift_voxels
        offsets = grid.slice_offsets_mm
        step_mm = np.diff(offsets).mean() if len(offsets) > 1 else grid.extents_mm[0]
        below = np.arange(-slices, 0)[:, None] * step_mm * grid.normal + grid.positions_mm[0]
        aside = rows * grid.spacing_mm[0] * grid.row_axis
        aside = aside + columns * grid.spacing_mm[1] * grid.column_axis
        return replace(
            grid,
            positions_mm=np.concatenate([below, grid.positions_mm]) - aside,
            extents_mm=np.pad(grid.extents_mm, (slices, 0), mode="edge"),
            rows=grid.rows + rows,
            columns=grid.columns + columns,
        )


AS_IT_IS: Final = Variation()
"""No change at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Unvaried:
    """The logits of a varied image, laid back on the image as it is; a `GuestLogits`.

    exchanged: (classes,) the channel that shows each one in a mirrored image.
    """

    logits: GuestLogits
    variation: Variation
    exchanged: NDArray[np.intp]

    def at(self, place: int) -> Tensor:
        """Logits of one slice of the image as it is."""
        slices, rows, columns = self.variation.shift_voxels
        found = self.logits.at(place + slices)[:, rows:, columns:]
        if self.variation.mirrored:
            channels = torch.from_numpy(self.exchanged.copy()).to(found.device)
            found = found.index_select(0, channels).flip(2)
        return found
