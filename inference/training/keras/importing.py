"""Take over weights of the published Keras family (`msk-node import-keras`).

The family is that of yuta-hi/keras_bayesian_unet (MIT): the network of Hiasa et al., IEEE TMI
39 (2020) 1030-1040, with and without batch normalisation, as Soufi et al., Sci Rep 15 (2025),
used it. Layers are recognised by their order alone, for Keras numbers them anew in every
session: a file's weights must fit `published_steps` in kind, number and shape, and its
description, where it has one, in every setting and connection that changes the result.

A kernel's axes are (row, column, in, out) in Keras, (row, column, out, in) if transposed; the
same permutation leads to torch's (out, in, row, column) and (in, out, row, column). Neither
is turned around: both programs correlate, and transpose the correlation.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.errors import KerasFileError
from inference.models.bayesian_unet.channels import LABELS, STUDY_CHANNELS, Channels
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.models.bundle import Bundle
from inference.models.bundle_writing import check_replaceable
from inference.structures import SEGMENTS
from inference.training.keras.channels import channel_count, told_channels
from inference.training.keras.family import Kind, Step, described_dropout, published_steps
from inference.training.keras.other_files import shard_words
from inference.training.keras.weights_file import KerasFile, KerasLayer, read_keras_file
from inference.training.model_card.card import FIGURES


@dataclass(frozen=True, slots=True)
class Imported:
    """A network with what is known of where it comes from."""

    network: BayesianUNet
    channels: Channels
    source: KerasFile
    layers: tuple[str, ...]


TOLD: Final = "told at import"

_CALLED: Final = {
    Kind.CONVOLUTION: "conv2d",
    Kind.TRANSPOSED: "conv2d_transpose",
    Kind.NORMALISATION: "batch_normalization",
}
"""How Keras names such layers, with a number, unless a person does."""

_LEVELS: Final = range(2, 9)

_ROLES: Final = {
    Kind.CONVOLUTION: {"kernel": "weight", "bias": "bias"},
    Kind.TRANSPOSED: {"kernel": "weight", "bias": "bias"},
    Kind.NORMALISATION: {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
}
"""Keras' names of weights, and torch's."""


def import_network(
    path: Path,
    layers: int | None = None,
    labels: Sequence[str] | None = None,
    dropout: float | None = None,
) -> Imported:
    """Read a Keras file into the published network.

    Levels, filters and batch normalisation follow from the weights, the share dropped from
    the description; a file without one takes `dropout`, or the published one half.

    Args:
        path: an HDF5 file or a `.keras` archive.
        layers: encoder levels, if the file shall be refused that has others.
        labels: what the file's output channels stand for, in order, as in `Channels`; None
            presumes the study's order of 23, and is refused of any other number.
        dropout: the share dropped in training; of a described model, only its own.

    Raises:
        KerasFileError: the first thing that does not fit.
    """
    source = read_keras_file(path)
    architecture = _architecture(source, layers)
    architecture = replace(architecture, dropout=_share(source, architecture, dropout))
    steps = [step for step in published_steps(architecture) if step.module]
    in_order = tuple(_in_order(source, steps))
    architecture = replace(architecture, classes=channel_count(path, in_order[-1]))
    with torch.device("meta"):  # shapes alone: a wrong file may ask for any amount of memory
        network = BayesianUNet(architecture)
    state: dict[str, Tensor] = {}
    table = []
    for step, layer in zip(steps, in_order, strict=True):
        state |= dict(_taken_over(path, step, layer, network.get_submodule(step.module)))
        table.append(f"{layer.name} ({step.kind}) is {step.module}")
    channels = told_channels(f"{path}: {in_order[-1].name}", architecture.classes, labels)
    if sorted(channels.names) == sorted(LABELS):  # the study's, in whatever order
        places = [channels.names.index(label) for label in LABELS]
        state |= {name: state[name][places] for name in ("head.weight", "head.bias")}
        channels = STUDY_CHANNELS
    network.load_state_dict(state, assign=True)
    return Imported(network.eval(), channels, source, tuple(table))


def import_bundle(  # noqa: PLR0913 - what a file of weights leaves unsaid
    path: Path,
    folder: Path,
    *,
    name: str,
    version: str,
    grid: PixelGrid,
    samples: int,
    layers: int | None = None,
    window: Window | None = None,
    dropout: float | None = None,
    labels: Sequence[str] | None = None,
) -> Bundle:
    """Write a bundle of a Keras file, not calibrated, with a card that says what it is.

    Args:
        path: see `import_network`.
        folder: where the bundle shall stand; an older bundle there is replaced.
        name: see `Bundle`.
        version: see `Bundle`.
        grid: see `Bundle`; that of the training, as everything below.
        samples: see `Bundle`.
        layers: see `import_network`.
        window: see `Bundle`; None presumes that of the group's femur tool.
        dropout: see `import_network`.
        labels: see `import_network`.

    Raises:
        KerasFileError: the file does not fit.
        BundleError: `folder` holds something that is no bundle.
    """
    check_replaceable(folder)
    imported = import_network(path, layers, labels, dropout)
    training = _provenance(
        imported,
        label_order="presumed" if labels is None else TOLD,
        window="presumed" if window is None else TOLD,
        share="presumed" if dropout is None else TOLD,
    )
    return write_unet_bundle(
        folder,
        name=name,
        version=version,
        network=imported.network,
        window=window or Window(),
        grid=grid,
        samples=samples,
        training=training,
        model_card=_card(name, imported, training),
        channels=imported.channels,
    )


def _architecture(source: KerasFile, layers: int | None) -> Architecture:
    first = next((one for one in source.layers if "kernel" in one.weights), None)
    if first is None:
        raise KerasFileError(f"{source.path}: has no convolution")
    kernel = first.weights["kernel"]
    if kernel.ndim != 4 or kernel.shape[3] < 1:
        raise KerasFileError(
            f"{source.path}: {first.name}: kernel is {_size(kernel.shape)}, not that of a "
            "2-D convolution (3, 3, 1, filters)"
        )
    architecture = Architecture(
        filters=kernel.shape[3],
        batch_normalisation=any("gamma" in one.weights for one in source.layers),
    )
    return replace(architecture, layers=_levels(source, architecture, layers))


def _levels(source: KerasFile, architecture: Architecture, asked: int | None) -> int:
    """Encoder levels: those of the network with as many layers with weights as the file."""
    found = len(source.layers)
    counts = {
        levels: sum(
            bool(s.module) for s in published_steps(replace(architecture, layers=levels))
        )
        for levels in _LEVELS
    }
    fitting = [levels for levels, count in counts.items() if count == found]
    if fitting and asked in {None, fitting[0]}:
        return fitting[0]
    words = "with" if architecture.batch_normalisation else "without"
    if asked is None:
        wanted = ", ".join(f"{levels} levels {counts[levels]}" for levels in (5, 6))
        refusal = f"published are, {words} batch normalisation, {wanted}"
    else:
        refusal = f"{asked} levels {words} batch normalisation have {counts[asked]}"
        refusal += f"; {found} is what --layers {fitting[0]} has" if fitting else ""
    shard = None if fitting else shard_words(source.path)
    hint = f"; {shard}" if shard else ""
    raise KerasFileError(f"{source.path}: has {found} layers with weights, {refusal}{hint}")


def _share(source: KerasFile, architecture: Architecture, asked: float | None) -> float:
    """The share dropped: the model's own, else the one asked for, else the published one."""
    if source.description is None:
        return architecture.dropout if asked is None else asked
    own = described_dropout(source.path, source.description, architecture)
    if asked is not None and asked != own:
        raise KerasFileError(
            f"{source.path}: its own description drops {own:g}, --dropout says {asked:g}; "
            "leave --dropout out"
        )
    return own


def _in_order(source: KerasFile, steps: Sequence[Step]) -> Iterator[KerasLayer]:
    """The file's layers, in forward order or dealt to the steps kind by kind."""
    if source.ordered:
        yield from source.layers
        return
    waiting = {
        kind: [one for one in source.layers if one.kind == name]
        for kind, name in _CALLED.items()
    }
    for step in steps:
        if not waiting[step.kind]:
            raise KerasFileError(f"{source.path}: too few layers: none left for {step.module}")
        yield waiting[step.kind].pop(0)


def _taken_over(
    path: Path, step: Step, layer: KerasLayer, module: nn.Module
) -> Iterator[tuple[str, Tensor]]:
    """A layer's weights as the state of the step's module, in torch's axes."""
    roles = _ROLES[step.kind]
    if set(layer.weights) != set(roles):
        raise KerasFileError(
            f"{path}: {layer.name} has {', '.join(layer.weights)}; the {step.kind} in its "
            f"place ({step.module}) has {', '.join(roles)}"
        )
    if layer.kind not in {None, _CALLED[step.kind]}:
        raise KerasFileError(
            f"{path}: {layer.name} stands where the published network has a {step.kind} "
            f"({step.module})"
        )
    expected = module.state_dict()
    for role, torch_name in roles.items():
        values = layer.weights[role]
        shape = _as_keras(tuple(expected[torch_name].shape))
        if values.shape != shape:
            raise KerasFileError(
                f"{path}: {layer.name}: {role} is {_size(values.shape)}, not {_size(shape)} "
                f"({step.module})"
            )
        turned = _as_torch(values)
        if not np.isfinite(turned).all():
            raise KerasFileError(f"{path}: {layer.name}: {role} has values that are not finite")
        if role == "moving_variance" and turned.min() < 0:
            raise KerasFileError(f"{path}: {layer.name}: a variance is below zero")
        yield f"{step.module}.{torch_name}", torch.from_numpy(turned)
    if step.kind is Kind.NORMALISATION:
        yield f"{step.module}.num_batches_tracked", torch.tensor(0)


def _as_torch(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Last two axes first: (row, column, a, b) to (b, a, row, column); vectors stay."""
    turned = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite: refused
        return np.ascontiguousarray(turned, dtype=np.float32)


def _as_keras(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in Keras' order of axes."""
    return (*shape[2:], shape[1], shape[0]) if len(shape) == 4 else shape


def _size(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _provenance(
    imported: Imported, *, label_order: str, window: str, share: str
) -> dict[str, Any]:
    source = imported.source
    described = source.description is not None
    with source.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "origin": "imported from Keras weights; trained elsewhere",
        "source_file": source.path.name,
        "source_sha256": sha256,
        "keras_version": source.keras_version,
        "settings": "checked against the file's model_config" if described else "presumed",
        "dropout_share": "the model's own" if described else share,
        "window_of_training": window,
        "label_order": label_order,
        "layers": list(imported.layers),
        "torch": torch.__version__,
        "imported_on": dt.datetime.now(dt.UTC).date(),
        "validated_on_patients": False,
    }


def _words_of_channels(channels: Channels) -> str:
    """For the card, of a network that is not the study's."""
    if channels == STUDY_CHANNELS:
        return ""
    each = ", ".join(f"{number} `{name}`" for number, name in enumerate(channels.names))
    return (
        f"; output channels are {each}\n- Finds {len(channels.segments)} of the "
        f"{len(SEGMENTS)} segments; the others are *not provided*, never absent"
    )


def _card(name: str, imported: Imported, training: Mapping[str, Any]) -> str:
    architecture = imported.network.architecture
    described = imported.source.description is not None
    settings = (
        "checked against the description in the file"
        if described
        else "not in the file; those of the published network are presumed"
    )
    labels = (
        "as told at the import"
        if training["label_order"] == TOLD
        else "**presumed** to be the order used here; a file of weights does not say it. "
        "Look at a segmentation before anything else"
    )
    rows = "\n".join(f"- {row}" for row in imported.layers)
    labels += _words_of_channels(imported.channels)
    return f"""# {name}

**Imported, and not validated here.** The weights were trained elsewhere and taken over from
a Keras file. This program has not tried them on any case, and they are **not calibrated**: the
quality gate has no limits for their uncertainty, so a bad segmentation is not held back by it.
For research only.

- File: `{training["source_file"]}`, sha256 `{training["source_sha256"]}`
- Keras version of the file: {training["keras_version"]}; imported on {training["imported_on"]}
- Network: {architecture.layers} levels, {architecture.filters} filters,
  {"with" if architecture.batch_normalisation else "without"} batch normalisation,
  dropout {architecture.dropout:g} ({training["dropout_share"]})
- Padding, place of dropout and other settings: {settings}
- Order of the labels: {labels}
- Window: {training["window_of_training"]}; pixel size and samples: as given at the import
  (all in `bundle.toml`)

Whoever has labelled cases can evaluate and calibrate this bundle: see docs/keras.md.

## Figures

{FIGURES[0]}

None.

{FIGURES[1]}

## Layers

{rows}
"""
