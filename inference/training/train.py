"""Train a network by a recipe, from the first iteration or from where a run was cut off.

`python -m inference.training.train RECIPE.toml --out FOLDER` does what `msk-node train` does,
on a machine that has torch and numpy but none of the node's parsers.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from inference.bundle import Bundle, write_bundle
from inference.sampling import find_device
from inference.training.dataset import BodyStream
from inference.training.history import history_of
from inference.training.recipe import Recipe, read_recipe
from inference.training.run import Run
from inference.training.source import ImageSource

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
HISTORY_FILE: Final = "history.csv"

CHECKPOINT_EVERY_S: Final = 30.0
"""Seconds between two checkpoints; a kill costs at most so many, and one iteration."""

CHECKPOINT_SHARE: Final = 0.05
"""Writing checkpoints takes at most this share of the time, also on a slow disk."""


def train(  # noqa: PLR0913 - the command's options
    recipe_path: Path,
    out: Path,
    *,
    data: Path = Path(),
    device: str = "auto",
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    progress: bool = True,
) -> Path:
    """Train by a recipe and write a bundle; goes on where an earlier run in `out` ended.

    Args:
        recipe_path: the recipe's TOML file.
        out: folder for checkpoint, history and bundle.
        data: folder below which the recipe's label maps lie.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; a run may go on on another one.
        checkpoint_every_s: least time between two checkpoints.
        progress: whether to draw a bar with loss and time left.

    Returns:
        The bundle's folder, `out / recipe.name`, not yet calibrated.

    Raises:
        TrainingError: the recipe or the data cannot be used, `out` holds another run, or
            the loss is no number any more.
        DeviceError: the device is not there.
    """
    recipe = read_recipe(recipe_path)
    chosen = find_device(device)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.training.threads)
    run = Run.resumed(recipe, out / CHECKPOINT_FILE, chosen)
    with _tuned(), source_of(recipe, data, out, chosen) as source:
        _go_on(run, source, out, checkpoint_every_s, shown=progress)
    return write_trained(run, out / recipe.name).folder


def source_of(recipe: Recipe, data: Path, out: Path, device: torch.device) -> ImageSource:
    """Where the images of a recipe come from.

    Args:
        recipe: says what they are made of.
        data: folder below which the recipe's files lie.
        out: the run's folder, where a source may keep what it has prepared.
        device: where the run trains.
    """
    del device  # bodies are made by processes on the CPU
    return BodyStream(recipe, data, out / "bodies")


@dataclass(slots=True)
class Due:
    """When the next checkpoint is due."""

    every_s: float
    saved_at: float
    took_s: float = 0.0

    def now(self, at: float) -> bool:
        """Whether it is, at a time of the monotonic clock."""
        return at - self.saved_at >= max(self.every_s, self.took_s / CHECKPOINT_SHARE)

    def saved(self, began: float, ended: float) -> None:
        """Count from here on; a slow disk is written to less often."""
        self.saved_at, self.took_s = ended, ended - began


def _go_on(
    run: Run, source: ImageSource, out: Path, checkpoint_every_s: float, *, shown: bool
) -> None:
    """All iterations that are left, with checkpoints on the way and one at the end."""
    iterations = run.recipe.training.iterations
    if run.iteration >= iterations:
        return
    source.start(run.iteration)
    began = time.monotonic() - run.seconds
    due = Due(checkpoint_every_s, time.monotonic())
    path = out / HISTORY_FILE
    with history_of(path, run.iteration, iterations, shown=shown) as history:
        while run.iteration < iterations:
            loss = run.step(*source.batch(run.iteration))
            run.seconds = time.monotonic() - began
            history.note(run.iteration, run.seconds, loss)
            if run.iteration == iterations or due.now(time.monotonic()):
                history.write()  # first: weights without a number must not be kept
                saving = time.monotonic()
                run.save(out / CHECKPOINT_FILE)
                write_trained(run, out / run.recipe.name)
                due.saved(saving, time.monotonic())


@contextlib.contextmanager
def _tuned() -> Iterator[None]:
    """Let cuDNN try which of its ways is fastest: all batches have one shape."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=True, deterministic=False, allow_tf32=True
    ):
        yield


def write_trained(run: Run, folder: Path) -> Bundle:
    """A bundle of the averaged weights so far, with where they come from."""
    recipe = run.recipe
    done = run.iteration
    start = recipe.start
    provenance = {
        "started_from_weights": start.weights_sha256 if start else "random weights",
        "recipe": recipe.file,
        "recipe_sha256": recipe.sha256,
        "seed": recipe.seed,
        "iterations": done,
        "iterations_planned": recipe.training.iterations,
        "batch": recipe.training.batch,
        "loss": f"cross entropy, {recipe.training.dice_weight:g} soft Dice",
        "optimiser": "Adam, cosine learning rate, moving average of the weights",
        "precision": recipe.training.precision,
        "device": device_words(run.device),
        "bodies": 2 + max(0, done - 1) // recipe.training.iterations_per_body,
        "compute_seconds": round(run.seconds),
        "torch": torch.__version__,
        "finished_on": dt.datetime.now(dt.UTC).date(),
        "data": list(recipe.data.sources),
        "validated_on_patients": False,
    }
    return write_bundle(
        folder,
        name=recipe.name,
        version=recipe.version,
        network=run.average,
        window=recipe.window,
        grid=recipe.grid,
        samples=recipe.samples,
        training=provenance,
        model_card=_first_card(recipe, done),
        half=True,
    )


def device_words(device: torch.device) -> str:
    """A device's kind as its maker calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _first_card(recipe: Recipe, iterations: int) -> str:
    sources = "\n".join(f"- {source}" for source in recipe.data.sources)
    return (
        f"# {recipe.name}\n\nWeights after {iterations} of {recipe.training.iterations} "
        "iterations, not calibrated, not evaluated. For research only.\n\n"
        f"Training data:\n{sources}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(train.__doc__ or "").split("\n", 1)[0])
    parser.add_argument("recipe", type=Path, help="recipe (TOML)")
    parser.add_argument("--out", type=Path, required=True, help="for checkpoints and bundle")
    parser.add_argument("--data", type=Path, default=Path(), help="where its data paths start")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--no-bar", action="store_true", help="no progress bar")
    asked = parser.parse_args(arguments)
    folder = train(
        asked.recipe,
        asked.out,
        data=asked.data,
        device=asked.device,
        progress=not asked.no_bar,
    )
    print(f"bundle written to {folder}")  # noqa: T201 - what the command answers


if __name__ == "__main__":
    main()
