"""Training images: a sliding set of synthetic bodies, made ahead by worker processes.

Body number k depends on the recipe's seed and k alone, and iteration i draws from bodies
that follow from i alone: a run that was killed and resumed sees the same images as one that
was not, however fast its workers are.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.errors import TrainingError
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Table, Zone
from inference.structures import LABEL_COUNT, SEGMENTS, STRUCTURES
from inference.training.recipe import Recipe
from inference.training.synthesis.body import COARSE, Body, BodyGrid, draw_body, read_label_map
from inference.training.synthesis.fields import Draw
from inference.training.synthesis.pose import LabelMap
from inference.training.synthesis.scanner import View, augmented
from inference.training.synthesis.tags import FEMUR

BODY, IMAGE = 1, 2
"""What a stream of random numbers is for; keeps seeds of bodies and of batches apart."""

ATTEMPTS: Final = 4
"""A pose may push a structure out of the grid; then the body is drawn again."""

EMPTY_WEIGHT: Final = 0.7
KNEE_WEIGHT: Final = 1.2
SMALL_WEIGHT: Final = 0.8
"""How often slices are drawn: 1 for one that shows a structure, less for one without; so much
more for one near the knee joint or with a small structure of the pelvis."""

KNEE_REACH_MM: Final = 45.0

SMALL_STRUCTURES: Final = [
    structure.label
    for structure in STRUCTURES
    if structure.abbreviation in {"SACRUM", "OE", "OI", "PE", "PI"}
]


@dataclass(frozen=True, slots=True)
class Sources:
    """Material that bodies are made from."""

    label_maps: tuple[LabelMap, ...]
    phantom_share: float
    grid: BodyGrid = COARSE

    @classmethod
    def of(cls, recipe: Recipe, data: Path, device: torch.device | str = "cpu") -> Self:
        """Read the recipe's label maps below a folder; bodies are made on the device."""
        grid = BodyGrid.for_pixels(recipe.grid.pixel_mm or COARSE.pixel_mm)
        maps = [read_label_map(data / name).to(device) for name in recipe.data.label_maps]
        fine = tuple(m.refined() if grid.pixel_mm < m.spacing_mm[1] else m for m in maps)
        return cls(fine, recipe.data.phantom_share, grid)


def make_body(sources: Sources, seed: int, number: int) -> Body:
    """Body `number` of a run: from one of the label maps, or a phantom."""
    choice = np.random.default_rng((seed, BODY, number))
    if choice.random() < sources.phantom_share:
        return phantom_body(int(choice.integers(2**31)), sources.grid)
    source = sources.label_maps[int(choice.integers(len(sources.label_maps)))]
    for attempt in range(ATTEMPTS):
        try:
            return draw_body(source, seed, BODY, number, attempt, grid=sources.grid)
        except (IndexError, RuntimeError, ValueError):
            continue
    raise TrainingError(f"body {number} of {source.name} failed {ATTEMPTS} times")


def phantom_body(seed: int, grid: BodyGrid = COARSE) -> Body:
    """The analytic phantom in some size and build, on the grid of the synthetic bodies."""
    draw = Draw(seed)
    rows, columns = grid.rows_columns
    spec = PhantomSpec(
        body=BodySpec(
            height_m=draw.uniform(1.45, 1.85),
            girth=draw.uniform(0.9, 1.15),
            fat=draw.uniform(0.5, 1.8),
            variation=draw.uniform(0, 1),
            variation_seed=int(draw.scalars.integers(2**31)),
            touching_hemipelves=draw.chance(0.3),
            crossing_thighs=draw.chance(0.15),
        ),
        lower_mm=draw.uniform(-38.0, -14.0),
        zones=(Zone(grid.step_mm, 640.0),),
        pixel_mm=grid.pixel_mm,
        rows=rows,
        columns=columns,
        noise_hu=0.0,
        table=Table.BEHIND if draw.chance(0.7) else Table.NONE,
    )
    drawn = phantom(spec)
    hu = drawn.volume.hu.astype(np.int16)
    return Body(hu, labels_of(drawn.segments), grid.spacing_mm, "phantom")


def labels_of(segments: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Segments 0 to 43 as labels 0 to 22: sides taken together, as the network does."""
    table = np.array([0, *(segment.structure.label for segment in SEGMENTS)], np.uint8)
    return table[segments]


def slice_chances(labels: NDArray[np.uint8], step_mm: float) -> NDArray[np.float64]:
    """(slices,) how likely each slice of a body is drawn; they add up to 1.

    Slices without structures come up less, the difficult ones more: around the femur's lower
    end, where the tibia follows, and where the small structures of the pelvis are.
    """
    shown = np.stack([np.bincount(s.ravel(), minlength=LABEL_COUNT) > 0 for s in labels])
    weights = np.where(shown[:, 1:].any(axis=1), 1.0, EMPTY_WEIGHT)
    weights[shown[:, SMALL_STRUCTURES].any(axis=1)] += SMALL_WEIGHT
    knee = np.argmax(shown[:, FEMUR])
    near = np.abs(np.arange(len(labels)) - knee) * step_mm < KNEE_REACH_MM
    weights[near] += KNEE_WEIGHT
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """A body on the device that trains: int16 HU and uint8 labels `[slice, row, column]`.

    chances: (slices,) how likely each is drawn.
    """

    hu: Tensor
    labels: Tensor
    chances: NDArray[np.float64]


def draw_images(
    bodies: Sequence[Stock], count: int, draw: Draw, view: View
) -> tuple[Tensor, Tensor]:
    """Augmented slices of bodies drawn at random: HU `[count, *crop]` and their labels."""
    hu, labels = [], []
    for number in draw.scalars.integers(len(bodies), size=count):
        body = bodies[number]
        index = int(draw.scalars.choice(len(body.chances), p=body.chances))
        hu.append(body.hu[index])
        labels.append(body.labels[index])
    return augmented(torch.stack(hu).float(), torch.stack(labels), draw, view)


class BodyStream:
    """Batches for every iteration; bodies are made ahead in a folder by worker processes.

    Use as a context manager: workers end with it. Batches are put together on the device
    that trains; on a GPU the workers make their bodies there too.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        *,
        workers: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self._recipe, self._folder, self._device = recipe, folder, torch.device(device)
        self._bodies: dict[int, Stock] = {}
        grid = BodyGrid.for_pixels(recipe.grid.pixel_mm or COARSE.pixel_mm)
        self._view = View(recipe.training.crop, grid.pixel_mm)
        context = multiprocessing.get_context("spawn")
        self._ahead = context.Value("q", 0)
        folder.mkdir(parents=True, exist_ok=True)
        self._workers: list[BaseProcess] = [
            context.Process(
                target=_work,
                args=(recipe, data, folder, range(first, 2**62, workers), device, self._ahead),
                daemon=True,
            )
            for first in range(workers)
        ]

    def __enter__(self) -> Self:
        """Start the workers."""
        return self

    def start(self, iteration: int) -> None:
        """Let workers begin with the first body that an iteration needs."""
        self._ahead.value = self._window(iteration).start
        for worker in self._workers:
            worker.start()

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        for worker in self._workers:
            if worker.is_alive():
                worker.terminate()
                worker.join()

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Windowed images `[batch, 1, row, column]` and labels `[batch, row, column]`."""
        recipe = self._recipe
        window = self._window(iteration)
        self._keep(window)
        bodies = [self._bodies[number] for number in window]
        draw = Draw(recipe.seed, IMAGE, iteration, device=self._device)
        hu, labels = draw_images(bodies, recipe.training.batch, draw, self._view)
        return recipe.window.apply(hu)[:, None], labels

    def _window(self, iteration: int) -> range:
        """Bodies of an iteration: a few at the very start, then a sliding set."""
        newest = 2 + iteration // self._recipe.training.iterations_per_body
        return range(max(0, newest - self._recipe.training.bodies_at_once), newest)

    def _keep(self, window: range) -> None:
        for number in [n for n in self._bodies if n not in window]:
            del self._bodies[number]
            _path(self._folder, number).unlink(missing_ok=True)
        self._ahead.value = max(self._ahead.value, window.start)
        for number in window:
            if number not in self._bodies:
                self._bodies[number] = self._wait_for(number)

    def _wait_for(self, number: int) -> Stock:
        path = _path(self._folder, number)
        while not path.exists():
            if not all(worker.is_alive() for worker in self._workers):
                raise TrainingError(f"the worker that should make body {number} has died")
            time.sleep(0.02)
        with np.load(path) as arrays:
            hu, labels = (
                torch.from_numpy(arrays[name]).to(self._device) for name in ("hu", "labels")
            )
            return Stock(hu, labels, arrays["chances"])


def _path(folder: Path, number: int) -> Path:
    return folder / f"body-{number:06d}.npz"


def _work(  # noqa: PLR0913, PLR0917 - what a process is told
    recipe: Recipe, data: Path, folder: Path, turns: range, device: str, ahead: object
) -> None:
    """Make the bodies of this worker's turns for as long as the trainer lives.

    Turns count from the first body that the trainer needs.
    """
    torch.set_num_threads(1)
    os.nice(7)  # the trainer comes first; it waits when a body is late
    sources = Sources.of(recipe, data, device)
    parent = os.getppid()
    begin: int = ahead.value  # type: ignore[attr-defined]
    for turn in turns:
        number = begin + turn
        margin = recipe.training.bodies_at_once + 2 * turns.step + 4
        while number >= ahead.value + margin:  # type: ignore[attr-defined]
            if os.getppid() != parent:
                return
            time.sleep(0.05)
        if not _path(folder, number).exists():
            _write(_path(folder, number), make_body(sources, recipe.seed, number))


def _write(path: Path, body: Body) -> None:
    temporary = path.with_suffix(".part")
    chances = slice_chances(body.labels, body.spacing_mm[0])
    with temporary.open("wb") as file:
        np.savez(file, hu=body.hu, labels=body.labels, chances=chances)
    temporary.replace(path)


def cosine_rate(iteration: int, iterations: int, warm_up: int) -> float:
    """Share of the highest learning rate: a line up, then half a cosine down."""
    if iteration < warm_up:
        return (iteration + 1) / warm_up
    done = (iteration - warm_up) / max(1, iterations - warm_up)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
