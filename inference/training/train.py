"""Train a network by a recipe, from the first iteration or from where a run was cut off.

What an iteration does follows from the recipe and its number alone: its images (see
`dataset`), its dropout (seeded anew) and its learning rate. A checkpoint therefore holds the
weights, their average, Adam's moments and the number; safetensors, never a pickle.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from inference.bundle import Bundle, load_bundle, load_network, write_bundle
from inference.errors import TrainingError
from inference.network import BayesianUNet, Upsampling
from inference.structures import LABEL_COUNT
from inference.training.dataset import BodyStream, cosine_rate
from inference.training.recipe import Recipe, Start, read_recipe

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
HISTORY_FILE: Final = "history.csv"
CHECKPOINT_EVERY: Final = 50
"""Iterations between two checkpoints; a kill costs at most so many."""

MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")


def train(recipe_path: Path, out: Path, *, data: Path = Path(), progress: bool = True) -> Path:
    """Train by a recipe and write a bundle; goes on where an earlier run in `out` ended.

    Args:
        recipe_path: the recipe's TOML file.
        out: folder for checkpoint, history and bundle.
        data: folder below which the recipe's label maps lie.
        progress: whether to draw a bar with loss and time left.

    Returns:
        The bundle's folder, `out / recipe.name`, not yet calibrated.

    Raises:
        TrainingError: the recipe or the data cannot be used, or `out` holds another run.
    """
    recipe = read_recipe(recipe_path)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.training.threads)
    run = Run.resumed(recipe, out / CHECKPOINT_FILE)
    iterations = recipe.training.iterations
    with BodyStream(recipe, data, out / "bodies") as stream, _bar(iterations, progress) as bar:
        if run.iteration < iterations:
            stream.start(run.iteration)
        while run.iteration < iterations:
            loss = run.step(*stream.batch(run.iteration))
            bar(run.iteration, loss)
            _note(out / HISTORY_FILE, run, loss)
            if run.iteration % CHECKPOINT_EVERY == 0 or run.iteration == iterations:
                run.save(out / CHECKPOINT_FILE)
                write_trained(run, out / recipe.name)
    return write_trained(run, out / recipe.name).folder


@dataclass(slots=True)
class Run:
    """A training run between two iterations. The one thing here that changes in place."""

    recipe: Recipe
    network: BayesianUNet
    average: BayesianUNet
    optimiser: torch.optim.Adam
    iteration: int = 0
    seconds: float = 0.0

    @classmethod
    def fresh(cls, recipe: Recipe) -> Self:
        """Before the first iteration: weights drawn by the recipe's seed, or its start's.

        Raises:
            TrainingError: the bundle to start from is not the one that the recipe means.
        """
        torch.manual_seed(recipe.seed)
        start = recipe.start
        network = _started(recipe, start) if start else BayesianUNet(recipe.architecture)
        average = BayesianUNet(recipe.architecture)
        average.load_state_dict(network.state_dict())
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in network.modules():
            if isinstance(module, Upsampling):
                module.normalisation.register_forward_pre_hook(_whole)
        optimiser = torch.optim.Adam(network.parameters(), recipe.training.learning_rate)
        return cls(recipe, network, average.requires_grad_(requires_grad=False), optimiser)

    @classmethod
    def resumed(cls, recipe: Recipe, checkpoint: Path) -> Self:
        """From a checkpoint where there is one, else fresh."""
        run = cls.fresh(recipe)
        if not checkpoint.exists():
            return run
        with safe_open(checkpoint, framework="pt") as file:
            said = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if said["recipe_identity"] != recipe.identity:
            raise TrainingError(
                f"{checkpoint}: belongs to another recipe; take another --out or delete it"
            )
        run.iteration, run.seconds = said["iteration"], said["seconds"]
        run.network.load_state_dict(_below(tensors, "network."))
        run.average.load_state_dict(_below(tensors, "average."))
        for k, parameter in enumerate(run.network.parameters()):
            moments = _below(tensors, f"adam.{k}.")
            run.optimiser.state[parameter] = {
                name: moments[name].clone(memory_format=torch.preserve_format)
                for name in MOMENTS
            }
        return run

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint beside an older one and put it in its place."""
        tensors = {f"network.{n}": t for n, t in self.network.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self.average.state_dict().items()}
        for k, parameter in enumerate(self.network.parameters()):
            state = self.optimiser.state[parameter]
            tensors |= {f"adam.{k}.{name}": state[name] for name in MOMENTS}
        said = {
            "recipe_identity": self.recipe.identity,
            "iteration": self.iteration,
            "seconds": self.seconds,
        }
        temporary = checkpoint.with_suffix(".part")
        plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(plain, temporary, metadata={"run": json.dumps(said)})
        temporary.replace(checkpoint)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One iteration; the loss."""
        began = time.monotonic()
        plan = self.recipe.training
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.iteration)  # dropout
        rate = cosine_rate(self.iteration, plan.iterations, plan.warm_up)
        for group in self.optimiser.param_groups:
            group["lr"] = plan.learning_rate * rate
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(images.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(logits.float(), labels, plan.dice_weight)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.iteration += 1
        self._follow(plan.averaging)
        self.seconds += time.monotonic() - began
        return float(loss.detach())

    def _follow(self, decay: float) -> None:
        """Move the averaged weights; a young average remembers less."""
        decay = min(decay, (1 + self.iteration) / (10 + self.iteration)) if decay else 0.0
        for kept, new in zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def _started(recipe: Recipe, start: Start) -> BayesianUNet:
    """The network of the bundle that a recipe starts from; Adam's moments start anew."""
    bundle = load_bundle(start.folder)
    if bundle.weights_sha256 != start.weights_sha256:
        raise TrainingError(
            f"{start.folder}: its weights are {bundle.weights_sha256}, "
            f"the recipe starts from {start.weights_sha256}"
        )
    if bundle.architecture != recipe.architecture:
        raise TrainingError(f"{start.folder}: its network is not the recipe's")
    return load_network(bundle)


def _whole(_: torch.nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """A cropped view made whole: its normalisation's gradient is 10 times slower as a view."""
    return (inputs[0].contiguous(memory_format=torch.channels_last),)


def segmentation_loss(logits: Tensor, labels: Tensor, dice_weight: float) -> Tensor:
    """Softmax cross entropy, with a share of soft Dice over the structures present.

    Args:
        logits: float32 `[batch, class, row, column]`.
        labels: int64 `[batch, row, column]`.
        dice_weight: 0 is the study's loss.
    """
    entropy = functional.cross_entropy(logits, labels)
    if dice_weight == 0:
        return entropy
    probability = logits.softmax(1)
    truth = functional.one_hot(labels, LABEL_COUNT).movedim(-1, 1).to(probability.dtype)
    both = (probability * truth).sum((0, 2, 3))[1:]
    size = (probability.sum((0, 2, 3)) + truth.sum((0, 2, 3)))[1:]
    present = truth.sum((0, 2, 3))[1:] > 0
    if not present.any():
        return entropy * (1 - dice_weight)
    dice = (2 * both[present] / size[present]).mean()
    return (1 - dice_weight) * entropy + dice_weight * (1 - dice)


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


def _first_card(recipe: Recipe, iterations: int) -> str:
    sources = "\n".join(f"- {source}" for source in recipe.data.sources)
    return (
        f"# {recipe.name}\n\nWeights after {iterations} of {recipe.training.iterations} "
        "iterations, not calibrated, not evaluated. For research only.\n\n"
        f"Training data:\n{sources}\n"
    )


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _note(path: Path, run: Run, loss: float) -> None:
    """A line of the run's history; an iteration done again after a kill stands twice."""
    if not path.exists():
        path.write_text("iteration,seconds,loss\n", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{run.iteration},{run.seconds:.1f},{loss:.5f}\n")


class _Bar:
    """The progress bar; shows a smoothed loss."""

    def __init__(self, bar: Progress, iterations: int) -> None:
        self._bar = bar
        self._task = bar.add_task("training", total=iterations, loss=float("nan"))
        self._loss: float | None = None

    def __call__(self, iteration: int, loss: float) -> None:
        self._loss = loss if self._loss is None else 0.97 * self._loss + 0.03 * loss
        self._bar.update(self._task, completed=iteration, loss=self._loss)


@contextlib.contextmanager
def _bar(iterations: int, shown: bool) -> Iterator[_Bar]:  # noqa: FBT001 - the caller's own
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not shown) as bar:
        yield _Bar(bar, iterations)
