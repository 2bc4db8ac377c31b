"""MuscleMap's way from HU to logits: a slice at a time, made when it is asked for.

What is kept is the figures of one chunk and the logits of one slice. The network answers
when a slice is asked for; slices in their order are the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from inference.models.model import Progress
from inference.models.musclemap.axis import Axis, between
from inference.models.musclemap.chunk import Chunk, Slices, Span, inside
from inference.models.musclemap.settings import Postprocessing, Preprocessing, Windows
from inference.models.musclemap.sliding import over_windows
from inference.volume import Volume

Network = Callable[[Tensor], Tensor]
"""float32 `[window, 1, x, y]` on the device to logits `[window, class, x, y]`."""


class SlicesOfLogits:
    """One network's answer for a volume: `GuestLogits`."""

    def __init__(
        self,
        volume: Volume,
        network: Network,
        chosen: tuple[Preprocessing, Windows],
        device: torch.device,
        classes: int,
    ) -> None:
        self._preprocessing, self._windows = chosen
        self._slices = Slices(volume, self._preprocessing)
        self._chunks = self._preprocessing.chunks(len(volume.hu))
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
        logits = over_windows(image, self._network, self._windows)
        return _on_image(logits, chunk, self._slices)

    def _chunk_of(self, place: int) -> Chunk:
        if self._chunk is None or place not in self._chunk.slices:
            size = len(self._chunks[0])
            self._chunk = self._slices.chunk(self._chunks[place // size])
        return self._chunk


def _on_image(logits: Tensor, chunk: Chunk, slices: Slices) -> Tensor:
    """Logits of a crop `[class, x, y]` on the image's grid `[class, row, column]`."""
    by_column = _spread(logits, 1, chunk.x, slices.x)
    return _spread(by_column, 2, chunk.y, slices.y).transpose(1, 2)


def _spread(logits: Tensor, dim: int, span: Span, axis: Axis) -> Tensor:
    """One axis of a crop on the image's pixels, turned round; 0 beyond the crop."""
    shown = inside(span, axis)
    within = logits.narrow(dim, shown.start - span.first, len(shown))
    if axis.step == 1 and shown == range(axis.fed):
        return within.flip(dim)
    pad = [0] * (2 * (logits.ndim - 1 - dim)) + [1, 1]
    ringed = torch.nn.functional.pad(within, pad)
    places = (axis.places().flip(0) - (shown.start - 1)).clamp(0, len(shown) + 1)
    return between(ringed, dim, places)


def largest_pieces(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of every label only its largest piece; the rest becomes 0.

    Voxels that share a face hang together. Of pieces of one size the one that comes first
    stays.

    Args:
        labels: `[slice, row, column]`, 0 for background.

    Returns:
        A new array.
    """
    kept = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        shown = labels[box] == label
        pieces, count = ndimage.label(shown)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            largest = int(sizes[1:].argmax()) + 1
            kept[box][shown & (pieces != largest)] = 0
    return kept


class MuscleMapNetworks:
    """Networks of one bundle, ready on a device: `GuestNetwork`."""

    def __init__(
        self,
        networks: Sequence[Network],
        classes: int,
        chosen: tuple[Preprocessing, Windows, Postprocessing],
        device: torch.device,
        description: str,
    ) -> None:
        self._networks = tuple(networks)
        self._preprocessing, self._windows, self._postprocessing = chosen
        self._device = device
        self.classes = classes
        self.description = description

    @property
    def networks(self) -> int:
        """Sets of weights."""
        return len(self._networks)

    def logits(
        self, volume: Volume, network: int, progress: Progress | None = None
    ) -> SlicesOfLogits:
        """See `GuestNetwork`; the work is done, and progress told, as slices are asked for."""
        del progress
        chosen = (self._preprocessing, self._windows)
        return SlicesOfLogits(
            volume, self._networks[network], chosen, self._device, self.classes
        )

    def cleaned(self, labels: NDArray[np.uint8], volume: Volume) -> NDArray[np.uint8]:
        """The largest piece of every label, where the bundle says so."""
        del volume
        return largest_pieces(labels) if self._postprocessing.largest_piece else labels
