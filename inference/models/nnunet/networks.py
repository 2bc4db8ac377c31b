"""The networks of an nnU-Net bundle, ready on a device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from inference.errors import BundleError, DeviceError
from inference.models.guests.network import GuestLogits
from inference.models.model import Progress
from inference.models.nnunet.architecture import Architecture, UNet
from inference.models.nnunet.preprocessing import Placing, Preprocessing, prepared
from inference.models.nnunet.resampling import between, nearest, plane_resampled
from inference.models.nnunet.tiles import Tiles
from inference.models.precision_probe import Choice, choose_by_logits
from inference.volume import Volume

Number = Literal["float32", "bfloat16", "float16"]

_TRIED: Final = 32
"""Voxels of a side of the tile on which numbers are tried."""

_CERTAIN: Final = 100.0
"""Logit of background where nnU-Net does not look and answers background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """In what numbers a network computes, on each kind of device; the `[numbers]` table.

    nnunetv2 computes in single precision on a CPU and in half precision on a GPU. Other than
    single precision is tried on a small tile first: see `inference.models.precision_probe`.
    """

    cpu: Literal["float32", "bfloat16"] = "float32"
    cuda: Number = "float16"


@dataclass(frozen=True, slots=True, eq=False)
class NnunetLogits:
    """Logits of a volume on the network's grid; see `GuestLogits`.

    values: `[class, a, b, c]`, axes as the network sees them.
    """

    values: Tensor
    placing: Placing
    preprocessing: Preprocessing
    shape: tuple[int, int, int]
    device: torch.device

    def at(self, place: int) -> Tensor:
        """One slice; where the image was cut off, background for certain."""
        axis = self.preprocessing.transpose.index(0)
        box, boxed = self.placing.box, self.placing.boxed
        found = torch.zeros((len(self.values), *self.shape[1:]), device=self.device)
        found[0] = _CERTAIN
        inside = place - box[axis].start
        if 0 <= inside < boxed[axis]:
            plane = self._plane(axis, inside)
            row, column = (self.preprocessing.transpose.index(one) for one in (1, 2))
            if row > column:
                plane = plane.swapaxes(1, 2)
            # nnunetv2 keeps them in half precision, by which near ties are decided.
            found[:, box[row], box[column]] = plane.half().to(found)
        return found.flip((1, 2)) if self.preprocessing.orientation == "RAS" else found

    def _plane(self, axis: int, place: int) -> Tensor:
        """Logits of a slice of the box, its two axes in the network's order."""
        counts, wanted, across = self.values.shape[1:], self.placing.boxed, self.placing.across
        if axis == across:
            at = int(nearest(counts[axis], wanted[axis])[place])
            plane = self.values.select(axis + 1, at).to(self.device).float()
        else:
            low, high, share = between(counts[axis], wanted[axis], place)
            plane = self.values.select(axis + 1, low).to(self.device).float()
            if share > 0:
                plane = plane.lerp(self.values.select(axis + 1, high).to(plane), share)
        first, second = (one for one in range(3) if one != axis)
        for at, one in enumerate((first, second), start=1):
            if one == across:
                index = torch.from_numpy(nearest(counts[one], wanted[one])).to(self.device)
                plane = plane.index_select(at, index)
        return plane_resampled(plane, (wanted[first], wanted[second]))


def tile_to_try(patch: Sequence[int], network: Architecture) -> tuple[int, ...]:
    """A tile about 32 wide that the network can shrink evenly, no larger than its own."""
    shrunk = [math.prod(steps) for steps in zip(*network.strides, strict=True)]
    return tuple(
        min(side, by * max(2, math.ceil(_TRIED / by)))
        for side, by in zip(patch, shrunk, strict=True)
    )


@dataclass(slots=True, eq=False)
class NnunetNetworks:
    """Networks of the same architecture; see `GuestNetwork`.

    One set of weights is in memory at a time: reading another takes less than a tile.
    """

    weights_path: Path
    architecture: Architecture
    classes: int
    networks: int
    preprocessing: Preprocessing
    tiles: Tiles
    numbers: Numbers
    device: torch.device
    _network: UNet = field(init=False)
    _loaded: int | None = field(init=False, default=None)
    _choice: Choice = field(init=False)

    def __post_init__(self) -> None:
        """Make the network, and read the first weights: a device without memory shows."""
        self._network = UNet(self.architecture, self.classes).eval().to(self.device)
        self._network.requires_grad_(requires_grad=False)
        self._load(0)
        self._choice = choose_by_logits(
            self._in,
            tile_to_try(self.tiles.patch, self.architecture),
            allowed=self.numbers.cuda if self.device.type == "cuda" else self.numbers.cpu,
            device=self.device,
            network=(self.weights_path, self.weights_path.stat().st_mtime_ns),
        )

    @property
    def description(self) -> str:
        """Device and numbers in words."""
        return f"{self.device.type}, {self._choice.words}"

    def logits(
        self, volume: Volume, network: int, progress: Progress | None = None
    ) -> NnunetLogits:
        """See `GuestNetwork.logits`."""
        self._load(network)
        image, placing = prepared(volume, self.preprocessing)
        values = self._tiled(torch.from_numpy(image), progress)
        return NnunetLogits(
            values, placing, self.preprocessing, volume.geometry.shape, self.device
        )

    def mean(self, each: Iterable[GuestLogits]) -> NnunetLogits:
        """On the network's grid and in its numbers, as nnunetv2 averages folds."""
        mean: NnunetLogits | None = None
        count = 0
        for one in each:
            if not isinstance(one, NnunetLogits):
                raise TypeError(f"{type(one).__name__} is no answer of an nnU-Net")
            count += 1
            if mean is None:
                mean = replace(one, values=one.values.clone())
            elif mean.values.dtype == one.values.dtype:
                mean.values.add_(one.values)
            else:  # one of them left the range of half precision
                mean = replace(mean, values=mean.values + one.values)
        if mean is None:
            raise ValueError("the mean of no answer")
        mean.values.div_(count)
        return mean

    def cleaned(self, labels: NDArray[np.uint8], volume: Volume) -> NDArray[np.uint8]:
        """As they are: `nnUNetv2_predict` cleans nothing."""
        del volume
        return labels

    def _tiled(self, image: Tensor, progress: Progress | None) -> Tensor:
        """Sums on the device while its memory lasts, in half precision while its range does."""
        kept_on, numbers = self.device, torch.float16
        while True:
            try:
                with torch.inference_mode(), self._autocast(self._choice.dtype):
                    values = self.tiles.logits(
                        image.to(self.device),
                        self._network.features,
                        self.classes,
                        kept_on=kept_on,
                        last=self._network.classified,
                        numbers=numbers,
                        progress=progress,
                    )
            except torch.OutOfMemoryError as error:
                if kept_on.type == "cpu":
                    words = f"{self.device}: no memory for a tile of {self.tiles.patch}"
                    raise DeviceError(words) from error
                kept_on = torch.device("cpu")
                continue
            if numbers is torch.float32 or all(bool(one.isfinite().all()) for one in values):
                return values
            numbers = torch.float32

    def _in(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The network in these numbers, to try them."""

        def answer(tile: Tensor) -> Tensor:
            with self._autocast(dtype):
                logits: Tensor = self._network(tile)
            return logits

        return answer

    def _autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        if dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def _load(self, number: int) -> None:
        if number == self._loaded:
            return
        with safe_open(self.weights_path, framework="pt") as weights:
            found = {
                name.partition("/")[2]: weights.get_tensor(name)
                for name in weights.keys()  # noqa: SIM118 - a file, not a dict
                if name.startswith(f"{number}/")
            }
        for name, tensor in found.items():
            if not tensor.isfinite().all():
                raise BundleError(
                    f"{self.weights_path}: {number}/{name} has values that are not finite"
                )
        self._network.load_state_dict(found, strict=True)
        self._loaded = number
