"""Uneven slices made even, and where each one finds its results."""

from __future__ import annotations

import numpy as np
import pytest

from inference.geometry import Geometry, slice_extents_mm
from inference.models.guests.even import made_even
from inference.volume import Volume


def volume(offsets_mm: list[float], extents_mm: list[float] | None = None) -> Volume:
    """One pixel a slice, whose HU are ten times its height."""
    offsets = np.array(offsets_mm)
    positions = np.zeros((len(offsets), 3))
    positions[:, 2] = offsets
    grid = Geometry(
        positions_mm=positions,
        extents_mm=slice_extents_mm(offsets, extents_mm and np.array(extents_mm)),
        row_axis=np.array([0.0, 1.0, 0.0]),
        column_axis=np.array([1.0, 0.0, 0.0]),
        spacing_mm=(1.0, 1.0),
        rows=1,
        columns=1,
    )
    return Volume((offsets * 10).astype(np.int16)[:, None, None], grid)


@pytest.mark.parametrize("offsets_mm", [[7.0], [0.0, 5.0], [0.0, 5.0, 10.0], [0.0, 5.02, 10.0]])
def test_even_slices_are_what_they_were(offsets_mm: list[float]):
    scan = volume(offsets_mm)
    even = made_even(scan)

    assert even.volume is scan
    assert even.place_of.tolist() == list(range(len(offsets_mm)))
    assert even.words == ""


def test_uneven_slices_lie_on_straight_lines_at_the_finest_step():
    """6, 6, 2 and 2 mm from -3 to 13 mm: 8 slices of 2 mm, centred on -2, 0, ... 12 mm.

    HU are ten times the height, but below the first centre at 0 mm those of it, and above the
    last at 12 mm those of that.
    """
    even = made_even(volume([0.0, 6.0, 10.0, 12.0], [6.0, 6.0, 2.0, 2.0]))

    assert even.volume.geometry.slice_offsets_mm.tolist() == [-2, 0, 2, 4, 6, 8, 10, 12]
    assert even.volume.hu.ravel().tolist() == [0, 0, 20, 40, 60, 80, 100, 120]
    assert even.volume.geometry.extents_mm.tolist() == [2.0] * 8
    assert even.place_of.tolist() == [1, 4, 6, 7]
    assert even.words == "slices made even at 2 mm"


def test_a_slice_between_two_takes_the_upper_one():
    """4, 2 and 2 mm from -2 mm on: 0 mm, the first one's centre, lies between -1 and 1."""
    even = made_even(volume([0.0, 3.0, 5.0], [4.0, 2.0, 2.0]))
    assert even.volume.geometry.slice_offsets_mm.tolist() == [-1, 1, 3, 5]
    assert even.place_of.tolist() == [1, 2, 3]


def test_nothing_is_made_up_between_slices_far_apart():
    """5 mm slices that lie 40 and 50 mm apart make four of 40 mm, not 23 of 5."""
    offsets = np.array([0.0, 40.0, 90.0])
    whole = volume([float(mm) for mm in np.arange(0, 100, 5)])
    positions = np.searchsorted(whole.geometry.slice_offsets_mm, offsets)
    apart = Volume(
        whole.hu[positions],
        Geometry(
            positions_mm=whole.geometry.positions_mm[positions],
            extents_mm=whole.geometry.extents_mm[positions],
            row_axis=whole.geometry.row_axis,
            column_axis=whole.geometry.column_axis,
            spacing_mm=(1.0, 1.0),
            rows=1,
            columns=1,
        ),
    )
    even = made_even(apart)

    assert even.volume.geometry.extents_mm.tolist() == [40.0] * len(even.volume.hu)
    assert len(even.volume.hu) == 4


def test_an_oblique_stack_stays_on_its_line():
    """The normal leans 3 to 4 towards the head; positions grow along it by 5, then 10 mm."""
    normal = np.array([0.6, 0.0, 0.8])
    positions = np.array([0.0, 5.0, 15.0])[:, None] * normal
    grid = Geometry(
        positions_mm=positions,
        extents_mm=np.array([5.0, 5.0, 15.0]),
        row_axis=np.array([0.0, 1.0, 0.0]),
        column_axis=np.array([0.8, 0.0, -0.6]),
        spacing_mm=(1.0, 1.0),
        rows=1,
        columns=1,
    )
    even = made_even(Volume(np.zeros((3, 1, 1), dtype=np.float32), grid)).volume
    offsets = even.geometry.slice_offsets_mm

    np.testing.assert_allclose(even.geometry.positions_mm, offsets[:, None] * normal)
    np.testing.assert_allclose(np.diff(offsets), 5.0)
    assert even.hu.dtype == np.float32
