"""Keras files of the published family, and what the published network computes with them.

Written after yuta-hi/keras_bayesian_unet (MIT), `unet_2d.py`, and Keras' own writers of HDF5,
without a look at the network of this project: numpy, channels last, float64. Slow and plain.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Image = NDArray[np.float64]
"""(row, column, channel)"""

CLASSES = 23
_NAMES = {
    "InputLayer": "input",
    "ReflectionPadding2D": "reflection_padding2d",
    "Conv2D": "conv2d",
    "Conv2DTranspose": "conv2d_transpose",
    "BatchNormalization": "batch_normalization",
    "Activation": "activation",
    "MCDropout": "mc_dropout",
    "MaxPooling2D": "max_pooling2d",
    "Cropping2D": "cropping2d",
    "Concatenate": "concatenate",
}


@dataclass
class Layer:
    """A layer as Keras describes it, with its weights in Keras' order."""

    class_name: str
    name: str
    config: dict[str, Any]
    inputs: list[str]
    weights: dict[str, Floats] = field(default_factory=dict)


@dataclass
class Model:
    """A network of the family as Keras holds it: layers in forward order."""

    levels: int
    normalised: bool
    layers: list[Layer]

    def weighted(self) -> list[Layer]:
        """Layers with weights."""
        return [layer for layer in self.layers if layer.weights]

    def named(self, name: str) -> Layer:
        """The layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)


def keras_model(  # noqa: C901 - the published `build`, in one piece as there
    levels: int,
    filters: int,
    *,
    normalised: bool,
    session: int = 1,
    seed: int = 0,
    classes: int = CLASSES,
) -> Model:
    """The network with random weights; a session numbers its first layers `session`."""
    draw = np.random.default_rng(seed)
    layers: list[Layer] = []
    numbers = dict.fromkeys(_NAMES, session)

    def add(class_name: str, *inputs: str, config: dict[str, Any] | None = None) -> Layer:
        n = numbers[class_name]
        numbers[class_name] += 1
        name = f"{_NAMES[class_name]}_{n}" if n else _NAMES[class_name]
        layers.append(Layer(class_name, name, {"name": name} | (config or {}), list(inputs)))
        return layers[-1]

    def pad(h: str) -> str:
        return add("ReflectionPadding2D", h, config={"padding": [[1, 1], [1, 1]]}).name

    def kernel(*shape: int, fan_in: int) -> Floats:
        values: Floats = draw.standard_normal(shape, dtype=np.float32)
        return values * np.float32((2 / fan_in) ** 0.5)

    def vector(size: int, low: float, high: float) -> Floats:
        return draw.uniform(low, high, size).astype(np.float32)

    def convolution(h: str, channels_in: int, out: int, *, transposed: bool = False) -> str:
        shape = (out, channels_in) if transposed else (channels_in, out)
        layer = add(
            "Conv2DTranspose" if transposed else "Conv2D",
            pad(h),
            config={
                "filters": out,
                "kernel_size": [3, 3],
                "strides": [2, 2] if transposed else [1, 1],
                "padding": "valid",
                "data_format": "channels_last",
                "dilation_rate": [1, 1],
                "activation": "linear",
                "use_bias": True,
            },
        )
        fan_in = 9 * channels_in // (4 if transposed else 1)
        layer.weights["kernel"] = kernel(3, 3, *shape, fan_in=fan_in)
        layer.weights["bias"] = vector(out, -0.1, 0.1)
        return layer.name

    def norm_and_relu(h: str, channels: int) -> str:
        if normalised:
            layer = add(
                "BatchNormalization",
                h,
                config={"axis": -1, "momentum": 0.99, "epsilon": 0.001},
            )
            layer.weights |= {
                "gamma": vector(channels, 0.7, 1.3),
                "beta": vector(channels, -0.2, 0.2),
                "moving_mean": vector(channels, -0.2, 0.2),
                "moving_variance": vector(channels, 0.7, 1.4),
            }
            h = layer.name
        return add("Activation", h, config={"activation": "relu"}).name

    def block(h: str, channels_in: int, out: int) -> str:
        h = norm_and_relu(convolution(h, channels_in, out), out)
        h = norm_and_relu(convolution(h, out, out), out)
        return add("MCDropout", h, config={"rate": 0.5, "noise_shape": None}).name

    h = add("InputLayer", config={"batch_input_shape": [None, 512, 512, 1]}).name
    stored: list[str] = []
    channels = 1
    for level in range(levels):
        if level:
            pooling = {"pool_size": [2, 2], "padding": "valid", "strides": [2, 2]}
            h = add("MaxPooling2D", h, config=pooling).name
        h = block(h, channels, channels := filters * 2**level)
        stored.append(h)
    layers[2].weights["kernel"] *= np.float32(1 / 100)  # grey values reach 255
    for skip in stored[-2::-1]:
        h = norm_and_relu(convolution(h, channels, channels, transposed=True), channels)
        crop = add("Cropping2D", h, config={"cropping": [[2, 3], [2, 3]]}).name
        h = add("Concatenate", crop, skip, config={"axis": -1}).name
        h = block(h, channels + channels // 2, channels // 2)
        channels //= 2
    convolution(h, channels, classes)
    return Model(levels, normalised, layers)


def described(model: Model) -> dict[str, Any]:
    """`model_config` as Keras 2 writes it."""
    return {
        "class_name": "Model",
        "config": {
            "name": "model_1",
            "layers": [
                {
                    "name": layer.name,
                    "class_name": layer.class_name,
                    "config": layer.config,
                    "inbound_nodes": [[[one, 0, 0, {}] for one in layer.inputs]]
                    if layer.inputs
                    else [],
                }
                for layer in model.layers
            ],
        },
    }


def described_by_keras_3(model: Model) -> dict[str, Any]:
    """The same as Keras 3 writes it, where inputs are tensors with a history."""
    told = described(model)
    told["class_name"] = "Functional"
    for layer in told["config"]["layers"]:
        nodes = layer["inbound_nodes"][0] if layer["inbound_nodes"] else []
        tensors = [
            {
                "class_name": "__keras_tensor__",
                "config": {"shape": [None], "dtype": "float32", "keras_history": [n[0], 0, 0]},
            }
            for n in nodes
        ]
        arguments = [tensors] if len(tensors) > 1 else tensors
        layer["inbound_nodes"] = [{"args": arguments, "kwargs": {}}] if nodes else []
    return told


def write_weights(path: Path, model: Model, *, pieces: int = 1) -> Path:
    """As `model.save_weights` of Keras 2; `pieces` in which it cuts a list too long."""
    with h5py.File(path, "w") as file:
        _write_layers(file, model, pieces)
    return path


def write_model(
    path: Path, model: Model, config: Callable[[Model], dict[str, Any]] = described
) -> Path:
    """As `model.save`: description, weights, and the optimiser's, which nobody needs."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.2.4"
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(config(model)).encode()
        _write_layers(file.create_group("model_weights"), model, 1)
        optimiser = file.create_group("optimizer_weights")
        optimiser.attrs["weight_names"] = [b"Adam/iterations:0"]
        optimiser["Adam/iterations:0"] = np.int64(150_000)
    return path


def write_sampler(path: Path, model: Model) -> Path:
    """As `model.save` of an `MCSampler`: the network is a layer of its own.

    Keras puts its trainable weights first, then all running statistics.
    """
    wrapper = {
        "class_name": "Model",
        "config": {
            "name": "model_2",
            "layers": [
                {"name": "input_9", "class_name": "InputLayer", "config": {}},
                {"name": "lambda_1", "class_name": "Lambda", "config": {}},
                described(model) | {"name": "model_1"},
            ],
        },
    }
    flat = [
        (f"{layer.name}/{role}:0", values)
        for layer in model.weighted()
        for role, values in layer.weights.items()
    ]
    flat.sort(key=lambda pair: "moving" in pair[0])
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(wrapper)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"input_9", b"lambda_1", b"model_1"]
        for name in ("input_9", "lambda_1"):
            group.create_group(name).attrs["weight_names"] = np.array([], dtype="S1")
        inner = group.create_group("model_1")
        inner.attrs["weight_names"] = [name.encode() for name, _ in flat]
        for name, values in flat:
            inner[name] = values
    return path


def write_keras_3_weights(path: Path, model: Model) -> Path:
    """As `model.save_weights("x.weights.h5")` of Keras 3: numbered anew, weights by place."""
    seen: dict[str, int] = {}
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            kind = _NAMES[layer.class_name]
            number = seen.get(kind, 0)
            seen[kind] = number + 1
            name = f"layers/{kind}_{number}" if number else f"layers/{kind}"
            variables = file.create_group(name).create_group("vars")
            for place, values in enumerate(layer.weights.values()):
                variables[str(place)] = values
            if layer.class_name == "MCDropout":
                seeds = file.create_group(f"{name}/seed_generator").create_group("vars")
                seeds["0"] = np.array([1, 2], dtype=np.uint32)
        file.create_group("optimizer").create_group("vars")["0"] = np.int64(150_000)
    return path


def _write_layers(group: h5py.Group, model: Model, pieces: int) -> None:
    names = np.array([layer.name.encode() for layer in model.layers])
    if pieces == 1:
        group.attrs["layer_names"] = names
    for n, piece in enumerate(np.array_split(names, pieces) if pieces > 1 else []):
        group.attrs[f"layer_names{n}"] = piece
    group.attrs["backend"] = b"tensorflow"
    group.attrs["keras_version"] = b"2.2.4"
    for layer in model.layers:
        inner = group.create_group(layer.name)
        weights = [f"{layer.name}/{role}:0" for role in layer.weights]
        inner.attrs["weight_names"] = np.array([name.encode() for name in weights], dtype="S")
        for name, values in zip(weights, layer.weights.values(), strict=True):
            inner[name] = values


def keep_all(x: Image) -> Image:
    """Dropout, off."""
    return x


def published_logits(
    model: Model, image: Image, drop: Callable[[Image], Image] = keep_all
) -> Image:
    """What Keras computes of `(row, column, 1)`: `(row, column, class)`."""
    weights = iter([layer.weights for layer in model.weighted()])

    def norm_and_relu(x: Image) -> Image:
        if model.normalised:
            w = next(weights)
            spread = np.sqrt(w["moving_variance"].astype(np.float64) + 1e-3)
            x = w["gamma"] * (x - w["moving_mean"]) / spread + w["beta"]
        return np.maximum(x, 0)

    def block(x: Image) -> Image:
        for _ in range(2):
            x = norm_and_relu(convolved(reflected(x), **next(weights)))
        return drop(x)

    x, stored = image, []
    for level in range(model.levels):
        x = block(pooled(x) if level else x)
        stored.append(x)
    for skip in stored[-2::-1]:
        x = norm_and_relu(transposed(reflected(x), **next(weights)))
        x = block(np.concatenate([cropped(x, skip), skip], axis=2))
    logits = convolved(reflected(x), **next(weights))
    assert next(weights, None) is None
    return logits


def reflected(x: Image) -> Image:
    """One pixel more on every side, without repeating the border's."""
    return np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")


def convolved(x: Image, kernel: Floats, bias: Floats) -> Image:
    """Valid correlation: out[r, c] = sum over i, j of x[r + i, c + j] kernel[i, j]."""
    rows, columns = x.shape[0] - 2, x.shape[1] - 2
    out = np.zeros((rows, columns, kernel.shape[3])) + bias
    for i, j in taps():
        out += x[i : i + rows, j : j + columns] @ kernel[i, j].astype(np.float64)
    return out


def transposed(x: Image, kernel: Floats, bias: Floats) -> Image:
    """Every pixel adds its kernel at twice its place; a kernel is (row, column, out, in)."""
    rows, columns = x.shape[:2]
    out = np.zeros((2 * rows + 1, 2 * columns + 1, kernel.shape[2])) + bias
    for i, j in taps():
        share = x @ kernel[i, j].T.astype(np.float64)
        out[i : i + 2 * rows : 2, j : j + 2 * columns : 2] += share
    return out


def taps() -> Iterator[tuple[int, int]]:
    """Places in a 3 x 3 kernel."""
    return ((i, j) for i in range(3) for j in range(3))


def pooled(x: Image) -> Image:
    """The largest of 2 x 2; a last odd row or column is left out."""
    rows, columns = x.shape[0] // 2, x.shape[1] // 2
    blocks = x[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, -1)
    largest: Image = blocks.max(axis=(1, 3))
    return largest


def cropped(x: Image, skip: Image) -> Image:
    """Half of the excess taken off before, rounded down, and after, rounded up."""
    down, across = ((x.shape[n] - skip.shape[n]) / 2 for n in range(2))
    return x[floor(down) : x.shape[0] - ceil(down), floor(across) : x.shape[1] - ceil(across)]


if __name__ == "__main__":  # a file to try the import on: random weights, as `model.save`
    write_model(Path(sys.argv[1]), keras_model(levels=5, filters=8, normalised=False))
