"""A results folder of nnU-Net becomes a bundle, or a refusal that says what to do."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dicom_node.commands.cli import app
from inference.errors import BundleError, InferenceError, NnunetFolderError
from inference.models.bundle import load_bundle
from inference.models.checkpoints import read_checkpoint
from inference.models.nnunet.importing import Wanted, import_bundle

MADE = Path(__file__).parents[3] / "support" / "nnunet_made"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder as training leaves it, to be changed."""
    folder = tmp_path / "Dataset901" / "nnUNetTrainer__nnUNetPlans__2d"
    shutil.copytree(MADE / "plain_2d", folder)
    return folder


def test_the_command_takes_the_parent_of_the_one_network(results: Path, tmp_path: Path) -> None:
    licence = tmp_path / "LICENSE"
    licence.write_text("do as you like")
    command = ["import-nnunet", str(results.parent), "--out", str(tmp_path / "mine")]

    done = CliRunner().invoke(app, [*command, "--licence", str(licence), "--folds", "0,1"])

    bundle = load_bundle(tmp_path / "mine")
    assert done.exit_code == 0, done.output
    assert "not calibrated" in done.output
    assert (bundle.kind, bundle.name, bundle.samples) == ("nnunet", "mine", 2)
    assert {one.key for one in bundle.model.segments} >= {"FEMUR_L", "SACRUM"}
    assert (bundle.folder / "LICENCE.txt").read_text() == "do as you like"


def test_the_bundle_says_where_it_comes_from(results: Path, tmp_path: Path) -> None:
    bundle = import_bundle(results, tmp_path / "b", Wanted(name="b", folds=("1",)))

    origin = tomllib.loads((bundle.folder / "bundle.toml").read_text())["origin"]
    card = (bundle.folder / "MODEL_CARD.md").read_text()
    assert sorted(origin["files"]) == [
        "dataset.json",
        "fold_1/checkpoint_final.pth",
        "plans.json",
    ]
    assert origin["trainer"] == "nnUNetTrainer"
    for words in ("not calibrated", "Mirrored copies", "even grid", "not provided", "LPS"):
        assert words in card
    assert str(tmp_path) not in card + str(origin)


def test_members_may_be_variations_of_the_image(results: Path, tmp_path: Path) -> None:
    wanted = Wanted(name="b", folds=("0",), members="variations")

    bundle = import_bundle(results, tmp_path / "b", wanted)

    assert bundle.samples == bundle.model.most_samples > 1


def _edit(file: str, key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        read = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(read | {key: value}))

    return change


def _checkpoint(key: str, value: object, fold: int = 0) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / f"fold_{fold}" / "checkpoint_final.pth"
        content = {"network_weights": {}, "init_args": {"configuration": "2d"}}
        content |= {"trainer_name": "nnUNetTrainer"} | {key: value}
        path.unlink()
        torch.save(content, path)

    return change


def _remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def _second(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("nnUNetTrainer__nnUNetPlans__3d_lowres"))


def _planned(**keys: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        plans = json.loads((folder / "plans.json").read_text())
        plans["configurations"]["2d"] |= keys
        (folder / "plans.json").write_text(json.dumps(plans))

    return change


def _labels(**numbers: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        dataset = json.loads((folder / "dataset.json").read_text())
        dataset["labels"] |= numbers
        (folder / "dataset.json").write_text(json.dumps(dataset))

    return change


def _same_folds(folder: Path) -> None:
    first, second = (folder / f"fold_{n}" / "checkpoint_final.pth" for n in (0, 1))
    second.write_bytes(first.read_bytes())


NAN = {"encoder.x": torch.tensor(float("nan"))}
REFUSED = [
    (_remove("plans.json"), "no plans.json, nor a folder with one"),
    (_remove("dataset.json"), r"dataset\.json: No such file"),
    (
        _remove("fold_0/checkpoint_final.pth", "fold_1/checkpoint_final.pth"),
        r"--checkpoint names another file",
    ),
    (lambda folder: (folder / "plans.json").write_text("{"), "not JSON"),
    (lambda folder: (folder / "plans.json").write_text("[]"), "not a table"),
    (lambda folder: (folder / "plans.json").write_text("[" * 100_000), "plans.json: not JSON"),
    (_planned(normalization_schemes=[]), "of another kind"),
    (_planned(resampling_fn_data_kwargs=[]), "of another kind"),
    (_planned(inherits_from=["2d"]), "inherits from"),
    (_planned(patch_size=[-16, 16]), "b: not written: bundle.toml: tiles.patch.0"),
    (_labels(background=1, FEMUR_L=0), "background is label 1; nnU-Net's is 0"),
    (_labels(FEMUR_L=1.5), "label 'FEMUR_L' is 1.5, not a whole number"),
    (_same_folds, "is the same file as .*name it once"),
    (_checkpoint("inference_allowed_mirroring_axes", (-1,)), "not of 0, 1 and 2"),
    (_checkpoint("network_weights", {5: torch.ones(1)}), "not the network of the"),
    (_checkpoint("network_weights", {"a": torch.eye(2).to_sparse()}), "sparse_coo"),
    (_checkpoint("network_weights", {"a": torch.ones(1, dtype=torch.int32)}), "torch.int32"),
    (_second, "several networks .*name one of these"),
    (_edit("dataset.json", "channel_names", {"0": "MR"}), "--is-ct"),
    (_checkpoint("init_args", None), "is it a checkpoint of nnU-Net 2"),
    (_checkpoint("network_weights", {"encoder.x": torch.ones(1)}), "not the network of the"),
    (_checkpoint("network_weights", NAN), "values that are not finite"),
    (_checkpoint("network_weights", {"a": 3}), "a is no tensor"),
    (_checkpoint("trainer_name", "Mine", 1), "trainer is Mine, of another fold nnUNetTrainer"),
    (_checkpoint("init_args", {"configuration": "2d_x"}, 1), "configuration is 2d_x"),
    (_checkpoint("inference_allowed_mirroring_axes", "x"), "mirroring_axes is 'x'"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_does_not_fit_is_named(
    results: Path, tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    change(results)

    with pytest.raises(InferenceError, match=words):
        import_bundle(results.parent, tmp_path / "b", Wanted(name="b"))

    assert not (tmp_path / "b").exists()


def test_a_copy_beside_the_folds_is_no_fold(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "fold_0", results / "fold_0_before")

    bundle = import_bundle(results, tmp_path / "b", Wanted(name="b"))

    assert bundle.samples == 2


def test_a_licence_that_is_not_there_is_named(results: Path, tmp_path: Path) -> None:
    wanted = Wanted(name="b", licence=tmp_path / "LICENSE")

    with pytest.raises(NnunetFolderError, match="LICENSE: No such file"):
        import_bundle(results, tmp_path / "b", wanted)


def test_tensors_that_share_memory_are_taken_over(results: Path, tmp_path: Path) -> None:
    path = results / "fold_0" / "checkpoint_final.pth"
    checkpoint = read_checkpoint(path)
    weights = checkpoint["network_weights"]
    biases = [name for name in weights if name.endswith("norm.bias")][:2]
    weights[biases[1]] = weights[biases[0]]
    path.unlink()
    torch.save(checkpoint, path)

    assert import_bundle(results, tmp_path / "b", Wanted(name="b")).samples == 2


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(name="b", folds=("7",)), "fold_7.*folds in the folder: fold_0, fold_1"),
        (Wanted(name="b", folds=("all",)), "fold_all"),
        (Wanted(name="b", configuration="3d_lowres"), "of configuration 2d, not 3d_lowres"),
        (Wanted(name="b", folds=("0",), members="folds"), "two sets of weights"),
    ],
)
def test_what_is_asked_for_and_not_there_is_named(
    results: Path, tmp_path: Path, wanted: Wanted, words: str
) -> None:
    with pytest.raises(NnunetFolderError, match=words):
        import_bundle(results, tmp_path / "b", wanted)


def test_a_folder_that_is_no_bundle_is_left_alone(results: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle; name another folder"):
        import_bundle(results, results.parent, Wanted(name="b"))


def test_weights_of_another_network_than_declared_are_refused(
    results: Path, tmp_path: Path
) -> None:
    bundle = import_bundle(results, tmp_path / "b", Wanted(name="b"))
    path = bundle.folder / "bundle.toml"
    path.write_text(path.read_text().replace("features = [4, 6]", "features = [4, 8]"))

    with pytest.raises(BundleError, match=r"0/.* is \(6.*, not \(8"):
        load_bundle(bundle.folder)
