"""The Bayesian U-Net as a `Model`: what it is fed and computed in, and its way to a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from inference.models.bayesian_unet.channels import STUDY_CHANNELS, Channels, Structures
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.prediction import predict_with
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.sampler import Sampler
from inference.models.bayesian_unet.weights import load_network
from inference.models.devices import find_device
from inference.models.model import Progress
from inference.prediction import Prediction
from inference.results import SampleKind, Uncertainty
from inference.structures import Segment
from inference.volume import Volume


@dataclass(frozen=True, slots=True)
class BayesianUNetModel:
    """A trained Bayesian U-Net; see `inference.models.model.Model`.

    weights_path: a safetensors file that fits the architecture.
    window, grid: what the network is fed.
    precision: in what numbers it may compute.
    uncertainty: by variance over the Monte Carlo samples, or by the entropy of one pass
        without dropout.
    channels: what the output channels stand for.
    """

    weights_path: Path
    architecture: Architecture
    window: Window
    grid: PixelGrid
    precision: Precision = field(default_factory=Precision)
    uncertainty: Uncertainty = Uncertainty.VARIANCE
    channels: Channels = STUDY_CHANNELS

    @property
    def samples_of(self) -> SampleKind:
        """Dropout; the entropy is of one pass in which nothing is dropped."""
        by_variance = self.uncertainty is Uncertainty.VARIANCE
        return SampleKind.DROPOUT if by_variance else SampleKind.NONE

    @property
    def most_samples(self) -> int | None:
        """As many as are asked for, but of the entropy one pass."""
        return most_samples(self.uncertainty)

    @property
    def segments(self) -> frozenset[Segment]:
        """Those that the output channels stand for; of the study's network all 43."""
        return self.channels.segments

    @property
    def slice_by_slice(self) -> bool:
        """It sees one slice at a time."""
        return True

    def load(self, device: str) -> UNetPredictor:
        """Fold the normalisation, and move the network to the device."""
        return UNetPredictor.of(
            self.network(),
            self.window,
            self.grid,
            device=device,
            precision=self.precision,
            uncertainty=self.uncertainty,
            channels=self.channels,
        )

    def network(self) -> BayesianUNet:
        """The network in float32 on the CPU, in evaluation mode, not yet folded."""
        return load_network(self.weights_path, self.architecture)


@dataclass(frozen=True, slots=True, eq=False)
class UNetPredictor:
    """A Bayesian U-Net ready on its device; see `inference.models.model.Predictor`.

    fallback: makes the sampler that goes on where the device's memory ends.
    structures: the way from channels to labels; None where they are the same.
    before: what happened before the first slice, in front of what computed it.
    """

    sampler: Sampler
    window: Window
    grid: PixelGrid
    fallback: Callable[[], Sampler]
    uncertainty: Uncertainty
    before: str = ""
    structures: Structures | None = None

    @classmethod
    def of(  # noqa: PLR0913 - what a bundle says, without the bundle
        cls,
        network: BayesianUNet,
        window: Window,
        grid: PixelGrid,
        *,
        device: str,
        precision: Precision,
        uncertainty: Uncertainty = Uncertainty.VARIANCE,
        channels: Channels = STUDY_CHANNELS,
    ) -> UNetPredictor:
        """A network in memory made ready; the CPU's where the device cannot hold it."""
        fallback = partial(Sampler.of, network, torch.device("cpu"), precision, window)
        before = ""
        try:
            sampler = Sampler.of(network, find_device(device), precision, window)
        except torch.OutOfMemoryError:
            sampler, before = fallback(), f"{device}: no memory for the weights, "
        structures = Structures.of(channels)
        return cls(sampler, window, grid, fallback, uncertainty, before, structures)

    def predict(
        self,
        volume: Volume,
        *,
        counts: Sequence[int],
        seed: int,
        progress: Progress | None = None,
    ) -> tuple[Prediction, ...]:
        """Slice by slice; each (slice, sample) has a random state of its own."""
        found = predict_with(
            self.sampler,
            volume,
            self.window,
            self.grid,
            fallback=self.fallback,
            counts=counts,
            seed=seed,
            uncertainty=self.uncertainty,
            structures=self.structures,
            progress=progress,
        )
        return tuple(replace(one, device=self.before + one.device) for one in found)


def most_samples(uncertainty: Uncertainty) -> int | None:
    """The entropy is that of one pass; the variance has no end."""
    return 1 if uncertainty is Uncertainty.ENTROPY else None
