"""A guest small enough to be worked by hand: the class whose HU are nearest, on its side.

The logit of a class is minus the distance of a voxel's HU from the class's own, in units of
10 HU; on the other side of the patient's midline it is 50 less. The weights' file holds the
classes' HU for each network, under `0/hu`, `1/hu`, and so on. It knows femur and VLVI, left
and right, and fat, which is none of ours. Its original keeps no class of fewer than
`smallest` voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from inference.models.bundle import Bundle, Reader
from inference.models.bundle_files import WEIGHTS_FILE
from inference.models.bundle_writing import write_bundle
from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import Members
from inference.models.guests.model import GuestModel
from inference.models.guests.network import GuestLogits
from inference.models.model import Progress
from inference.models.toml_text import as_table
from inference.models.toml_values import value_of
from inference.volume import Volume

KIND: Final = "tiny_guest"

LABELS: Final = GuestLabels(
    names=("background", "femur_left", "femur_right", "vasti_left", "vasti_right", "fat"),
    stands_for={
        "femur_left": "FEMUR_L",
        "femur_right": "FEMUR_R",
        "vasti_left": "VLVI_L",
        "vasti_right": "VLVI_R",
    },
    mirrored=(("femur_left", "femur_right"), ("vasti_left", "vasti_right")),
)
HU: Final = (-1000.0, 500.0, 500.0, 50.0, 50.0, -100.0)
SIDES: Final = (0, 1, -1, 1, -1, 0)
"""The sign of x on which each class lies; 0 for both."""


@dataclass(frozen=True, eq=False)
class TinyNetwork:
    """The networks made ready; `seen` are the volumes that they were given."""

    hu: Sequence[NDArray[np.float32]]
    smallest: int = 0
    description: str = "cpu by hand"
    seen: list[Volume] = field(default_factory=list)
    averaged: Callable[[Iterable[GuestLogits]], GuestLogits] | None = None

    @property
    def networks(self) -> int:
        """Lists of HU."""
        return len(self.hu)

    @property
    def classes(self) -> int:
        """HU in a list."""
        return len(self.hu[0])

    def logits(
        self, volume: Volume, network: int, progress: Progress | None = None
    ) -> TinyLogits:
        """Nothing is computed before a slice is asked for."""
        self.seen.append(volume)
        if progress is not None:
            progress(1, 1)
        return TinyLogits(volume, self.hu[network])

    def mean(self, each: Iterable[GuestLogits]) -> GuestLogits | None:
        """None, unless networks are to be averaged as their original would."""
        return self.averaged(each) if self.averaged is not None else None

    def cleaned(self, labels: NDArray[np.uint8], volume: Volume) -> NDArray[np.uint8]:
        """The same without the classes that are too small."""
        assert labels.shape == volume.hu.shape
        counts = np.bincount(labels.ravel(), minlength=self.classes)
        return np.where(counts[labels] >= self.smallest, labels, 0).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class TinyLogits:
    """Of one volume and one network."""

    volume: Volume
    hu: NDArray[np.float32]

    def at(self, place: int) -> Tensor:
        """One slice."""
        grid = self.volume.geometry
        x = grid.positions_mm[place, 0] + np.arange(grid.columns) * grid.spacing_mm[1]
        aside = np.sign(x) * np.array(SIDES)[:, None] < 0  # (class, column)
        far = np.abs(self.volume.hu[place] - self.hu[:, None, None]) / 10
        return torch.from_numpy((-far - 50 * aside[:, None]).astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    labels: GuestLabels
    members: Members
    smallest: int = 0


def _load(path: Path, smallest: int, device: torch.device) -> TinyNetwork:
    tensors = load_file(path)
    hu = [tensors[f"{number}/hu"] for number in range(len(tensors))]
    return TinyNetwork(hu, smallest, f"{device} by hand")


def _read(folder: Path, table: Mapping[str, Any]) -> GuestModel:
    declared = value_of(_Declared, table)
    path = folder / WEIGHTS_FILE
    return GuestModel(
        path,
        declared.labels,
        declared.members,
        partial(_load, path, declared.smallest),
        slice_by_slice=True,
    )


TINY_GUESTS: Final[Mapping[str, Reader]] = {KIND: _read}


def tiny_guest_bundle(
    folder: Path,
    members: Members,
    *,
    hu: Sequence[Sequence[float]] = (HU,),
    labels: GuestLabels = LABELS,
    smallest: int = 0,
) -> Bundle:
    """Write one; one list of the classes' HU for each network."""
    tensors = {f"{k}/hu": np.array(each, dtype=np.float32) for k, each in enumerate(hu)}
    own = {"labels": labels, "members": members, "smallest": smallest}
    return write_bundle(
        folder,
        kind=KIND,
        own=as_table(own),
        save_weights=partial(save_file, tensors),
        name="tiny guest",
        version="1",
        samples=10,
        training={"note": "set by hand"},
        model_card="# Tiny guest\n",
    )
