"""Claims about the file that finds an image's series: it may be cut, old or gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.node.find import image_in_spool
from dicom_node.spool import image_index
from dicom_node.spool.image_index import NAME, ImageIndex, look_up
from dicom_node.spool.revisions import Revision, write_marker


def handed_over(spool: Path, uid: str, *images: str, revision: int = 1) -> list[Revision]:
    """The record of a series whose images are gone."""
    for folder in (uid, ".incoming"):
        (spool / folder).mkdir(exist_ok=True)
    revisions = [
        Revision(number, tuple(f"{each}.dcm" for each in images), "quiet", done=True)
        for number in range(1, revision + 1)
    ]
    write_marker(spool / uid, revisions)
    return revisions


def test_an_image_is_found_by_the_index_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other record is opened."""
    index, opened = ImageIndex(tmp_path), []
    for number in range(20):
        uid = f"1.2.{number}"
        index.note(uid, handed_over(tmp_path, uid, f"{uid}.7.1", f"{uid}.7.2"))
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or read(path))

    assert image_in_spool(tmp_path, "1.2.13.7.2") == "1.2.13"
    assert image_in_spool(tmp_path, "1.2.13.7.22") == ""
    assert {path.parent.name for path in opened} <= {"1.2.13"}


def test_what_only_has_the_letters_of_an_image_has_it_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_index, "_letters", lambda _uid: b"AAAA")
    index = ImageIndex(tmp_path)
    for uid in ("1.2.1", "1.2.2", "1.2.3"):
        index.note(uid, handed_over(tmp_path, uid, f"{uid}.7"))

    assert image_in_spool(tmp_path, "1.2.2.7") == "1.2.2"
    assert image_in_spool(tmp_path, "1.2.4.7") == ""


@pytest.mark.parametrize("kept", [0, 1, 9, 14])
def test_a_line_that_a_power_cut_broke_off_loses_no_series(tmp_path: Path, kept: int) -> None:
    index = ImageIndex(tmp_path)
    index.note("1.2.1", handed_over(tmp_path, "1.2.1", "1.2.1.7"))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:kept])
    again = ImageIndex(tmp_path)
    again.note("1.2.2", handed_over(tmp_path, "1.2.2", "1.2.2.7"))

    assert set(look_up(tmp_path, "x").noted) == {"1.2.2"}
    for uid in ("1.2.1", "1.2.2"):
        assert image_in_spool(tmp_path, f"{uid}.7") == uid


def test_a_series_is_noted_once_and_again_when_it_has_another_revision(tmp_path: Path) -> None:
    for _ in range(2):
        index = ImageIndex(tmp_path)
        for _ in range(2):
            index.note("1.2.1", handed_over(tmp_path, "1.2.1", "1.2.1.7"))
        index.note("1.2.2", [])
    assert (tmp_path / NAME).read_bytes().count(b"1.2.1 ") == 1

    index.note("1.2.1", handed_over(tmp_path, "1.2.1", "1.2.1.7", "1.2.1.8", revision=2))
    assert image_in_spool(tmp_path, "1.2.1.8") == "1.2.1"
    assert look_up(tmp_path, "x").noted == {"1.2.1": 2}


def test_an_image_that_comes_late_is_found_though_the_index_has_it_not(tmp_path: Path) -> None:
    index = ImageIndex(tmp_path)
    index.note("1.2.1", handed_over(tmp_path, "1.2.1", "1.2.1.7"))
    (tmp_path / "1.2.1" / "1.2.1.9.dcm").touch()

    assert image_in_spool(tmp_path, "1.2.1.9") == "1.2.1"


def test_a_disk_that_takes_no_line_keeps_nobody_from_anything(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    index = ImageIndex(tmp_path)
    index.note("1.2.1", handed_over(tmp_path, "1.2.1", "1.2.1.7"))

    assert image_in_spool(tmp_path, "1.2.1.7") == "1.2.1"
