"""Resampling is that of the libraries which nnU-Net calls, on less memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from inference.models.nnunet.resampling import (
    between,
    image_resampled,
    lowres_axis,
    nearest,
    new_shape,
    plane_resampled,
)

SHAPES = [
    ((20, 31, 40), (33, 17, 52)),
    ((20, 31, 40), (20, 17, 52)),
    ((9, 31, 40), (5, 64, 80)),
    ((1, 31, 40), (3, 17, 52)),
    ((4, 5, 6), (9, 9, 2)),
]


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_splines_are_those_of_skimage(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    image = noise(old)

    expected = resize(image.astype(float), new, 3, mode="edge", anti_aliasing=False)

    assert np.abs(image_resampled(image, new, None) - expected).max() < 1e-6


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_long_voxels_are_interpolated_in_the_plane_and_taken_across(axis: int) -> None:
    """Each slice by `resize`, then the nearest one by `map_coordinates` of order 0."""
    image, new = noise((7, 11, 12)), (11, 17, 9)
    flat = [n for a, n in enumerate(new) if a != axis]
    planes = [
        resize(plane.astype(float), flat, 3, mode="edge", anti_aliasing=False)
        for plane in np.moveaxis(image, axis, 0)
    ]
    count, wanted = image.shape[axis], new[axis]
    centres = count / wanted * (np.arange(wanted) + 0.5) - 0.5
    grid = np.meshgrid(centres, *(np.arange(n) for n in flat), indexing="ij")
    expected = map_coordinates(np.array(planes), grid, order=0, mode="nearest")

    found = image_resampled(image, new, axis)

    assert np.abs(np.moveaxis(found, axis, 0) - expected).max() < 1e-6


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_logits_a_slice_at_a_time_are_those_of_the_whole(
    old: tuple[int, int, int], new: tuple[int, int, int]
) -> None:
    logits = noise(old)
    expected = resize(logits.astype(float), new, 1, mode="edge", anti_aliasing=False)
    tensor = torch.from_numpy(logits)

    for place in range(new[0]):
        low, high, share = between(old[0], new[0], place)
        plane = tensor[low].lerp(tensor[high], share)[None]
        found = plane_resampled(plane, (new[1], new[2]))[0].numpy()
        assert np.abs(found - expected[place]).max() < 2e-5


@pytest.mark.parametrize(("count", "wanted"), [(5, 7), (7, 5), (4, 4), (3, 6), (6, 3), (1, 4)])
def test_the_nearest_slice_is_that_of_map_coordinates(count: int, wanted: int) -> None:
    centres = count / wanted * (np.arange(wanted) + 0.5) - 0.5
    expected = map_coordinates(np.arange(count), centres[None], order=0, mode="nearest")

    assert nearest(count, wanted).tolist() == expected.tolist()


def test_slices_are_kept_apart_where_voxels_are_more_than_three_times_as_long() -> None:
    assert lowres_axis((5.0, 1.0, 1.0), (1.0, 1.0, 1.0), separate=None) == 0
    assert lowres_axis((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), separate=None) is None
    assert lowres_axis((1.0, 1.0, 1.0), (1.0, 4.0, 1.0), separate=None) == 1


def test_slices_are_not_kept_apart_across_two_long_axes() -> None:
    """0.24 x 1.25 x 1.25 mm: there is no one plane."""
    assert lowres_axis((0.24, 1.25, 1.25), (1.0, 1.0, 1.0), separate=None) is None


def test_plans_may_force_slices_apart_or_together() -> None:
    assert lowres_axis((2.0, 1.0, 1.0), (1.0, 1.0, 1.0), separate=True) == 0
    assert lowres_axis((9.0, 1.0, 1.0), (1.0, 1.0, 1.0), separate=False) is None


def test_the_size_of_a_grid_is_rounded_half_to_even() -> None:
    """5 voxels of 1.5 mm are 7.5 mm: 2.5 of 3 mm become 2; 7 are 10.5 mm, 3.5, 4."""
    assert new_shape((5, 7, 4), (1.5, 1.5, 2.0), (3.0, 3.0, 1.0)) == (2, 4, 8)
