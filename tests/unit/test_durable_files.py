"""Claims about files that are written whole and durably."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from dicom_node.durable_files import whole_file, whole_folder, write_durably


def full(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outcome.json"
    write_durably(path, b"old")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["outcome.json"]


def test_a_file_is_not_there_under_its_name_until_it_is_whole(tmp_path: Path) -> None:
    """Its temporary name keeps its endings: writers of images choose their format by them."""
    path = tmp_path / "labels.nii.gz"
    with whole_file(path) as part:
        part.write_bytes(b"half")
        assert not path.exists()
        assert part.name.endswith(".nii.gz")

    assert path.read_bytes() == b"half"
    assert [each.name for each in tmp_path.iterdir()] == ["labels.nii.gz"]


def test_a_folder_replaces_an_older_one_only_when_all_of_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    with whole_folder(folder) as part:
        (part / "one").write_bytes(b"1")
    with suppress(RuntimeError), whole_folder(folder) as part:
        (part / "two").write_bytes(b"2")
        raise RuntimeError

    assert [each.name for each in folder.iterdir()] == ["one"]
    assert [each.name for each in tmp_path.iterdir()] == ["case"]
