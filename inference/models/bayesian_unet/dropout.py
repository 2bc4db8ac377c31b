"""Dropout whose masks are counted out, not drawn: the same on every device and in every batch.

Word w of a pass is a hash of (seed, slice, sample) and w; its 32 bits are coin flips, one a
feature. Nothing is kept between batches, so neither their size nor their order changes a mask,
and a GPU drops what a CPU drops: what is left between their answers is rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from inference.models.bayesian_unet import dropout_kernel

WORD_BITS = 32

TRIED_SHAPE = (2, 5, 9, 13)


class SeededDropout:
    """Dropout whose masks follow from (seed, slice, sample) alone; layers use it in turn."""

    def __init__(
        self, states: Iterable[tuple[int, int, int]], probability: float, device: torch.device
    ) -> None:
        keys = [np.random.SeedSequence(state).generate_state(2) for state in states]
        self._keys = torch.from_numpy(np.array(keys, dtype=np.uint32).view(np.int32)).to(device)
        self._probability = probability
        self._words_used = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Drop from `[state, channel, row, column]`; the rest grows by 1 / (1 - p)."""
        if self._probability == 0:
            return x
        count = x[0].numel()
        start = self._words_used
        if self._probability != 0.5:
            self._words_used += count
            return self._scaled(x, self._uniform(start, count))
        self._words_used += -(-count // WORD_BITS)
        if x.is_cuda and kernel_is_usable(x.device):
            return dropout_kernel.drop_half(x, self._keys, start)
        return self._scaled(x, coin_flips(self._keys, start, count))

    def _uniform(self, start: int, count: int) -> Tensor:
        """Kept or not, `[state, feature]`, by 24 bits of a word each."""
        words = hashed_words(self._keys, start, count)
        return ((words >> 8) & 0xFFFFFF) >= round(self._probability * 2**24)

    def _scaled(self, x: Tensor, kept: Tensor) -> Tensor:
        states, channels, rows, columns = x.shape
        kept = kept.view(states, rows, columns, channels).permute(0, 3, 1, 2)
        return x * kept.to(x.dtype).mul_(1 / (1 - self._probability))


def coin_flips(keys: Tensor, start: int, count: int) -> Tensor:
    """Fair zeros and ones, uint8 `[state, count]`: the bits of the words from `start` on.

    Args:
        keys: int32 `[state, 2]`.
        start: words that earlier layers have used.
        count: flips for each state.
    """
    packed = hashed_words(keys, start, -(-count // WORD_BITS)).view(torch.uint8)
    if packed.device.type == "cpu":
        flips = np.unpackbits(packed.numpy(), axis=1, count=count, bitorder="little")
        return torch.from_numpy(flips)
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, :, None] >> places) & 1).flatten(1)[:, :count]


def hashed_words(keys: Tensor, start: int, count: int) -> Tensor:
    """Words `[state, count]`, int32 with all 32 bits random.

    Two rounds of the finaliser "lowbias32" (Wellons, Hash Prospector, 2018, public domain),
    each under a key of its own.
    """
    counter = torch.arange(start, start + count, dtype=torch.int32, device=keys.device)
    words = _mixed(counter[None] ^ keys[:, :1])
    return _mixed(words.add_(keys[:, 1:]))


def _mixed(x: Tensor) -> Tensor:
    """lowbias32 in place; masks make torch's arithmetic shifts logical ones."""
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x846CA68B - 2**32
    x ^= (x >> 16) & 0xFFFF
    return x


@cache
def kernel_is_usable(device: torch.device) -> bool:
    """True if the kernel compiles there and drops the same features as torch's form."""
    if not dropout_kernel.AVAILABLE:
        return False
    states, channels, rows, columns = TRIED_SHAPE
    keys = torch.tensor([[3, -5], [2**31 - 1, 7]], dtype=torch.int32, device=device)
    ones = torch.ones(TRIED_SHAPE, device=device)
    expected = coin_flips(keys, 70, channels * rows * columns) * 2.0
    expected = expected.view(states, rows, columns, channels).permute(0, 3, 1, 2)
    try:
        same = torch.equal(dropout_kernel.drop_half(ones, keys, 70), expected)
    except Exception as error:  # noqa: BLE001 - compilers fail in many ways; torch's form works
        warnings.warn(f"dropout kernel not used on {device}: {error!r}", stacklevel=2)
        return False
    if not same:
        warnings.warn(f"dropout kernel not used on {device}: other masks", stacklevel=2)
    return same
