"""Claims about what goes into a backup, and what may be left out."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dicom_node.node.backup_contents import images, notes, parts_of, settings_files
from dicom_node.settings.loading import parse_config
from dicom_node.spool.revisions import Revision, write_marker

SERIES = "1.2.840.99999.13"
LONG_AGO_S = 3600.0


def series(spool: Path, *, known: tuple[str, ...], there: tuple[str, ...]) -> None:
    """A series of which these files were handed over, an hour ago."""
    folder = spool / SERIES
    folder.mkdir(parents=True)
    (spool / ".incoming").mkdir()
    for name in there:
        (folder / name).write_bytes(b"image")
    write_marker(folder, [Revision(1, known, "quiet", done=True)])
    before_s = time.time() - LONG_AGO_S
    os.utime(folder / "handed-over.json", (before_s, before_s))


def names(spool: Path, before_s: float) -> list[str]:
    """The images that go into a backup that was begun then, the series being answered."""
    return [item.name for item in images(spool, frozenset({SERIES}), before_s)]


def test_images_of_an_answered_series_are_left_out(tmp_path: Path) -> None:
    series(tmp_path, known=("1.dcm", "2.dcm"), there=("1.dcm", "2.dcm"))

    assert names(tmp_path, time.time()) == []


def test_an_image_that_came_after_the_answer_keeps_all_of_its_series_in(tmp_path: Path) -> None:
    series(tmp_path, known=("1.dcm",), there=("1.dcm", "2.dcm"))

    assert names(tmp_path, time.time()) == [f"spool/{SERIES}/{n}.dcm" for n in (1, 2)]


def test_a_series_handed_over_since_the_notes_were_taken_is_in(tmp_path: Path) -> None:
    """Neither the notes nor the database in the backup know of what was handed over then."""
    series(tmp_path, known=("1.dcm", "2.dcm"), there=("1.dcm", "2.dcm"))

    assert len(names(tmp_path, time.time() - 2 * LONG_AGO_S)) == 2


def test_what_only_a_running_node_needs_is_left_out(tmp_path: Path) -> None:
    series(tmp_path, known=("1.dcm",), there=("1.dcm",))
    for name in (".lock.work", ".watching", ".promised", ".waiting.json", ".digest-key"):
        (tmp_path / name).write_bytes(b"x")
    for folder in (".heartbeats", ".metrics", ".reload", ".web-sessions"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.json").write_bytes(b"x")
    (tmp_path / ".incoming" / "abc.part").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / ".digest-key")

    found = {item.name for item in notes(tmp_path)}
    assert found == {"spool/.digest-key", f"spool/{SERIES}/handed-over.json"}


def test_every_file_that_the_settings_name_is_found_by_its_key(tmp_path: Path) -> None:
    for name in ("ca.pem", "token", "users.toml"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "bundle").mkdir()
    table = {
        "analysis": {"bundle": "./bundle"},
        "web": {},
        "destinations": [
            {
                "name": "pacs",
                "ae_title": "PACS",
                "host": "127.0.0.1",
                "port": 104,
                "tls": {"ca": "ca.pem", "certificate": "gone.pem", "key": "gone.key"},
            }
        ],
    }
    config = parse_config(table, source="test", folder=tmp_path)

    assert {key: path.name for key, path in settings_files(config)} == {
        "analysis.bundle": "bundle",
        "web.users": "users.toml",
        "destinations[0].tls.ca": "ca.pem",
    }


def test_the_audit_trail_is_all_of_its_files_its_head_first(tmp_path: Path) -> None:
    for name in ("audit.jsonl", "audit.jsonl.head", "audit-000000000001.jsonl", "other"):
        (tmp_path / name).write_bytes(b"x")

    found = [path.name for path in parts_of("audit.file", tmp_path / "audit.jsonl")]
    assert found[0] == "audit.jsonl.head"
    assert set(found) == {"audit.jsonl", "audit.jsonl.head", "audit-000000000001.jsonl"}
