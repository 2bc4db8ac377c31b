"""Variations of slices: labels go where the image goes."""

import numpy as np
import pytest
import torch

from inference.training.augmentation import Augmentation, Variation, draw_variation, varied

STILL = Augmentation(
    rotation_deg=0, scale=0, shear=0, shift=0, mirror=False, gain=0, offset_hu=0, noise_hu=0
)


def blocks(rows: int = 24, columns: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """One slice of 0 HU with a block of 300 HU, which is label 3."""
    labels = torch.zeros(1, rows, columns, dtype=torch.uint8)
    labels[:, 4:12, 6:18] = 3
    return (labels == 3).to(torch.int16) * 300, labels


def drawn(augmentation: Augmentation, seed: int = 0) -> Variation:
    return draw_variation(augmentation, np.random.default_rng(seed), (24, 32), (24, 32))


def moved(variation: Variation, crop: tuple[int, int] = (24, 32)):
    generator = torch.Generator().manual_seed(0)
    return varied(*blocks(), [variation], crop, generator)


def test_without_amounts_a_slice_stays_as_it_is() -> None:
    hu, labels = moved(drawn(STILL))

    assert torch.allclose(hu, blocks()[0].float(), atol=1e-2)
    assert torch.equal(labels, blocks()[1].long())


def test_a_larger_crop_is_filled_with_air_and_background() -> None:
    variation = draw_variation(STILL, np.random.default_rng(0), (24, 32), (28, 36))

    hu, labels = moved(variation, (28, 36))

    assert torch.allclose(hu[0, :2], torch.tensor(-1000.0))
    assert torch.allclose(hu[:, 2:-2, 2:-2], blocks()[0].float(), atol=1e-2)
    assert labels[0, :, :2].sum() == 0


@pytest.mark.parametrize("seed", range(6))
def test_the_label_lies_on_its_structure_whatever_is_done(seed: int) -> None:
    amounts = Augmentation(rotation_deg=30, shear=0.2, gain=0, offset_hu=0, noise_hu=0)

    hu, labels = moved(drawn(amounts, seed))

    bright = hu[0] > 150
    assert bright.sum() > 20
    assert (bright == (labels[0] == 3)).float().mean() > 0.97


def test_turning_by_a_right_angle_moves_a_point_as_worked_by_hand() -> None:
    """The image's (2, 1) from the middle is the slice's (1, -2)."""
    variation = Variation(((0.0, 1.0), (-1.0, 0.0)), (2.0, 2.0), 1.0, 0.0, 0.0)
    hu = torch.zeros(1, 5, 5, dtype=torch.int16)
    hu[0, 2 + 1, 2 - 2] = 500
    labels = (hu > 0).to(torch.uint8)

    image, found = varied(hu, labels, [variation], (5, 5), torch.Generator())

    assert found[0].nonzero().tolist() == [[4, 3]]
    assert image[0, 4, 3] == pytest.approx(500, abs=0.1)


def test_half_of_the_slices_are_mirrored() -> None:
    only = Augmentation(
        rotation_deg=0, scale=0, shear=0, shift=0, gain=0, offset_hu=0, noise_hu=0
    )

    kept = [drawn(only, seed).matrix[1][1] for seed in range(200)]

    assert set(kept) == {-1.0, 1.0}
    assert 70 < kept.count(-1.0) < 130


def test_noise_is_as_strong_as_drawn_and_the_same_for_a_seed() -> None:
    variation = Variation(((1.0, 0.0), (0.0, 1.0)), (11.5, 15.5), 1.0, 0.0, 20.0)

    first, again = moved(variation)[0], moved(variation)[0]

    assert torch.equal(first, again)
    assert float((first - blocks()[0]).std()) == pytest.approx(20, rel=0.1)
