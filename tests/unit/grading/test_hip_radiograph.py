"""The radiograph of a hip: known lengths of known matter, and both sides alike."""

from __future__ import annotations

import numpy as np
import pytest

from inference.geometry import Geometry
from inference.grading.hip_radiograph import WATER_PER_MM, Framing, hip_radiograph
from inference.results import HipCentre
from inference.structures import Side
from inference.volume import Volume

FRAMING = Framing(cube_mm=80.0, pixels=40)
HIP = HipCentre((0.0, 0.0, 0.0), 24.0, 0.5)


def volume(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    """About the origin."""
    half = [(n - 1) / 2 * mm for n, mm in zip(hu.shape, spacing_mm, strict=True)]
    origin = (-half[2], -half[1], -half[0])
    return Volume(hu, Geometry.regular(hu.shape, spacing_mm, origin))


@pytest.mark.parametrize("spacing_mm", [(2.0, 1.0, 1.0), (5.0, 0.7, 1.3), (1.0, 3.0, 2.0)])
def test_a_cube_of_water_attenuates_by_its_edge(spacing_mm: tuple[float, float, float]):
    """80 mm of water: -ln(I / I0) = 80 x 0.02059 = 1.647; of 1000 HU twice that."""
    water = np.zeros((100, 150, 150), np.int16)

    for hu, factor in ((0, 1), (1000, 2), (-1000, 0)):
        seen = hip_radiograph(
            volume(water + np.int16(hu), spacing_mm), HIP, Side.RIGHT, FRAMING
        )
        np.testing.assert_allclose(seen.image, factor * 80 * WATER_PER_MM, rtol=1e-5)
        assert seen.unseen == pytest.approx(0, abs=1e-9)


def test_only_what_lies_in_the_cube_attenuates():
    """A plate of water 10 mm thick that lies 50 mm in front of the hip is outside."""
    hu = np.full((60, 120, 100), -1000, np.int16)
    hu[:, 5:15] = 0  # rows from -54.5 mm on
    behind = hu[:, ::-1].copy()
    behind[:, 40:50] = 0

    outside = hip_radiograph(volume(hu, (2.0, 1.0, 1.0)), HIP, Side.RIGHT, FRAMING)
    inside = hip_radiograph(volume(behind, (2.0, 1.0, 1.0)), HIP, Side.RIGHT, FRAMING)

    assert outside.image.max() == 0
    np.testing.assert_allclose(inside.image, 10 * WATER_PER_MM, rtol=1e-5)


def test_the_head_is_up_and_the_patient_s_right_is_on_the_left():
    hu = np.full((80, 80, 80), -1000, np.int16)
    hu[60:70, :, 10:20] = 1000  # above the hip, to the patient's right
    image = hip_radiograph(volume(hu, (1.0, 1.0, 1.0)), HIP, Side.RIGHT, FRAMING).image

    row, column = np.unravel_index(image.argmax(), image.shape)
    assert (row < 20, column < 20) == (True, True)


def test_a_left_hip_looks_like_a_right_one():
    """The mirror image of a body has the mirror image of its right hip on the left."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 1500, (40, 80, 90)).astype(np.int16)
    right = HipCentre((-12.0, 3.0, 1.0), 24.0, 0.5)
    left = HipCentre((12.0, 3.0, 1.0), 24.0, 0.5)

    of_right = hip_radiograph(volume(hu, (2.0, 1.0, 1.0)), right, Side.RIGHT, FRAMING)
    mirrored = volume(np.ascontiguousarray(hu[:, :, ::-1]), (2.0, 1.0, 1.0))
    of_left = hip_radiograph(mirrored, left, Side.LEFT, FRAMING)

    np.testing.assert_allclose(of_left.image, of_right.image, rtol=1e-5)


def test_slices_of_changing_thickness_give_the_same_picture():
    """A ball of bone in water, sampled every 1 mm, and every 4 mm in the lower half."""
    fine = np.arange(-60, 60, 1.0)
    uneven = np.concatenate([np.arange(-58.5, 0, 4.0), np.arange(0.0, 60, 1.0)])
    images = []
    for heights in (fine, uneven):
        z = heights[:, np.newaxis, np.newaxis]
        y = np.arange(-60, 60)[:, np.newaxis]
        x = np.arange(-60, 60)
        hu = np.where(x**2 + y**2 + z**2 < 30**2, 800, 0).astype(np.int16)
        positions = np.column_stack([np.full((len(heights), 2), -60.0), heights])
        grid = Geometry(
            positions,
            np.gradient(heights),
            np.array([0.0, 1.0, 0.0]),
            np.array([1.0, 0.0, 0.0]),
            (1.0, 1.0),
            120,
            120,
        )
        images.append(hip_radiograph(Volume(hu, grid), HIP, Side.RIGHT, FRAMING).image)

    assert np.abs(images[0] - images[1]).mean() < 0.03 * np.ptp(images[0])


def test_what_the_scan_does_not_show_is_told_and_counts_as_air():
    """The scan ends at the hip's own height, so half of the cube is not in it."""
    water = np.zeros((40, 100, 100), np.int16)
    seen = volume(water, (2.0, 1.0, 1.0))
    high = HipCentre((0.0, 0.0, 40.0), 24.0, 0.5)

    found = hip_radiograph(seen, high, Side.RIGHT, FRAMING)

    assert found.unseen == pytest.approx(0.5, abs=0.03)
    assert found.image[:19].max() == 0
    assert found.image[21:].min() > 0


def test_it_is_the_same_bit_for_bit_and_cannot_be_changed():
    rng = np.random.default_rng(0)
    seen = volume(rng.integers(-1000, 1500, (40, 80, 90)).astype(np.int16), (2.0, 1.0, 1.0))
    one, other = (hip_radiograph(seen, HIP, Side.LEFT, FRAMING).image for _ in range(2))

    assert one.tobytes() == other.tobytes()
    assert (one.dtype, one.shape) == (np.float32, (40, 40))
    with pytest.raises(ValueError, match="read-only"):
        one[0, 0] = 0
