"""A training run between two iterations: weights, optimiser, and their checkpoint.

What an iteration does follows from the recipe and its number alone: its images (see
`source`), its dropout (seeded anew) and its learning rate. A checkpoint therefore holds the
weights, their average, Adam's moments and the number; safetensors, never a pickle. It can be
read on any device.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from inference.errors import TrainingError
from inference.models.bayesian_unet.channels import STUDY_CHANNELS
from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bayesian_unet.network import (
    BATCH_NORMALISATION_MOMENTUM,
    BayesianUNet,
    Upsampling,
)
from inference.models.bundle import load_bundle
from inference.models.devices import is_fast_in_bfloat16
from inference.structures import LABEL_COUNT
from inference.training.recipe import Numbers, Recipe, Start, TrainingRecipe
from inference.training.synthesis.stream import cosine_rate

CPU: Final = torch.device("cpu")

MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")

LARGEST_GRADIENT: Final = 5.0
"""Gradients longer than this (L2 norm over all weights) are shortened to it."""


@dataclass(slots=True)
class Run:
    """A training run. The one thing here that changes in place.

    data: names what it is trained on beyond the recipe, such as the labelled cases; with
        other data a checkpoint is not gone on from.
    """

    recipe: Recipe
    device: torch.device
    network: BayesianUNet
    average: BayesianUNet
    optimiser: torch.optim.Adam
    scaler: torch.amp.GradScaler
    data: str = ""
    iteration: int = 0
    seconds: float = 0.0
    _followed: list[tuple[list[Tensor], list[Tensor]]] = field(init=False)

    def __post_init__(self) -> None:
        """Pair the averaged tensors with the trained ones: numbers, then counters."""
        kept, new = (list(n.state_dict().values()) for n in (self.average, self.network))
        self._followed = [
            (
                [tensor for tensor in kept if tensor.is_floating_point() is numbers],
                [tensor for tensor in new if tensor.is_floating_point() is numbers],
            )
            for numbers in (True, False)
        ]

    @classmethod
    def fresh(cls, recipe: Recipe, device: torch.device = CPU, data: str = "") -> Self:
        """Before the first iteration: weights drawn by the recipe's seed, or its start's.

        Raises:
            TrainingError: the bundle to start from is not the one that the recipe means.
        """
        torch.manual_seed(recipe.seed)
        start = recipe.start
        network = _started(recipe, start) if start else BayesianUNet(recipe.architecture)
        average = BayesianUNet(recipe.architecture)
        average.load_state_dict(network.state_dict())
        for one in (network, average):
            one.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in network.modules():
            if isinstance(module, Upsampling):
                module.normalisation.register_forward_pre_hook(_whole)
        optimiser = torch.optim.Adam(
            network.parameters(),
            recipe.training.learning_rate,
            fused=device.type == "cuda",
        )
        scaler = torch.amp.GradScaler(
            device.type, enabled=recipe.training.precision == "float16"
        )
        average.requires_grad_(requires_grad=False)
        return cls(recipe, device, network, average, optimiser, scaler, data)

    @classmethod
    def resumed(
        cls, recipe: Recipe, checkpoint: Path, device: torch.device = CPU, data: str = ""
    ) -> Self:
        """From a checkpoint where there is one, else fresh.

        Raises:
            TrainingError: the checkpoint is another recipe's or of other data, or cannot be
                read.
        """
        run = cls.fresh(recipe, device, data)
        if not checkpoint.exists():
            return run
        said, tensors = _read_checkpoint(checkpoint)
        if said["recipe_identity"] != recipe.identity:
            raise TrainingError(
                f"{checkpoint}: belongs to another recipe; take another --out or delete it"
            )
        if said["data"] != data:
            raise TrainingError(
                f"{checkpoint}: was trained on other cases than are there now; take another"
                " --out or delete it"
            )
        run.iteration, run.seconds = said["iteration"], said["seconds"]
        run.network.load_state_dict(_below(tensors, "network."))
        run.average.load_state_dict(_below(tensors, "average."))
        run.scaler.load_state_dict(said["scaler"])
        for k, parameter in enumerate(run.network.parameters()):
            if moments := _below(tensors, f"adam.{k}."):
                run.optimiser.state[parameter] = _like_its_parameter(moments, parameter)
        return run

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint beside an older one and put it in its place."""
        tensors = {f"network.{n}": t for n, t in self.network.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self.average.state_dict().items()}
        for k, parameter in enumerate(self.network.parameters()):
            state = self.optimiser.state[parameter]  # empty before the first step
            tensors |= {f"adam.{k}.{name}": state[name] for name in MOMENTS if name in state}
        said = {
            "recipe_identity": self.recipe.identity,
            "data": self.data,
            "iteration": self.iteration,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
        }
        temporary = checkpoint.with_suffix(".part")
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(plain, temporary, metadata={"run": json.dumps(said)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the name must never stand for half a file
        temporary.replace(checkpoint)

    def plan(self, iterations: int) -> None:
        """Give it more or fewer iterations than before: only the learning rate follows."""
        training = replace(self.recipe.training, iterations=iterations)
        self.recipe = replace(self.recipe, training=training)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One iteration.

        Args:
            images: see `ImageSource.batch`.
            labels: likewise.

        Returns:
            The loss, on the run's device: reading it waits for the device.
        """
        plan = self.recipe.training
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.iteration)  # dropout
        for group in self.optimiser.param_groups:
            group["lr"] = plan.learning_rate * rate_share(plan, self.iteration)
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        self.network.train()
        self._keep_statistics_young()
        self.optimiser.zero_grad(set_to_none=True)
        with self._numbers():
            logits = self.network(images.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(logits.float(), labels, plan.dice_weight)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.iteration += 1
        self._follow(plan.averaging)
        return loss.detach()

    def _keep_statistics_young(self) -> None:
        """Let batch normalisation forget what it was initialised with, as the average does.

        With the published momentum alone, running variances still hold a twentieth of their
        first value, 1, after 300 iterations, and a network is useless outside training.
        """
        young = 9 / (10 + self.iteration)
        for module in self.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = max(BATCH_NORMALISATION_MOMENTUM, young)

    @property
    def precision(self) -> Numbers:
        """Numbers to compute in: the recipe's, but float32 where half is slower."""
        asked = self.recipe.training.precision
        fast = self.device.type == "cuda" or is_fast_in_bfloat16(self.device)
        return asked if fast else "float32"

    def _numbers(self) -> torch.autocast:
        kind = torch.float16 if self.precision == "float16" else torch.bfloat16
        return torch.autocast(self.device.type, kind, enabled=self.precision != "float32")

    def _follow(self, decay: float) -> None:
        """Move the averaged weights; a young average remembers less."""
        decay = min(decay, (1 + self.iteration) / (10 + self.iteration)) if decay else 0.0
        numbers, counters = self._followed
        torch._foreach_lerp_(*numbers, 1 - decay)  # one launch, not hundreds
        if counters[0]:
            torch._foreach_copy_(*counters)


def rate_share(plan: TrainingRecipe, iteration: int) -> float:
    """Share of the highest learning rate at an iteration."""
    if plan.schedule == "cosine":
        return cosine_rate(iteration, plan.iterations, plan.warm_up)
    return min(1.0, (iteration + 1) / max(1, plan.warm_up))


def _started(recipe: Recipe, start: Start) -> BayesianUNet:
    """The network of the bundle that a recipe starts from; Adam's moments start anew."""
    bundle = load_bundle(start.folder)
    if bundle.weights_sha256 != start.weights_sha256:
        raise TrainingError(
            f"{start.folder}: its weights are {bundle.weights_sha256}, "
            f"the recipe starts from {start.weights_sha256}"
        )
    model = bundle.model
    if not isinstance(model, BayesianUNetModel) or model.architecture != recipe.architecture:
        raise TrainingError(f"{start.folder}: its network is not the recipe's")
    if model.channels != STUDY_CHANNELS:
        raise TrainingError(
            f"{start.folder}: its output channels are not the study's, in order"
        )
    return model.network()


def _whole(_: torch.nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """A cropped view made whole: its normalisation's gradient is 10 times slower as a view."""
    return (inputs[0].contiguous(memory_format=torch.channels_last),)


def _read_checkpoint(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(checkpoint, framework="pt") as file:
            said = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{checkpoint}: no checkpoint that can be read: {error}") from error
    return {"scaler": {}, "data": ""} | said, tensors


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _like_its_parameter(moments: dict[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """Adam's state where and as its parameter lies, which its fused kernel relies on."""
    on_device = parameter.is_cuda  # where Adam is fused, its counter lies there, too
    step = moments["step"].to(parameter.device) if on_device else moments["step"].clone()
    laid = {name: torch.empty_like(parameter, requires_grad=False) for name in MOMENTS[:2]}
    return {name: tensor.copy_(moments[name]) for name, tensor in laid.items()} | {"step": step}


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
    true = truth.sum((0, 2, 3))[1:]  # (structure,)
    both = (probability * truth).sum((0, 2, 3))[1:]
    size = probability.sum((0, 2, 3))[1:] + true
    present = (true > 0).to(size.dtype)  # as a factor: a GPU need not be waited for
    share = present / present.sum().clamp_min(1)
    lack = (share * (1 - 2 * both / size.clamp_min(1))).sum()
    return (1 - dice_weight) * entropy + dice_weight * lack
