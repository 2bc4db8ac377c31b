"""Counted dropout in one pass over a GPU's memory, where Triton is there.

Without it torch writes and reads the masks several times. The kernel must drop what
`dropout.coin_flips` drops; `dropout.kernel_is_usable` compares them on a device's first use.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

try:
    import triton
    from triton import language as tl
except ImportError:
    triton = None


AVAILABLE = triton is not None
WORDS_AT_ONCE = 64


def drop_half(x: Tensor, keys: Tensor, start: int) -> Tensor:
    """Drop half of `[state, channel, row, column]` and double the rest.

    Args:
        x: features on a GPU; channels last, or they are copied so.
        keys: int32 `[state, 2]`.
        start: words that earlier layers have used.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    count = x[0].numel()
    blocks = triton.cdiv(count, 32 * WORDS_AT_ONCE)
    with torch.cuda.device(x.device):
        _drop_half[(blocks, len(x))](x, out, keys, count, start, WORDS=WORDS_AT_ONCE)
    return out


def _jit(function: Any) -> Any:
    return function if triton is None else triton.jit(function)


@_jit
def _mixed(x):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - Triton reads it
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


@_jit
def _drop_half(x, out, keys, count, start, WORDS: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, N803, PLR0913, PLR0917
    state = tl.program_id(1)
    word = tl.program_id(0) * WORDS + tl.arange(0, WORDS)
    first = tl.load(keys + 2 * state).to(tl.uint32, bitcast=True)
    second = tl.load(keys + 2 * state + 1).to(tl.uint32, bitcast=True)
    bits = _mixed((word + start).to(tl.uint32) ^ first)
    bits = _mixed(bits + second)
    place = tl.arange(0, 32)
    feature = word[:, None] * 32 + place[None, :]
    kept = (bits[:, None] >> place[None, :].to(tl.uint32)) & 1
    at = state.to(tl.int64) * count + feature
    value = tl.load(x + at, mask=feature < count, other=0.0)
    tl.store(out + at, tl.where(kept != 0, value * 2.0, 0.0), mask=feature < count)
