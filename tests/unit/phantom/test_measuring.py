"""Label maps to tubes: shapes whose tubes can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.phantom.atlas import Atlas, signed_distance
from inference.phantom.following import Fit, follow

LOOSE = Fit(least_cm3=0.0, least_share=0.0)


def atlas(slices: int = 40) -> Atlas:
    """An empty grid of 1.5 mm; x = 0 in the middle column."""
    return Atlas(np.zeros((slices, 60, 81), np.uint8), 1.5, midline=40.0)


def ball_depth_mm(
    grid: Atlas, centre: tuple[float, float, float], radius_mm: float
) -> NDArray[np.float64]:
    """Depth below the surface of a ball, by slice, row and column of its centre."""
    index = np.indices(grid.labels.shape, dtype=np.float64)
    offsets = (index - np.reshape(centre, (3, 1, 1, 1))) * grid.spacing_mm
    return np.asarray(radius_mm - np.sqrt((offsets**2).sum(axis=0)))


def test_a_ball_becomes_one_tube_of_ellipses_with_its_volume_and_place() -> None:
    """4 / 3 * pi * 20^3 mm3 = 33.51 cm3; column 50 lies 15 mm left of the midline.

    Straight lines between knots cut the ball's bulge, so the knots have to be close.
    """
    grid = atlas()
    close = Fit(knot_error_mm=0.2)

    (tube,) = follow(grid, ball_depth_mm(grid, (20, 30, 50), 20.0), 7, close)

    assert tube.code == 7
    assert tube.harmonics == 1
    assert tube.volume_cm3() == pytest.approx(33.51, rel=0.03)
    assert tube.centres == pytest.approx(15.0 + 45.0j)
    assert (tube.heights_mm[0] + tube.heights_mm[-1]) / 2 == pytest.approx(30.0, abs=0.8)


def test_a_shape_that_splits_becomes_a_tube_for_each_part() -> None:
    """One block below, two above: a pair of trousers upside down."""
    grid = atlas()
    mask = np.zeros(grid.labels.shape, np.bool_)
    mask[5:20, 20:40, 15:65] = True
    mask[20:35, 20:40, 15:35] = True
    mask[20:35, 20:40, 45:65] = True

    tubes = follow(grid, signed_distance(mask) * grid.spacing_mm, 1, LOOSE)

    assert len(tubes) == 3
    assert sorted(round(float(t.centres.real.mean())) for t in tubes) == [-23, -1, 22]
    voxels_cm3 = mask.sum() * 1.5**3 / 1000
    assert sum(t.volume_cm3() for t in tubes) == pytest.approx(voxels_cm3, rel=0.03)


def test_a_hole_is_not_followed_but_its_surroundings_are() -> None:
    grid = atlas()
    mask = np.zeros(grid.labels.shape, np.bool_)
    mask[5:30, 10:50, 20:60] = True
    mask[5:30, 20:40, 30:50] = False

    (tube,) = follow(grid, signed_distance(mask) * grid.spacing_mm, 1, LOOSE)

    assert tube.areas_mm2(np.array([25.0]))[0] == pytest.approx((40 * 1.5) ** 2, rel=0.03)


def test_what_is_too_small_is_left_out() -> None:
    grid = atlas()
    depth = np.maximum(
        ball_depth_mm(grid, (20, 30, 50), 20.0), ball_depth_mm(grid, (20, 30, 10), 4.0)
    )

    (tube,) = follow(grid, depth, 1, Fit(least_cm3=0.5))

    assert tube.centres.real.min() > 0


def test_an_empty_region_has_no_tubes() -> None:
    assert follow(atlas(), np.full((40, 60, 81), -50.0), 1, LOOSE) == []
