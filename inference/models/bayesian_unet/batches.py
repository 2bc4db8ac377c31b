"""As much at once as fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import torch

from inference.errors import DeviceMemoryError

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Batch:
    """Slices and samples that go through the network at once."""

    slices: int
    samples: int

    @classmethod
    def within(cls, pixels: int, slice_pixels: int, samples: int) -> Self:
        """As many slices with all their samples, or samples of one slice, as pixels allow."""
        at_once = max(1, pixels // slice_pixels)
        return cls(max(1, at_once // samples), min(samples, at_once))

    def smaller(self) -> Batch | None:
        """Half of it, fewer slices first; None where nothing is left to halve."""
        if self.slices > 1:
            return Batch(self.slices // 2, self.samples)
        return Batch(1, self.samples // 2) if self.samples > 1 else None


def in_batches(
    slices: int, batch: Batch, analyse: Callable[[range, int], Part]
) -> Iterator[Part]:
    """All slices in batches, smaller ones from where memory runs out."""
    start = 0
    while start < slices:
        places = range(start, min(start + batch.slices, slices))
        smaller = batch.smaller()
        try:
            part = analyse(places, batch.samples)
        except torch.OutOfMemoryError as error:
            if smaller is None:
                raise DeviceMemoryError(start) from error
            part = None
        # The error is gone by now, and with it the failed batch's tensors.
        if part is None and smaller is not None:
            batch = smaller
            torch.cuda.empty_cache()
        elif part is not None:
            start = places.stop
            yield part
