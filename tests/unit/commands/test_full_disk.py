"""A full disk ends `export` and `cohort` by the name of the file, and leaves nothing behind."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.cohort_folders import write_folders
from support.cohorts import cohort
from typer.testing import CliRunner

from dicom_node.commands import cli


@contextmanager
def _room_of(size_bytes: int) -> Iterator[None]:
    """As on a full disk, a file can be made, and not be written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("words", "name", "room_bytes"),
    [
        (["export", "R", "--out", "out.csv"], "out.csv", 1000),
        (["export", "R", "--out", "out.parquet"], "out.parquet", 1000),
        (["export", "R", "--out", "o.csv", "--pseudonymise", "key"], "key", 10),
        (["cohort", "R", "--save-norms", "norms.json"], "norms.json", 1000),
    ],
)
def test_a_full_disk_is_said_by_the_name_of_the_file(
    words: list[str],
    name: str,
    room_bytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    write_folders(tmp_path / "R", cohort(12, refused_every=0))
    monkeypatch.chdir(tmp_path)
    with _room_of(room_bytes):
        done = CliRunner().invoke(cli.app, words)

    assert isinstance(done.exception, OSError)
    assert done.exception.filename == name
    assert [path.name for path in tmp_path.iterdir()] == ["R"]
