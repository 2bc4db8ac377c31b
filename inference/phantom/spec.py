"""Specification of a rendering: the body, the slices and the scanner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.phantom.body import BodySpec, told
from inference.structures import Side


class Table(StrEnum):
    """On which side of the body the table is: a body on its back has it behind."""

    BEHIND = "behind"
    IN_FRONT = "in front"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Zone:
    """Slices of one thickness, from the zone below (or the scan's lower end) to `upper_mm`."""

    thickness_mm: float
    upper_mm: float


EXTENDED_SCALE_HU: Final = 4095
TWELVE_BIT_HU: Final = 3071
"""Where a scanner's scale ends; metal reads so."""


@dataclass(frozen=True, slots=True, repr=False)
class PhantomSpec:
    """A body and how it is scanned. Equal specifications give equal voxels.

    lower_mm, zones: where the scan begins and its zones of slices above, touching each other.
        Heights are millimetres of this body: 0 is the lowest point of its femur; of a body of
        1.60 m the hip joints are at 390 and the iliac crests at 551. They do not grow with
        the body: a taller one needs higher zones to be seen whole.
    pixel_mm, rows, columns: the image matrix; centre_mm is its middle in x and y (the body's
        own middle is near y = 20).
    noise_hu: standard deviation of the noise; `seed` draws it.
    partial_volume: blur edges over the neighbouring half pixels, as a detector does. Without
        it every voxel has exactly its tissue's HU (before noise).
    table: on which side of the body it shows.
    maximum_hu: where the scanner's scale ends.
    contrast_hu: what a contrast agent adds in vessels and in the bladder.
    """

    body: BodySpec = field(default_factory=BodySpec)
    lower_mm: float = -20.0
    zones: tuple[Zone, ...] = (Zone(5.0, 595.0),)
    pixel_mm: float = 0.8
    rows: int = 512
    columns: int = 512
    centre_mm: tuple[float, float] = (0.0, 25.0)
    noise_hu: float = 14.0
    seed: int = 0
    partial_volume: bool = True
    table: Table = Table.BEHIND
    maximum_hu: int = EXTENDED_SCALE_HU
    contrast_hu: float = 0.0

    def __repr__(self) -> str:
        """As `told`."""
        return told(self, since=("maximum_hu", "contrast_hu"))

    def geometry(self) -> Geometry:
        """The grid of the scan in the patient frame; its heights are the body's."""
        thickness = self.slice_thicknesses_mm
        heights = self.lower_mm + np.cumsum(thickness) - thickness / 2
        positions = np.empty((len(heights), 3))
        positions[:, 0] = self.centre_mm[0] - (self.columns - 1) / 2 * self.pixel_mm
        positions[:, 1] = self.centre_mm[1] - (self.rows - 1) / 2 * self.pixel_mm
        positions[:, 2] = heights
        return Geometry(
            positions_mm=positions,
            extents_mm=thickness,
            row_axis=np.array([0.0, 1.0, 0.0]),
            column_axis=np.array([1.0, 0.0, 0.0]),
            spacing_mm=(self.pixel_mm, self.pixel_mm),
            rows=self.rows,
            columns=self.columns,
        )

    @property
    def slice_thicknesses_mm(self) -> NDArray[np.float64]:
        """(slices,) from feet to head; each zone holds as many whole slices as fit."""
        pieces, lower = [], self.lower_mm
        for zone in self.zones:
            count = max(0, int((zone.upper_mm - lower) / zone.thickness_mm + 1e-6))
            pieces.append(np.full(count, zone.thickness_mm))
            lower += count * zone.thickness_mm
        return np.concatenate(pieces)


DEFAULT_PHANTOM: Final = PhantomSpec()
"""123 slices of 512 x 512."""

SMALL_PHANTOM: Final = PhantomSpec(
    zones=(Zone(15.25, 595.0),), pixel_mm=3.2, rows=128, columns=128
)
"""40 slices of 128 x 128: for tests, rendered in well under a second."""

STUDY_PHANTOM: Final = PhantomSpec(zones=(Zone(1.0, 100.0), Zone(6.0, 316.0), Zone(2.0, 595.0)))
"""The study's uneven slices: 1 mm at the knee, 6 mm along the shaft, 2 mm in the pelvis."""

SOLES_MM: Final = -400.0


def with_lower_legs(spec: PhantomSpec) -> PhantomSpec:
    """The same scan of the whole lower limbs: as thick slices below as its lowest ones."""
    below = Zone(spec.zones[0].thickness_mm, spec.lower_mm)
    length = SOLES_MM * spec.body.length_scale
    return replace(
        spec,
        body=replace(spec.body, lower_legs=tuple(Side)),
        lower_mm=length,
        zones=(below, *spec.zones),
    )


LEG_PHANTOM: Final = PhantomSpec(
    body=BodySpec(lower_legs=tuple(Side)),
    lower_mm=SOLES_MM,
    zones=(Zone(8.0, 595.0),),
    pixel_mm=3.2,
    rows=128,
    columns=128,
)
"""The whole lower limbs: 124 slices of 128 x 128, from the soles to above the pelvis."""
