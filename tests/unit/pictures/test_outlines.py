"""Key slices and outlines, on shapes whose border is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import grid_points_in_poly, points_in_poly

from inference.pictures.outlines import Outline, key_slice_outlines
from inference.structures import BY_KEY

GMED = BY_KEY["GMED_L"].number
FEMUR = BY_KEY["FEMUR_R"].number


def labels(*slices: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return (np.stack(slices) * GMED).astype(np.uint8)


def disc(radius: float, centre: tuple[float, float] = (40.0, 50.0)) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:80, :100]
    inside: NDArray[np.bool_] = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    return inside


def filled(outline: Outline, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centres an outline holds."""
    inside: NDArray[np.bool_] = grid_points_in_poly(shape, np.array(outline.points))
    return inside


def area_px(outline: Outline) -> float:
    row, column = np.array(outline.points).T
    return float(abs(row[:-1] @ column[1:] - column[:-1] @ row[1:])) / 2


def test_the_slice_with_the_largest_area_is_taken():
    outlines = key_slice_outlines(labels(disc(5), disc(12), disc(9)))

    assert list(outlines) == [GMED]
    assert outlines[GMED].slice_index == 1


def test_each_segment_has_its_own_slice_and_one_that_is_not_there_has_none():
    stack = labels(disc(5), disc(12))
    stack[0, 2:30, 2:30] = FEMUR

    outlines = key_slice_outlines(stack)

    assert {n: outline.slice_index for n, outline in outlines.items()} == {FEMUR: 0, GMED: 1}
    assert not key_slice_outlines(np.zeros((2, 8, 8), dtype=np.uint8))


def test_a_rectangle_of_4_by_6_pixels_is_outlined_half_a_pixel_outside_its_outer_centres():
    """Rows 10 to 13 and columns 20 to 25: 9.5 to 13.5 and 19.5 to 25.5, corners cut.

    Each of the four corners loses a triangle of half a pixel by half a pixel at most.
    """
    mask = np.zeros((30, 40), dtype=bool)
    mask[10:14, 20:26] = True

    (outline,) = key_slice_outlines(labels(mask)).values()

    points = np.array(outline.points)
    assert points.min(axis=0).tolist() == [9.5, 19.5]
    assert points.max(axis=0).tolist() == [13.5, 25.5]
    assert 24 - 4 * 0.125 <= area_px(outline) <= 24


@pytest.mark.parametrize("radius", [0.4, 3.0, 11.7, 30.2])
def test_the_outline_is_closed_and_holds_the_segments_pixels_and_no_others(radius: float):
    mask = disc(radius)

    (outline,) = key_slice_outlines(labels(mask)).values()

    assert outline.points[0] == outline.points[-1]
    np.testing.assert_array_equal(filled(outline, mask.shape), mask)


def test_a_disc_takes_far_fewer_points_than_border_pixels():
    mask = disc(30.2)
    border = int((mask & ~ndimage.binary_erosion(mask)).sum())

    (outline,) = key_slice_outlines(labels(mask)).values()

    assert border > 150
    assert len(outline.points) < border / 2


def test_of_two_parts_the_larger_is_outlined_and_a_hole_is_not():
    mask = disc(14) & ~disc(4) | disc(6, (12.0, 85.0))

    (outline,) = key_slice_outlines(labels(mask)).values()

    np.testing.assert_array_equal(filled(outline, mask.shape), disc(14))


def test_a_segment_at_the_images_corner_is_closed_outside_the_image():
    mask = disc(9, (0.0, 0.0))

    (outline,) = key_slice_outlines(labels(mask)).values()

    assert outline.points[0] == outline.points[-1]
    assert min(min(point) for point in outline.points) == -0.5
    assert points_in_poly([(0.0, 0.0)], outline.points).all()


def test_pixels_that_touch_at_a_corner_are_one_part():
    mask = np.eye(20, dtype=bool)

    (outline,) = key_slice_outlines(labels(mask)).values()

    np.testing.assert_array_equal(filled(outline, mask.shape), mask)
