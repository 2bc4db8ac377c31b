"""`msk-node segment FILE`: a file that leaves a question ends in a reason and exit code 4."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.image_files import meta_image, nifti, nrrd
from typer.testing import CliRunner

from dicom_node.commands import cli

runner = CliRunner()
WRITERS: dict[str, Callable[..., Path]] = {
    ".nii": nifti,
    ".gz": nifti,
    ".mha": meta_image,
    ".nrrd": nrrd,
}


@pytest.mark.parametrize(
    ("name", "stated", "code", "words"),
    [
        ("a.nii", {"qform_code": 0, "sform_code": 0}, "unstated-sides", "which side is right"),
        ("b.mha", {"TransformMatrix": None}, "unstated-sides", "TransformMatrix"),
        ("c.nrrd", {"space": None}, "unstated-sides", "space"),
        ("d.nii.gz", {"quatern": (0, 0, 0)}, "contradictory-geometry", "qform and sform"),
        (
            *("e.mha", {"ITK_non_uniform_sampling_deviation": 3.008}),
            *("uneven-slices", "must come as DICOM"),
        ),
    ],
)
def test_a_file_that_leaves_a_question_is_refused_at_the_command_line(
    name: str, stated: dict[str, Any], code: str, words: str, tmp_path: Path
):
    source = WRITERS[Path(name).suffix](tmp_path / name, np.eye(3), **stated)
    out = tmp_path / "out"
    result = runner.invoke(cli.app, ["segment", str(source), "--out", str(out)])
    refused = json.loads((out / "report.json").read_text())["refused"]

    assert result.exit_code == 4
    assert f"refused ({code})" in result.output
    assert refused["code"] == code
    assert words in refused["words"]
    assert not (out / "labels.nii.gz").exists()


def test_a_folder_with_one_image_file_is_that_scan(tmp_path: Path):
    """Among folders without scans, too; a search of one scan leaves nothing."""
    for number in range(25):
        folder = tmp_path / "in" / str(number)
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("no scan")
    meta_image(tmp_path / "in" / "7" / "a.mha", np.eye(3), TransformMatrix=None)
    out = tmp_path / "out"
    result = runner.invoke(cli.app, ["segment", str(tmp_path / "in"), "--out", str(out)])
    refused = json.loads((out / "report.json").read_text())["refused"]

    assert result.exit_code == 4
    assert refused["code"] == "unstated-sides"
    assert {path.name for path in out.iterdir()} == {"report.json", "source.json", "qc.png"}


def test_the_help_says_which_files_are_taken_and_which_series_must_come_as_dicom():
    text = " ".join(runner.invoke(cli.app, ["segment", "--help"]).output.split())

    for words in ("NIfTI", "MetaImage", "NRRD", "unevenly spaced"):
        assert words in text
