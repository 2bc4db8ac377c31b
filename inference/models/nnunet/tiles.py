"""Overlapping tiles over an image, as nnunetv2 lays, weighs and adds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Annotated, Final

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from torch import Tensor

from inference.models.model import Progress

Network = Callable[[Tensor], Tensor]
Last = Callable[[Tensor, slice], Tensor]
Tile = tuple[slice | int, ...]

_SIGMA_SHARE: Final = 1 / 8
"""Of a tile's side: the deviation of the Gaussian by which a tile counts less at its rim."""

_PEAK: Final = 10.0
"""Weight of a tile's centre: sums in half precision keep more of small weights so."""

_VALUES_AT_ONCE: Final = 2**24
"""Logits that are made and added up together: all classes of a tile are a gigabyte."""

_SLICES_AT_ONCE: Final = 4
"""Tiles of different slices that a 2d network sees together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """The `[tiles]` table.

    patch: voxels of a tile along the network's axes.
    step: share of a tile by which the next is shifted, at most.
    mirrored_axes: of the network's axes; every combination of them is predicted as well.
    """

    patch: tuple[Annotated[int, Field(ge=1, le=4096)], ...]
    step: Annotated[float, Field(ge=0.01, le=1)] = 0.5
    mirrored_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()

    def __post_init__(self) -> None:
        """A tile of two or three axes, mirrored along its own."""
        if len(self.patch) not in (2, 3):
            raise ValueError(f"{len(self.patch)} values in patch, not 2 or 3")
        if any(axis >= len(self.patch) for axis in self.mirrored_axes):
            raise ValueError(f"mirrored_axes are not below {len(self.patch)}")
        if len(set(self.mirrored_axes)) != len(self.mirrored_axes):
            raise ValueError("an axis is mirrored twice")

    def logits(  # noqa: PLR0913 - what it takes
        self,
        image: Tensor,
        network: Network,
        classes: int,
        *,
        kept_on: torch.device,
        last: Last | None = None,
        numbers: torch.dtype = torch.float16,
        progress: Progress | None = None,
    ) -> Tensor:
        """Weighted mean of all tiles' logits.

        Args:
            image: `(a, b, c)` on the device of the network; a 2d network sees `(b, c)`.
            network: from `(batch, 1, ...)` to `(batch, feature, ...)`.
            classes: of the output.
            kept_on: where sums are kept.
            last: from a tile's features `(feature, ...)` to logits `(class, ...)` of some
                classes, linear; None where the features are the logits.
            numbers: of the sums; nnunetv2's are half precision.
            progress: see `GuestNetwork.logits`.

        Returns:
            `[class, a, b, c]` in these numbers; infinite where sums leave their range.
        """
        padded, inner = _padded(image, self.patch)
        weights = tile_weights(self.patch).to(kept_on)
        total = torch.zeros((classes, *image.shape), dtype=numbers, device=kept_on)
        count = torch.zeros(image.shape, dtype=numbers, device=kept_on)
        groups = list(self._groups(padded.shape))
        for done, group in enumerate(groups, start=1):
            batch = torch.stack([padded[tile] for tile in group])[:, None]
            found = self._mirrored(batch.contiguous(), network)
            for tile, features in zip(group, found, strict=True):
                at, within = _overlap(tile, inner)
                shown, counted = features[(slice(None), *within)], weights[within]
                _add(total[(slice(None), *at)], shown, counted, last)
                count[at] += counted
            if progress is not None:
                progress(done, len(groups))
        total /= count
        return total

    def _groups(self, shape: Sequence[int]) -> Iterator[list[Tile]]:
        """Tiles that are predicted together, in nnunetv2's order for each voxel."""
        sides = shape[-len(self.patch) :]
        starts = product(
            *(tile_starts(*pair, self.step) for pair in zip(sides, self.patch, strict=True))
        )
        cuts: list[Tile] = [
            tuple(slice(a, a + side) for a, side in zip(start, self.patch, strict=True))
            for start in starts
        ]
        if len(self.patch) == 3:
            yield from ([cut] for cut in cuts)
            return
        for first in range(0, shape[0], _SLICES_AT_ONCE):
            slices = range(first, min(first + _SLICES_AT_ONCE, shape[0]))
            for cut in cuts:
                yield [(slice_, *cut) for slice_ in slices]

    def _mirrored(self, batch: Tensor, network: Network) -> Tensor:
        """Mean over the images as they are and mirrored along all combinations of axes.

        What comes after is linear: the mean of features has the mean of logits.
        """
        found = network(batch).float()
        axes = [axis + 2 for axis in self.mirrored_axes]
        turns = list(chain.from_iterable(combinations(axes, n + 1) for n in range(len(axes))))
        for turn in turns:
            found += network(batch.flip(turn)).flip(turn)
        return found / (len(turns) + 1) if turns else found


def tile_starts(side: int, patch: int, step: float) -> list[int]:
    """Where tiles begin along an axis, evenly from end to end."""
    if side <= patch:
        return [0]
    steps = math.ceil((side - patch) / (patch * step))
    return [int(np.round((side - patch) / steps * number)) for number in range(steps + 1)]


def tile_weights(patch: Sequence[int]) -> Tensor:
    """A Gaussian around a tile's centre, half precision and nowhere 0."""
    point = np.zeros(patch)
    point[tuple(side // 2 for side in patch)] = 1
    weights = ndimage.gaussian_filter(
        point, [side * _SIGMA_SHARE for side in patch], mode="constant"
    )
    half = torch.from_numpy(weights * (_PEAK / weights.max())).half()
    half[half == 0] = half[half > 0].min()
    return half


def _add(total: Tensor, features: Tensor, weights: Tensor, last: Last | None) -> None:
    """Some classes at a time, by which sums in other numbers need little memory."""
    step = max(1, _VALUES_AT_ONCE // weights.numel())
    for first in range(0, len(total), step):
        some = slice(first, first + step)
        logits = features[some] if last is None else last(features, some)
        total[some] += logits.to(total.device).float() * weights


def _overlap(
    tile: Tile, inner: tuple[slice, ...]
) -> tuple[tuple[slice | int, ...], tuple[slice, ...]]:
    """Where a tile of the padded image lies in the image, and which part of it that is."""
    at: list[slice | int] = []
    within = []
    for cut, box in zip(tile, inner, strict=True):
        if isinstance(cut, int):
            at.append(cut - box.start)
            continue
        first, stop = max(cut.start, box.start), min(cut.stop, box.stop)
        at.append(slice(first - box.start, stop - box.start))
        within.append(slice(first - cut.start, stop - cut.start))
    return tuple(at), tuple(within)


def _padded(image: Tensor, patch: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """An image at least as large as a tile, zeros on both sides, and where it lies in it."""
    least = (1,) * (image.ndim - len(patch)) + tuple(patch)
    missing = [max(0, side - n) for side, n in zip(least, image.shape, strict=True)]
    before = [count // 2 for count in missing]
    pads = [(low, count - low) for low, count in zip(before, missing, strict=True)]
    padded = torch.nn.functional.pad(image, [one for pair in reversed(pads) for one in pair])
    inner = tuple(slice(a, a + n) for a, n in zip(before, image.shape, strict=True))
    return padded, inner
