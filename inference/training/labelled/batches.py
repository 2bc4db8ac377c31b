"""Training images from labelled cases that have been made ready."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.hounsfield import AIR_HU
from inference.training.augmentation import draw_variation, varied
from inference.training.labelled.preparation import PreparedCase
from inference.training.recipe import Recipe

ORDER, VARIATION = 11, 12
"""What a stream of random numbers is for; keeps their seeds apart."""

AHEAD: Final = 4
"""Batches that are fetched from disk while the network works on one."""


class CaseSlices:
    """Batches of slices of all training cases; every slice comes once before any comes again.

    Which slices make an iteration, and how they are varied, follows from the recipe and the
    iteration alone. An `ImageSource`.
    """

    def __init__(
        self, cases: tuple[PreparedCase, ...], recipe: Recipe, device: torch.device
    ) -> None:
        self._recipe, self._device = recipe, device
        self._hu = [case.hu() for case in cases]
        self._labels = [case.labels() for case in cases]
        self._ends = np.cumsum([len(hu) for hu in self._hu])
        self._rows = max(hu.shape[1] for hu in self._hu)
        self._columns = max(hu.shape[2] for hu in self._hu)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))
        self._fetching: dict[int, Future[tuple[Tensor, Tensor]]] = {}
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="slices")
        self._generator = torch.Generator(device)

    def __enter__(self) -> Self:
        """Nothing to start: slices are fetched when the first batch is asked for."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop fetching."""
        self._pool.shutdown(cancel_futures=True)

    def start(self, iteration: int) -> None:
        """Begin to fetch the batches from an iteration on."""
        for coming in range(iteration, iteration + AHEAD):
            self._fetch(coming)

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """See `ImageSource`."""
        self._fetch(iteration)
        hu, labels = self._fetching.pop(iteration).result()
        self._fetch(iteration + AHEAD)
        recipe, crop = self._recipe, self._recipe.training.crop
        random = np.random.default_rng((recipe.seed, VARIATION, iteration))
        sizes = [self._hu[case].shape[1:] for case, _ in self.places(iteration)]
        variations = [draw_variation(recipe.augmentation, random, size, crop) for size in sizes]
        self._generator.manual_seed(int(random.integers(2**62)))
        hu, labels = (one.to(self._device, non_blocking=True) for one in (hu, labels))
        images, moved = varied(hu, labels, variations, crop, self._generator)
        return recipe.window.apply(images)[:, None], moved

    def places(self, iteration: int) -> list[tuple[int, int]]:
        """The slices of an iteration: numbers of case and slice."""
        batch, count = self._recipe.training.batch, int(self._ends[-1])
        drawn = [
            int(self._ordered(place // count)[place % count])
            for place in range(iteration * batch, (iteration + 1) * batch)
        ]
        cases = [int(np.searchsorted(self._ends, one, side="right")) for one in drawn]
        starts = [int(self._ends[case]) - len(self._hu[case]) for case in cases]
        return [(c, one - start) for c, one, start in zip(cases, drawn, starts, strict=True)]

    def _ordered(self, round_: int) -> NDArray[np.int64]:
        """The order in which slices come in a round through all of them."""
        kept, order = self._order
        if kept != round_:
            random = np.random.default_rng((self._recipe.seed, ORDER, round_))
            order = random.permutation(int(self._ends[-1]))
            self._order = round_, order
        return order

    def _fetch(self, iteration: int) -> None:
        if iteration not in self._fetching:
            places = self.places(iteration)
            self._fetching[iteration] = self._pool.submit(self._read, places)

    def _read(self, places: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Slices from disk, each in the first rows and columns of its place in the batch."""
        shape = (len(places), self._rows, self._columns)
        hu = torch.full(shape, int(AIR_HU), dtype=torch.int16)
        labels = torch.zeros(shape, dtype=torch.uint8)
        for k, (case, place) in enumerate(places):
            rows, columns = self._hu[case].shape[1:]
            hu.numpy()[k, :rows, :columns] = self._hu[case][place]
            labels.numpy()[k, :rows, :columns] = self._labels[case][place]
        if self._device.type == "cuda":
            return hu.pin_memory(), labels.pin_memory()
        return hu, labels
