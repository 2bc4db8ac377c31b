"""What `msk-node import-keras` says of the bundle that it writes."""

from __future__ import annotations

from pathlib import Path

from support.keras_files import Model, keras_model, write_model, write_weights
from typer.testing import CliRunner

from dicom_node.commands import cli
from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bayesian_unet.preprocessing import Window
from inference.models.bundle import load_bundle


def run(file: Path, folder: Path, options: str = "") -> str:
    """The command's lines, folded into one."""
    command = f"import-keras {file} --out {folder} {options}"
    ended = CliRunner().invoke(cli.app, command.split())
    assert ended.exit_code == 0, ended.output
    return " ".join(ended.output.split())


def window_of(folder: Path) -> Window:
    model = load_bundle(folder).model
    assert isinstance(model, BayesianUNetModel)
    return model.window


def five_levels(*, normalised: bool) -> Model:
    return keras_model(5, 1, normalised=normalised)


def test_everything_that_weights_alone_leave_open_is_said_to_be_presumed(
    tmp_path: Path,
) -> None:
    file = write_weights(tmp_path / "w.h5", five_levels(normalised=False))

    said = run(file, tmp_path / "hip")

    assert "5 levels, 1 filters, without batch normalisation, dropout 0.5 (presumed)" in said
    assert "presumed: padding and all other settings of the published network" in said
    assert "presumed: dropout of 0.5; --dropout tells another share" in said
    assert "presumed: the training clipped to -150 to 350 HU, which became 0 to 255" in said
    assert "phantom" not in said


def test_what_is_told_is_not_called_presumed(tmp_path: Path) -> None:
    file = write_weights(tmp_path / "w.h5", five_levels(normalised=True))

    said = run(file, tmp_path / "hip", "--dropout 0.25 --window phantom")

    assert "dropout 0.25 (told at import)" in said
    assert "presumed: dropout" not in said
    assert "clipped" not in said
    assert window_of(tmp_path / "hip") == Window(-400, 700, -127.5, 127.5)


def test_the_window_of_the_femur_tool_has_a_name(tmp_path: Path) -> None:
    file = write_weights(tmp_path / "w.h5", five_levels(normalised=False))

    run(file, tmp_path / "hip", "--window femur")

    assert window_of(tmp_path / "hip") == Window(-150, 350, 0, 255)


def test_five_levels_with_batch_normalisation_are_told_of_their_other_window(
    tmp_path: Path,
) -> None:
    file = write_model(tmp_path / "m.h5", five_levels(normalised=True))

    said = run(file, tmp_path / "hip")

    assert "dropout 0.5 (the model's own)" in said
    assert "of 5 levels with batch normalisation had another window: --window phantom" in said
    assert "presumed: padding" not in said
