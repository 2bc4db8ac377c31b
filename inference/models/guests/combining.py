"""The members' logits of one slice put together: labels, variance, and each member's labels.

With a hundred classes this takes as long as a small network, most of it for memory that is
fetched and filled anew. On a CPU the slice is therefore cut into bands of rows, one for each
core, which keep their memory; there it goes a few rows, or one class, at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.errors import DeviceError
from inference.models.moments import Moments

ROWS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """The members' opinions of one slice.

    labels: for each count, classes of the guest, uint8 `[row, column]`.
    uncertainty: for each count, float32 `[row, column]`; none where nobody asked for them.
    drawn: of each member, our labels, uint8 `[row, column]`; likewise.
    """

    labels: list[NDArray[np.uint8]] = field(default_factory=list)
    uncertainty: list[NDArray[np.float32]] = field(default_factory=list)
    drawn: list[NDArray[np.uint8]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Band:
    """Some rows of a slice, and what the members say of them.

    members: how many have said something of this slice.
    total: sum of their logits `[class, row, column]`; the memory serves all slices.
    """

    counts: tuple[int, ...]
    structure_of: NDArray[np.uint8]
    softmax: StructureSoftmax
    found: Combined = field(default_factory=Combined)
    members: int = 0
    total: Tensor | None = None
    moments: Moments | None = None

    def begin(self) -> None:
        """Another slice."""
        self.found, self.members, self.moments = Combined(), 0, None

    def add(self, logits: Tensor, *, doubt: bool) -> None:
        """One more member's logits `[class, row, column]`."""
        self.members += 1
        total = self._added(logits)
        if doubt:
            ours = self.softmax(logits)[None]
            if self.moments is None:
                self.moments = Moments.starting_with(ours)
            else:
                self.moments.add(ours)
            self.found.drawn.append(self.structure_of[best_classes(logits)])
        if self.members in self.counts:
            self.found.labels.append(best_classes(total))
            if self.moments is not None:
                uncertainty = self.moments.uncertainty(self.members)[0]
                self.found.uncertainty.append(uncertainty.cpu().numpy())

    def _added(self, logits: Tensor) -> Tensor:
        if self.counts[-1] == 1:
            return logits
        if self.total is None or self.total.device != logits.device:
            self.total = torch.empty_like(logits, memory_format=torch.contiguous_format)
        first = self.members == 1
        return self.total.copy_(logits) if first else self.total.add_(logits)


@dataclass(frozen=True, slots=True, eq=False)
class Combiner:
    """Puts slices together, with as many threads as torch has.

    counts: numbers of members, growing.
    structure_of: (classes,) label of ours that each class of the guest is part of.
    """

    counts: tuple[int, ...]
    structure_of: NDArray[np.uint8]
    pool: ThreadPoolExecutor
    bands: Sequence[_Band]

    @classmethod
    @contextmanager
    def of(cls, counts: tuple[int, ...], structure_of: NDArray[np.uint8]) -> Iterator[Self]:
        """One whose threads end with the block."""
        threads = torch.get_num_threads()
        softmax = StructureSoftmax.of(structure_of)
        bands = [_Band(counts, structure_of, softmax) for _ in range(threads)]
        try:
            with ThreadPoolExecutor(threads, initializer=_alone) as pool:
                yield cls(counts, structure_of, pool, bands)
        finally:
            torch.set_num_threads(threads)

    def combined(self, members: Iterable[Tensor], *, doubt: bool) -> Combined:
        """A slice, from its members' logits `[class, row, column]`, one after the other."""
        for band in self.bands:
            band.begin()
        used: Sequence[_Band] = ()
        for logits in members:
            used = self.bands if logits.device.type == "cpu" else self.bands[:1]
            used = used[: logits.shape[1]]
            parts = torch.tensor_split(logits, len(used), dim=1)
            if len(used) == 1:
                used[0].add(logits, doubt=doubt)
                continue
            pairs = zip(used, parts, strict=True)
            waiting = [self.pool.submit(_add, *pair, doubt=doubt) for pair in pairs]
            for one in waiting:
                one.result()
        return _one_below_the_other([band.found for band in used])


def _add(band: _Band, logits: Tensor, *, doubt: bool) -> None:
    with torch.inference_mode():  # of this thread
        band.add(logits, doubt=doubt)


def _alone() -> None:
    torch.set_num_threads(1)  # of this thread, and of those that begin later


def _one_below_the_other(bands: Sequence[Combined]) -> Combined:
    return Combined(
        [np.concatenate(each) for each in zip(*(b.labels for b in bands), strict=True)],
        [np.concatenate(each) for each in zip(*(b.uncertainty for b in bands), strict=True)],
        [np.concatenate(each) for each in zip(*(b.drawn for b in bands), strict=True)],
    )


def best_classes(logits: Tensor) -> NDArray[np.uint8]:
    """The class of each pixel's largest logit, the first of equals, uint8 `[row, column]`.

    Args:
        logits: `[class, row, column]`.

    Raises:
        DeviceError: some pixel has no number: what is not said must not look like background.
    """
    if logits.device.type != "cpu":
        on_device, which = logits.max(dim=0)
        _check_finite(on_device)
        found: NDArray[np.uint8] = which.to(torch.uint8).cpu().numpy()
        return found
    best, winner = logits[0].clone(), torch.zeros_like(logits[0], dtype=torch.uint8)
    for number in range(1, len(logits)):
        winner.masked_fill_(logits[number] > best, number)
        torch.maximum(best, logits[number], out=best)
    _check_finite(best)
    classes: NDArray[np.uint8] = winner.numpy()
    return classes


def _check_finite(best: Tensor) -> None:
    if not best.isfinite().all():
        raise DeviceError("the network's answer for a slice has values that are no numbers")


@dataclass(frozen=True, slots=True, eq=False)
class StructureSoftmax:
    """The softmax of the structures that a guest knows, and of the rest.

    parts: (ours, classes) 1 where a class is part of ours; the rest comes first. It is
        multiplied with, for a GPU adds an indexed sum in any order.
    """

    parts: Tensor

    @classmethod
    def of(cls, structure_of: NDArray[np.uint8]) -> Self:
        """From the label of ours that each class is part of, 0 for none."""
        ours = np.unique(np.append(structure_of, np.uint8(0)))
        return cls(torch.from_numpy(ours[:, None] == structure_of).float())

    def summed(self, softmax: Tensor) -> Tensor:
        """From a softmax `[slice, class, row, column]` to `[slice, ours, row, column]`."""
        flat = self.parts.to(softmax.device) @ softmax.flatten(2)
        return flat.view(len(softmax), -1, *softmax.shape[2:])

    def __call__(self, logits: Tensor) -> Tensor:
        """From logits `[class, row, column]` to float32 `[ours, row, column]`."""
        classes, rows, columns = logits.shape
        parts = self.parts.to(logits.device)
        found = logits.new_empty((len(parts), rows, columns), dtype=torch.float32)
        step = ROWS_AT_ONCE if logits.device.type == "cpu" else rows
        for row in range(0, rows, step):
            strip = logits[:, row : row + step].float().reshape(classes, -1)
            powers = (strip - strip.amax(dim=0)).exp_()
            sums = parts @ powers
            found[:, row : row + step] = (sums / sums.sum(dim=0)).view(len(parts), -1, columns)
        return found
