"""A network made ready on its device; its softmax, one Monte Carlo sample after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

import torch
from torch import Tensor

from inference.models.bayesian_unet.cpu_network import CpuUNet
from inference.models.bayesian_unet.dropout import SeededDropout
from inference.models.bayesian_unet.folding import fold_batch_normalisation
from inference.models.bayesian_unet.network import Architecture, BayesianUNet, Drop
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import Window, rounded_up
from inference.models.precision_probe import choose_precision, fingerprint, two_thighs

CPU_TILE: Final = (1, 96, 128)
CUDA_TILE: Final = (32, 256, 256)
"""Images, rows and columns on which the numbers are tried; a GPU needs many to be busy."""


class SplitNetwork(Protocol):
    """A network cut in two where the first random number enters.

    On a GPU that is the network itself, on a CPU its `CpuUNet`.
    """

    @property
    def architecture(self) -> Architecture:
        """Settings that it is built from."""

    def deterministic(self, image: Tensor) -> list[Tensor]:
        """Tensors that all samples of images `[b, 1, h, w]` share, `[b, ...]` each."""

    def stochastic(self, features: list[Tensor], drop: Drop) -> Tensor:
        """From there to logits `[b, class, h, w]`."""


@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """A folded network, ready on its device in the numbers it computes in.

    numbers: these, and why, in words.
    """

    network: SplitNetwork
    device: torch.device
    dtype: torch.dtype
    numbers: str

    @classmethod
    def of(
        cls,
        network: BayesianUNet,
        device: torch.device,
        precision: Precision,
        window: Window | None = None,
    ) -> Sampler:
        """Fold the normalisation and move the network; in the fastest numbers that are right.

        window: what it is fed, for the tile on which they are tried.
        """
        ready: dict[torch.dtype, Sampler] = {}

        def on_a_tile(dtype: torch.dtype) -> Callable[[], Tensor]:
            ready[dtype] = cls._in(network, device, dtype)
            return ready[dtype].on_a_tile(window or Window())

        chosen = choose_precision(
            on_a_tile,
            allowed=precision.cuda if device.type == "cuda" else precision.cpu,
            device=device,
            network=(network.architecture, fingerprint(network), window),
        )
        sampler = ready.get(chosen.dtype) or cls._in(network, device, chosen.dtype)
        return replace(sampler, numbers=chosen.words)

    @classmethod
    def _in(cls, network: BayesianUNet, device: torch.device, dtype: torch.dtype) -> Sampler:
        folded = fold_batch_normalisation(network)
        for parameter in folded.parameters():
            parameter.requires_grad = False
            if parameter.ndim == 4:
                parameter.data = parameter.contiguous(memory_format=torch.channels_last)
        folded = folded.to(device=device, dtype=dtype)
        ready = CpuUNet(folded) if device.type == "cpu" else folded
        return cls(ready, device, dtype, str(dtype).removeprefix("torch."))

    def on_a_tile(self, window: Window) -> Callable[[], Tensor]:
        """What computes the softmax of a tile, to try the numbers."""
        images, *sides = CPU_TILE if self.is_on_cpu else CUDA_TILE
        rows, columns = (rounded_up(side, self.network.architecture) for side in sides)
        tile = window.apply(two_thighs(rows, columns)).to(self.device)
        return partial(self.softmax_without_dropout, tile.expand(images, 1, -1, -1))

    @property
    def is_on_cpu(self) -> bool:
        """True if it computes on the CPU."""
        return self.device.type == "cpu"

    @property
    def description(self) -> str:
        """Device and numbers in words."""
        return f"{self.device} {self.numbers}"

    def softmaxes(
        self, images: Tensor, slices: range, samples: int, seed: int, at_once: int
    ) -> Iterator[Tensor]:
        """Softmax of every sample in turn, float32 `[slice, class, row, column]`.

        What comes before the first dropout is computed once for all samples.

        Args:
            images: windowed slices `[slice, 1, row, column]`.
            slices: their places in the volume; they choose the random states.
            samples: how many to draw.
            seed: as in `predict`.
            at_once: samples in one pass; a matter of speed and memory, not of the answer.
        """
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        features = self.network.deterministic(images)
        for start in range(0, samples, at_once):
            drawn = range(start, min(start + at_once, samples))
            states = [(seed, place, sample) for sample in drawn for place in slices]
            drop = SeededDropout(states, self.network.architecture.dropout, self.device)
            repeated = [torch.cat([layer] * len(drawn)) for layer in features]
            logits = self.network.stochastic(repeated, drop)  # (sample x slice, c, h, w)
            softmaxes = _softmax(logits)
            yield from softmaxes.view(len(drawn), len(slices), *softmaxes.shape[1:])

    def softmax_without_dropout(self, images: Tensor) -> Tensor:
        """Softmax of one pass in which nothing is dropped, as in `softmaxes`."""
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        features = self.network.deterministic(images)
        return _softmax(self.network.stochastic(features, lambda kept: kept))


def _softmax(logits: Tensor) -> Tensor:
    # Channels lie last in memory: along them softmax needs no copies.
    channels_last = logits.permute(0, 2, 3, 1)
    return channels_last.softmax(dim=-1, dtype=torch.float32).permute(0, 3, 1, 2)
