"""Files that a real Keras wrote (tests/trials/write_keras_files.py), held against the import.

`python tests/support/real_keras.py FOLDER...` prints what became of each form, as the table
of docs/keras.md; a FOLDER is what one run of that script wrote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.errors import KerasFileError
from inference.models.bayesian_unet.network import BayesianUNet
from inference.training.keras.importing import import_network

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """What the import made of one form.

    refused: its words; "" where it took the file.
    parameters: largest difference to those of Keras.
    logits: likewise, of an image with dropout off.
    dropout: the share taken over.
    """

    form: str
    refused: str = ""
    parameters: float = 0.0
    logits: float = 0.0
    dropout: float = 0.0


def told(folder: Path) -> dict[str, Any]:
    """Versions, settings and forms, as the script noted them."""
    noted: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return noted


def outcomes(folder: Path) -> Iterator[Outcome]:
    """One for each form that this Keras could save."""
    for form, name in told(folder)["forms"].items():
        if not name.startswith("refused"):
            yield outcome(folder, form, name)


def outcome(folder: Path, form: str, name: str) -> Outcome:
    """Import a file and compare it with what its Keras computed."""
    truth = np.load(folder / "truth.npz")
    try:
        network = import_network(folder / name).network
    except KerasFileError as error:
        return Outcome(form, refused=str(error).removeprefix(f"{folder}/"))
    theirs = np.concatenate(
        [truth[key].ravel() for key in sorted(truth) if key.startswith("weight")]
    )
    fed = torch.from_numpy(truth["image"]).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = network(fed, lambda x: x)[0].permute(1, 2, 0).numpy()
    return Outcome(
        form,
        parameters=float(np.abs(parameters_in_order(network) - theirs).max()),
        logits=float(np.abs(logits - truth["logits"]).max()),
        dropout=network.architecture.dropout,
    )


def parameters_in_order(network: BayesianUNet) -> Floats:
    """Parameters and running statistics in forward order, in Keras' axes.

    The order is that of the published `build`, written out here by itself.
    """
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    levels, found = network.architecture.layers, []

    def take(prefix: str, part: str, *names: str) -> None:
        for name in names:
            values = state.get(f"{prefix}{part}.{name}")
            if values is not None:
                found.append(values.transpose(2, 3, 1, 0) if values.ndim == 4 else values)

    def convolution(prefix: str) -> None:
        take(prefix, ".convolution", "weight", "bias")
        take(prefix, ".normalisation", "weight", "bias", "running_mean", "running_var")

    def block(prefix: str) -> None:
        convolution(f"{prefix}.first")
        convolution(f"{prefix}.second")

    for level in range(levels):
        block(f"encoder.{level}")
    for level in reversed(range(levels - 1)):
        convolution(f"upsampling.{level}")
        block(f"decoder.{level}")
    take("head", "", "weight", "bias")
    return np.concatenate([values.ravel() for values in found])


def main() -> None:
    """Print the table's rows."""
    for folder in map(Path, sys.argv[1:]):
        sys.stdout.write("\n".join([*rows(folder), ""]))


def rows(folder: Path) -> Iterator[str]:
    """What Keras refused to save, and what became of the rest."""
    noted = told(folder)
    yield f"== {folder.name}: Keras {noted['keras']}, TensorFlow {noted['tensorflow']}"
    for form, name in noted["forms"].items():
        if name.startswith("refused"):
            yield f"{form} | Keras: {name}"
    for one in outcomes(folder):
        yield f"{one.form} | " + (
            one.refused
            or f"parameters {one.parameters:g}, logits {one.logits:.1e}, "
            f"dropout {one.dropout:g}"
        )


if __name__ == "__main__":
    main()
