"""A guest as a `Model`: its labels, its members, and the way to its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from inference.errors import BundleError
from inference.models.devices import find_device
from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import Members
from inference.models.guests.network import GuestNetwork
from inference.models.guests.predictor import GuestPredictor
from inference.models.toml_values import MisfitError
from inference.results import SampleKind, Uncertainty
from inference.structures import Segment


@dataclass(frozen=True, slots=True)
class GuestModel:
    """A network of another program; see `inference.models.model.Model`.

    weights_path: the safetensors file, for messages.
    load_network: makes the networks ready on a device; a value, so that a model can be sent
        to another process.
    slice_by_slice: each slice is labelled by itself.
    """

    weights_path: Path
    labels: GuestLabels
    members: Members
    load_network: Callable[[torch.device], GuestNetwork]
    slice_by_slice: bool = False

    def __post_init__(self) -> None:
        """Refuse members that do not fit the labels."""
        misfit = self.members.misfit(self.labels)
        if misfit:
            raise MisfitError([("members", misfit)])

    @property
    def uncertainty(self) -> Uncertainty:
        """The variance over the members; of one there is none."""
        return Uncertainty.NONE if self.most_samples == 1 else Uncertainty.VARIANCE

    @property
    def samples_of(self) -> SampleKind:
        """What the members differ by."""
        return self.members.samples_of

    @property
    def most_samples(self) -> int:
        """The number of members."""
        return len(self.members.each)

    @property
    def segments(self) -> frozenset[Segment]:
        """Those that the labels stand for."""
        return self.labels.segments

    def load(self, device: str) -> GuestPredictor:
        """Make the networks ready, and see that they are what the bundle says."""
        wanted = find_device(device)
        try:
            network = self.load_network(wanted)
        except torch.OutOfMemoryError:
            network = self.load_network(torch.device("cpu"))
        found = network.classes, network.networks
        declared = len(self.labels.names), self.members.networks
        for what, one, other in zip(("classes", "networks"), found, declared, strict=True):
            if one != other:
                raise BundleError(f"{self.weights_path}: {one} {what}, declared are {other}")
        return GuestPredictor(network, self.labels, self.members)
