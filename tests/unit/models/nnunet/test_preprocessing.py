"""A CT on its way to an nnU-Net: turned, cropped, normalised."""

from __future__ import annotations

import numpy as np
import pytest

from inference.geometry import Geometry
from inference.models.nnunet.preprocessing import Normalisation, Preprocessing, prepared
from inference.volume import Volume

AS_IT_IS = Normalisation(scheme="none")


def scan(hu: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(hu, Geometry.regular(hu.shape, spacing))


def way(**changes: object) -> Preprocessing:
    plain = {
        "orientation": "LPS",
        "transpose": (0, 1, 2),
        "spacing_mm": (1.0, 1.0, 1.0),
        "normalisation": AS_IT_IS,
    }
    return Preprocessing(**(plain | changes))


def test_ct_is_clipped_and_scaled_by_the_training_data() -> None:
    """-1000 and 2000 are clipped to 0 and 300; minus 100, by 50."""
    scheme = Normalisation(scheme="ct", low_hu=0, high_hu=300, mean_hu=100, deviation_hu=50)

    found = scheme.of(np.array([-1000, 150, 2000], np.float32))

    assert found.tolist() == [-2.0, 1.0, 4.0]


def test_a_deviation_of_nothing_divides_by_almost_nothing() -> None:
    flat = np.full((2, 2, 2), 7, np.float32)

    assert not Normalisation(scheme="zscore").of(flat).any()


def test_zscore_and_range_are_of_the_image_itself() -> None:
    """Mean 2, deviation 1 of 1 and 3; from 1 to 3."""
    image = np.array([1, 3, 1, 3], np.float32)

    assert Normalisation(scheme="zscore").of(image.copy()).tolist() == [-1, 1, -1, 1]
    assert Normalisation(scheme="rescale_to_0_1").of(image.copy()).tolist() == [0, 1, 0, 1]


def test_zscore_inside_alone_leaves_what_is_0_outside() -> None:
    """Of the 0 within the ring it takes account, of those around it not: mean 8 / 9 * 9."""
    image = np.zeros((3, 5, 5), np.float32)
    image[1, 1:4, 1:4] = 9
    image[0, 2, 2] = image[2, 2, 2] = 9
    image[1, 2, 2] = 0
    inside = np.array([9.0] * 10 + [0.0])

    found = Normalisation(scheme="zscore", inside_alone=True).of(image.copy())

    assert found[0, 0, 0] == 0
    assert found[1, 2, 2] == pytest.approx(-inside.mean() / inside.std(), rel=1e-5)


def test_what_is_0_around_is_cropped_and_its_place_is_kept() -> None:
    hu = np.zeros((4, 6, 8), np.int16)
    hu[1:3, 2:5, 3:7] = 50

    image, placing = prepared(scan(hu), way())

    assert image.shape == (2, 3, 4)
    assert placing.box == (slice(1, 3), slice(2, 5), slice(3, 7))


def test_a_scan_of_nothing_but_0_is_kept_whole() -> None:
    image, _ = prepared(scan(np.zeros((2, 3, 4), np.int16)), way())

    assert image.shape == (2, 3, 4)


def test_a_reader_that_turns_images_is_followed() -> None:
    """Towards R, A, S: rows and columns the other way round."""
    hu = np.arange(1, 25, dtype=np.int16).reshape(2, 3, 4)

    image, _ = prepared(scan(hu), way(orientation="RAS"))

    assert np.array_equal(image, hu[:, ::-1, ::-1])


def test_axes_are_exchanged_with_their_sizes() -> None:
    """Rows first: 3 rows of 2 mm become 6 of 1 mm, the slices stay 2."""
    hu = np.arange(1, 25, dtype=np.int16).reshape(2, 3, 4)

    image, placing = prepared(scan(hu, (1.0, 2.0, 1.0)), way(transpose=(1, 0, 2)))

    assert image.shape == placing.shape == (6, 2, 4)
    assert placing.whole == (3, 2, 4)


def test_the_scan_itself_is_not_changed() -> None:
    hu = np.full((2, 3, 4), 500, np.float32)
    scheme = Normalisation(scheme="ct", low_hu=0, high_hu=300, mean_hu=100, deviation_hu=50)

    prepared(scan(hu), way(normalisation=scheme))

    assert (hu == 500).all()
