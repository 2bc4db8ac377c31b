"""MuscleMap's files become bundles, or are refused by name."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.musclemap_files import VALUES, configuration, write_configuration, write_weights
from support.volumes import body
from typer.testing import CliRunner

from dicom_node.commands import cli
from inference.errors import (
    BundleError,
    CheckpointError,
    LabelTableError,
    MuscleMapFileError,
)
from inference.label_table import LabelTable
from inference.models.bundle import Bundle, load_bundle
from inference.models.musclemap.config import read_config
from inference.models.musclemap.importing import Asked, import_bundle
from inference.models.musclemap.table import fitted, shipped_table
from inference.results import SampleKind, Uncertainty
from inference.structures import SEGMENTS, Segment


def imported(folder: Path, **asked: Any) -> Bundle:
    """Of the small network."""
    weights = write_weights(folder / "weights.pth")
    config = write_configuration(folder / "weights.json")
    return import_bundle([weights], config, folder / "b", Asked(name="b", **asked)).bundle


def run(*arguments: object) -> Any:
    """The command line."""
    return CliRunner().invoke(cli.app, ["import-musclemap", *map(str, arguments)])


def test_a_bundle_says_what_it_was_made_of_and_how_the_original_runs_it(tmp_path: Path):
    (tmp_path / "licence.txt").write_text("\nTerms of the weights\nas given\n")
    bundle = imported(tmp_path, licence=tmp_path / "licence.txt")

    text = (bundle.folder / "bundle.toml").read_text()
    sha256 = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    assert bundle.kind == "musclemap"
    assert sha256 in text
    assert 'version = "1.4"' in text
    assert 'licence = "Terms of the weights"' in text
    assert (bundle.folder / "LICENCE.txt").read_text() == "\nTerms of the weights\nas given\n"
    for line in (
        "chunk_slices = 25",
        "nonzero = true",
        "margin = 20",
        "pixel_mm = [1.0, 1.0]",
        "overlap = 0.9",
        "size = [32, 32]",
        "batch = 1",
        "largest_piece = true",
    ):
        assert line in text


def test_without_a_licence_the_bundle_says_so(tmp_path: Path):
    bundle = imported(tmp_path)
    assert 'licence = "not given"' in (bundle.folder / "bundle.toml").read_text()
    assert "Licence given at the import: not given" in card(bundle)


def test_one_network_has_no_measure_of_doubt_and_several_are_checkpoints(tmp_path: Path):
    one = imported(tmp_path)
    assert one.model.samples_of is SampleKind.NONE
    assert one.model.uncertainty is Uncertainty.NONE

    weights = [write_weights(tmp_path / f"{seed}.pth", seed) for seed in range(3)]
    several = import_bundle(
        weights, tmp_path / "weights.json", tmp_path / "c", Asked(name="c")
    ).bundle
    assert several.model.samples_of is SampleKind.CHECKPOINTS
    assert several.samples == several.model.most_samples == 3


def test_a_scan_goes_through_an_imported_bundle(tmp_path: Path):
    volume = body(spacing_mm=(40.0, 4.0, 4.0), z_mm=(400.0, 520.0)).volume
    (found,) = (
        imported(tmp_path, overlap=0.5).model.load("cpu").predict(volume, counts=(1,), seed=0)
    )
    assert found.labels.shape == volume.hu.shape
    assert found.uncertainty is None
    assert set(np.unique(found.labels)) <= {0, 2, 3, 12}


def test_parts_of_a_structure_are_not_the_structure(tmp_path: Path):
    """Of the adductors on the left there is the magnus alone: AD_L is not provided."""
    bundle = imported(tmp_path)
    keys = {segment.key for segment in bundle.model.segments}
    assert keys == {"PSOAS_L", "PSOAS_R", "SACRUM", "FEMUR_L", "FEMUR_R"}
    assert "Left out because a part is not the structure: AD_L." in card(bundle)
    assert "7211" in card(bundle)


def test_the_card_names_what_hurts_in_ct(tmp_path: Path):
    text = card(imported(tmp_path))
    for words in ("exactly 0", "air counts", "chunk", "Instance norms", "Not calibrated"):
        assert words in text


def test_the_published_table_has_every_structure_on_every_side():
    meant = set(shipped_table().meanings.values())
    assert meant == set(SEGMENTS)


def test_in_the_published_table_the_last_digit_is_the_side():
    """1 is left, 2 right and 0 neither, as in MuscleMap's list of labels."""
    digits = {"L": 1, "R": 2, None: 0}
    for value, meaning in shipped_table().meanings.items():
        assert isinstance(meaning, Segment)
        assert value % 10 == digits[meaning.side]


def test_a_table_with_the_wrong_side_is_refused(tmp_path: Path):
    config = read_config(write_configuration(tmp_path / "c.json"))
    table = LabelTable.read({"6171": "FEMUR_R"}, "table.toml")
    with pytest.raises(LabelTableError, match=r"label 6171 is FEMUR_R, but .* says left"):
        fitted(table, config)


def test_an_own_table_must_fit_the_configuration(tmp_path: Path):
    (tmp_path / "table.toml").write_text('6171 = "FEMUR_L"\n9999 = "GMED_L"\n')
    with pytest.raises(LabelTableError, match=r"table.toml: .* no label 9999"):
        imported(tmp_path, labels=tmp_path / "table.toml")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"model": {"out_channels": 100}}, "model.out_channels is 100, not 8"),
        ({"model": {"norm": "batch"}}, "model.norm is 'batch', not 'instance'"),
        ({"model": {"act": "PReLU"}}, "model.act is 'prelu', not 'leakyrelu'"),
        ({"model": {"spatial_dims": 3}}, "model.spatial_dims is 3, not 2"),
        ({"model": {"strides": [2]}}, "3 channels need 2 strides, not 1"),
        ({"parameters": {"pix_dim": [1, 1, 3]}}, "resamples slices to 3.0 mm"),
        ({"parameters": {"roi_size": [256]}}, "parameters.roi_size"),
        ({"labels": []}, "labels"),
        ({"labels": [{"value": 10**30}]}, "labels.0.value"),
        ({"model": {"channels": [-4, 6, 8]}}, "channels.0"),
        ({"model": {"channels": [10**20, 6, 8]}}, "channels.0"),
        ({"model": {"strides": [2, 0]}}, "strides.1"),
    ],
)
def test_a_configuration_of_another_network_is_refused(
    tmp_path: Path, parts: dict[str, Any], words: str
):
    weights = write_weights(tmp_path / "w.pth")
    config = write_configuration(tmp_path / "w.json", **parts)
    with pytest.raises(MuscleMapFileError) as refused:
        import_bundle([weights], config, tmp_path / "b", Asked(name="b"))
    assert words in str(refused.value)
    assert "w.json" in str(refused.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"pix_dim": [1e-9, 1, -1]}, "pixel_mm is (1e-09, 1.0), not 0.05 to 20.0"),
        ({"roi_size": [10**9, 32]}, "windows.size.0"),
        ({"roi_size": [33, 32]}, "no multiple of 4"),
    ],
)
def test_what_would_need_endless_memory_is_refused_and_nothing_is_written(
    tmp_path: Path, parameters: dict[str, Any], words: str
):
    weights = write_weights(tmp_path / "w.pth")
    config = write_configuration(tmp_path / "w.json", parameters=parameters)
    with pytest.raises((MuscleMapFileError, BundleError)) as refused:
        import_bundle([weights], config, tmp_path / "b", Asked(name="b"))
    assert words in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.json", "w.pth"]


def test_one_value_with_two_meanings_is_refused(tmp_path: Path):
    labels = configuration()["labels"]
    labels.append({**labels[0], "anatomy": "femur"})
    weights = write_weights(tmp_path / "w.pth")
    config = write_configuration(tmp_path / "w.json", labels=labels)
    with pytest.raises(LabelTableError, match="mirrored twice"):
        import_bundle([weights], config, tmp_path / "b", Asked(name="b"))


def test_the_same_weights_are_not_two_opinions(tmp_path: Path):
    weights = write_weights(tmp_path / "w.pth")
    (tmp_path / "copy.pth").write_bytes(weights.read_bytes())
    config = write_configuration(tmp_path / "w.json")
    with pytest.raises(CheckpointError, match=r"copy\.pth: is the same file as .*name it once"):
        import_bundle([weights, tmp_path / "copy.pth"], config, tmp_path / "b", Asked(name="b"))


class CallsOnLoad:
    """A harmless stand-in: unpickled in full, it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


def test_nothing_in_a_file_of_weights_is_run(tmp_path: Path):
    path, made = tmp_path / "w.pth", tmp_path / "made"
    torch.save({"model": CallsOnLoad(made)}, path)
    config = write_configuration(tmp_path / "w.json")

    with pytest.raises(CheckpointError, match=r"w\.pth"):
        import_bundle([path], config, tmp_path / "b", Asked(name="b"))

    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists(), "the stand-in is one"


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps({"a": 1})])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "w.pth").write_bytes(content)
    config = write_configuration(tmp_path / "w.json")
    with pytest.raises((CheckpointError, MuscleMapFileError), match=r"w\.pth"):
        import_bundle([tmp_path / "w.pth"], config, tmp_path / "b", Asked(name="b"))


WRONG = [
    *("missing", "surplus", "shape", "no tensor"),
    *("not finite", "too large", "complex", "whole", "sparse"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_weights_of_another_network_are_refused(tmp_path: Path, wrong: str):
    state: dict[str, Any] = torch.load(write_weights(tmp_path / "w.pth"))
    name = next(iter(state))
    if wrong == "missing":
        del state[name]
    elif wrong == "surplus":
        state["more"] = torch.zeros(1)
    else:
        others = {
            "shape": torch.zeros(1),
            "not finite": state[name] / 0,
            "too large": state[name].double() * 1e300,
            "complex": state[name].to(torch.complex64),
            "whole": state[name].int(),
            "sparse": state[name].to_sparse(),
            "no tensor": 3,
        }
        state[name] = others[wrong]
    torch.save(state, tmp_path / "w.pth")
    config = write_configuration(tmp_path / "w.json")
    with pytest.raises(
        (CheckpointError, MuscleMapFileError), match="more" if wrong == "surplus" else name
    ):
        import_bundle([tmp_path / "w.pth"], config, tmp_path / "b", Asked(name="b"))


def test_a_folder_that_is_no_bundle_stays_as_it_is(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("three years")
    with pytest.raises(BundleError, match="is no bundle"):
        imported(tmp_path)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "three years"


def test_the_command_writes_what_it_was_told(tmp_path: Path):
    weights = write_weights(tmp_path / "w.pth")
    config = write_configuration(tmp_path / "w.json")
    out = tmp_path / "thighs"

    ended = run(
        weights,
        config,
        "--out",
        out,
        "--chunk",
        "all",
        "--overlap",
        "50",
        "--monai",
        "1.3",
        "--members",
        "variations",
        "--version",
        "3",
    )

    text, bundle = (out / "bundle.toml").read_text(), load_bundle(out)
    assert ended.exit_code == 0, ended.output
    assert "not calibrated; 5 of 43 structures" in " ".join(ended.output.split())
    assert (bundle.name, bundle.version) == ("thighs", "3")
    assert bundle.model.samples_of is SampleKind.VARIATIONS
    for line in ("chunk_slices = 0", "overlap = 0.5", "margin_beyond_image = false"):
        assert line in text


def test_the_fast_setting_is_declared(tmp_path: Path):
    weights = write_weights(tmp_path / "w.pth")
    config = write_configuration(tmp_path / "w.json")
    assert run(weights, config, "--out", tmp_path / "b", "--fast").exit_code == 0
    text = (tmp_path / "b" / "bundle.toml").read_text()
    assert "overlap = 0.25" in text
    assert 'cpu = "bfloat16"' in text


@pytest.mark.parametrize("arguments", [("w.pth",), ("w.pth", "w.json", "--chunk", "0")])
def test_wrong_usage_is_told(tmp_path: Path, arguments: tuple[str, ...]):
    assert run(*arguments, "--out", tmp_path / "b").exit_code == 2


def card(bundle: Bundle) -> str:
    """The model card in one line."""
    return " ".join((bundle.folder / "MODEL_CARD.md").read_text().split())


def test_the_values_are_channels_in_their_order(tmp_path: Path):
    config = read_config(write_configuration(tmp_path / "c.json"))
    assert config.values == tuple(sorted(VALUES))
    assert config.names[:4] == ("background", "psoas major left", "psoas major right", "sacrum")
    assert ("femur left", "femur right") in config.mirrored
