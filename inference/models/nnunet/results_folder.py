"""A results folder of nnU-Net: where its files are, and what its checkpoints say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from inference.errors import NnunetFolderError
from inference.models.bundle_files import file_sha256
from inference.models.checkpoints import read_checkpoint, single_precision
from inference.models.nnunet.architecture import own_names

PLANS_FILE: Final = "plans.json"
DATASET_FILE: Final = "dataset.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a fold's checkpoint says that prediction needs.

    weights: by the names of `UNet`, float32.
    mirrored_axes: that inference may mirror.
    """

    path: Path
    trainer: str
    configuration: str
    mirrored_axes: tuple[int, ...]
    weights: Mapping[str, Tensor]


def find_results(folder: Path, configuration: str | None) -> Path:
    """The folder with the plans: the one given, or the one in it.

    Raises:
        NnunetFolderError: there is none, or more than one.
    """
    if not folder.is_dir():
        raise NnunetFolderError(f"{folder}: no such folder")
    if (folder / PLANS_FILE).is_file():
        return folder
    found = sorted(path.parent for path in folder.glob(f"*/{PLANS_FILE}"))
    if configuration is not None:
        found = [path for path in found if path.name.endswith(f"__{configuration}")]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NnunetFolderError(
            f"{folder}: no {PLANS_FILE}, nor a folder with one; name the folder that nnU-Net "
            "wrote, such as nnUNetTrainer__nnUNetPlans__3d_fullres"
        )
    names = ", ".join(path.name for path in found)
    raise NnunetFolderError(f"{folder}: several networks ({names}); name one of these folders")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that is a table.

    Raises:
        NnunetFolderError: it is missing or something else.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NnunetFolderError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise NnunetFolderError(f"{path}: not JSON: {error}") from error
    if not isinstance(read, dict):
        raise NnunetFolderError(f"{path}: not a table")
    return read


def find_checkpoints(results: Path, folds: Sequence[str], name: str) -> list[Path]:
    """The folds' checkpoints.

    Args:
        results: the folder with the plans.
        folds: numbers, or `all` for the network that was trained on all cases; none: every
            fold with a number, or `all` where there is none, as nnU-Net itself chooses.
        name: of the files.

    Raises:
        NnunetFolderError: one is missing.
    """
    if not folds:
        numbered = [
            one
            for one in results.glob(f"fold_*/{name}")
            if one.parent.name.removeprefix("fold_").isdecimal()
        ]
        numbered.sort(key=lambda one: (len(one.parent.name), one.parent.name))
        found = numbered or list(results.glob(f"fold_all/{name}"))
        if not found:
            raise NnunetFolderError(
                f"{results}: no fold_0/{name} or other fold; --checkpoint "
                "names another file, such as checkpoint_best.pth"
            )
        return found
    found = [results / f"fold_{fold}" / name for fold in folds]
    missing = [path for path in found if not path.is_file()]
    if missing:
        there = ", ".join(sorted(path.name for path in results.glob("fold_*"))) or "none"
        raise NnunetFolderError(f"{missing[0]}: not there; folds in the folder: {there}")
    return found


def read_fold(path: Path) -> Checkpoint:
    """A fold's checkpoint, by the restricted reader.

    Raises:
        CheckpointError: it cannot be read, or names more than values.
        NnunetFolderError: it is not nnU-Net's.
    """
    content = read_checkpoint(path)
    settings, weights = content.get("init_args"), content.get("network_weights")
    if not isinstance(settings, Mapping) or not isinstance(weights, Mapping):
        raise NnunetFolderError(
            f"{path}: no network_weights or init_args; is it a checkpoint of nnU-Net 2?"
        )
    tensors = own_names({str(name): value for name, value in weights.items()})
    odd = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if odd:
        raise NnunetFolderError(f"{path}: {odd[0]} is no tensor")
    return Checkpoint(
        path=path,
        trainer=str(content.get("trainer_name")),
        configuration=str(settings.get("configuration")),
        mirrored_axes=_axes(path, content.get("inference_allowed_mirroring_axes")),
        weights={name: _as_stored(path, name, value) for name, value in tensors.items()},
    )


def provenance(results: Path, folds: Sequence[Checkpoint]) -> dict[str, Any]:
    """Names and hashes of what was imported; nothing of the machine it lay on."""
    paths = [results / PLANS_FILE, results / DATASET_FILE, *(fold.path for fold in folds)]
    return {path.relative_to(results).as_posix(): file_sha256(path) for path in paths}


def _axes(path: Path, value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(one in (0, 1, 2) for one in value):
        raise NnunetFolderError(
            f"{path}: inference_allowed_mirroring_axes is {value!r}, not of 0, 1 and 2"
        )
    return tuple(int(one) for one in value)


def _as_stored(path: Path, name: str, value: Tensor) -> Tensor:
    """Single precision; counters of batches stay whole numbers."""
    if name.endswith(".num_batches_tracked") and value.dtype == torch.int64:
        return value.detach().clone()
    return single_precision(path, name, value)
