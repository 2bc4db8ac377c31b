"""What `msk-node import-keras` says of the bundle that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.keras_files import (
    Model,
    described,
    keras_model,
    published_logits,
    write_model,
    write_weights,
)
from support.volumes import body
from typer.testing import CliRunner

from dicom_node.commands import cli
from inference.errors import KerasFileError
from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bayesian_unet.preprocessing import Window
from inference.models.bundle import load_bundle
from inference.models.bundle_facts import facts_of
from inference.pipeline import analyse
from inference.results import Verdict
from inference.structures import BY_KEY, SEGMENTS


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


def femur_tool(model: Model) -> dict[str, Any]:
    """Its description, with the name that the group's tool gives the padding."""
    told = described(model)
    for layer in told["config"]["layers"]:
        if layer["class_name"] == "ReflectionPadding2D":
            layer["class_name"] = "Reflection2Padding2D"
    return told


def test_a_whole_model_of_two_channels_is_taken_with_what_they_are(tmp_path: Path) -> None:
    """As the femur tool's, but small: logits against the published arithmetic, then a scan."""
    model = keras_model(3, 2, normalised=False, classes=2)
    file = write_model(tmp_path / "model.hdf5", model, femur_tool)
    (tmp_path / "labels.txt").write_text("background\nFEMUR\n")
    image = np.random.default_rng(1).uniform(0, 255, (16, 20, 1))

    options = f"--labels {tmp_path / 'labels.txt'} --window femur --pixel-mm 8 --samples 2"
    said = run(file, tmp_path / "femur", options)
    bundle = load_bundle(tmp_path / "femur")
    case = analyse(body(spacing_mm=(40.0, 8.0, 8.0)).volume, bundle, seed=1)

    assert "finds FEMUR_R, FEMUR_L; the other 41 segments are not provided" in said
    assert "presumed" not in said
    assert facts_of(bundle).licence == "not stated: to be read by the site"
    assert bundle.model.segments == {BY_KEY["FEMUR_R"], BY_KEY["FEMUR_L"]}
    assert isinstance(bundle.model, BayesianUNetModel)
    fed = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = bundle.model.network()(fed, lambda x: x)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(logits, published_logits(model, image), rtol=0, atol=1e-4)
    not_provided = [s for s in SEGMENTS if case.of(s).verdict is Verdict.NOT_PROVIDED]
    assert len(not_provided) == 41
    card = " ".join((tmp_path / "femur" / "MODEL_CARD.md").read_text().split())
    assert "output channels are 0 `background`, 1 `FEMUR`" in card
    assert "Finds 2 of the 43 segments; the others are *not provided*" in card


def test_two_channels_without_labels_are_refused_with_what_to_give(tmp_path: Path) -> None:
    model = keras_model(3, 2, normalised=False, classes=2)
    file = write_model(tmp_path / "model.hdf5", model, femur_tool)

    ended = CliRunner().invoke(cli.app, f"import-keras {file} --out {tmp_path / 'f'}".split())
    said = str(ended.exception)

    assert isinstance(ended.exception, KerasFileError)
    assert "has 2 output channels, not the 23 of the study" in said
    assert "--labels FILE, one line a channel" in said
    assert "of the group's femur tool background and FEMUR" in said
    assert not (tmp_path / "f").exists()


def test_an_empty_line_is_a_channel_of_nothing_but_at_the_end(tmp_path: Path) -> None:
    file = write_weights(tmp_path / "w.h5", keras_model(3, 2, normalised=False, classes=3))
    (tmp_path / "labels.txt").write_text("\n\nGMED_L\n\n\n")

    run(file, tmp_path / "hip", f"--labels {tmp_path / 'labels.txt'}")

    assert (
        'labels = ["background", "background", "GMED_L"]'
        in (tmp_path / "hip" / "bundle.toml").read_text()
    )
