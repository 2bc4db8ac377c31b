"""Variations of the image: each change, and its way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_guest import LABELS

from inference.geometry import Geometry
from inference.models.guests.members import VARIATIONS
from inference.models.guests.variation import AS_IT_IS, Unvaried, Variation
from inference.volume import Volume

GRID = Geometry.regular((2, 3, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0))
VOLUME = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), GRID)


class Channels:
    """A network's answer that shows HU in channel 1, and 0 in the others."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def at(self, place: int) -> torch.Tensor:
        """One slice."""
        found = torch.zeros((len(LABELS.names), *self.volume.hu.shape[1:]))
        found[1] = torch.from_numpy(self.volume.hu[place].copy())
        return found


@pytest.mark.parametrize(
    ("variation", "channel"),
    [
        (AS_IT_IS, 1),
        (Variation(mirrored=True), 2),
        (Variation(shift_voxels=(1, 2, 3)), 1),
        (Variation(mirrored=True, shift_voxels=(3, 1, 2)), 2),
    ],
)
def test_what_was_moved_or_mirrored_comes_back_to_its_voxel(variation: Variation, channel: int):
    """Channel 1 is a left femur: in a mirrored image it is the right one's, channel 2."""
    changed = variation.of(VOLUME)
    back = Unvaried(Channels(changed), variation, LABELS.exchanged)

    for place in range(2):
        found = back.at(place).numpy()
        np.testing.assert_array_equal(found[channel], VOLUME.hu[place])
        assert not np.delete(found, channel, axis=0).any()


def test_nothing_is_copied_of_an_image_as_it_is():
    assert AS_IT_IS.of(VOLUME) is VOLUME


def test_a_mirrored_image_is_one_that_torch_takes():
    changed = Variation(mirrored=True).of(VOLUME)

    np.testing.assert_array_equal(torch.from_numpy(changed.hu.copy()), VOLUME.hu[:, :, ::-1])
    assert changed.hu.flags.c_contiguous


def test_a_shifted_body_stays_where_it_was_in_the_patient():
    """One slice of 5 mm, two rows of 2 mm and three columns of 1 mm are put before it."""
    changed = Variation(shift_voxels=(1, 2, 3)).of(VOLUME)

    assert changed.hu.shape == (3, 5, 7)
    np.testing.assert_array_equal(changed.hu[1:, 2:, 3:], VOLUME.hu)
    np.testing.assert_array_equal(changed.hu[0, :2, :3], 0)  # the border repeated
    np.testing.assert_array_equal(changed.geometry.slice_offsets_mm, [25.0, 30.0, 35.0])
    at = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(changed.geometry.to_patient_mm(at), GRID.positions_mm[:1])


def test_hu_are_scaled_and_shifted_and_stay_what_a_file_can_hold():
    """32,700 x 1.1 is beyond int16; 15 x 1.1 - 20 = -3.5, which is rounded to the even."""
    volume = Volume(
        np.array([[[15, 32700]]], dtype=np.int16), Geometry.regular((1, 1, 2), (1, 1, 1))
    )
    changed = Variation(scale=1.1, offset_hu=-20.0).of(volume)

    assert changed.hu.dtype == np.int16
    assert changed.hu.tolist() == [[[-4, 32767]]]


def test_noise_is_the_same_each_time_and_other_in_each_slice():
    """A deviation of 20 HU over 10,000 pixels is known to 0.14 HU."""
    volume = Volume(
        np.zeros((2, 100, 100), np.int16), Geometry.regular((2, 100, 100), (5, 1, 1))
    )
    noise = Variation(noise_hu=20.0).of(volume).hu

    np.testing.assert_array_equal(noise, Variation(noise_hu=20.0).of(volume).hu)
    assert noise[0].std() == pytest.approx(20, abs=1)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_every_default_member_but_the_first_changes_more_than_a_z_score_undoes():
    """Mirrored, or noisy: an offset alone is undone by a z-score."""
    for one in VARIATIONS[1:]:
        assert one.mirrored or one.noise_hu
