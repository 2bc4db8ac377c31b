"""What the network is fed, and the way back to the source's grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.geometry import Geometry
from inference.hounsfield import AIR_HU
from inference.models.bayesian_unet.network import FIVE_LAYERS, Architecture
from inference.models.bayesian_unet.preprocessing import (
    Frame,
    PixelGrid,
    Window,
    body_box,
    frame_of,
)
from inference.volume import Volume

SMALL = Architecture(layers=3)


def ct(
    *ellipses: tuple[float, float, float, float],
    shape: tuple[int, int, int] = (1, 120, 160),
    pixel_mm: float = 1.0,
) -> Volume:
    """Air with bodies of 50 HU: centre row and column, half height and width in pixels."""
    hu = np.full(shape, -1000, dtype=np.int16)
    row, column = np.mgrid[: shape[1], : shape[2]]
    for y, x, a, b in ellipses:
        hu[:, ((row - y) / a) ** 2 + ((column - x) / b) ** 2 <= 1] = 50
    return Volume(hu, Geometry.regular(shape, (5.0, pixel_mm, pixel_mm)))


def test_the_study_s_window_maps_minus_150_to_350_hu_onto_0_to_255() -> None:
    hu = torch.tensor([-1000.0, -150, 100, 350, 3000])
    assert Window().apply(hu).tolist() == [0, 0, 127.5, 255, 255]


def test_another_window_may_feed_other_grey_values() -> None:
    """-1 .. 1: the middle is 0, a quarter is -.5."""
    window = Window(-100, 300, -1, 1)
    assert window.apply(torch.tensor([0.0, 100])).tolist() == [-0.5, 0]


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Window(100, 100)


def test_the_published_grid_leaves_a_slice_as_it_is() -> None:
    volume = ct((60, 80, 30, 40), shape=(1, 128, 160))
    frame = frame_of(volume, PixelGrid(None, body_only=False), FIVE_LAYERS)
    image = frame.to_network(torch.from_numpy(volume.hu.copy()))

    assert frame == Frame((128, 160), (0, 0), (1.0, 1.0), (128, 160))
    assert np.array_equal(image[0, 0].numpy(), volume.hu[0])
    assert torch.equal(frame.to_source(image), image)


def test_a_slice_that_pooling_does_not_divide_is_surrounded_by_air() -> None:
    """120 x 150 to 128 x 160: 4 rows above and below, 5 columns on each side."""
    volume = ct((60, 75, 30, 40), shape=(1, 120, 150))
    frame = frame_of(volume, PixelGrid(None, body_only=False), FIVE_LAYERS)
    image = frame.to_network(torch.from_numpy(volume.hu.copy()))

    assert (frame.start, frame.size) == ((-4, -5), (128, 160))
    assert image[0, 0, 0].tolist() == [AIR_HU] * 160
    assert np.array_equal(image[0, 0, 4:124, 5:155].numpy(), volume.hu[0])
    assert np.array_equal(frame.to_source(image)[0, 0].numpy(), volume.hu[0])


def test_the_body_is_cut_out_with_its_margin() -> None:
    """The disc reaches from row 40 to 80, column 60 to 120; 12 mm margin, steps of 4 mm."""
    (top, bottom), (left, right) = body_box(ct((60, 90, 20, 30)))

    assert 28 - 4 <= top <= 36
    assert 84 <= bottom <= 92 + 5
    assert 48 - 4 <= left <= 56
    assert 124 <= right <= 132 + 5


def test_two_separate_legs_are_both_the_body() -> None:
    _, (left, right) = body_box(ct((60, 40, 25, 20), (60, 120, 22, 18)))
    assert left <= 20
    assert right >= 138


def test_a_table_and_a_finger_are_not_the_body() -> None:
    volume = ct((50, 80, 30, 40), (10, 10, 6, 6))
    hu = volume.hu.copy()
    hu[:, 110:112] = 200
    (top, bottom), (left, _) = body_box(Volume(hu, volume.geometry))

    assert top >= 4
    assert bottom <= 100
    assert left >= 20


def test_without_a_body_the_whole_slice_is_kept() -> None:
    assert body_box(ct()) == ((0, 120), (0, 160))


def test_larger_pixels_are_the_mean_of_what_they_cover() -> None:
    """Pixels of 2.5 of 0 10 20 30 40: (0 + 10 + 20 / 2) / 2.5 = 8, then 80 / 2.5 = 32."""
    frame = Frame((1, 5), (0, 0), (1.0, 2.5), (1, 2))
    values = torch.tensor([[[0.0, 10, 20, 30, 40]]])

    assert frame.to_network(values)[0, 0, 0].tolist() == pytest.approx([8, 32])


def test_smaller_pixels_lie_on_straight_lines() -> None:
    """Halves of a pixel lie a quarter beside its centre."""
    frame = Frame((1, 3), (0, 0), (1.0, 0.5), (1, 6))
    values = torch.tensor([[[0.0, 4, 8]]])

    assert frame.to_network(values)[0, 0, 0, 1:5].tolist() == pytest.approx([1, 3, 5, 7])


@pytest.mark.parametrize("source_mm", [0.683, 0.8, 0.977, 1.5, 2.0, 3.1])
def test_a_disc_keeps_its_area_and_place_there_and_back(source_mm: float) -> None:
    """A disc of 60 mm radius, to 2 mm pixels, thresholded half-way after coming back."""
    side = round(200 / source_mm)
    radius = 60 / source_mm
    volume = ct((side * 0.45, side * 0.5, radius, radius), shape=(1, side, side),
                pixel_mm=source_mm)  # fmt: skip
    frame = frame_of(volume, PixelGrid(2.0), SMALL)
    back = frame.to_source(frame.to_network(torch.from_numpy(volume.hu.copy())))[0, 0]
    disc = np.zeros((side, side), dtype=bool)
    disc[frame.source_box] = back.numpy() > -475
    original = volume.hu[0] > 0

    assert disc.sum() == pytest.approx(original.sum(), rel=0.01)
    assert (disc & original).sum() * 2 / (disc.sum() + original.sum()) > 0.985
    centres = [np.argwhere(mask).mean(axis=0) * source_mm for mask in (disc, original)]
    assert centres[0] == pytest.approx(centres[1], abs=0.15)


def test_pixels_of_different_height_and_width_become_square() -> None:
    """A disc of 40 mm on rows of 1 mm and columns of 0.5 mm: 20 x 20 pixels of 2 mm."""
    hu = np.full((1, 100, 200), -1000, dtype=np.int16)
    row, column = np.mgrid[:100, :200]
    hu[:, (row - 50) ** 2 + ((column - 100) / 2) ** 2 <= 20**2] = 50
    volume = Volume(hu, Geometry.regular(hu.shape, (5.0, 1.0, 0.5)))
    frame = frame_of(volume, PixelGrid(2.0), SMALL)
    disc = frame.to_network(torch.from_numpy(hu.copy()))[0, 0] > -475

    assert frame.pixel == (2.0, 4.0)
    assert frame.source_pixels == 8.0
    assert disc.any(dim=1).sum() in (20, 21)
    assert disc.any(dim=0).sum() in (20, 21)


def test_column_edges_are_told_on_the_source_s_columns() -> None:
    """Network column 0 begins at the outer edge of source column 16; columns 2.5 wide."""
    frame = Frame((512, 512), (96, 16), (2.5, 2.5), (128, 192))
    assert frame.column_edges(np.array([0.0, 8, 192])) == pytest.approx([15.5, 35.5, 495.5])


def test_absurd_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="pixel_mm is 0"):
        PixelGrid(0.0)
