"""`msk-node train` on labelled cases from disk: DICOM and label maps to a bundle."""

import os
from pathlib import Path

import numpy as np
import pytest
from support.training_cases import case_recipe
from typer.testing import CliRunner

from dicom_node.case_files.labelled_cases import listed_cases, read_case, write_segments
from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.commands import cli
from dicom_node.commands.training_cases import fingerprint, training_cases
from dicom_node.series.reading import read_series
from inference.errors import TrainingError
from inference.models.bundle import load_bundle
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Zone
from inference.training.labelled.preparation import Preparation, ready_cases
from inference.training.recipe import read_recipe
from inference.training.synthesis.stream import labels_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three coarse phantoms in `cases`, as DICOM with a label map each."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        body = BodySpec(variation=1.0, variation_seed=number + 1)
        spec = PhantomSpec(
            body=body, zones=(Zone(40.0, 595.0),), pixel_mm=8.0, rows=48, columns=64
        )
        own = folder / "cases" / f"body{number}"
        series = read_series(write_phantom_series(own / "series", spec))
        write_segments(own / "labels.nii.gz", series, phantom(spec).segments)
    return folder


def asked(*words: object) -> str:
    ran = CliRunner().invoke(cli.app, [str(word) for word in words], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_the_command_trains_on_dicom_cases(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths from where the user stands, as the documentation gives them."""
    monkeypatch.chdir(data.parent)
    out = tmp_path / "out"
    recipe = case_recipe(tmp_path)

    said = asked(
        "train", recipe, "--data", data.name, "--out", out, "--fold", 1, "--device", "cpu"
    )

    assert "bundle written to" in said
    training = load_bundle(out / "small").training
    assert {*training["cases"], *training["held_out_cases"]} == {"body0", "body1", "body2"}
    assert training["fold"] == "1 of 0 to 1"


def test_cases_can_be_made_ready_for_a_machine_that_reads_none(
    tmp_path: Path, data: Path
) -> None:
    recipe, cache = case_recipe(tmp_path), tmp_path / "cache"

    said = asked(
        "train", recipe, "--data", data, "--cache", cache, "--prepare", "--out", tmp_path
    )

    assert said.splitlines()[-1] == "3 cases ready"
    read = read_recipe(recipe)
    ready = ready_cases(Preparation(read.architecture, read.grid, 0), cache)
    case = read_case(listed_cases(data / "cases")[0])
    assert ready[0].name == "body0"
    # 8 mm pixels on 2 mm pixels: 16 voxels for one, and the same structures.
    assert set(np.unique(ready[0].labels())) == set(np.unique(labels_of(case.truth)))


def test_a_listing_says_which_cases_are_of_one_patient(tmp_path: Path, data: Path) -> None:
    entries = [
        f'[[cases]]\nname = "{name}"\nimage = "{data}/cases/{name}/series"\n'
        f'labels = "{data}/cases/{name}/labels.nii.gz"\n{patient}\n'
        for name, patient in (
            ("body0", 'patient = "p"'),
            ("body1", 'patient = "p"'),
            ("body2", ""),
        )
    ]
    (tmp_path / "cases.toml").write_text("\n".join(entries), encoding="utf-8")

    assert [case.patient for case in training_cases(tmp_path)] == ["p", "p", "body2"]


def test_a_case_that_cannot_be_read_says_why(tmp_path: Path, data: Path) -> None:
    own = tmp_path / "cases" / "empty"
    (own / "series").mkdir(parents=True)
    (own / "labels.nii.gz").write_bytes(b"nothing")

    (case,) = training_cases(tmp_path / "cases")

    with pytest.raises(TrainingError, match="one CT series is expected, 0 are there"):
        case.read()


def test_a_case_s_fingerprint_follows_its_files_and_its_table(data: Path) -> None:
    listed = listed_cases(data / "cases")[2]
    before = fingerprint(listed)
    assert fingerprint(listed_cases(data / "cases")[2]) == before

    table = listed.labels.parent / "labels.json"
    words = table.read_text(encoding="utf-8")
    table.write_text(words.replace("GMED_L", "GMIN_L"), encoding="utf-8")
    assert fingerprint(listed_cases(data / "cases")[2]) != before
    table.write_text(words, encoding="utf-8")
    os.utime(listed.labels, (0, 0))
    assert fingerprint(listed_cases(data / "cases")[2]) != before
