"""A crude hip-to-knee body of ellipsoids, for tests that need labels and a CT to go with them.

Millimetres with x to the patient's left, y to the back, z to the head; z = 0 is the knee
joint, x = 0 the midline. Small enough that a test takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry, slice_extents_mm
from inference.structures import BY_ABBREVIATION, Side, segment_of
from inference.volume import Volume

LEFT_LEG = {
    # structure: centre (x, y, z), radii, as seen of the left leg; the right is mirrored
    "GMAX": ((80, 70, 480), (70, 30, 110)),
    "GMED": ((115, -10, 560), (25, 40, 70)),
    "GMIN": ((95, -15, 540), (14, 25, 50)),
    "ILI": ((75, -25, 570), (22, 25, 60)),
    "PSOAS": ((45, -30, 560), (15, 18, 130)),
    "OI": ((45, 20, 450), (10, 20, 30)),
    "OE": ((55, 5, 420), (20, 12, 14)),
    "PI": ((70, 50, 500), (28, 10, 14)),
    "PE": ((50, -45, 430), (18, 12, 45)),
    "AD": ((60, 15, 300), (32, 35, 130)),
    "GRAC": ((32, 10, 250), (10, 16, 180)),
    "SM": ((60, 60, 200), (22, 22, 150)),
    "ST": ((78, 75, 210), (14, 14, 150)),
    "BF": ((108, 60, 200), (22, 25, 160)),
    "VLVI": ((118, -15, 220), (38, 42, 170)),
    "VM": ((68, -30, 170), (25, 25, 120)),
    "RF": ((92, -58, 260), (22, 16, 160)),
    "SART": ((62, -62, 300), (13, 10, 230)),
    "TFL": ((140, -45, 440), (14, 16, 80)),
    "FEMUR": ((90, 0, 235), (16, 16, 235)),
    "PELVIS": ((70, 10, 500), (40, 45, 110)),
}
SACRUM = ((0, 60, 540), (40, 25, 60))
MUSCLE_HU, BONE_HU, FAT_HU, AIR_HU = 50, 500, -100, -1000


@dataclass(frozen=True, eq=False)
class Body:
    """Labels without sides, the true segments, and a CT that fits."""

    labels: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    volume: Volume

    @property
    def geometry(self) -> Geometry:
        """The grid of all three."""
        return self.volume.geometry


def body(
    *,
    spacing_mm: tuple[float, float, float] = (8.0, 4.0, 4.0),
    z_mm: tuple[float, float] = (-40.0, 720.0),
    x_mm: tuple[float, float] = (-220.0, 220.0),
    sides: tuple[Side, ...] = tuple(Side),
    shift_mm: float = 0.0,
    wider: dict[str, float] | None = None,
    offsets_mm: NDArray[np.float64] | None = None,
) -> Body:
    """Paint the body.

    Args:
        spacing_mm: of slices, rows, columns.
        z_mm: from where to where the scan reaches.
        x_mm: from where to where the field of view reaches.
        sides: legs that the patient has.
        shift_mm: how far the patient lies from the table's centre, to the left.
        wider: structures made thicker across by a factor, to let the sides touch.
        offsets_mm: heights of the slices instead of even ones.
    """
    geometry = _grid(spacing_mm, z_mm, x_mm, offsets_mm)
    z = geometry.slice_offsets_mm[:, None, None]
    y = (geometry.positions_mm[0, 1] + np.arange(geometry.rows) * spacing_mm[1])[None, :, None]
    x = geometry.positions_mm[0, 0] + np.arange(geometry.columns) * spacing_mm[2]
    x = x[None, None, :] - shift_mm
    segments = np.zeros(geometry.shape, dtype=np.uint8)
    skin = (x / 200) ** 4 + (y / 115) ** 4 + 0 * z < 1
    for abbreviation, (centre, radii) in {**LEFT_LEG, "SACRUM": SACRUM}.items():
        factor = (wider or {}).get(abbreviation, 1.0)
        for side in sides:
            sign = 1 if side is Side.LEFT or abbreviation == "SACRUM" else -1
            inside = ((x - sign * centre[0]) / (radii[0] * factor)) ** 2
            inside = inside + ((y - centre[1]) / radii[1]) ** 2
            inside = inside + ((z - centre[2]) / radii[2]) ** 2 <= 1
            if abbreviation != "SACRUM":
                inside &= sign * x > 0
            segments[inside] = segment_of(BY_ABBREVIATION[abbreviation], side).number
    label_of = np.zeros(256, dtype=np.uint8)
    for structure in BY_ABBREVIATION.values():
        for side in Side:
            label_of[segment_of(structure, side).number] = structure.label
    labels = label_of[segments]
    hu = np.where(skin, FAT_HU, AIR_HU)
    hu = np.where(labels > 0, np.where(labels <= 3, BONE_HU, MUSCLE_HU), hu)
    return Body(labels, segments, Volume(hu.astype(np.int16), geometry))


def _grid(
    spacing_mm: tuple[float, float, float],
    z_mm: tuple[float, float],
    x_mm: tuple[float, float],
    offsets_mm: NDArray[np.float64] | None,
) -> Geometry:
    if offsets_mm is None:
        offsets_mm = np.arange(z_mm[0], z_mm[1], spacing_mm[0])
    positions = np.zeros((len(offsets_mm), 3))
    positions[:] = (x_mm[0], -124.0, 0.0)
    positions[:, 2] = offsets_mm
    return Geometry(
        positions_mm=positions,
        extents_mm=slice_extents_mm(offsets_mm, None),
        row_axis=np.array([0.0, 1.0, 0.0]),
        column_axis=np.array([1.0, 0.0, 0.0]),
        spacing_mm=spacing_mm[1:],
        rows=round(248 / spacing_mm[1]) + 1,
        columns=round((x_mm[1] - x_mm[0]) / spacing_mm[2]) + 1,
    )
