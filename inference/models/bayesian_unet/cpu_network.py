"""The network as a CPU computes it fastest: the same function, fewer products and copies.

Three things are left out that a CPU would spend a quarter of its time on (docs/benchmarks.md):

- A transposed convolution as one plain one multiplies by zero in 7 of 16 products: here each
  of the four phases of its output is a convolution over its own taps alone.
- A skip from before the first dropout is the same for all samples. The convolution of
  upsampled features and skip together is the sum of a convolution of each; the skip's part
  is computed once a slice.
- Phases and skip are written straight to where the next convolution reads them with their
  reflected border, instead of being interleaved, put together and padded in turn.

Only the order of sums differs from `network.BayesianUNet`, from whose folded form this is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor
from torch.nn import functional as f

from inference.models.bayesian_unet.network import (
    BayesianUNet,
    Block,
    Drop,
    Upsampling,
    reflect_border,
    reflected,
)

EVEN_TAPS: Final = (2, 0)
"""Weights of an even output pixel of an axis, 2 j: of the padded input pixels j and j + 1."""

ODD_TAPS: Final = (1,)
"""The weight of an odd output pixel, 2 j + 1: of the padded input pixel j + 1."""


class CpuUNet:
    """A folded network for inference on the CPU, channels last, cut in two as the original."""

    def __init__(self, folded: BayesianUNet) -> None:
        self.architecture = folded.architecture
        self._folded = folded
        free = folded.architecture.dropout_free_levels
        self._decoder = [
            _Decoding.of(
                cast(Upsampling, upsampling), cast(Block, block), skip_is_fixed=level < free
            )
            for level, (upsampling, block) in enumerate(
                zip(folded.upsampling, folded.decoder, strict=True)
            )
        ]

    def deterministic(self, image: Tensor) -> list[Tensor]:
        """Tensors that all samples of images `[b, 1, h, w]` share: one `[b, c, h, w]` a level.

        Of the levels without dropout, their skips' part in the decoder's convolutions; of the
        next one its block's output.
        """
        *skips, last = self._folded.deterministic(image)
        decoders = self._decoder[: len(skips)]
        shares = [one.share(skip) for one, skip in zip(decoders, skips, strict=True)]
        return [*shares, last]

    def stochastic(self, features: list[Tensor], drop: Drop) -> Tensor:
        """Everything from the first dropout on: `deterministic`'s tensors to logits."""
        *skips, x = features
        free = len(skips)
        x = drop(x)
        for block in list(self._folded.encoder)[len(features) :]:
            skips.append(x)
            x = drop(block(f.max_pool2d(x, 2)))
        for level in reversed(range(len(skips))):
            x = self._decoder[level].run(x, skips[level])
            if level >= free:
                x = drop(x)
        head = self._folded.head
        return f.conv2d(reflected(x), head.weight, head.bias)  # (b, class, h, w)


@dataclass(frozen=True, slots=True, eq=False)
class _Decoding:
    """One level of the decoder: upsampling, skip and block.

    taps: of the phases (even, even), (even, odd), (odd, even), (odd, odd) of rows and columns,
        `[upsampled, in, 1 or 2, 1 or 2]`.
    weight: of the block's first convolution, `[out, upsampled, 3, 3]`, or with the skip's
        channels behind the upsampled ones where the skip differs between samples.
    skip_weight: `[out, skip, 3, 3]` where it does not differ.
    """

    taps: tuple[Tensor, ...]
    upsampling_bias: Tensor | None
    weight: Tensor
    skip_weight: Tensor | None
    bias: Tensor | None
    block: Block

    @classmethod
    def of(cls, upsampling: Upsampling, block: Block, *, skip_is_fixed: bool) -> _Decoding:
        """The weights of a level, laid out for the CPU."""
        transposed = upsampling.convolution.weight.detach().permute(1, 0, 2, 3)
        first = block.first.convolution
        weight = first.weight.detach()
        upsampled = len(transposed)
        return cls(
            taps=tuple(
                _channels_last(transposed[:, :, rows][:, :, :, columns])
                for rows in (EVEN_TAPS, ODD_TAPS)
                for columns in (EVEN_TAPS, ODD_TAPS)
            ),
            upsampling_bias=upsampling.convolution.bias,
            weight=_channels_last(weight[:, :upsampled]) if skip_is_fixed else weight,
            skip_weight=_channels_last(weight[:, upsampled:]) if skip_is_fixed else None,
            bias=first.bias,
            block=block,
        )

    def share(self, skip: Tensor) -> Tensor:
        """A fixed skip's part in the first convolution, with the bias: `[b, out, h, w]`."""
        if self.skip_weight is None:
            raise ValueError("this level's skip differs between samples")
        return f.conv2d(reflected(skip), self.skip_weight, self.bias)

    def run(self, x: Tensor, skip: Tensor) -> Tensor:
        """`[b, in, ~h/2, ~w/2]` and the skip, or its share, to `[b, out, h, w]`."""
        rows, columns = skip.shape[-2:]
        padded = torch.empty(
            (len(x), self.weight.shape[1], rows + 2, columns + 2),
            dtype=x.dtype,
            memory_format=torch.channels_last,
        )
        inside = padded[:, :, 1:-1, 1:-1]
        upsampled = len(self.taps[0])
        self._upsample(x, inside[:, :upsampled])
        if self.skip_weight is None:
            inside[:, upsampled:] = skip
            reflect_border(padded)
            x = f.conv2d(padded, self.weight, self.bias)
        else:
            reflect_border(padded)
            x = f.conv2d(padded, self.weight).add_(skip)
        out: Tensor = self.block.second(f.relu(x, inplace=True))
        return out

    def _upsample(self, x: Tensor, out: Tensor) -> None:
        """Fill `[b, upsampled, h, w]` phase by phase, see `network.Upsampling`."""
        x = reflected(x)
        for phase, taps in enumerate(self.taps):
            row, column = divmod(phase, 2)
            part = f.conv2d(x[:, :, row:, column:], taps, self.upsampling_bias)
            place = out[:, :, row::2, column::2]
            part = part[:, :, : place.shape[2], : place.shape[3]]
            place.copy_(f.relu(part, inplace=True))


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)
