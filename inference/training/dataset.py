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
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.errors import TrainingError
from inference.phantom import BodySpec, PhantomSpec, Table, Zone, phantom
from inference.structures import LABEL_COUNT, SEGMENTS, STRUCTURES
from inference.training.recipe import Recipe
from inference.training.synthesis import (
    ROWS_COLUMNS,
    SPACING_MM,
    Body,
    draw_body,
    read_label_map,
)
from inference.training.synthesis_fields import Draw
from inference.training.synthesis_pose import LabelMap
from inference.training.synthesis_scanner import augmented
from inference.training.synthesis_tags import FEMUR

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
    """What bodies are made from."""

    label_maps: tuple[LabelMap, ...]
    phantom_share: float

    @classmethod
    def of(cls, recipe: Recipe, data: Path) -> Self:
        """Read the recipe's label maps below a folder."""
        maps = tuple(read_label_map(data / name) for name in recipe.data.label_maps)
        return cls(maps, recipe.data.phantom_share)


def make_body(sources: Sources, seed: int, number: int) -> Body:
    """Body `number` of a run: from one of the label maps, or a phantom."""
    choice = np.random.default_rng((seed, BODY, number))
    if choice.random() < sources.phantom_share:
        return phantom_body(int(choice.integers(2**31)))
    source = sources.label_maps[int(choice.integers(len(sources.label_maps)))]
    for attempt in range(ATTEMPTS):
        try:
            return draw_body(source, seed, BODY, number, attempt)
        except (IndexError, RuntimeError, ValueError):
            continue
    raise TrainingError(f"body {number} of {source.name} failed {ATTEMPTS} times")


def phantom_body(seed: int) -> Body:
    """The analytic phantom in some size and build, on the grid of the synthetic bodies."""
    draw = Draw(seed)
    step, pixel, _ = SPACING_MM
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
        zones=(Zone(step, 640.0),),
        pixel_mm=pixel,
        rows=ROWS_COLUMNS[0],
        columns=ROWS_COLUMNS[1],
        noise_hu=0.0,
        table=Table.BEHIND if draw.chance(0.7) else Table.NONE,
    )
    drawn = phantom(spec)
    hu = drawn.volume.hu.astype(np.int16)
    return Body(hu, labels_of(drawn.segments), SPACING_MM, "phantom")


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


def draw_image(
    body: Body, chances: NDArray[np.float64], draw: Draw, crop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """One augmented slice of a body: HU and labels."""
    index = int(draw.scalars.choice(len(chances), p=chances))
    hu = torch.from_numpy(body.hu[index].astype(np.float32))
    return augmented(hu, torch.from_numpy(body.labels[index]), draw, crop)


class BodyStream:
    """Batches for every iteration; bodies are made ahead in a folder by worker processes.

    Use as a context manager: workers end with it.
    """

    def __init__(self, recipe: Recipe, data: Path, folder: Path, *, workers: int = 1) -> None:
        self._recipe, self._folder = recipe, folder
        self._bodies: dict[int, tuple[Body, NDArray[np.float64]]] = {}
        self._ahead = multiprocessing.get_context("spawn").Value("q", 0)
        folder.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self._workers: list[BaseProcess] = [
            context.Process(
                target=_work,
                args=(recipe, data, folder, first, workers, self._ahead),
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
        images, labels = [], []
        for k in range(recipe.training.batch):
            draw = Draw(recipe.seed, IMAGE, iteration, k)
            number = window.start + int(draw.scalars.integers(len(window)))
            hu, label = draw_image(*self._bodies[number], draw, recipe.training.crop)
            images.append(hu)
            labels.append(label)
        return recipe.window.apply(torch.stack(images))[:, None], torch.stack(labels)

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
                body = self._wait_for(number)
                self._bodies[number] = body, slice_chances(body.labels, body.spacing_mm[0])

    def _wait_for(self, number: int) -> Body:
        path = _path(self._folder, number)
        while not path.exists():
            if not all(worker.is_alive() for worker in self._workers):
                raise TrainingError(f"the worker that should make body {number} has died")
            time.sleep(0.2)
        with np.load(path) as arrays:
            return Body(arrays["hu"], arrays["labels"], SPACING_MM, str(arrays["source"]))


def _path(folder: Path, number: int) -> Path:
    return folder / f"body-{number:06d}.npz"


def _work(  # noqa: PLR0913, PLR0917 - what a process is told
    recipe: Recipe, data: Path, folder: Path, first: int, workers: int, ahead: object
) -> None:
    """Make bodies first, first + workers, ... for as long as the trainer lives."""
    torch.set_num_threads(1)
    os.nice(7)  # the trainer comes first; it waits when a body is late
    sources = Sources.of(recipe, data)
    parent = os.getppid()
    begin: int = ahead.value  # type: ignore[attr-defined]
    number = begin + first
    while os.getppid() == parent:
        limit = ahead.value + recipe.training.bodies_at_once + 6  # type: ignore[attr-defined]
        if number >= limit or _path(folder, number).exists():
            number += workers if number < limit else 0
            time.sleep(0.5 if number >= limit else 0)
            continue
        _write(_path(folder, number), make_body(sources, recipe.seed, number))
        number += workers


def _write(path: Path, body: Body) -> None:
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        arrays: dict[str, NDArray[np.generic]] = {"hu": body.hu, "labels": body.labels}
        np.savez(file, source=np.array(body.source), **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def cosine_rate(iteration: int, iterations: int, warm_up: int) -> float:
    """Share of the highest learning rate: a line up, then half a cosine down."""
    if iteration < warm_up:
        return (iteration + 1) / warm_up
    done = (iteration - warm_up) / max(1, iterations - warm_up)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
