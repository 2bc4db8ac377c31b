"""Unevenly spaced slices brought to an even grid, and results brought back.

The original programs read images of one spacing. Where a scan has several, the nearest thing
to it that they could be given is the scan resampled linearly to its finest step. A slice then
takes what is found on the even slice that is nearest to its centre, so that every label is one
that the original gives. Axes that lie obliquely need nothing: arrays are in the patient frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.geometry import HALF_WAY_MM, EvenSlices, Geometry, even_slices
from inference.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class EvenVolume:
    """A volume of evenly spaced slices, and what it was made from.

    place_of: (slices of the original volume,) the even slice that each takes its results from.
    words: what was done, for the prediction's device; empty where nothing was.
    """

    volume: Volume
    place_of: NDArray[np.intp]
    words: str = ""


def made_even(volume: Volume) -> EvenVolume:
    """The volume itself where it is even, else its slices resampled linearly.

    Beyond the centres of the first and last slice these are repeated. int16 stays int16,
    rounded. Where slices lie further apart than they are thick, their least distance is the
    step: nothing is made up between them.
    """
    grid = volume.geometry
    offsets = grid.slice_offsets_mm
    if len(offsets) < 2:
        return EvenVolume(volume, np.arange(len(offsets)))
    least_mm = float(np.diff(offsets).min())
    even = even_slices(replace(grid, extents_mm=np.maximum(grid.extents_mm, least_mm)))
    if np.array_equal(even.shown, np.arange(len(offsets))):
        return EvenVolume(volume, even.shown)
    places = np.floor((offsets - even.first_mm + HALF_WAY_MM) / even.step_mm + 0.5)
    return EvenVolume(
        Volume(_resampled(volume, even), _even_grid(grid, even)),
        places.astype(np.intp).clip(0, len(even.shown) - 1),
        f"slices made even at {even.step_mm:.3g} mm",
    )


def _resampled(volume: Volume, even: EvenSlices) -> NDArray[np.int16] | NDArray[np.float32]:
    """HU `[even slice, row, column]`, of the type of the volume's."""
    offsets, hu = volume.geometry.slice_offsets_mm, volume.hu
    found = np.empty((len(even.shown), *hu.shape[1:]), dtype=hu.dtype)
    for place, at in enumerate(np.interp(even.offsets_mm, offsets, np.arange(len(offsets)))):
        below = min(int(at), len(offsets) - 2)
        share = np.float32(at - below)
        values = hu[below] * (1 - share) + hu[below + 1] * share
        found[place] = values.round() if hu.dtype == np.int16 else values
    return found


def _even_grid(grid: Geometry, even: EvenSlices) -> Geometry:
    """The grid of the even slices, on the line through the positions of the uneven ones."""
    offsets, wanted = grid.slice_offsets_mm, even.offsets_mm
    inside = wanted.clip(offsets[0], offsets[-1])
    on_line = [np.interp(inside, offsets, axis) for axis in grid.positions_mm.T]
    return replace(
        grid,
        positions_mm=np.stack(on_line, axis=1) + (wanted - inside)[:, None] * grid.normal,
        extents_mm=np.full(len(wanted), even.step_mm),
    )
