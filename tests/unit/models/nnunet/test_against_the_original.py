"""What nnunetv2 2.8.1 answered, kept in `tests/support/nnunet_made`, is answered here.

Its trainer made the networks and wrote the folders (`tests/trials/nnunet_fidelity.py
--reference`); docs/networks-fidelity.md has the comparison of many more, larger ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.geometry import Geometry
from inference.models.bundle import Bundle
from inference.models.nnunet.importing import Wanted, import_bundle
from inference.volume import Volume

MADE = Path(__file__).parents[3] / "support" / "nnunet_made"
NETWORKS = ("plain_2d", "residual_3d_fullres")


def scan() -> Volume:
    read = np.load(MADE / "image.npz")
    hu = read["hu"]
    return Volume(hu, Geometry.regular(hu.shape, tuple(read["spacing"].tolist())))


def imported(name: str, out: Path, **wanted: object) -> Bundle:
    return import_bundle(MADE / name, out, Wanted(name=name, **wanted))


def answer(name: str) -> np.ndarray:
    labels: np.ndarray = np.load(MADE / name / "answer.npz")["labels"]
    return labels


@pytest.mark.parametrize("name", NETWORKS)
def test_its_labels_are_ours(name: str, tmp_path: Path) -> None:
    """2d of two folds, mirrored; 3d with a residual encoder, read by a reader that turns."""
    network = imported(name, tmp_path / "bundle").model.load("cpu").network
    logits = network.mean(network.logits(scan(), fold) for fold in range(network.networks))

    planes = [logits.at(place) for place in range(len(scan().hu))]
    labels = torch.stack(planes).argmax(dim=1).numpy()

    theirs = answer(name)
    labelled = (labels > 0) | (theirs > 0)
    assert labelled.sum() > 1000
    assert (labels == theirs)[labelled].mean() >= 0.999


def test_a_prediction_has_its_labels_as_structures(tmp_path: Path) -> None:
    bundle = imported("plain_2d", tmp_path / "bundle")

    (found,) = bundle.model.load("cpu").predict(scan(), counts=(2,), seed=0)

    structure_of = bundle.model.labels.structure_of
    theirs = structure_of[answer("plain_2d")]
    labelled = (found.labels > 0) | (theirs > 0)
    assert (found.labels == theirs)[labelled].all(), "averaged as nnunetv2 averages folds"
    assert found.uncertainty is not None


def test_a_fold_alone_has_no_uncertainty(tmp_path: Path) -> None:
    bundle = imported("plain_2d", tmp_path / "bundle", folds=("1",))

    (found,) = bundle.model.load("cpu").predict(scan(), counts=(1,), seed=0)

    assert bundle.model.most_samples == 1
    assert found.uncertainty is None


def test_the_fast_setting_mirrors_nothing(tmp_path: Path) -> None:
    """Of 4 copies (as it is, along either axis, along both) one is left."""
    fast = imported("plain_2d", tmp_path / "fast", fast=True, folds=("0",))
    slow = imported("plain_2d", tmp_path / "slow", folds=("0",))
    passes = {"fast": 0, "slow": 0}
    for key, bundle in (("fast", fast), ("slow", slow)):
        network = bundle.model.load("cpu").network
        network._network.encoder.register_forward_hook(
            lambda *_, key=key: passes.update({key: passes[key] + 1})
        )
        network.logits(scan(), 0)

    assert 0 < passes["fast"] <= passes["slow"] / 4


def test_sums_that_leave_half_precision_are_made_again_in_single(tmp_path: Path) -> None:
    network = imported("plain_2d", tmp_path / "bundle").model.load("cpu").network
    with torch.no_grad():
        network._network.decoder.seg_layers[-1].weight *= 1e5

    assert network.logits(scan(), 0).values.dtype == torch.float32


def test_the_original_setting_computes_in_float32_and_the_fast_one_says_what_it_took(
    tmp_path: Path,
) -> None:
    slow = imported("plain_2d", tmp_path / "slow").model.load("cpu").network
    fast = imported("plain_2d", tmp_path / "fast", fast=True).model.load("cpu").network

    assert slow.description == "cpu, float32"
    assert "bfloat16" in fast.description


def test_a_slice_thinner_than_half_a_voxel_is_answered(tmp_path: Path) -> None:
    """1 mm at 5 mm: nnunetv2 resamples it to nothing, and fails."""
    network = imported("residual_3d_fullres", tmp_path / "bundle").model.load("cpu").network
    hu = scan().hu[4:5]
    thin = Volume(hu, Geometry.regular(hu.shape, (1.0, 3.0, 3.0)))

    assert network.logits(thin, 0).at(0).shape == (8, *hu.shape[1:])


def test_where_the_scan_is_0_all_around_it_is_background(tmp_path: Path) -> None:
    hu = np.pad(scan().hu, ((2, 0), (3, 4), (0, 5)))
    padded = Volume(hu, Geometry.regular(hu.shape, (6.0, 3.0, 3.0)))
    network = imported("plain_2d", tmp_path / "bundle").model.load("cpu").network

    whole, inner = network.logits(padded, 0), network.logits(scan(), 0)

    assert not whole.at(0).argmax(dim=0).any()
    assert torch.equal(whole.at(5)[:, 3:-4, :-5], inner.at(3))
