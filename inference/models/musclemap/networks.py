"""MuscleMap's way from HU to logits: a slice at a time, made when it is asked for.

What is kept is the figures of one chunk and the logits of one slice. The network answers
when a slice is asked for; slices in their order are the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from inference.errors import DeviceError
from inference.models.guests.network import GuestLogits
from inference.models.model import Progress
from inference.models.musclemap.axis import Axis, between
from inference.models.musclemap.chunk import Chunk, Slices, Span, inside
from inference.models.musclemap.settings import Way
from inference.models.musclemap.sliding import over_windows
from inference.models.musclemap.unet import MuscleMapUNet, UNet
from inference.models.precision_probe import choose_by_logits
from inference.models.weights_files import load_tensors
from inference.volume import Volume

Network = Callable[[Tensor], Tensor]
"""float32 `[window, 1, x, y]` on the device to logits `[window, class, x, y]`."""


class SlicesOfLogits:
    """One network's answer for a volume: `GuestLogits`."""

    def __init__(
        self,
        volume: Volume,
        network: Network,
        way: Way,
        device: torch.device,
        classes: int,
    ) -> None:
        self._windows = way.windows
        self._slices = Slices(volume, way.preprocessing)
        self._chunks = way.preprocessing.chunks(len(volume.hu))
        self._shape = volume.hu.shape
        self._network, self._device, self._classes = network, device, classes
        self._chunk: Chunk | None = None
        self._kept: tuple[int, Tensor] | None = None

    def at(self, place: int) -> Tensor:
        """Logits of one slice, float32 `[class, row, column]`; 0 where nothing was asked."""
        if self._kept is None or self._kept[0] != place:
            self._kept = None  # two slices of logits at once are too much
            self._kept = place, self._made(place)
        return self._kept[1]

    def _made(self, place: int) -> Tensor:
        _, rows, columns = self._shape
        chunk = self._chunk_of(place)
        if place not in chunk.fed:
            return torch.zeros((self._classes, rows, columns), device=self._device)
        image = self._slices.normalised(place, chunk).to(self._device)
        logits = over_windows(image, self._network, self._windows, self._classes)
        return _on_image(logits, chunk, self._slices)

    def _chunk_of(self, place: int) -> Chunk:
        if self._chunk is None or place not in self._chunk.slices:
            size = len(self._chunks[0])
            self._chunk = self._slices.chunk(self._chunks[place // size])
        return self._chunk


def _on_image(logits: Tensor, chunk: Chunk, slices: Slices) -> Tensor:
    """Logits of a crop `[class, x, y]` on the image's grid `[class, row, column]`."""
    # Values are picked along the middle axis: along the last one it takes seven times as long.
    by_column = _spread(logits, chunk.x, slices.x).transpose(1, 2).contiguous()
    return _spread(by_column, chunk.y, slices.y)


def _spread(logits: Tensor, span: Span, axis: Axis) -> Tensor:
    """The middle axis of a crop on the image's pixels, turned round; 0 beyond the crop."""
    shown = inside(span, axis)
    within = logits[:, shown.start - span.first : shown.stop - span.first]
    if axis.step == 1 and shown == range(axis.fed):
        return within.flip(1)
    ringed = functional.pad(within, (0, 0, 1, 1))
    places = (axis.places().flip(0) - (shown.start - 1)).clamp(0, len(shown) + 1)
    return between(ringed, 1, places)


def largest_pieces(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of every label only its largest piece; the rest becomes 0.

    Voxels that share a face hang together. Of pieces of one size the one that reaches furthest
    to the patient's right stays: in a file of axes x, y, z it comes first.

    Args:
        labels: `[slice, row, column]`, 0 for background.

    Returns:
        A new array.
    """
    kept = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        shown = (labels[box] == label).transpose(2, 1, 0)
        pieces, count = ndimage.label(shown)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            largest = int(sizes[1:].argmax()) + 1
            kept[box].transpose(2, 1, 0)[shown & (pieces != largest)] = 0
    return kept


class MuscleMapNetworks:
    """Networks of one bundle, ready on a device: `GuestNetwork`.

    All of them stay in memory (54 MB each as published), for they take turns slice by slice.
    `identity` tells the bundle from others whose numbers were tried.
    """

    def __init__(
        self,
        networks: Sequence[UNet],
        classes: int,
        way: Way,
        device: torch.device,
        identity: Hashable = None,
    ) -> None:
        self._way = way
        self._device, self._classes = device, classes
        on_device = [one.eval().to(device) for one in networks]
        # Weights of one file are of one kind: the first set speaks for all.
        self._choice = choose_by_logits(
            partial(_in, on_device[0]),
            way.windows.size,
            allowed=way.numbers.allowed(device),
            device=device,
            network=identity,
        )
        self._networks = [one.to(self._choice.dtype) for one in on_device]

    @property
    def networks(self) -> int:
        """Sets of weights."""
        return len(self._networks)

    @property
    def classes(self) -> int:
        """Output channels."""
        return self._classes

    @property
    def description(self) -> str:
        """Device and numbers in words."""
        return f"{self._device.type}, {self._choice.words}"

    def logits(
        self, volume: Volume, network: int, progress: Progress | None = None
    ) -> SlicesOfLogits:
        """See `GuestNetwork`; the work is done, and progress told, as slices are asked for."""
        del progress
        ready = partial(self._answer, network)
        return SlicesOfLogits(volume, ready, self._way, self._device, self._classes)

    def mean(self, each: Iterable[GuestLogits]) -> None:
        """None: MuscleMap's program knows one network."""
        del each

    def cleaned(self, labels: NDArray[np.uint8], volume: Volume) -> NDArray[np.uint8]:
        """The largest piece of every label, where the bundle says so."""
        del volume
        return largest_pieces(labels) if self._way.postprocessing.largest_piece else labels

    def _answer(self, network: int, windows: Tensor) -> Tensor:
        """Logits of some windows; in halves where memory ends."""
        try:
            with torch.inference_mode():
                logits: Tensor = self._networks[network](windows.to(self._choice.dtype)).float()
        except torch.OutOfMemoryError:
            if len(windows) == 1:
                raise DeviceError(f"{self._device}: no memory for a window") from None
        else:
            return logits
        half = len(windows) // 2
        return torch.cat(
            [self._answer(network, one) for one in (windows[:half], windows[half:])]
        )


def _in(network: UNet, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """A copy of a network in some numbers, to try them."""
    tried = deepcopy(network).to(dtype)
    return lambda window: tried(window.to(dtype))


def read_networks(path: Path, shape: MuscleMapUNet, count: int) -> list[UNet]:
    """Networks with the weights of a bundle's file.

    Raises:
        BundleError: weights that are no numbers.
    """
    tensors = load_tensors(path)
    networks = []
    for number in range(count):
        with torch.device("meta"):
            network = shape.build()
        own = {name: tensors[f"{number}/{name}"] for name in network.state_dict()}
        network.load_state_dict(own, assign=True)
        networks.append(network.requires_grad_(requires_grad=False))
    return networks
