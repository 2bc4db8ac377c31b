"""A chest on top of a scan: its highest slice goes on, with lungs that grow upwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference.volume import Volume

SOFT_HU = 40
CUPOLA_MM = 120.0
"""Over this height, from the lower end, the lungs grow to their full width."""


def with_chest(
    volume: Volume,
    *,
    abdomen_mm: float,
    chest_mm: float,
    lung_hu: float = -850.0,
) -> Volume:
    """The volume, an abdomen and a chest with two lungs of 55 x 75 mm half axes above it.

    Args:
        volume: its last slice is an oval of body in the middle; slices are evenly spaced.
        abdomen_mm: from the top of the volume to the lower end of the lungs.
        chest_mm: from there to the upper end of the scan.
        lung_hu: what the lungs read, give or take 60.
    """
    geometry = volume.geometry
    step_mm = float(geometry.extents_mm[-1])
    above_mm = np.arange(step_mm / 2, abdomen_mm + chest_mm, step_mm)
    solid = _solid(np.asarray(volume.hu[-1]))
    hu = np.repeat(solid[None], len(above_mm), axis=0)
    row, column = (np.argwhere(solid > -200).mean(axis=0)).round()
    y = (np.arange(geometry.rows) - row)[:, None] * geometry.spacing_mm[0]
    x = (np.arange(geometry.columns) - column) * geometry.spacing_mm[1]
    random = np.random.default_rng(1)
    for image, height in zip(hu, above_mm - abdomen_mm, strict=True):
        grown = min(1.0, max(0.0, height) / CUPOLA_MM) ** 0.5
        if grown:
            lung = (y / 55) ** 2 + ((np.abs(x) - 85) / 75) ** 2 < grown**2
            image[lung] = random.normal(lung_hu, 60, int(lung.sum()))
    steps = np.arange(1, len(above_mm) + 1)[:, None] * step_mm * geometry.normal
    grid = replace(
        geometry,
        positions_mm=np.concatenate([geometry.positions_mm, geometry.positions_mm[-1] + steps]),
        extents_mm=np.concatenate([geometry.extents_mm, np.full(len(above_mm), step_mm)]),
    )
    return Volume(np.concatenate([volume.hu, hu.astype(volume.hu.dtype)]), grid)


def _solid(hu: np.ndarray) -> np.ndarray:
    """A slice with an oval of soft tissue that lungs fit into, on what it shows of a table."""
    rows, columns = np.nonzero(hu > -200)
    y = (np.arange(hu.shape[0]) - rows.mean())[:, None] / (np.ptp(rows) / 2)
    x = (np.arange(hu.shape[1]) - columns.mean()) / (np.ptp(columns) / 2)
    return np.where(y**2 + x**2 < 1, SOFT_HU, hu).astype(np.int16)
