"""A bundle is used only if it is what it says of itself."""

from __future__ import annotations

import datetime as dt
import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.errors import BundleError
from inference.models.bayesian_unet.channels import LABELS
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.models.bundle import Bundle, load_bundle
from inference.models.bundle_files import bundle_sha256
from inference.models.bundle_writing import write_calibration
from inference.quality.calibration import (
    Calibration,
    PlausibleRange,
    ScoreLimits,
    StructureCalibration,
)
from inference.results import Score

SMALL = Architecture(layers=2, filters=2, batch_normalisation=True, dropout_free_levels=1)


def calibration() -> Calibration:
    gmed = StructureCalibration.from_line(
        dice_median=0.95, dice_mad=0.01, a=0.98, b=-50.0, auroc_inaccurate=0.9
    )
    return Calibration(
        data_set="phantoms 1 to 12",
        script="msk-node calibrate",
        fitted_on=dt.date(2026, 11, 22),
        expected_cases=12,
        average=gmed,
        structures={"GMED": gmed},
        plausible={"GMED": PlausibleRange(volume_cm3=(50.0, 600.0), mean_hu=(-20.0, 80.0))},
    )


def written(folder: Path, **changes: object) -> Bundle:
    torch.manual_seed(0)
    parts: dict[str, object] = {
        "name": "small",
        "version": "1.0",
        "network": BayesianUNet(SMALL),
        "window": Window(-160, 240, 0, 1),
        "grid": PixelGrid(2.0),
        "samples": 4,
        "training": {"recipe": "none", "data": {"atlases": ["a", 'b "c"']}, "größe": 1},
        "model_card": "# small\n",
        "calibration": calibration(),
    }
    return write_unet_bundle(folder, **(parts | changes))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path / "small")
    return tmp_path / "small"


def edited(folder: Path, old: str, new: str, file: str = "bundle.toml") -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


def declare(folder: Path, file: str) -> None:
    """Put a file's present hash into bundle.toml."""
    digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    text = (folder / "bundle.toml").read_text().splitlines()
    lines = [
        f'"{file}" = "{digest}"' if line.startswith(f'"{file}"') else line for line in text
    ]
    (folder / "bundle.toml").write_text("\n".join(lines))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")
    declare(folder, "weights.safetensors")


def test_what_was_written_is_read_back(folder: Path) -> None:
    bundle = load_bundle(folder)

    assert (bundle.name, bundle.version, bundle.samples) == ("small", "1.0", 4)
    assert bundle.model.architecture == SMALL
    assert bundle.model.window == Window(-160, 240, 0, 1)
    assert bundle.model.grid == PixelGrid(2.0)
    assert bundle.model.precision == Precision("bfloat16", "bfloat16")
    assert bundle.training["data"] == {"atlases": ["a", 'b "c"']}
    assert bundle.calibration == calibration()


def test_the_network_gets_back_the_very_weights_it_was_written_with(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = BayesianUNet(SMALL)
    bundle = written(tmp_path / "b", network=network)
    found = bundle.model.network().state_dict()

    assert all(torch.equal(tensor, found[n]) for n, tensor in network.state_dict().items())


def test_half_precision_on_disk_costs_a_thousandth_of_a_weight_at_most(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = BayesianUNet(SMALL)
    network.encoder[0].first.normalisation.running_var.fill_(1e6)  # beyond float16
    found = written(tmp_path / "b", network=network, half=True).model.network().state_dict()

    for name, tensor in network.state_dict().items():
        assert torch.allclose(tensor.float(), found[name].float(), rtol=1e-3, atol=1e-6), name


def test_a_bundle_without_its_own_pixels_uses_the_source_s(tmp_path: Path) -> None:
    assert written(tmp_path / "b", grid=PixelGrid(None)).model.grid.pixel_mm is None


def test_a_bundle_may_be_uncalibrated(tmp_path: Path) -> None:
    assert written(tmp_path / "b", calibration=None).calibration is None


def test_calibrating_keeps_the_weights_and_changes_the_bundle_s_hash(tmp_path: Path) -> None:
    before = written(tmp_path / "b", calibration=None)
    after = write_calibration(before, calibration(), version="1.1")

    assert after.weights_sha256 == before.weights_sha256
    assert after.sha256 != before.sha256
    assert (after.version, after.calibration) == ("1.1", calibration())
    assert after.training == before.training


def test_writing_again_replaces_the_old_bundle_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    written(tmp_path / "b")
    assert written(tmp_path / "b", version="2.0").version == "2.0"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_thresholds_follow_the_study_s_rule() -> None:
    """.95 - 2 x 1.4826 x .01 = .920348; (.920348 - .98) / -50 = .00119304."""
    gmed = calibration().structures["GMED"]

    assert gmed.dice_limits == pytest.approx((0.920348, 0.905522))
    assert gmed.uncertainty_limits == pytest.approx((0.00119304, 0.00148956))


def test_a_line_that_rises_gives_no_threshold() -> None:
    with pytest.raises(ValueError, match="must fall"):
        StructureCalibration.from_line(dice_median=0.9, dice_mad=0.01, a=0.9, b=3.0)


def test_changed_weights_are_refused_by_their_hash(folder: Path) -> None:
    with (folder / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(BundleError, match=r"weights\.safetensors: sha256 is"):
        load_bundle(folder)


def test_a_changed_calibration_is_refused_by_its_hash(folder: Path) -> None:
    edited(folder, "0.98", "0.97", "calibration.toml")
    with pytest.raises(BundleError, match=r"calibration\.toml: sha256 is"):
        load_bundle(folder)


def test_a_calibration_that_nobody_declared_is_refused(folder: Path) -> None:
    text = (folder / "bundle.toml").read_text().splitlines()
    kept = [line for line in text if not line.startswith('"calibration.toml"')]
    (folder / "bundle.toml").write_text("\n".join(kept))
    with pytest.raises(BundleError, match=r"calibration\.toml: has no sha256"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"GMED"', '"TIBIA"', r"bundle\.toml: .*label 5 is 'TIBIA'; it must be one of PELVIS"),
        ('"background"', '"GMED"', r"bundle\.toml: .*no label is 'background'"),
    ],
)
def test_labels_that_nobody_knows_or_without_background_are_refused(
    folder: Path, old: str, new: str, words: str
) -> None:
    edited(folder, old, new)
    with pytest.raises(BundleError, match=words):
        load_bundle(folder)


def test_labels_that_are_all_nothing_of_ours_are_refused(folder: Path) -> None:
    named = ", ".join(f'"{label}"' for label in LABELS[1:])
    edited(folder, named, ", ".join(['""'] * 22))
    with pytest.raises(BundleError, match="no label is a structure"):
        load_bundle(folder)


def test_fewer_labels_than_the_weights_have_channels_are_refused(folder: Path) -> None:
    edited(folder, ', "VM"]', "]")
    with pytest.raises(BundleError, match=r"weights\.safetensors: head"):
        load_bundle(folder)


def test_an_unknown_format_is_refused(folder: Path) -> None:
    edited(folder, "format = 1", "format = 2")
    with pytest.raises(BundleError, match=r"bundle\.toml: format is 2"):
        load_bundle(folder)


def test_an_unknown_key_is_refused(folder: Path) -> None:
    edited(folder, "samples = 4", "samples = 4\nsample = 4")
    with pytest.raises(BundleError, match=r"bundle\.toml: sample: Unexpected keyword"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("samples = 4", "samples = 0", r"samples: Input should be greater than or equal to 1"),
        ("filters = 2", "filters = 0", r"architecture: .*1 filter"),
        ("high_hu = 240", "high_hu = -900", r"window: .*empty"),
        ("pixel_mm = 2.0", "pixel_mm = 0.0", r"grid: .*pixel_mm is 0"),
        ('cpu = "bfloat16"', 'cpu = "int4"', r"precision\.cpu: Input should be 'bfloat16'"),
        ("samples = 4", "samples = ", r"not TOML"),
        ('name = "small"', f'name = "{"x" * 65}"', r"name: String should have at most 64"),
        ('name = "small"', r'name = "a\\b"', r"name: String should match"),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(
    folder: Path, old: str, new: str, words: str
) -> None:
    edited(folder, old, new)
    with pytest.raises(BundleError, match=rf"bundle\.toml: {words}"):
        load_bundle(folder)


def test_a_calibration_of_an_unknown_structure_is_refused(folder: Path) -> None:
    edited(folder, "structures.GMED", "structures.GMAD", "calibration.toml")
    declare(folder, "calibration.toml")
    with pytest.raises(BundleError, match=r"calibration\.toml: .*unknown structures: GMAD"):
        load_bundle(folder)


FIRST_FORMAT = """
format = 1
data_set = "phantoms 1 to 12"
script = "msk-node calibrate"
fitted_on = 2026-11-22
expected_cases = 12

[structures.GMED]
dice_median = 0.95
dice_mad = 0.01
dice_limits = [0.920348, 0.905522]
a = 0.98
b = -50.0
uncertainty_limits = [0.00119304, 0.00148956]
auroc_inaccurate = 0.9
weak = true

[plausible.GMED]
volume_cm3 = [100.0, 600.0]
"""


def test_a_calibration_of_the_first_format_rests_on_the_uncertainty(folder: Path) -> None:
    (folder / "calibration.toml").write_text(FIRST_FORMAT)
    declare(folder, "calibration.toml")

    read = load_bundle(folder).calibration

    assert read is not None
    gmed = read.structures["GMED"]
    assert gmed.gate is Score.UNCERTAINTY
    assert gmed.judging == ScoreLimits(0.98, -50.0, (0.00119304, 0.00148956), 0.9, None, True)
    assert read.plausible["GMED"].volume_cm3 == (100.0, 600.0)
    assert read.average is None


def test_a_calibration_of_an_unknown_format_is_refused(folder: Path) -> None:
    edited(folder, "format = 2", "format = 3", "calibration.toml")
    declare(folder, "calibration.toml")

    with pytest.raises(BundleError, match=r"format is 3, this version reads 1 and 2"):
        load_bundle(folder)


def test_a_gate_without_limits_is_refused(folder: Path) -> None:
    edited(folder, 'gate = "uncertainty"', 'gate = "volume_cv"', "calibration.toml")
    declare(folder, "calibration.toml")

    with pytest.raises(BundleError, match=r"gate is volume_cv, of which there are no limits"):
        load_bundle(folder)


def test_thresholds_in_the_wrong_order_are_refused(folder: Path) -> None:
    edited(folder, "\nlimits = [0.001", "\nlimits = [0.9", "calibration.toml")
    declare(folder, "calibration.toml")
    with pytest.raises(BundleError, match=r"calibration\.toml: .*failed lies below inaccurate"):
        load_bundle(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop("head.bias"))
    with pytest.raises(BundleError, match=r"1 tensors missing, such as head\.bias"):
        load_bundle(folder)


def test_a_tensor_too_many_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(BundleError, match="1 tensors too many, such as extra"):
        load_bundle(folder)


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({"head.bias": torch.zeros(22)}))
    with pytest.raises(BundleError, match=r"head\.bias is \(22,\), not \(23,\)"):
        load_bundle(folder)


def test_a_tensor_that_is_not_finite_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors["head.bias"].fill_(float("nan")))
    with pytest.raises(BundleError, match=r"head\.bias .* not finite"):
        load_bundle(folder).model.network()


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    edited(folder, "layers = 2", "layers = 3")
    with pytest.raises(BundleError, match=r"tensors missing, such as decoder\.1"):
        load_bundle(folder)


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_called_safetensors_is_never_loaded(folder: Path, protocol: int) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(pickle.dumps({"head.bias": [0.0]}, protocol=protocol))
    declare(folder, weights.name)
    with pytest.raises(BundleError, match=r"is a pickle, which is never loaded"):
        load_bundle(folder)


def test_a_torch_file_called_safetensors_is_never_loaded(folder: Path) -> None:
    torch.save({"head.bias": torch.zeros(23)}, folder / "weights.safetensors")
    declare(folder, "weights.safetensors")
    with pytest.raises(BundleError, match=r"is a pickle, which is never loaded"):
        load_bundle(folder)


def test_a_bundle_with_only_a_pickle_is_refused_by_its_name(folder: Path) -> None:
    (folder / "weights.safetensors").rename(folder / "weights.pt")
    with pytest.raises(BundleError, match=r"missing; weights\.pt may be a pickle"):
        load_bundle(folder)


def test_something_that_is_no_safetensors_at_all_is_refused(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"weights")
    declare(folder, "weights.safetensors")
    with pytest.raises(BundleError, match="not safetensors"):
        load_bundle(folder)


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(BundleError, match="no such folder, nor a shipped bundle"):
        load_bundle("nowhere")


def test_a_folder_without_a_declaration_is_refused(folder: Path) -> None:
    (folder / "bundle.toml").unlink()
    with pytest.raises(BundleError, match=r"bundle\.toml: No such file"):
        load_bundle(folder)


def test_a_bundle_may_be_moved(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    assert load_bundle(tmp_path / "elsewhere").name == "small"


def test_the_labels_are_background_and_the_structures_in_their_order() -> None:
    assert LABELS[0] == "background"
    assert (LABELS[1], LABELS[22], len(LABELS)) == ("PELVIS", "VM", 23)


def test_the_hash_of_a_bundle_is_known_without_its_network(tmp_path: Path) -> None:
    bundle = written(tmp_path / "small", calibration=calibration())

    assert bundle_sha256(bundle.folder) == bundle.sha256
    assert bundle_sha256("compact") == load_bundle("compact").sha256


@pytest.mark.parametrize("name", ["weights.safetensors", "calibration.toml"])
def test_the_hash_of_a_bundle_with_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    bundle = written(tmp_path / "small", calibration=calibration())
    with (bundle.folder / name).open("ab") as file:
        file.write(b"\n")

    with pytest.raises(BundleError, match=f"{name}: sha256 is"):
        bundle_sha256(bundle.folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [("format = 1\n", "no table of sha256"), ("format = 2\n", "format is 2"), ("=", "TOML")],
)
def test_the_hash_of_a_bundle_with_another_declaration_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    bundle = written(tmp_path / "small")
    (bundle.folder / "bundle.toml").write_text(text)

    with pytest.raises(BundleError, match=words):
        bundle_sha256(bundle.folder)
