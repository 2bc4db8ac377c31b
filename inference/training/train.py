"""Train a network by a recipe, from the first iteration or from where a run was cut off.

`python -m inference.training.train RECIPE.toml --out FOLDER` does what `msk-node train` does,
on a machine that has torch, numpy and pydantic but no reader of DICOM; of labelled cases it
takes those that lie ready in --cache (`msk-node train RECIPE.toml --prepare` makes them so).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from inference.errors import TrainingError
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.models.bundle import Bundle
from inference.models.devices import find_device
from inference.training.history import History, history_of, mean_of
from inference.training.labelled.batches import CaseSlices
from inference.training.labelled.cases import ListCases, TrainingCases, cases_of
from inference.training.labelled.held_out_dice import held_out_dice
from inference.training.recipe import Recipe, read_recipe
from inference.training.run import Run
from inference.training.source import ImageSource
from inference.training.synthesis.stream import BodyStream
from inference.training.time_limit import TimeLimit

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
CACHE_FOLDER: Final = "cache"

CHECKPOINT_EVERY_S: Final = 30.0
"""Seconds between two checkpoints; a kill costs at most so many, and one iteration."""

GPU_BODY_WORKERS: Final = 2
"""Processes that make bodies beside a run on a GPU, which a single one leaves idle between two
steps; on a CPU one, because the run needs the cores."""

CHECKPOINT_SHARE: Final = 0.05
"""Writing checkpoints takes at most this share of the time, also on a slow disk."""


def train(  # noqa: PLR0913 - the command's options
    recipe_path: Path,
    out: Path,
    *,
    data: Path = Path(),
    device: str = "auto",
    fold: int | None = None,
    cache: Path | None = None,
    list_cases: ListCases | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    limit_s: float = math.inf,
    tensorboard: bool = False,
    progress: bool = True,
) -> Path:
    """Train by a recipe and write a bundle; goes on where an earlier run in `out` ended.

    Args:
        recipe_path: the recipe's TOML file.
        out: folder for checkpoint, history, curves and bundle.
        data: folder below which the recipe's cases or label maps lie.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; a run may go on on another one.
        fold: held out instead of the recipe's.
        cache: folder that keeps labelled cases made ready, for several runs; in `out` if not
            said.
        list_cases: finds and reads labelled cases; None takes what is ready in the cache.
        checkpoint_every_s: least time between two checkpoints.
        limit_s: ends after so much training, with as many of the recipe's iterations as fit;
            the learning rate has fallen by then.
        tensorboard: whether to write its files, too.
        progress: whether to draw a bar with loss, Dice and time left.

    Returns:
        The bundle's folder, `out / recipe.name`, not yet calibrated.

    Raises:
        TrainingError: the recipe or the data cannot be used, `out` holds another run, or
            the loss is no number any more.
        DeviceError: the device is not there.
    """
    recipe = read_recipe(recipe_path, fold)
    chosen = find_device(device)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.training.threads)
    cases = cases_of(recipe, data, cache or out / CACHE_FOLDER, list_cases, _say(progress))
    checkpoint = out / CHECKPOINT_FILE
    run = Run.resumed(recipe, checkpoint, chosen, cases.identity if cases else "")
    folder = out / recipe.name
    limit = TimeLimit(limit_s, recipe.training.iterations)
    run.plan(limit.begin(run.iteration, run.seconds))
    if run.iteration >= run.recipe.training.iterations:
        if not folder.exists():
            write_trained(run, folder, cases, limit_s=limit_s)
        return folder
    with (
        _tuned(),
        source_of(recipe, data, out, chosen, cases) as source,
        history_of(
            out,
            run.iteration,
            run.recipe.training.iterations,
            shown=progress,
            tensorboard=tensorboard,
        ) as history,
    ):
        due = Due(checkpoint_every_s, time.monotonic())
        _go_on(run, source, cases, history, due, limit, out)
    return folder


def prepare_cases(
    recipe_path: Path,
    out: Path,
    *,
    data: Path,
    cache: Path | None,
    list_cases: ListCases,
) -> int:
    """Make a recipe's labelled cases ready and do no more; how many there are.

    Raises:
        TrainingError: see `train`; also where the recipe names no cases.
    """
    recipe = read_recipe(recipe_path)
    cases = cases_of(recipe, data, cache or out / CACHE_FOLDER, list_cases, _say(shown=True))
    if cases is None:
        raise TrainingError(f"{recipe_path}: names no data.cases")
    return len(cases.seen) + len(cases.held_out)


def source_of(
    recipe: Recipe,
    data: Path,
    out: Path,
    device: torch.device,
    cases: TrainingCases | None = None,
) -> ImageSource:
    """Source of the images of a recipe.

    Args:
        recipe: says what they are made of.
        data: folder below which the recipe's files lie.
        out: the run's folder, where a source may keep what it has prepared.
        device: where the run trains.
        cases: labelled cases that are ready, if the recipe names any.
    """
    if cases is not None:
        return CaseSlices(cases.seen, recipe, device)
    workers = GPU_BODY_WORKERS if device.type == "cuda" else 1
    return BodyStream(recipe, data, out / "bodies", workers=workers, device=device)


@dataclass(slots=True)
class Due:
    """Due time of the next checkpoint."""

    every_s: float
    saved_at: float
    took_s: float = 0.0

    def now(self, at: float) -> bool:
        """True if it is due at a time of the monotonic clock."""
        return at - self.saved_at >= max(self.every_s, self.took_s / CHECKPOINT_SHARE)

    def saved(self, began: float, ended: float) -> None:
        """Count from here on; a slow disk is written to less often."""
        self.saved_at, self.took_s = ended, ended - began


def _go_on(  # noqa: PLR0913, PLR0917 - everything that takes part
    run: Run,
    source: ImageSource,
    cases: TrainingCases | None,
    history: History,
    due: Due,
    limit: TimeLimit,
    out: Path,
) -> None:
    """All iterations that are left, with checkpoints on the way and one at the end."""
    every = run.recipe.held_out.every
    source.start(run.iteration)
    began = time.monotonic() - run.seconds
    dice = math.nan
    ended = False
    while not ended:
        loss = run.step(*source.batch(run.iteration))
        run.seconds = time.monotonic() - began
        history.note(run.iteration, run.seconds, loss)
        run.plan(limit.plan(run.iteration, run.seconds))
        history.plan(run.recipe.training.iterations)
        ended = run.iteration >= run.recipe.training.iterations
        if cases and cases.held_out and (run.iteration % every == 0 or ended):
            history.write()
            found = held_out_dice(run, cases.held_out, run.recipe.held_out.slices)
            history.note_dice(run.iteration, found)
            dice = mean_of(found)
        if ended or due.now(time.monotonic()):
            history.write()  # first: weights without a number must not be kept
            saving = time.monotonic()
            run.save(out / CHECKPOINT_FILE)
            write_trained(run, out / run.recipe.name, cases, dice, limit.limit_s)
            due.saved(saving, time.monotonic())


def _say(shown: bool) -> Callable[[str], None]:  # noqa: FBT001 - the caller's own
    """Names cases as they are made ready, where there is a bar as well."""
    console = Console(stderr=True, quiet=not shown, markup=False)
    return lambda name: console.print(f"making {name} ready", highlight=False)


@contextlib.contextmanager
def _tuned() -> Iterator[None]:
    """Let cuDNN try which of its ways is fastest: all batches have one shape."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=True, deterministic=False, allow_tf32=True
    ):
        yield


def write_trained(
    run: Run,
    folder: Path,
    cases: TrainingCases | None = None,
    dice: float = math.nan,
    limit_s: float = math.inf,
) -> Bundle:
    """A bundle of the averaged weights so far, with where they come from.

    Args:
        run: whose weights.
        folder: of the bundle.
        cases: what it is trained on, if on cases.
        dice: mean of the held-out cases, if there are any.
        limit_s: what its number of iterations was planned for, if for a time.
    """
    recipe = run.recipe
    return write_unet_bundle(
        folder,
        name=recipe.name,
        version=recipe.version,
        network=run.average,
        window=recipe.window,
        grid=recipe.grid,
        samples=recipe.samples,
        training=_provenance(run, cases, dice, limit_s),
        model_card=_first_card(recipe, run.iteration),
        half=True,
    )


def _provenance(
    run: Run, cases: TrainingCases | None, dice: float, limit_s: float
) -> dict[str, Any]:
    """Origin of a bundle's weights, as the bundle states it; see `write_trained`."""
    recipe, start, done = run.recipe, run.recipe.start, run.iteration
    plan = recipe.training
    said: dict[str, Any] = {
        "started_from_weights": start.weights_sha256 if start else "random weights",
        "recipe": recipe.file,
        "recipe_sha256": recipe.sha256,
        "seed": recipe.seed,
        "iterations": done,
        "iterations_planned": plan.iterations,
        "batch": plan.batch,
        "loss": f"cross entropy, {plan.dice_weight:g} soft Dice",
        "optimiser": f"Adam, {plan.schedule} learning rate, moving average of the weights",
        "precision": run.precision,
        "device": device_words(run.device),
        "compute_seconds": round(run.seconds),
        "torch": torch.__version__,
        "finished_on": dt.datetime.now(dt.UTC).date(),
        "data": list(recipe.data.sources),
        "validated_on_patients": False,
    }
    if cases is None:
        said["bodies"] = 2 + max(0, done - 1) // plan.iterations_per_body
    else:
        said |= cases.provenance()
    if recipe.folds is not None:
        said["fold"] = f"{recipe.folds.index} of 0 to {recipe.folds.count - 1}"
    if math.isfinite(limit_s):
        said["time_limit_s"] = round(limit_s)
    if math.isfinite(dice):
        said["held_out_dice"] = round(dice, 4)
    return said


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
    parser.add_argument("--fold", type=int, help="held out instead of the recipe's")
    parser.add_argument("--cache", type=Path, help="where labelled cases lie ready")
    parser.add_argument("--checkpoint-s", type=float, default=CHECKPOINT_EVERY_S)
    parser.add_argument("--minutes", type=float, default=math.inf, help="of training, at most")
    parser.add_argument("--tensorboard", action="store_true", help="write its files, too")
    parser.add_argument("--no-bar", action="store_true", help="no progress bar")
    asked = parser.parse_args(arguments)
    folder = train(
        asked.recipe,
        asked.out,
        data=asked.data,
        device=asked.device,
        fold=asked.fold,
        cache=asked.cache,
        checkpoint_every_s=asked.checkpoint_s,
        limit_s=asked.minutes * 60,
        tensorboard=asked.tensorboard,
        progress=not asked.no_bar,
    )
    print(f"bundle written to {folder}")  # noqa: T201 - what the command answers


if __name__ == "__main__":
    main()
