"""Take over a results folder of nnU-Net (`msk-node import-nnunet`): offline, nothing run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from inference.errors import NnunetFolderError
from inference.models.bundle import Bundle
from inference.models.bundle_writing import check_replaceable, write_bundle
from inference.models.checkpoints import check_different
from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import MemberKind, Members, members_table
from inference.models.nnunet.architecture import UNet
from inference.models.nnunet.card import card
from inference.models.nnunet.declaration import KIND
from inference.models.nnunet.label_names import guest_labels
from inference.models.nnunet.networks import Numbers
from inference.models.nnunet.plans import Planned, read_plans
from inference.models.nnunet.results_folder import (
    DATASET_FILE,
    PLANS_FILE,
    Checkpoint,
    find_checkpoints,
    find_results,
    provenance,
    read_fold,
    read_json,
)
from inference.models.nnunet.tiles import Tiles
from inference.models.nnunet.trainers import trained_network
from inference.models.toml_text import as_table
from inference.models.toml_values import value_of

LICENCE_FILE: Final = "LICENCE.txt"
FAST_STEP: Final = 0.75
COMPARED_WITH: Final = "nnunetv2 2.8.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an import is asked for; see `msk-node import-nnunet --help`.

    folds: numbers or `all`; none: all that there are.
    labels: the label table; None: names that are known here.
    licence: a text that is kept in the bundle.
    members: what they differ by; None: folds where there are several, else none.
    orientation: of the training images; None: as nnU-Net's reader says.
    fast: no mirrored images, fewer tiles, bfloat16 on a CPU.
    """

    name: str
    version: str = "1"
    configuration: str | None = None
    folds: tuple[str, ...] = ()
    checkpoint: str = "checkpoint_final.pth"
    labels: Path | None = None
    licence: Path | None = None
    members: MemberKind | None = None
    orientation: Literal["LPS", "RAS"] | None = None
    is_ct: bool = False
    trainer_keeps_network: bool = False
    fast: bool = False


def import_bundle(folder: Path, out: Path, wanted: Wanted) -> Bundle:
    """Write a bundle of a results folder, not calibrated, with a card that says what it is.

    Args:
        folder: that nnU-Net's training wrote, or its parent where there is one network in it.
        out: where the bundle shall stand; an older bundle there is replaced.
        wanted: what is asked for.

    Raises:
        NnunetFolderError: something is missing or not supported; the message has the way out.
        CheckpointError: a checkpoint is damaged, or names more than tensors and values.
        LabelTableError: the label table does not fit.
        BundleError: `out` holds something that is no bundle.
    """
    check_replaceable(out)
    results = find_results(folder, wanted.configuration)
    paths = find_checkpoints(results, wanted.folds, wanted.checkpoint)
    check_different(paths)
    folds = [read_fold(path) for path in paths]
    _check_alike(folds, wanted)
    planned = _planned(results, folds[0], wanted)
    labels = guest_labels(planned.names, wanted.labels)
    tensors = _tensors(planned, folds)
    own = _own(planned, labels, folds, wanted) | {"origin": _origin(results, folds, wanted)}
    return write_bundle(
        out,
        own=own,
        save_weights=partial(_save, tensors, wanted.licence),
        name=wanted.name,
        version=wanted.version,
        samples=len(value_of(Members, own["members"]).each),
        training={"origin": "imported from nnU-Net; trained elsewhere"},
        model_card=card(wanted.name, own),
        kind=KIND,
    )


def _planned(results: Path, fold: Checkpoint, wanted: Wanted) -> Planned:
    planned = read_plans(
        read_json(results / PLANS_FILE),
        read_json(results / DATASET_FILE),
        fold.configuration,
        is_ct=wanted.is_ct,
        orientation=wanted.orientation,
    )
    network = trained_network(
        planned.architecture, fold.trainer, keeps_network=wanted.trainer_keeps_network
    )
    return replace(planned, architecture=network)


def _check_alike(folds: Sequence[Checkpoint], wanted: Wanted) -> None:
    """All folds are of one network, and that is the one asked for."""
    first = folds[0]
    for fold in folds:
        for key in ("trainer", "configuration"):
            if getattr(fold, key) != getattr(first, key):
                raise NnunetFolderError(
                    f"{fold.path}: {key} is {getattr(fold, key)}, of another fold "
                    f"{getattr(first, key)}; folds must be of one training"
                )
    if wanted.configuration not in {None, first.configuration}:
        raise NnunetFolderError(
            f"{first.path}: is of configuration {first.configuration}, not "
            f"{wanted.configuration}; name the folder of that"
        )


def _tensors(planned: Planned, folds: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """All folds' weights, `0/...` and so on, each of the planned network's names and shapes."""
    with torch.device("meta"):
        expected = UNet(planned.architecture, len(planned.names)).state_dict()
    found: dict[str, Tensor] = {}
    for number, fold in enumerate(folds):
        odd = sorted(set(expected) ^ set(fold.weights))
        if odd:
            where = "the plans do not have" if odd[0] in fold.weights else "it does not have"
            raise NnunetFolderError(
                f"{fold.path}: not the network of the plans: {where} {odd[0]}, nor "
                f"{len(odd) - 1} others alike; trainer {fold.trainer} may build another one"
            )
        for name, tensor in expected.items():
            if fold.weights[name].shape != tensor.shape:
                raise NnunetFolderError(
                    f"{fold.path}: {name} is {tuple(fold.weights[name].shape)}, by the plans "
                    f"{tuple(tensor.shape)}"
                )
            found[f"{number}/{name}"] = fold.weights[name]
    return found


def _own(
    planned: Planned, labels: GuestLabels, folds: Sequence[Checkpoint], wanted: Wanted
) -> dict[str, Any]:
    """The tables of bundle.toml that are this kind's own."""
    kind: MemberKind = wanted.members or ("folds" if len(folds) > 1 else "none")
    mirrored = () if wanted.fast else folds[0].mirrored_axes
    step = FAST_STEP if wanted.fast else 0.5
    numbers = Numbers(cpu="bfloat16") if wanted.fast else Numbers()
    try:
        members = members_table(kind, len(folds), labels)
        tiles = Tiles(patch=planned.patch, step=step, mirrored_axes=mirrored)
    except ValueError as error:
        raise NnunetFolderError(f"{folds[0].path.parent.parent}: {error}") from error
    return {
        "labels": _plain(labels),
        "members": members,
        "network": _plain(planned.architecture),
        "preprocessing": _plain(planned.preprocessing),
        "tiles": _plain(tiles),
        "numbers": _plain(numbers),
    }


def _origin(results: Path, folds: Sequence[Checkpoint], wanted: Wanted) -> dict[str, Any]:
    first = folds[0]
    return {
        "program": "nnU-Net",
        "compared_with": COMPARED_WITH,
        "dataset": str(read_json(results / PLANS_FILE).get("dataset_name", "")),
        "configuration": first.configuration,
        "trainer": first.trainer,
        "folds": [fold.path.parent.name for fold in folds],
        "mirrored_axes": list(first.mirrored_axes),
        "licence": LICENCE_FILE if wanted.licence else "not given at the import",
        "label_table": wanted.labels.name if wanted.labels else "by names that are known here",
        "settings": "fast, of this project" if wanted.fast else "those of the original",
        "imported_on": dt.datetime.now(dt.UTC).date(),
        "files": provenance(results, folds),
    }


def _save(tensors: dict[str, Tensor], licence: Path | None, path: Path) -> None:
    """Weights, and the licence beside them."""
    save_file(tensors, path)
    if licence is not None:
        try:
            text = licence.read_bytes()
        except OSError as error:
            raise NnunetFolderError(f"{licence}: {error.strerror}") from error
        (path.parent / LICENCE_FILE).write_bytes(text)


def _plain(value: Any) -> Any:
    """A frozen value as tables, lists and plain values all the way down."""
    table = as_table(value)
    if isinstance(table, Mapping):
        return {key: _plain(part) for key, part in table.items()}
    return [_plain(part) for part in table] if isinstance(table, list | tuple) else table
