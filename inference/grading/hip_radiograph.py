"""A digitally reconstructed radiograph (DRR) of one hip: what a grader looks at.

The study graded hip osteoarthritis on the DRR of a cube around each hip's centre (Soufi et
al., Sci Rep 15, 2025, doi 10.1038/s41598-024-83793-7, by the grader of Masuda et al., Int J
CARS 2024, doi 10.1007/s11548-024-03087-1). Here it is the integral of the linear attenuation
along parallel rays from the front to the back through that cube: by Beer and Lambert's law
-ln(I / I0), without unit. The same volume gives the same image, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.results import HipCentre
from inference.structures import Side
from inference.volume import Volume

WATER_PER_MM: Final = 0.02059
"""Linear attenuation of water at 60 keV, the mean energy of a radiograph of the pelvis: mass
attenuation 0.2059 cm2/g (Hubbell and Seltzer, NISTIR 5632, table of liquid water)."""

AIR_HU: Final = -1000.0


@dataclass(frozen=True, slots=True)
class Framing:
    """The cube and the image that is made of it.

    cube_mm: its edge; the hip's centre is its middle.
    pixels: rows and columns of the image.
    """

    cube_mm: float
    pixels: int

    @property
    def pixel_mm(self) -> float:
        """Distance between the image's pixels."""
        return self.cube_mm / self.pixels


@dataclass(frozen=True, slots=True, eq=False)
class HipRadiograph:
    """The radiograph of a hip; both sides look like a right hip seen from the front.

    image: float32 `[row, column]`, -ln(I / I0): head up, the midline of the body towards the
        right edge. A left hip is mirrored.
    unseen: share of the cube that lies outside the scan, where it counts as air.
    """

    image: NDArray[np.float32]
    unseen: float

    def __post_init__(self) -> None:
        """Lock the image."""
        self.image.flags.writeable = False


def hip_radiograph(
    volume: Volume, hip: HipCentre, side: Side, framing: Framing
) -> HipRadiograph:
    """The radiograph of the cube around a hip's centre, along the volume's own axes."""
    geometry = volume.geometry
    centre = np.asarray(hip.centre_mm)
    middle = [
        float(centre @ axis)
        for axis in (geometry.normal, geometry.row_axis, geometry.column_axis)
    ]
    half = framing.cube_mm / 2
    near = _slices_within(geometry, middle[0] - half, middle[0] + half)
    lines, seen = _lines(volume, near, (middle[1], middle[2]), framing)
    image, seen_above = _stacked(lines, geometry, near, middle[0], framing)
    if side is Side.LEFT:
        image = image[:, ::-1]
    return HipRadiograph(
        np.ascontiguousarray(image, dtype=np.float32), max(0.0, 1 - seen * seen_above)
    )


def _slices_within(geometry: Geometry, low_mm: float, high_mm: float) -> range:
    """Slices that a height between two others may need: those, and one more on each side."""
    offsets = geometry.slice_offsets_mm
    first = int(np.searchsorted(offsets, low_mm, side="right")) - 1
    last = int(np.searchsorted(offsets, high_mm, side="left"))
    return range(max(first, 0), min(last, len(offsets) - 1) + 1)


def _lines(
    volume: Volume, near: range, middle_mm: tuple[float, float], framing: Framing
) -> tuple[NDArray[np.float64], float]:
    """Integrals from front to back, [slice, image column], and the share of them in view."""
    geometry, half = volume.geometry, framing.cube_mm / 2
    row_mm, column_mm = geometry.spacing_mm
    across_mm = middle_mm[1] - half + (np.arange(framing.pixels) + 0.5) * framing.pixel_mm
    lines = np.zeros((len(near), framing.pixels))
    seen = np.zeros(len(near))
    for line, number in enumerate(near):
        start = geometry.positions_mm[number]
        rows_mm = start @ geometry.row_axis + row_mm * np.arange(geometry.rows)
        columns_mm = start @ geometry.column_axis + column_mm * np.arange(geometry.columns)
        depth_mm = _overlap_mm(rows_mm, row_mm, middle_mm[0] - half, middle_mm[0] + half)
        used = np.flatnonzero(depth_mm)
        if not used.size:
            continue
        window = volume.hu[number, used[0] : used[-1] + 1]
        per_column = depth_mm[used[0] : used[-1] + 1] @ _per_mm(window)
        shown = (across_mm >= columns_mm[0] - column_mm / 2) & (
            across_mm <= columns_mm[-1] + column_mm / 2
        )
        lines[line] = np.where(shown, np.interp(across_mm, columns_mm, per_column), 0.0)
        seen[line] = float(shown.mean() * depth_mm.sum() / framing.cube_mm)
    return lines, float(seen.mean()) if seen.size else 0.0


def _overlap_mm(
    centres_mm: NDArray[np.float64], size_mm: float, low_mm: float, high_mm: float
) -> NDArray[np.float64]:
    """How much of each pixel's extent lies between two places."""
    upper = np.minimum(centres_mm + size_mm / 2, high_mm)
    lower = np.maximum(centres_mm - size_mm / 2, low_mm)
    return np.asarray(np.clip(upper - lower, 0, None))


def _per_mm(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float64]:
    """Linear attenuation in 1/mm by the definition of HU; nothing is less dense than air."""
    return WATER_PER_MM * (np.maximum(hu.astype(np.float64), AIR_HU) / 1000 + 1)


def _stacked(
    lines: NDArray[np.float64],
    geometry: Geometry,
    near: range,
    middle_mm: float,
    framing: Framing,
) -> tuple[NDArray[np.float64], float]:
    """The lines at the image's heights, head up, and the share of its rows in view."""
    half = framing.cube_mm / 2
    heights_mm = middle_mm + half - (np.arange(framing.pixels) + 0.5) * framing.pixel_mm
    offsets, extents = geometry.slice_offsets_mm, geometry.extents_mm
    shown = (heights_mm >= offsets[0] - extents[0] / 2) & (
        heights_mm <= offsets[-1] + extents[-1] / 2
    )
    if not near:
        return np.zeros((framing.pixels, framing.pixels)), 0.0
    ours = offsets[near.start : near.stop]
    place = np.interp(heights_mm, ours, np.arange(len(ours)))
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, len(ours) - 1)
    share = (place - below)[:, np.newaxis]
    image = lines[below] * (1 - share) + lines[above] * share
    return np.where(shown[:, np.newaxis], image, 0.0), float(shown.mean())
