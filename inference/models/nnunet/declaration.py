"""An nnU-Net in `bundle.toml`, checked against its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from inference.models.bundle_files import WEIGHTS_FILE
from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import Members
from inference.models.guests.model import GuestModel
from inference.models.nnunet.architecture import Architecture, UNet
from inference.models.nnunet.networks import NnunetNetworks, Numbers
from inference.models.nnunet.preprocessing import Preprocessing
from inference.models.nnunet.tiles import Tiles
from inference.models.toml_values import value_of
from inference.models.weights_files import check_members

KIND: Final = "nnunet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The keys of bundle.toml that are this kind's own."""

    labels: GuestLabels
    members: Members
    network: Architecture
    preprocessing: Preprocessing
    tiles: Tiles
    numbers: Numbers = field(default_factory=Numbers)
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A tile has as many axes as the network, and halves as often as it does."""
        axes = self.network.axes
        if len(self.tiles.patch) != axes or len(self.preprocessing.spacing_mm) != axes:
            raise ValueError(f"tiles and spacing are not of {axes} axes, as the network")
        for axis, side in enumerate(self.tiles.patch):
            shrunk = 1
            for stride in self.network.strides:
                shrunk *= stride[axis]
            if side % shrunk:
                raise ValueError(f"a tile of {side} cannot be shrunk {shrunk} times evenly")


@dataclass(frozen=True, slots=True)
class _Loader:
    """Makes the networks ready; see `GuestModel.load_network`."""

    weights_path: Path
    declared: Declared

    def __call__(self, device: torch.device) -> NnunetNetworks:
        return NnunetNetworks(
            weights_path=self.weights_path,
            architecture=self.declared.network,
            classes=len(self.declared.labels.names),
            networks=self.declared.members.networks,
            preprocessing=self.declared.preprocessing,
            tiles=self.declared.tiles,
            numbers=self.declared.numbers,
            device=device,
        )


def read_model(folder: Path, table: Mapping[str, Any]) -> GuestModel:
    """The model of a bundle's folder; see `inference.models.bundle.Reader`."""
    declared = value_of(Declared, table)
    path = folder / WEIGHTS_FILE
    with torch.device("meta"):
        network = UNet(declared.network, len(declared.labels.names))
    check_members(path, network, declared.members.networks)
    return GuestModel(
        weights_path=path,
        labels=declared.labels,
        members=declared.members,
        load_network=_Loader(path, declared),
        slice_by_slice=declared.network.axes == 2 and declared.preprocessing.transpose[0] == 0,
    )
