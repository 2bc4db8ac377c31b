"""The published Keras family as a list of steps, and a model's description held against it.

From yuta-hi/keras_bayesian_unet (MIT), `unet_2d.py` and `bayesian_unet_2d.py`: the network of
Hiasa et al., IEEE TMI 39 (2020) 1030-1040. Both the order of a file's weights and the settings
of a full model are judged by this one list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from inference.errors import KerasFileError
from inference.models.bayesian_unet.network import BATCH_NORMALISATION_EPSILON, Architecture


class Kind(StrEnum):
    """Kind of step in the published network, in the words of its errors."""

    INPUT = "input"
    PAD = "reflection padding"
    CONVOLUTION = "convolution"
    TRANSPOSED = "transposed convolution"
    NORMALISATION = "batch normalisation"
    RELU = "ReLU"
    DROPOUT = "dropout"
    POOLING = "max pooling"
    CROP = "cropping"
    CONCATENATION = "concatenation"
    SOFTMAX = "softmax"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the network: what it does, to the outputs of which steps, with which weights.

    module: the torch module that takes the weights; "" where there are none.
    """

    kind: Kind
    takes: tuple[int, ...] = ()
    module: str = ""


_OF_CLASS: Final = {
    "InputLayer": Kind.INPUT,
    "ReflectionPadding2D": Kind.PAD,
    "Reflection2Padding2D": Kind.PAD,  # so called in the group's two released tools
    "Conv2D": Kind.CONVOLUTION,
    "Conv2DTranspose": Kind.TRANSPOSED,
    "BatchNormalization": Kind.NORMALISATION,
    "BatchNormalizationV1": Kind.NORMALISATION,  # TensorFlow 1.13 has two, alike when used
    "BatchNormalizationV2": Kind.NORMALISATION,
    "MCDropout": Kind.DROPOUT,
    "Dropout": Kind.DROPOUT,  # the plain U-Net of the family; always on here
    "MaxPooling2D": Kind.POOLING,
    "Cropping2D": Kind.CROP,
    "Concatenate": Kind.CONCATENATION,
}
_OWN_CLASSES: Final = ("ReflectionPadding2D", "Reflection2Padding2D", "MCDropout")
"""Not Keras' own: whoever registers them puts a package before the name, `Custom>MCDropout`."""

_OF_ACTIVATION: Final = {"relu": Kind.RELU, "softmax": Kind.SOFTMAX}

_CONVOLUTION: Final = {
    "kernel_size": ([3, 3],),
    "padding": ("valid",),
    "dilation_rate": ([1, 1],),
    "groups": (1,),
    "activation": ("linear",),
    "data_format": ("channels_last",),
}
_CROPS: Final = ([2, 2], [2, 3])
"""Crops of a transposed convolution's 2 n + 5 pixels to 2 n + 1 and to 2 n."""

_SETTINGS: Final[Mapping[Kind, Mapping[str, Sequence[Any]]]] = {
    Kind.PAD: {"padding": ([[1, 1], [1, 1]],), "data_format": ("channels_last",)},
    Kind.CONVOLUTION: {**_CONVOLUTION, "strides": ([1, 1],)},
    Kind.TRANSPOSED: {**_CONVOLUTION, "strides": ([2, 2],), "output_padding": (None,)},
    Kind.NORMALISATION: {
        "axis": (-1, 3, [-1], [3]),
        "epsilon": (BATCH_NORMALISATION_EPSILON,),
    },
    Kind.POOLING: {"pool_size": ([2, 2],), "strides": ([2, 2], None), "padding": ("valid",)},
    Kind.CROP: {"cropping": [[down, across] for down in _CROPS for across in _CROPS]},
    Kind.CONCATENATION: {"axis": (-1, 3)},
}
"""Settings that change the result, with the values that the network here computes."""


def published_steps(architecture: Architecture) -> tuple[Step, ...]:
    """The published network in forward order; the first step is its input."""
    steps = [Step(Kind.INPUT)]

    def add(kind: Kind, module: str = "", *also: int) -> int:
        steps.append(Step(kind, (len(steps) - 1, *also), module))
        return len(steps) - 1

    def convolution(kind: Kind, prefix: str) -> None:
        add(Kind.PAD)
        add(kind, f"{prefix}.convolution")
        if architecture.batch_normalisation:
            add(Kind.NORMALISATION, f"{prefix}.normalisation")
        add(Kind.RELU)

    def block(prefix: str) -> int:
        convolution(Kind.CONVOLUTION, f"{prefix}.first")
        convolution(Kind.CONVOLUTION, f"{prefix}.second")
        return add(Kind.DROPOUT)

    skips = []
    for level in range(architecture.layers):
        if level:
            add(Kind.POOLING)
        skips.append(block(f"encoder.{level}"))
    for level in reversed(range(architecture.layers - 1)):
        convolution(Kind.TRANSPOSED, f"upsampling.{level}")
        add(Kind.CROP)
        add(Kind.CONCATENATION, "", skips[level])
        block(f"decoder.{level}")
    add(Kind.PAD)
    add(Kind.CONVOLUTION, "head")
    return tuple(steps)


def described_dropout(
    path: Path, layers: Sequence[Mapping[str, Any]], architecture: Architecture
) -> float:
    """The share that a model drops, after its description is found to be as published.

    Args:
        path: the file, for the words of errors.
        layers: with their settings, as `KerasFile.description` has them. A softmax at the
            end changes nothing: it is computed here anyway.
        architecture: levels and batch normalisation; its dropout is not looked at.

    Raises:
        KerasFileError: the first step whose kind, setting or input is another.
    """
    if layers and _kind(layers[-1]) is Kind.SOFTMAX:
        layers = layers[:-1]
    steps = published_steps(architecture)
    names = [_name(layer) for layer in layers]
    for step, layer in zip(steps, layers, strict=False):
        _check_step(f"{path}: {_name(layer)} ({layer['class_name']})", step, layer, names)
    if len(layers) != len(steps):
        raise KerasFileError(
            f"{path}: its model has {len(layers)} steps, the published one {len(steps)}"
        )
    shares = [one["config"].get("rate") for one in layers if _kind(one) is Kind.DROPOUT]
    share = shares[0]
    if any(other != share for other in shares):
        raise KerasFileError(f"{path}: dropout differs between blocks: {shares}")
    if not isinstance(share, int | float) or not 0 <= share < 1:
        raise KerasFileError(f"{path}: dropout is {share}, not in [0, 1)")
    return float(share)


def _check_step(where: str, step: Step, layer: Mapping[str, Any], names: Sequence[str]) -> None:
    if _kind(layer) is not step.kind:
        known = " or ".join(name for name, kind in _OF_CLASS.items() if kind is step.kind)
        as_class = f", as class {known}" if known else ""
        raise KerasFileError(f"{where}: the published network has {step.kind} there{as_class}")
    for setting, allowed in _SETTINGS.get(step.kind, {}).items():
        value = layer["config"].get(setting, allowed[0])
        if value not in allowed:
            raise KerasFileError(f"{where}: {setting} is {value}, not {allowed[0]}")
    taken, wanted = _inputs(layer), [names[n] for n in step.takes]
    if taken != wanted:
        raise KerasFileError(
            f"{where}: takes {' and '.join(taken) or 'nothing'}, in the published network "
            f"{' and '.join(wanted) or 'nothing'}"
        )


def _kind(layer: Mapping[str, Any]) -> Kind | None:
    if layer["class_name"] == "Activation":
        return _OF_ACTIVATION.get(str(layer["config"].get("activation")))
    name = str(layer["class_name"])
    package, _, own = name.rpartition(">")
    return _OF_CLASS.get(own if package and own in _OWN_CLASSES else name)


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer["config"].get("name"))


def _inputs(layer: Mapping[str, Any]) -> list[str]:
    """Names of the layers whose outputs a layer takes, in order."""

    def named(node: Any) -> Iterator[str]:
        if isinstance(node, dict):  # Keras 3 wraps them
            if "args" in node:
                yield from named(node["args"])
            elif "config" in node:
                yield from named(node["config"].get("keras_history", []))
        elif isinstance(node, list):  # [name, node, tensor, ...], or a list of those
            if node and isinstance(node[0], str):
                yield node[0]
            else:
                for one in node:
                    yield from named(one)

    return list(named(layer.get("inbound_nodes", [])))
