"""A grader bundle is used only if it is what it says of itself."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.graders import DECLARATION

from inference.errors import BundleError
from inference.grading.bundle import GraderBundle, load_grader_bundle
from inference.grading.grader_files import GRADER_FILE, grader_sha256
from inference.grading.network import Architecture, GraderNetwork
from inference.grading.writing import write_grader_bundle
from inference.models.bundle_files import WEIGHTS_FILE, file_sha256


def written(folder: Path, **changes: Any) -> GraderBundle:
    torch.manual_seed(0)
    network = GraderNetwork(Architecture((8, 16)), 2).eval()
    return write_grader_bundle(folder, network, DECLARATION | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path / "tiny")
    return tmp_path / "tiny"


def edited(folder: Path, old: str, new: str) -> None:
    text = (folder / GRADER_FILE).read_text()
    assert old in text
    (folder / GRADER_FILE).write_text(text.replace(old, new))


def put_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other weights, declared as they are."""
    before = file_sha256(folder / WEIGHTS_FILE)
    save_file(tensors, folder / WEIGHTS_FILE)
    edited(folder, before, file_sha256(folder / WEIGHTS_FILE))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_grader_bundle(folder)
    return str(caught.value)


def test_what_was_written_comes_back(folder: Path):
    bundle = load_grader_bundle(folder)

    assert (bundle.identity.name, bundle.identity.version) == ("tiny", "1.0")
    assert bundle.identity.sha256 == grader_sha256(folder)
    assert [one.name for one in bundle.declared.classes] == ["normal", "worn"]
    assert bundle.declared.classes[0].code == ("17621005", "SCT", "Normal")
    assert (bundle.framing.cube_mm, bundle.framing.pixels) == (120.0, 32)
    assert bundle.declared.training["cases"] == 12


def test_the_same_image_has_the_same_probabilities_which_add_up_to_one(folder: Path):
    image = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    one, other = (load_grader_bundle(folder).probabilities(image) for _ in range(2))

    assert one == other
    assert sum(one) == pytest.approx(1)
    assert one[0] != pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 2", "format is 2, this version reads 1"),
        ('kind = "hip_radiograph"', 'kind = "vit"', "kind is 'vit'"),
        ('name = "tiny"', 'name = ""', "name: "),
        ('licence = "CC0-1.0"\n', "", "licence: Field required"),
        ('version = "1.0"', 'version = "1.0"\ncolour = 1', "colour: "),
        ('name = "worn"', 'name = "normal"', "two classes have one name"),
        (', { name = "worn" }', "", "classes: "),
        ('"17621005", "SCT", "Normal"', '"17621005", "SCT"', "classes.0.code"),
        ('"SCT"', '"ASCHEMETHATISTOOLONG"', "classes.0.code.1"),
        ("pixels = 32", "pixels = 8", "radiograph.pixels"),
        ("cube_mm = 120.0", "cube_mm = nan", "radiograph.cube_mm"),
        ("sd = 0.7", "sd = 0", "scaling.sd"),
        ("mean = 2.4", "mean = inf", "scaling.mean"),
        ("channels = [8, 16]", "channels = []", "architecture.channels"),
        ("channels = [8, 16]", "channels = [8, 16, 8, 8, 8, 8]", "cannot be halved 6 times"),
        (
            "channels = [8, 16]",
            "channels = [8, 17]",
            "weight is (16, 8, 3, 3), not (17, 8, 3, 3)",
        ),
        ("channels = [8, 16]", "channels = [8]", "tensors too many"),
        ("[sha256]", "[sha257]", "sha256: Field required"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused_by_its_key(
    folder: Path, old: str, new: str, words: str
):
    edited(folder, old, new)

    assert words in refusal(folder)


def test_weights_that_are_not_the_declared_ones_are_refused_before_they_are_read(folder: Path):
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")

    assert "sha256 is" in refusal(folder)
    with pytest.raises(BundleError, match="sha256 is"):
        grader_sha256(folder)


def test_a_tensor_that_is_missing_or_no_number_is_named(folder: Path):
    tensors = load_file(folder / WEIGHTS_FILE)
    without = {name: tensor for name, tensor in tensors.items() if name != "head.bias"}
    put_weights(folder, without)
    assert "1 tensors missing, such as head.bias" in refusal(folder)

    put_weights(folder, tensors | {"head.bias": torch.tensor([0.0, float("nan")])})
    assert "head.bias has values that are not finite" in refusal(folder)


def test_a_variance_below_nothing_is_refused(folder: Path):
    """Its root is no number, and would be the value of every image."""
    tensors = load_file(folder / WEIGHTS_FILE)
    variance = torch.full_like(tensors["blocks.1.1.running_var"], -1.0)
    put_weights(folder, tensors | {"blocks.1.1.running_var": variance})

    assert "blocks.1.1.running_var has values below 0" in refusal(folder)


def test_a_pickle_is_never_loaded_whatever_it_is_called(folder: Path):
    before = file_sha256(folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).write_bytes(pickle.dumps({"head.bias": 1}))
    edited(folder, before, file_sha256(folder / WEIGHTS_FILE))
    assert "is a pickle, which is never loaded" in refusal(folder)

    (folder / WEIGHTS_FILE).rename(folder / "weights.pth")
    assert "weights.pth may be a pickle" in refusal(folder)


def test_a_folder_without_a_declaration_and_no_folder_are_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()

    assert "grader.toml: No such file" in refusal(tmp_path / "empty")
    assert "neither a folder with grader.toml nor a .csv file" in refusal(tmp_path / "none")


def test_a_bundle_that_would_not_be_read_is_not_written_over_one_that_is(folder: Path):
    before = grader_sha256(folder)

    with pytest.raises(BundleError):
        written(folder, scaling={"mean": 0.0, "sd": -1.0})

    assert grader_sha256(folder) == before
