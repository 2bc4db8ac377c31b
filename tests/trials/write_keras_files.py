"""Keras files of the published family, written by a real Keras, with what that Keras computes.

`PYTHON write_keras_files.py OUT`, where PYTHON has some Keras: 2.2.4 beside TensorFlow 1.13
to 3.15 on torch. It needs nothing of this project, and runs on Python 3.7 too. The network
is as published (see tests/support/keras_files.py), small, with random weights. In OUT:

- a file for every form that this Keras can save, and the words of those that it refuses;
- `truth.npz`: an image, its logits without dropout, and all weights in forward order;
- `told.json`: versions, and of each form its file or the refusal.

Options: `--levels 2 --filters 2 --plain` (no batch normalisation) `--rate 0.25 --seed 0`,
`--tf-keras` (TensorFlow's own Keras instead of the package `keras`), `--padding NAME` (class
of the padding; the group's released packages have Reflection2Padding2D) and `--registered`
(custom classes are registered, so that their names read `Custom>...`).
"""

# ruff: noqa: ANN001, ANN202, ANN204, B905, BLE001, PERF403, T201, UP031 - Python 3.7, any Keras

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import platform
from pathlib import Path

import numpy as np

CLASSES = 23
ROWS, COLUMNS = 14, 11


def main():
    """Write everything."""
    asked = arguments()
    keras, tf = programs(asked.tf_keras)
    BACKEND.append(backend_of(keras))
    classes = custom_classes(keras, tf, asked.padding)
    if asked.registered:
        register = registrar(keras)
        classes = {name: register(one) for name, one in classes.items()}
    asked.out.mkdir(parents=True, exist_ok=True)
    model = network(keras, classes, asked, asked.rate)
    still = network(keras, classes, asked, 0.0)
    fill(model, asked.seed)
    still.set_weights(model.get_weights())
    image = np.random.RandomState(1).uniform(0, 255, (1, ROWS, COLUMNS, 1)).astype("float32")
    logits = np.asarray(still.predict(image, verbose=0))
    np.savez_compressed(
        str(asked.out / "truth.npz"),
        image=image[0],
        logits=logits[0],
        **{"weight_%03d" % n: w for n, w in enumerate(ordered(model))},
    )
    told = {
        "keras": version_of(keras),
        "tensorflow": getattr(tf, "__version__", None),
        "python": platform.python_version(),
        "levels": asked.levels,
        "filters": asked.filters,
        "normalised": not asked.plain,
        "rate": asked.rate,
        "forms": dict(written(keras, model, asked)),
    }
    (asked.out / "told.json").write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


def version_of(keras):
    """Of Keras itself; TensorFlow from 2.13 on hides that of its own."""
    home = keras.layers.Layer.__module__.split(".")[0]  # keras, tf_keras
    return getattr(keras, "__version__", None) or importlib.import_module(home).__version__


def arguments():
    """Those of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--filters", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--padding", default="ReflectionPadding2D")
    for flag in ("--plain", "--registered", "--tf-keras"):
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()


def programs(tf_keras):
    """The Keras to use, and TensorFlow where it computes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if tf_keras:
        tf = importlib.import_module("tensorflow")
        return tf.keras, tf
    keras = importlib.import_module("keras")
    if hasattr(keras, "ops") and keras.backend.backend() == "torch":
        return keras, None
    return keras, importlib.import_module("tensorflow")


def custom_classes(keras, tf, padding_name):
    """The family's own two: reflection padding, and dropout that is always on."""
    layers = keras.layers

    def reflected(self, inputs):
        pattern = [[0, 0], *(list(pair) for pair in self.padding), [0, 0]]
        if tf is None:
            return keras.ops.pad(inputs, pattern, mode="reflect")
        return tf.pad(inputs, pattern, mode="REFLECT")

    def dropped(self, inputs, training=None):
        if not self.rate:
            return inputs
        if hasattr(keras, "ops"):
            return layers.Dropout.call(self, inputs, training=True)
        backend = keras.backend
        return backend.dropout(inputs, self.rate, self._get_noise_shape(inputs))

    return {
        padding_name: type(padding_name, (layers.ZeroPadding2D,), {"call": reflected}),
        "MCDropout": type("MCDropout", (layers.Dropout,), {"call": dropped}),
    }


def registrar(keras):
    """The decorator that registers classes as `Custom>...`."""
    home = getattr(keras, "saving", None)
    if not hasattr(home, "register_keras_serializable"):
        home = keras.utils
    return home.register_keras_serializable()


def network(keras, classes, asked, rate):
    """The published network, up to its logits."""
    layers = keras.layers
    dropout, padding = classes["MCDropout"], classes[asked.padding]

    def convolution(h, make):
        h = make(padding((1, 1))(h))
        if not asked.plain:
            h = layers.BatchNormalization(axis=3)(h)
        return layers.Activation("relu")(h)

    def block(h, filters):
        for _ in range(2):
            h = convolution(h, layers.Conv2D(filters, 3, padding="valid"))
        return dropout(rate)(h)

    def halved(h):
        return layers.MaxPooling2D(2)(h)

    def doubled(h, filters):
        return convolution(h, layers.Conv2DTranspose(filters, 3, strides=2, padding="valid"))

    inputs = layers.Input((ROWS, COLUMNS, 1))
    h, skips, sizes = inputs, [], []
    for level in range(asked.levels):
        h = block(halved(h) if level else h, asked.filters * 2**level)
        skips.append(h)
        sizes.append((ROWS // 2**level, COLUMNS // 2**level))
    for level in reversed(range(asked.levels - 1)):
        h = doubled(h, asked.filters * 2 ** (level + 1))
        excess = [2 * small + 5 - large for small, large in zip(sizes[level + 1], sizes[level])]
        crop = tuple((math.floor(n / 2), math.ceil(n / 2)) for n in excess)
        h = layers.Concatenate(axis=3)([layers.Cropping2D(crop)(h), skips[level]])
        h = block(h, asked.filters * 2**level)
    outputs = layers.Conv2D(CLASSES, 3, padding="valid")(padding((1, 1))(h))
    return keras.models.Model(inputs=inputs, outputs=outputs)


def fill(model, seed):
    """Random weights under which no channel dies: an image in, logits of size 1 out."""
    draw = np.random.RandomState(seed)
    first = True
    for layer in model.layers:
        kind = type(layer).__name__
        weights = layer.get_weights()
        if kind.startswith("Conv2D") and weights:
            shape = weights[0].shape
            into = shape[3] if kind == "Conv2DTranspose" else shape[2]
            scale = math.sqrt(2.0 / (9 * into / (4 if kind == "Conv2DTranspose" else 1)))
            kernel = draw.normal(0, scale * (0.01 if first else 1), shape)
            layer.set_weights([kernel, draw.uniform(-0.1, 0.1, weights[1].shape)])
            first = False
        elif weights:
            size = weights[0].shape
            ranges = ((0.7, 1.3), (-0.2, 0.2), (-0.2, 0.2), (0.7, 1.4))
            layer.set_weights([draw.uniform(low, high, size) for low, high in ranges])


def ordered(model):
    """All weights in forward order, in Keras' axes."""
    return [w for layer in model.layers for w in layer.get_weights()]


def written(keras, model, asked):
    """Each form, and the file that it gave or the words of the refusal."""
    old = not hasattr(keras, "ops")
    forms = {
        "whole .h5": ("whole.h5", model.save),
        "weights .h5": ("weights.h5", model.save_weights),
        "weights .weights.h5": ("w.weights.h5", model.save_weights),
        "archive .keras": ("whole.keras", model.save),
        "SavedModel": ("saved_model", model.save if old else getattr(model, "export", None)),
        "TensorFlow checkpoint": ("checkpoint/w", model.save_weights),
        "weights in shards": (
            "shards.weights.json",
            lambda path: model.save_weights(path, max_shard_size=2e-6),
        ),
    }
    for name, make in sampler_forms(keras, model):
        forms[name] = make
    for form, (name, write) in forms.items():
        path = asked.out / name
        path.parent.mkdir(exist_ok=True)
        try:
            write(str(path))
        except Exception as error:  # whatever a Keras says is what the table wants to know
            for part in asked.out.glob(name + "*"):
                part.unlink() if part.is_file() else None
            yield form, "refused: %s: %s" % (type(error).__name__, str(error)[:160])
        else:
            yield form, name


def sampler_forms(keras, model):
    """As samplers wrap a network: the image repeated, the mean over all at the end.

    "sampler" is like the published MCSampler, whose functions hold on to an object;
    "predictor" like the BayesianPredictor of the released tools, whose functions do not.
    """
    forms = []
    for name, functions in (("sampler", Sampler(keras).functions()), ("predictor", FUNCTIONS)):
        try:
            wrapped = wrapping(keras, model, *functions)
        except Exception as error:
            forms.append((name + ", whole .h5", (name + ".h5", Refusal(error))))
            continue
        forms += [
            (name + ", whole .h5", (name + ".h5", wrapped.save)),
            (name + ", archive .keras", (name + ".keras", wrapped.save)),
            (name + ", weights .h5", (name + "_weights.h5", wrapped.save_weights)),
            (name + ", weights .weights.h5", (name + ".weights.h5", wrapped.save_weights)),
        ]
    return forms


def wrapping(keras, model, repeat, mean):
    """A model around the network."""
    layers = keras.layers
    inputs = layers.Input((ROWS, COLUMNS, 1))
    h = layers.Lambda(repeat)(inputs)
    h = layers.Activation("softmax")(model(h))
    return keras.models.Model(inputs=inputs, outputs=layers.Lambda(mean)(h))


class Refusal:
    """Says again what went wrong before."""

    def __init__(self, error):
        """Keep the words."""
        self.words = "%s: %s" % (type(error).__name__, error)

    def __call__(self, _path):
        """Raise them."""
        raise RuntimeError(self.words)


class Sampler:
    """Functions that hold on to an object."""

    def __init__(self, keras):
        """Keep the backend."""
        self.k = backend_of(keras)

    def functions(self):
        """Repetition and mean."""
        repeat = getattr(self.k, "repeat_elements", None) or self.k.repeat
        return (
            lambda x: repeat(x, 10, axis=0),
            lambda x: self.k.mean(x, axis=0, keepdims=True),
        )


BACKEND = []
FUNCTIONS = (
    lambda x: (getattr(BACKEND[0], "repeat_elements", None) or BACKEND[0].repeat)(
        x, 10, axis=0
    ),
    lambda x: BACKEND[0].mean(x, axis=0, keepdims=True),
)


def backend_of(keras):
    """Keras' functions of tensors."""
    return getattr(keras, "ops", None) or keras.backend


if __name__ == "__main__":
    main()
