"""Take over networks of MuscleMap (`msk-node import-musclemap`), offline.

The weights are read by torch's restricted reader: nothing in the file is run. What the
original's command line chooses, its configuration leaves open (overlap, slices in a chunk) or
its libraries decide (what nibabel does with int16, what MONAI does at the border) is written
into the bundle, with the original's values unless others are asked for.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from inference.errors import MuscleMapFileError
from inference.models.bundle import Bundle
from inference.models.bundle_files import file_sha256
from inference.models.bundle_writing import check_replaceable, write_bundle
from inference.models.checkpoints import check_different, read_checkpoint, single_precision
from inference.models.guests.members import MemberKind, Members, members_table
from inference.models.musclemap.card import model_card
from inference.models.musclemap.config import Config, network_of, read_config
from inference.models.musclemap.declaration import KIND
from inference.models.musclemap.settings import Numbers, Preprocessing, Windows
from inference.models.musclemap.table import Fitted, fitted, read_table, shipped_table
from inference.models.musclemap.unet import MuscleMapUNet
from inference.models.toml_text import as_table
from inference.models.toml_values import value_of

LICENCE_FILE: Final = "LICENCE.txt"
NOT_GIVEN: Final = "not given"

FAST_OVERLAP: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks an import for; None where the original's own choice stands.

    chunk_slices: slices that share mean, deviation and crop; 0 for all.
    overlap: of windows, a share.
    members: what samples shall differ by; by default checkpoints for several files of
        weights, and none for one.
    margin_beyond_image: False as MuscleMap is with MONAI before 1.5.
    fast: our own faster setting: little overlap, bfloat16 where the device is fast in it.
    """

    name: str
    version: str = "1"
    labels: Path | None = None
    licence: Path | None = None
    chunk_slices: int | None = None
    overlap: float | None = None
    members: MemberKind | None = None
    margin_beyond_image: bool = True
    fast: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """A bundle that was written, and what a person should know of its labels."""

    bundle: Bundle
    fitted: Fitted


def import_bundle(
    weights: Sequence[Path], config_path: Path, folder: Path, asked: Asked
) -> Import:
    """Write a bundle of MuscleMap's files, not calibrated, with a card that says what it is.

    Args:
        weights: one file, or several of the same network (seeds, checkpoints).
        config_path: the JSON file beside them.
        folder: where the bundle shall stand; an older bundle there is replaced.
        asked: names and settings.

    Raises:
        MuscleMapFileError: configuration or weights do not fit.
        CheckpointError: a file of weights is none, or names more than tensors.
        LabelTableError: labels and table do not fit.
        BundleError: `folder` holds something that is no bundle.
    """
    check_replaceable(folder)
    config = read_config(config_path)
    shape = network_of(config, config_path)
    beside = fitted(read_table(asked.labels) if asked.labels else shipped_table(), config)
    check_different(weights)
    tensors = {
        f"{number}/{name}": tensor
        for number, path in enumerate(weights)
        for name, tensor in read_weights(path, shape).items()
    }
    licence = _licence(asked.licence)
    own = _own(config, shape, beside, asked, len(weights))
    origin = _origin(weights, config_path, config, licence, beside)

    def save(path: Path) -> None:
        save_file(tensors, path)
        if licence:  # beside the weights, whole or not at all like them
            (path.parent / LICENCE_FILE).write_text(licence, encoding="utf-8")

    bundle = write_bundle(
        folder,
        kind=KIND,
        own={**own, "origin": origin},
        save_weights=save,
        name=asked.name,
        version=asked.version,
        samples=len(value_of(Members, own["members"]).each),
        training={"program": "MuscleMap", "version": origin["version"], "imported": _today()},
        model_card=model_card(asked.name, own, origin, beside),
    )
    return Import(bundle, beside)


def read_weights(path: Path, shape: MuscleMapUNet) -> dict[str, Tensor]:
    """The state dict of a `.pth` file, as float32.

    Raises:
        CheckpointError: not a file of plain tensors; nothing that it names has been run.
        MuscleMapFileError: tensors of another network.
    """
    content = read_checkpoint(path)
    with torch.device("meta"):
        expected = {name: one.shape for name, one in shape.build().state_dict().items()}
    missing = sorted(set(expected) - set(content))
    if missing:
        words = f"such as {missing[0]}; there are {', '.join(sorted(map(str, content))[:3])}"
        raise MuscleMapFileError(f"{path}: {len(missing)} tensors missing, {words}")
    surplus = sorted(str(name) for name in set(content) - set(expected))
    if surplus:
        raise MuscleMapFileError(f"{path}: {len(surplus)} too many, such as {surplus[0]}")
    for name, wanted in expected.items():
        found = content[name]
        if not isinstance(found, Tensor) or found.shape != wanted:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise MuscleMapFileError(f"{path}: {name} is {what}, not {tuple(wanted)}")
    return {name: single_precision(path, name, content[name]) for name in expected}


def _own(
    config: Config, shape: MuscleMapUNet, beside: Fitted, asked: Asked, networks: int
) -> dict[str, Any]:
    """The keys of bundle.toml that are this kind's own."""
    x_mm, y_mm, _ = config.parameters.pix_dim
    try:
        preprocessing = Preprocessing(
            pixel_mm=(x_mm, y_mm), margin_beyond_image=asked.margin_beyond_image
        )
    except ValueError as error:
        raise MuscleMapFileError(f"parameters.pix_dim of the configuration: {error}") from error
    if asked.chunk_slices is not None:
        preprocessing = replace(preprocessing, chunk_slices=asked.chunk_slices)
    windows = Windows(
        size=config.parameters.roi_size, batch=config.parameters.spatial_window_batch_size
    )
    if asked.fast:
        windows = replace(windows, overlap=FAST_OVERLAP, batch=max(windows.batch, 4))
    if asked.overlap is not None:
        windows = replace(windows, overlap=asked.overlap)
    kind: MemberKind = asked.members or ("checkpoints" if networks > 1 else "none")
    try:
        members = members_table(kind, networks, beside.labels)
    except ValueError as error:
        raise MuscleMapFileError(f"members: {error}") from error
    numbers = Numbers(cpu="bfloat16", cuda="bfloat16") if asked.fast else Numbers()
    return {
        "labels": as_table(beside.labels),
        "members": members,
        "network": as_table(shape),
        "preprocessing": as_table(preprocessing),
        "windows": as_table(windows),
        "postprocessing": {"largest_piece": True},
        "numbers": as_table(numbers),
    }


def _origin(
    weights: Sequence[Path], config_path: Path, config: Config, licence: str, beside: Fitted
) -> Mapping[str, Any]:
    """What was taken over, from which files."""
    return {
        "program": "MuscleMap",
        "version": str(config.model.version) or NOT_GIVEN,
        "weights": [{"file": path.name, "sha256": file_sha256(path)} for path in weights],
        "configuration": {"file": config_path.name, "sha256": file_sha256(config_path)},
        "values": list(config.values),
        "label_table": beside.table_words,
        "licence": _first_line(licence) or NOT_GIVEN,
        "licence_sha256": hashlib.sha256(licence.encode()).hexdigest() if licence else "",
    }


def _licence(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MuscleMapFileError(f"{path}: {error}") from error


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()
