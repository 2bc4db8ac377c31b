"""Chunks of slices as the network is fed them: each with its own mean, deviation and crop.

Slices are brought to the network's grid one at a time: first for the figures of their chunk,
and again when they are wanted. A chunk as a whole is never held.

A slice on the network's grid is `[x, y]` as in RAS images: x grows to the patient's right, y
to the front. So it is a slice of a `Volume` turned by a half circle, and transposed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.models.musclemap.axis import Axis
from inference.models.musclemap.settings import Preprocessing
from inference.volume import Volume

INT16_STEPS = 65535
"""Between the least and the greatest int16."""


@dataclass(frozen=True, slots=True)
class Span:
    """Pixels of the network's grid from `first` to before `stop`; may reach beyond it."""

    first: int
    stop: int

    @property
    def pixels(self) -> int:
        """How many."""
        return self.stop - self.first


@dataclass(frozen=True, slots=True)
class Rescaling:
    """How nibabel writes a part of an int16 image that it read as floating-point numbers.

    It spreads the numbers over all of int16, so that they come back as steps: 0 HU as a
    small number other than 0.
    """

    slope: float
    intercept: float

    @classmethod
    def of(cls, least: float, greatest: float) -> Rescaling:
        """The scale, in the single precision of a NIfTI header."""
        if least == greatest:
            return cls(1.0, least)
        slope = (greatest - least) / INT16_STEPS
        intercept = least - np.iinfo(np.int16).min * slope
        return cls(float(np.float32(slope)), float(np.float32(intercept)))

    def __call__(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """The values as they are read back."""
        steps = np.rint((hu - np.float32(self.intercept)) / np.float32(self.slope))
        steps = steps.clip(np.iinfo(np.int16).min, np.iinfo(np.int16).max)
        found = steps.astype(np.float64) * self.slope + self.intercept
        return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Figures of neighbouring slices.

    slices: of the volume.
    fed: those of them that the network is fed; the others are background.
    x, y: the crop on the network's grid; both empty where nothing is above the mean.
    """

    slices: range
    fed: range
    x: Span
    y: Span
    mean: float
    deviation: float
    rescaling: Rescaling | None


class Slices:
    """Slices of a volume on the network's grid."""

    def __init__(self, volume: Volume, chosen: Preprocessing) -> None:
        grid = volume.geometry
        row_mm = stored_mm(grid.row_axis, grid.spacing_mm[0])
        column_mm = stored_mm(grid.column_axis, grid.spacing_mm[1])
        _, rows, columns = volume.hu.shape
        self.x = Axis.of(columns, column_mm, chosen.pixel_mm[0])
        self.y = Axis.of(rows, row_mm, chosen.pixel_mm[1])
        self._volume = volume
        self._chosen = chosen

    def chunk(self, slices: range) -> Chunk:
        """Figures of some neighbouring slices."""
        rescaling = self._rescaling(slices)
        total, squares, count = 0.0, 0.0, 0
        most_of_x = torch.full((self.x.fed,), -torch.inf)
        most_of_y = torch.full((self.y.fed,), -torch.inf)
        most: list[float] = []
        for place in slices:
            values = self._fed(place, rescaling)
            counted = self._counted(values)
            exact = values[counted].double()
            total, squares = total + float(exact.sum()), squares + float(exact @ exact)
            count += len(exact)
            shown = values.where(counted, -torch.inf)
            most_of_x = most_of_x.maximum(shown.amax(1))
            most_of_y = most_of_y.maximum(shown.amax(0))
            most.append(float(shown.max()))
        mean = total / count if count else 0.0
        variance = max(squares / count - mean * mean, 0.0) if count else 0.0
        # The original counts in single precision.
        mean, deviation = float(np.float32(mean)), float(np.float32(np.sqrt(variance)))
        above = [place for place, one in zip(slices, most, strict=True) if one > mean]
        margin = self._chosen.margin
        return Chunk(
            slices=slices,
            fed=range(
                max(above[0] - margin, slices.start), min(above[-1] + margin + 1, slices.stop)
            )
            if above
            else range(0),
            x=self._span(most_of_x > mean),
            y=self._span(most_of_y > mean),
            mean=mean,
            deviation=deviation or 1.0,
            rescaling=rescaling,
        )

    def normalised(self, place: int, chunk: Chunk) -> Tensor:
        """A slice `[x, y]` float32 of the crop, beyond the image 0."""
        values = self._fed(place, chunk.rescaling)
        scores = (values - chunk.mean) / chunk.deviation
        if self._chosen.nonzero:
            scores = scores.where(values != 0, 0)
        shown_x, shown_y = inside(chunk.x, self.x), inside(chunk.y, self.y)
        crop = torch.zeros(chunk.x.pixels, chunk.y.pixels)
        crop[
            shown_x.start - chunk.x.first : shown_x.stop - chunk.x.first,
            shown_y.start - chunk.y.first : shown_y.stop - chunk.y.first,
        ] = scores[shown_x.start : shown_x.stop, shown_y.start : shown_y.stop]
        return crop

    def _fed(self, place: int, rescaling: Rescaling | None) -> Tensor:
        """A slice `[x, y]` float32 on the network's grid."""
        hu = self._volume.hu[place].astype(np.float32)
        hu = rescaling(hu) if rescaling else hu
        turned = torch.from_numpy(hu[::-1, ::-1].T.copy()).double()
        return self.y.to_fed(self.x.to_fed(turned, 0), 1).float()

    def _counted(self, values: Tensor) -> Tensor:
        """Which values are part of mean and deviation."""
        if self._chosen.nonzero:
            return values != 0
        return torch.ones_like(values, dtype=torch.bool)

    def _span(self, above: Tensor) -> Span:
        """From the first to the last pixel above the mean, and the margin around them."""
        found = above.nonzero().flatten().tolist()
        if not found:
            return Span(0, 0)
        first, stop = found[0] - self._chosen.margin, found[-1] + 1 + self._chosen.margin
        if self._chosen.margin_beyond_image:
            return Span(first, stop)
        return Span(max(first, 0), min(stop, len(above)))

    def _rescaling(self, slices: range) -> Rescaling | None:
        hu = self._volume.hu
        if not self._chosen.rescaled_chunks or hu.dtype != np.int16 or len(slices) == len(hu):
            return None
        part = hu[slices.start : slices.stop]
        return Rescaling.of(float(part.min()), float(part.max()))


def stored_mm(axis: NDArray[np.float64], spacing_mm: float) -> float:
    """Distance of pixels as it comes back from a NIfTI file, which keeps single precision.

    0.8 mm becomes 0.800000012: of pixels a millimetre apart none then lies exactly on one of
    the image, and next to an edge fewer voxels are exactly 0.
    """
    return float(np.linalg.norm((axis * spacing_mm).astype(np.float32).astype(np.float64)))


def inside(span: Span, axis: Axis) -> range:
    """The pixels of a span that the network's grid has."""
    return range(max(span.first, 0), min(span.stop, axis.fed))
