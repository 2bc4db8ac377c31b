"""A key for pseudonyms is never written over, and a word is said where others can read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.commands import cli


@pytest.mark.parametrize(
    "words",
    [
        ["export", "--out", "same.csv"],
        ["export", "--out", "same.parquet", "--pseudonymise", "same-cases.parquet"],
        ["cohort", "--out", "./a/../same.csv"],
        ["cohort", "--out", "x.html", "--save-norms", "same.csv"],
    ],
)
def test_a_key_has_a_file_of_its_own(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    name, *options = words
    done = CliRunner().invoke(cli.app, [name, "a", "--pseudonymise", "same.csv", *options])

    assert done.exit_code == 2
    assert "would be written over" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_key_that_others_can_read_is_told(tmp_path: Path):
    key = tmp_path / "study.key"
    key.write_text("ab" * 32)
    key.chmod(0o644)
    words = ["export", str(tmp_path), "--out", str(tmp_path / "out.csv"), "--pseudonymise"]
    done = CliRunner().invoke(cli.app, [*words, str(key)])
    assert "(mode 0644; chmod 600)" in done.output
    key.chmod(0o600)
    assert "chmod" not in CliRunner().invoke(cli.app, [*words, str(key)]).output
