"""Counted dropout: which features are dropped, and on what that depends."""

from __future__ import annotations

import numpy as np
import torch

from inference.models.bayesian_unet.dropout import SeededDropout, coin_flips, hashed_words

CPU = torch.device("cpu")
KEYS = np.array([[3, 2**32 - 5], [2**31 - 1, 7]], dtype=np.uint32)


def mixed(x: np.ndarray) -> np.ndarray:
    """Lowbias32 as its author writes it, on unsigned numbers."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def test_words_are_the_hash_in_unsigned_arithmetic() -> None:
    counter = np.arange(70, 170, dtype=np.uint32)
    expected = mixed(mixed(counter ^ KEYS[:, :1]) + KEYS[:, 1:])

    words = hashed_words(torch.from_numpy(KEYS.view(np.int32)), 70, 100)

    assert np.array_equal(words.numpy().view(np.uint32), expected)


def test_a_feature_is_kept_by_its_bit_of_its_word() -> None:
    """Feature i: bit i mod 32 of word i div 32, as the GPU's kernel takes it."""
    keys = torch.from_numpy(KEYS.view(np.int32))
    words = hashed_words(keys, 5, 3).numpy().view(np.uint32)
    flips = coin_flips(keys, 5, 90).numpy()

    expected = [[(word[i // 32] >> (i % 32)) & 1 for i in range(90)] for word in words]
    assert np.array_equal(flips, expected)


def test_flips_are_fair_and_neighbours_independent() -> None:
    """A million flips: mean and correlations within five standard errors."""
    keys = torch.from_numpy(KEYS.view(np.int32))
    flips = coin_flips(keys, 0, 2**20).numpy().astype(float) - 0.5

    assert np.abs(flips.mean(axis=1)).max() < 2.5 / 2**10
    for apart in (1, 2, 32, 64, 512):
        correlation = (flips[:, apart:] * flips[:, :-apart]).mean(axis=1) * 4
        assert np.abs(correlation).max() < 5 / 2**10
    assert abs((flips[0] * flips[1]).mean() * 4) < 5 / 2**10


def test_masks_follow_from_the_state_not_from_its_place_in_the_batch() -> None:
    x = torch.ones(3, 4, 5, 6)
    together = SeededDropout([(1, 0, 0), (1, 1, 0), (1, 2, 0)], 0.5, CPU)(x)
    alone = SeededDropout([(1, 1, 0)], 0.5, CPU)(x[1:2])
    assert torch.equal(together[1:2], alone)
