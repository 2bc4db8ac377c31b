"""The Bayesian U-Net of the study, leaf block first, full model last.

References:
    Soufi M. et al., "Validation of musculoskeletal segmentation model with uncertainty
        estimation for bone and muscle assessment in hip-to-knee clinical CT images",
        Sci Rep 15 (2025), doi 10.1038/s41598-024-83793-7.
    Hiasa Y. et al., "Automated muscle segmentation from clinical CT using Bayesian U-Net
        for personalized musculoskeletal modeling", IEEE TMI 39 (2020) 1030-1040,
        doi 10.1109/TMI.2019.2940555.
    Layer order, padding and cropping follow the group's public implementation
        (yuta-hi/keras_bayesian_unet, MIT).

A slice goes in by itself: `[batch, 1, row, column]` to logits `[batch, class, row, column]`.
Any size from `Architecture.smallest_side` upwards works, odd ones too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from inference.models.bayesian_unet.gpu_convolution import convolved_without_padded_copy
from inference.structures import LABEL_COUNT

Drop = Callable[[Tensor], Tensor]
"""What dropout does to features `[batch, channel, row, column]`."""

BATCH_NORMALISATION_EPSILON: Final = 1e-3
BATCH_NORMALISATION_MOMENTUM: Final = 0.01
"""Keras' defaults, on which published weights rest (there written as 0.99)."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Settings that a network is built from; the defaults are the study's "5layers".

    layers: encoder levels; the decoder has one less.
    filters: channels of the outermost level; they double with every level.
    batch_normalisation: after every convolution except the last ("6layers").
    dropout: share of the features dropped after every block.
    dropout_free_levels: this many outermost levels go without dropout, in encoder and
        decoder; 0 as published. More makes small networks sharper and, because whatever
        comes before the first dropout is the same for all samples, faster.
    classes: output channels.
    """

    layers: int = 5
    filters: int = 32
    batch_normalisation: bool = False
    dropout: float = 0.5
    dropout_free_levels: int = 0
    classes: int = LABEL_COUNT

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.layers < 2 or self.filters < 1 or self.classes < 2:
            raise ValueError(f"a U-Net needs 2 layers, 1 filter, 2 classes: {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, not in [0, 1)")
        if not 0 <= self.dropout_free_levels < self.layers:
            raise ValueError(f"dropout_free_levels must leave a level with dropout: {self}")

    def channels(self, level: int) -> int:
        """Features per pixel at a level, 0 being the outermost."""
        return self.filters * int(2**level)

    @property
    def smallest_side(self) -> int:
        """Fewest rows or columns: the innermost level needs 2 pixels to reflect at."""
        return int(2**self.layers)


FIVE_LAYERS: Final = Architecture(layers=5, batch_normalisation=False)
"""The study's "5layers": 11.0 M parameters."""

SIX_LAYERS: Final = Architecture(layers=6, batch_normalisation=True)
"""The study's "6layers": 44.05 M parameters, counted with the running statistics."""


def reflected(x: Tensor) -> Tensor:
    """Reflection pad 1; channels come last in memory, but on a CPU that trains.

    torch's own gives that order up on a GPU, and is slower on a CPU without gradients.
    """
    if torch.is_grad_enabled() and not x.is_cuda:
        return f.pad(x, (1, 1, 1, 1), mode="reflect")
    padded: Tensor = Reflection.apply(x) if torch.is_grad_enabled() else _reflected(x)  # type: ignore[no-untyped-call]
    return padded


class Reflection(torch.autograd.Function):
    """Reflection pad 1 that keeps channels last in memory, forward and backward."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        """`[b, c, h, w]` to `[b, c, h + 2, w + 2]`."""
        return _reflected(x)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        """Every border pixel's gradient goes to the pixel that it repeats."""
        (padded,) = gradients
        inner = padded[:, :, 1:-1, 1:-1].clone(memory_format=torch.channels_last)
        for border, repeated in ((0, 1), (-1, -2)):
            inner[:, :, repeated] += padded[:, :, border, 1:-1]
            inner[..., repeated] += padded[:, :, 1:-1, border]
            for corner, turned in ((0, 1), (-1, -2)):
                inner[:, :, repeated, turned] += padded[:, :, border, corner]
        return inner


def _reflected(x: Tensor) -> Tensor:
    batch, channels, rows, columns = x.shape
    out = torch.empty(
        (batch, channels, rows + 2, columns + 2),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    out[:, :, 1:-1, 1:-1] = x
    reflect_border(out)
    return out


def reflect_border(padded: Tensor) -> None:
    """Fill the border of one pixel around `[b, c, h + 2, w + 2]` from the pixels inside."""
    for border, source in ((0, 2), (-1, -3)):
        padded[:, :, border, 1:-1] = padded[:, :, source, 1:-1]
    for border, source in ((0, 2), (-1, -3)):
        padded[..., border] = padded[..., source]


class Convolution(nn.Module):
    """Reflection pad 1, 3x3 convolution with bias, batch normalisation if any, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, architecture: Architecture) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3)
        self.normalisation = _normalisation(channels_out, architecture)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, channels_in, h, w]` to `[b, channels_out, h, w]`."""
        folded = isinstance(self.normalisation, nn.Identity)
        if x.is_cuda and folded and not torch.is_grad_enabled():
            return convolved_without_padded_copy(x, self.convolution)
        x = self.convolution(reflected(x))
        return f.relu(self.normalisation(x), inplace=True)


class Upsampling(nn.Module):
    """Reflection pad 1, 3x3 transposed convolution with stride 2, normalisation, ReLU.

    n pixels, n + 2 padded, make 2 (n + 2 - 1) + 3 = 2 n + 5. The published crop to the
    skip's size (floor of half the excess before, ceil after) takes 2 before and 2 after
    from all sizes, which `padding=2` does without computing them, and a third after where
    the skip has an even size.
    """

    def __init__(self, channels: int, architecture: Architecture) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(
            channels, channels, kernel_size=3, stride=2, padding=2
        )
        self.normalisation = _normalisation(channels, architecture)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """`[b, channels, h, w]` to `[b, channels, *size]`, a size of 2 h or 2 h + 1."""
        x = reflected(x)  # (b, channels, h + 2, w + 2)
        x = self.convolution(x) if x.is_cuda else self.by_phases(x)
        x = f.relu(self.normalisation(x), inplace=True)  # as published, before the crop
        return x[:, :, : size[0], : size[1]]  # (b, channels, *size)

    def by_phases(self, x: Tensor) -> Tensor:
        """The same transposed convolution, as a plain one; many times faster on CPUs.

        It has gradients; without them `cpu_network` does it with fewer products.

        Output pixel 2 j takes w2 from input pixel j and w0 from j + 1 (padded indices),
        pixel 2 j + 1 takes w1 from j + 1: a 2x2 convolution to four phases of the output,
        which are then interleaved. One row and column more than `padding=2` gives come out;
        no skip is that large.
        """
        batch, channels, rows, columns = x.shape
        taps = self.convolution.weight.flatten(2).permute(1, 0, 2)  # (out, in, 9)
        taps = f.pad(taps, (0, 1))  # the tenth is zero
        kernel = taps[:, :, self._taps(x.device)]  # (out, in, phase, 2, 2)
        kernel = kernel.permute(2, 0, 1, 3, 4).flatten(0, 1)  # (phase x out, in, 2, 2)
        bias = self.convolution.bias
        phases = f.conv2d(x, kernel, None if bias is None else bias.repeat(4))
        phases = phases.permute(0, 2, 3, 1)  # (b, h + 1, w + 1, phase x channels)
        phases = phases.reshape(batch, rows - 1, columns - 1, 2, 2, channels)
        woven = phases.transpose(2, 3).reshape(batch, 2 * rows - 2, 2 * columns - 2, channels)
        return woven.permute(0, 3, 1, 2)  # (b, channels, 2 h + 2, 2 w + 2)

    @staticmethod
    def _taps(device: torch.device) -> Tensor:
        """(phase, 2, 2) which of the nine weights, row by row, or the tenth, which is zero."""
        along = ((2, 0), (None, 1))  # weights of pixels j and j + 1, for even and odd output
        table = [
            [[9 if r is None or c is None else 3 * r + c for c in across] for r in down]
            for down in along
            for across in along
        ]
        return torch.tensor(table, device=device)


class Block(nn.Module):
    """The basic block: two convolutions. Dropout follows it, but is not part of it."""

    def __init__(self, channels_in: int, channels_out: int, architecture: Architecture) -> None:
        super().__init__()
        self.first = Convolution(channels_in, channels_out, architecture)
        self.second = Convolution(channels_out, channels_out, architecture)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, channels_in, h, w]` to `[b, channels_out, h, w]`."""
        out: Tensor = self.second(self.first(x))
        return out


class BayesianUNet(nn.Module):
    """Encoder/decoder U-Net whose dropout stays on at inference (Monte Carlo dropout).

    The forward pass is cut in two where the first random number enters: `deterministic`
    is the same for all Monte Carlo samples of a slice, `stochastic` differs.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths = [architecture.channels(level) for level in range(architecture.layers)]
        self.encoder = nn.ModuleList(
            Block(channels_in, channels_out, architecture)
            for channels_in, channels_out in pairwise([1, *widths])
        )
        # Indexed by level like the encoder: decoder[0] is the outermost and runs last.
        self.upsampling = nn.ModuleList(Upsampling(width, architecture) for width in widths[1:])
        self.decoder = nn.ModuleList(
            Block(inner + outer, outer, architecture) for outer, inner in pairwise(widths)
        )
        self.head = nn.Conv2d(widths[0], architecture.classes, kernel_size=3)
        self.apply(_initialise)

    def forward(self, image: Tensor, drop: Drop | None = None) -> Tensor:
        """Logits `[b, class, h, w]` of images `[b, 1, h, w]`.

        Args:
            image: windowed slices.
            drop: dropout to use; None draws from torch's random state with the
                architecture's probability, in training and evaluation mode alike.
        """
        return self.stochastic(self.deterministic(image), drop)

    def deterministic(self, image: Tensor) -> list[Tensor]:
        """Encoder blocks up to the first dropout: one output `[b, c, h, w]` a level.

        With `dropout_free_levels` 0, as published, this is the first block alone.
        """
        features: list[Tensor] = []
        x = image  # (b, 1, h, w)
        for level in range(self.architecture.dropout_free_levels + 1):
            x = self.encoder[level](f.max_pool2d(x, 2) if level else x)
            features.append(x)  # (b, filters * 2**level, h / 2**level, w / 2**level)
        return features

    def stochastic(self, features: list[Tensor], drop: Drop | None = None) -> Tensor:
        """Everything from the first dropout on: `deterministic`'s outputs to logits."""
        drop = drop or self._random_drop
        *skips, x = features
        x = drop(x)
        for block in list(self.encoder)[len(features) :]:
            skips.append(x)  # the skip is the block's output after dropout
            x = drop(block(f.max_pool2d(x, 2)))
        for level in reversed(range(len(skips))):
            skip = skips[level]
            x = self.upsampling[level](x, skip.shape[-2:])
            x = self.decoder[level](torch.cat([x, skip], dim=1))
            if level >= self.architecture.dropout_free_levels:
                x = drop(x)
        logits: Tensor = self.head(reflected(x))  # (b, class, h, w)
        return logits

    def _random_drop(self, x: Tensor) -> Tensor:
        return random_dropout(x, self.architecture.dropout)


def random_dropout(x: Tensor, probability: float) -> Tensor:
    """Drop features at random from torch's random state; the rest grows by 1 / (1 - p).

    On a CPU, a probability of one half takes one random bit per feature instead of one
    random number: torch's Bernoulli numbers cost a quarter of a training step.
    """
    if probability == 0:
        return x
    if probability != 0.5 or x.is_cuda:
        return f.dropout(x, probability)
    generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, ()))))
    flips = coin_flips(generator, x.numel())
    if x.is_contiguous(memory_format=torch.channels_last):
        batch, channels, rows, columns = x.shape
        kept = flips.view(batch, rows, columns, channels).permute(0, 3, 1, 2)
    else:
        kept = flips.view(x.shape)
    return x * kept.to(x.dtype).mul_(2)


def coin_flips(generator: np.random.Generator, count: int) -> Tensor:
    """Fair zeros and ones, uint8, (count,), on the CPU: one random bit each."""
    random_bytes = np.frombuffer(generator.bytes(-(-count // 8)), np.uint8)
    return torch.from_numpy(np.unpackbits(random_bytes, count=count))


def parameter_count(network: BayesianUNet) -> int:
    """All numbers that Keras counts: weights, biases, normalisation with its statistics."""
    return sum(
        tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point()
    )


def _normalisation(channels: int, architecture: Architecture) -> nn.Module:
    if not architecture.batch_normalisation:
        return nn.Identity()
    return nn.BatchNorm2d(
        channels, eps=BATCH_NORMALISATION_EPSILON, momentum=BATCH_NORMALISATION_MOMENTUM
    )


def _initialise(module: nn.Module) -> None:
    """He's normal initialisation, as published."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
