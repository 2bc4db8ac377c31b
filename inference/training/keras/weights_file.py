"""Weights that Keras wrote, layer by layer, as numpy arrays: HDF5 in any of its layouts.

- *Full model* (`model.save`, Keras 2 and 3): attribute `model_config`, group `model_weights`.
- *Weights only* (`model.save_weights`, Keras 2): the same groups at the file's root.
- *Weights only* (`.weights.h5` of Keras 3): groups `layers/<kind>_<n>/vars/<number>`; the same
  file, with its model's description beside it, is what a `.keras` archive holds.

The first two list their layers in forward order in the attribute `layer_names`, and each
layer's weights in `weight_names`. The third has no lists: there, and where the lists were
lost, layers are sorted by the numbers in their names. What the layers are good for is not
this module's business: see `importing`.

An HDF5 file can point at other files of the machine (external links, external storage,
virtual datasets). Keras writes none of these, and none is followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from inference.errors import KerasFileError
from inference.training.keras.archive import is_archive, unpacked
from inference.training.keras.other_files import (
    UNPACKED,
    is_one_of_several,
    is_unpacked,
    shard_words,
    way_out,
)

MOST_VALUES: Final = 2**26
"""In all arrays together: the published network has at most 44 million. A damaged header may
claim any number, and a file of a few kB any number of arrays."""

NEITHER: Final = "neither an HDF5 file nor a .keras archive"

ROLES: Final = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
_ROLE: Final = re.compile(rf"({'|'.join(ROLES)})(_\d+)?(:\d+)?")
_NUMBERED: Final = re.compile(
    r"(conv2d_transpose|conv2d|batch_normalization)(?:_v[12])?(?:_(\d+))?"
)
"""`_v1` and `_v2` are of TensorFlow 1.13, which had two such classes."""

_NO_WEIGHTS: Final = ("seed_generator", "optimizer", "optimizer_weights", "metrics")
"""Groups of what training and random numbers left; nothing of the network."""


@dataclass(frozen=True, slots=True, eq=False)
class KerasLayer:
    """A layer with weights: its name in the file, and arrays by role (`kernel`, `bias`, ...).

    Axes are Keras': a convolution's kernel is (row, column, in, out), that of a transposed
    one (row, column, out, in).
    """

    name: str
    weights: Mapping[str, NDArray[np.floating[Any]]]

    @property
    def kind(self) -> str | None:
        """`conv2d`, `conv2d_transpose` or `batch_normalization`; None if named by a person."""
        numbered = _NUMBERED.fullmatch(self.name)
        return numbered[1] if numbered else None

    @property
    def number(self) -> int:
        """That in its name: 0 of `conv2d`, 3 of `conv2d_3`."""
        numbered = _NUMBERED.fullmatch(self.name)
        return int(numbered[2] or 0) if numbered else 0


@dataclass(frozen=True, slots=True, eq=False)
class KerasFile:
    """Content of a file.

    layers: those with weights; in forward order where `ordered`, else by kind and number.
    description: the model's layers with their settings (`class_name`, `config`,
        `inbound_nodes`), in forward order; None in a weights-only file.
    keras_version: of the program that wrote it, where it says so.
    """

    path: Path
    layers: tuple[KerasLayer, ...]
    ordered: bool
    description: tuple[Mapping[str, Any], ...] | None
    keras_version: str


def read_keras_file(path: Path) -> KerasFile:
    """Read a file's layers.

    Raises:
        KerasFileError: it is not there, is neither HDF5 nor a `.keras` archive, holds no Keras
            layers, or only some of a model's.
    """
    if not path.is_file() or not _readable(path):
        words = way_out(path) or (NEITHER if path.exists() else "no such file")
        raise KerasFileError(f"{path}: {words}")
    if is_unpacked(path):
        raise KerasFileError(f"{path}: {UNPACKED}")
    if is_one_of_several(path):
        raise KerasFileError(f"{path}: {shard_words(path)}")
    if not is_archive(path):
        return _read(path, path)
    with unpacked(path) as archive:
        read = _read(path, archive.weights)
        return replace(
            read,
            description=_layers_of(path, archive.config),
            keras_version=archive.keras_version or read.keras_version,
        )


def _readable(path: Path) -> bool:
    return bool(h5py.is_hdf5(path)) or is_archive(path)


def _read(path: Path, source: Any) -> KerasFile:
    """Read HDF5 from a path, or from a file that is open already."""
    try:
        with h5py.File(source, "r") as file:
            return _read_layers(path, file)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        # h5py raises any of these, and its words ("file signature not found") help nobody.
        raise KerasFileError(f"{path}: damaged HDF5 file: {error}") from error


def _read_layers(path: Path, file: Any) -> KerasFile:
    group = file
    if "model_weights" in file:
        group = _member(path, file, "model_weights")
    if _text(group.attrs.get("backend", "")) == "theano":
        raise KerasFileError(
            f"{path}: written with Theano, whose kernels are turned by 180 degrees; "
            "load it with Keras on TensorFlow and save it again"
        )
    names = _list(group, "layer_names")
    layers = _listed(path, group, names) if names else _found(path, file)
    if not layers:
        raise KerasFileError(f"{path}: HDF5, but without layers that Keras wrote")
    return KerasFile(
        path=path,
        layers=layers,
        ordered=bool(names),
        description=_description(path, file.attrs.get("model_config")),
        keras_version=_text(group.attrs.get("keras_version", "")) or "not said",
    )


def _listed(path: Path, group: Any, names: list[str]) -> tuple[KerasLayer, ...]:
    """Layers in the order of `layer_names`; those of a model within the model, too."""
    weights: dict[tuple[str, str], dict[str, NDArray[np.floating[Any]]]] = {}
    arrays = _Arrays(path)
    for name in names:
        held = _member(path, group, name)
        for weight in _list(held, "weight_names"):
            if "seed_generator" in weight:
                continue
            above, _, leaf = weight.rpartition("/")
            layer = above.rpartition("/")[2] or name
            role = _ROLE.fullmatch(leaf)
            if role is None:
                raise KerasFileError(
                    f"{path}: layer {layer} has a weight {leaf}, as no layer of this family has"
                )
            roles = weights.setdefault((name, layer), {})
            if role[1] in roles:
                raise KerasFileError(f"{path}: layer {layer} has two weights {role[1]}")
            roles[role[1]] = arrays.read(_member(path, held, weight))
    return tuple(KerasLayer(layer, roles) for (_, layer), roles in weights.items())


def _found(path: Path, file: Any) -> tuple[KerasLayer, ...]:
    """Layers of a file that keeps no order, by kind and number."""
    weights: dict[tuple[str, ...], dict[str, NDArray[np.floating[Any]]]] = {}
    arrays = _Arrays(path)
    for parts, dataset in _datasets(file):
        if any(part in _NO_WEIGHTS for part in parts):
            continue
        above = tuple(part for part in parts[:-1] if part != "vars")
        layer = above[-1] if above else ""
        numbered = _NUMBERED.fullmatch(layer)
        if numbered is None:
            raise KerasFileError(f"{path}: {'/'.join(parts)} is of no layer of this family")
        role = _role(parts[-1], numbered[1])
        if role is None:
            raise KerasFileError(f"{path}: layer {layer} has a weight {parts[-1]} too many")
        roles = weights.setdefault(above, {})
        if role in roles:
            raise KerasFileError(f"{path}: layer {layer} has two weights {role}")
        roles[role] = arrays.read(dataset)
    layers = (KerasLayer(above[-1], roles) for above, roles in weights.items())
    return tuple(sorted(layers, key=lambda layer: (layer.kind or "", layer.number)))


def _role(leaf: str, kind: str) -> str | None:
    """The role of a weight called by its role or, by Keras 3, by its place in its layer."""
    named = _ROLE.fullmatch(leaf)
    if named is not None:
        return named[1]
    roles = ROLES[2:] if kind == "batch_normalization" else ROLES[:2]
    return roles[int(leaf)] if leaf.isdecimal() and int(leaf) < len(roles) else None


def _member(path: Path, group: Any, name: str) -> Any:
    """A group or dataset below a group, by hard links alone."""
    found = group
    for part in name.split("/"):
        if part:
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                raise KeyError(name)  # the caller's words for a damaged file
            if not isinstance(link, h5py.HardLink):
                raise KerasFileError(f"{path}: {name} is a link, as Keras writes none")
            found = found[part]
    return found


def _datasets(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in group:
        # Links may lead to other files or in circles; Keras writes none.
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            one = group[name]
            if isinstance(one, h5py.Dataset):
                yield (*above, name), one
            elif len(above) < 16:
                yield from _datasets(one, (*above, name))


class _Arrays:
    """Reads arrays of one file, up to `MOST_VALUES` values in all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = MOST_VALUES

    def read(self, dataset: Any) -> NDArray[np.floating[Any]]:
        """The values of a dataset that is real numbers, and holds them itself."""
        where = f"{self.path}: {dataset.name}"
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f":
            raise KerasFileError(f"{where} is no array of real numbers")
        if dataset.external or dataset.is_virtual:
            raise KerasFileError(
                f"{where} keeps its values in another file, as Keras never does"
            )
        if dataset.size > self.left:
            raise KerasFileError(
                f"{where} claims {dataset.size} values; no network of this family has so many"
            )
        self.left -= dataset.size
        values: NDArray[np.floating[Any]] = dataset[()]
        return values


def _list(group: Any, name: str) -> list[str]:
    """An attribute that is a list; a long one stands in numbered pieces."""
    if name in group.attrs:
        return [_text(one) for one in group.attrs[name]]
    pieces = takewhile(group.attrs.__contains__, (f"{name}{n}" for n in count()))
    return [_text(one) for piece in pieces for one in group.attrs[piece]]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _description(path: Path, text: Any) -> tuple[Mapping[str, Any], ...] | None:
    """The layers of `model_config`; None where there is none."""
    if text is None:
        return None
    try:
        config = json.loads(_text(text))
    except (ValueError, RecursionError) as error:
        raise KerasFileError(f"{path}: its model_config cannot be read: {error}") from error
    return _layers_of(path, config)


def _layers_of(path: Path, config: Any) -> tuple[Mapping[str, Any], ...]:
    """The layers of a model's description; those of the model within, where one wraps it."""
    try:
        layers = config["config"]["layers"]
        while inner := [one for one in layers if "layers" in one["config"]]:
            layers = inner[0]["config"]["layers"]
    except (KeyError, TypeError, IndexError) as error:
        raise KerasFileError(
            f"{path}: its model_config cannot be read: {type(error).__name__} {error}"
        ) from error
    if not all(isinstance(one["config"], dict) and "class_name" in one for one in layers):
        raise KerasFileError(f"{path}: its model_config has a layer without class or settings")
    return tuple(layers)
