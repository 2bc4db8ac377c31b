"""A MuscleMap network in `bundle.toml`, checked against its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from inference.models.bundle_files import WEIGHTS_FILE, file_sha256
from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import Members
from inference.models.guests.model import GuestModel
from inference.models.musclemap.networks import MuscleMapNetworks, read_networks
from inference.models.musclemap.settings import (
    Numbers,
    Postprocessing,
    Preprocessing,
    Way,
    Windows,
)
from inference.models.musclemap.unet import MuscleMapUNet
from inference.models.toml_values import value_of
from inference.models.weights_files import check_members

KIND: Final = "musclemap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The keys of bundle.toml that are this kind's own."""

    labels: GuestLabels
    members: Members
    network: MuscleMapUNet
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    windows: Windows = field(default_factory=Windows)
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    numbers: Numbers = field(default_factory=Numbers)
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A channel for each label, and windows that come back in their own size."""
        if len(self.labels.names) != self.network.out_channels:
            raise ValueError(
                f"{len(self.labels.names)} labels with background, but"
                f" {self.network.out_channels} output channels"
            )
        if any(size % self.network.multiple for size in self.windows.size):
            raise ValueError(
                f"windows of {self.windows.size} are no multiple of {self.network.multiple},"
                " by which the network divides"
            )

    @property
    def way(self) -> Way:
        """What is chosen from image to labels."""
        return Way(
            preprocessing=self.preprocessing,
            windows=self.windows,
            postprocessing=self.postprocessing,
            numbers=self.numbers,
        )


@dataclass(frozen=True, slots=True)
class _Loader:
    """Makes the networks ready; see `GuestModel.load_network`."""

    weights_path: Path
    declared: Declared

    def __call__(self, device: torch.device) -> MuscleMapNetworks:
        declared = self.declared
        return MuscleMapNetworks(
            read_networks(self.weights_path, declared.network, declared.members.networks),
            declared.network.out_channels,
            declared.way,
            device,
            file_sha256(self.weights_path),
        )


def read_model(folder: Path, table: Mapping[str, Any]) -> GuestModel:
    """The model of a bundle's folder; see `inference.models.bundle.Reader`."""
    declared = value_of(Declared, table)
    path = folder / WEIGHTS_FILE
    with torch.device("meta"):
        network = declared.network.build()
    check_members(path, network, declared.members.networks)
    return GuestModel(
        weights_path=path,
        labels=declared.labels,
        members=declared.members,
        load_network=_Loader(path, declared),
        # A network sees one slice; its neighbours only share its mean, deviation and crop.
        slice_by_slice=True,
    )
