"""`msk-node phantom`: whose scan it is, and when; without options it is what it always was."""

from __future__ import annotations

from pathlib import Path

import pydicom
from typer.testing import CliRunner

from dicom_node.commands import cli


def test_phantoms_may_be_of_several_patients_and_days(tmp_path: Path):
    made = {}
    for name, options in {
        "usual": [],
        "other": ["--patient-id", "P2", "--date", "2025-11-30"],
    }.items():
        words = ["phantom", str(tmp_path / name), "--scan", "small", *options]
        assert CliRunner().invoke(cli.app, words).exit_code == 0
        made[name] = pydicom.dcmread(tmp_path / name / "series" / "IM0001.dcm")

    usual, other = made["usual"], made["other"]
    assert (usual.PatientID, usual.StudyDate) == ("PHANTOM-0001", "20240415")
    assert (other.PatientID, other.StudyDate, other.AcquisitionDate) == (
        "P2",
        "20251130",
        "20251130",
    )
    assert usual.StudyInstanceUID != other.StudyInstanceUID
    assert usual.SeriesInstanceUID != other.SeriesInstanceUID
