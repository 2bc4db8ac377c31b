"""Claims about the record of revisions, beside that of the version before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_node.spool.revisions import (
    MARKER,
    Revision,
    gone_from,
    known_names,
    read_marker,
    write_marker,
)
from dicom_node.spool.spool import Spool

FULL = Revision(
    2,
    ("1.dcm", "2~ab.dcm"),
    "quiet",
    done=True,
    rule="timer",
    notes=("9 images",),
    left=("2.dcm",),
    lost=9,
    identity={"patient_id": "abc"},
    distinction="identity 2",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spool = Spool(tmp_path)
    series = spool.folder / "1.2"
    series.mkdir()
    return series


def test_a_record_is_read_as_it_was_written(folder: Path) -> None:
    first = Revision(1, ("1.dcm",), "quiet", done=True, rule="count")
    write_marker(folder, (first, FULL))

    assert read_marker(folder) == (first, FULL)


def test_the_version_before_reads_each_revision_by_the_fields_that_it_knows(
    folder: Path,
) -> None:
    """It made `Revision(**item)` of each."""
    write_marker(folder, (FULL,))
    (item,) = json.loads((folder / MARKER).read_text())["revisions"]

    assert set(item) == {"revision", "files", "reason", "done", "rule"}


def test_a_record_of_the_version_before_is_read(folder: Path) -> None:
    item = {"revision": 1, "files": ["1.dcm"], "reason": "quiet", "done": True}
    (folder / MARKER).write_text(json.dumps({"revisions": [item]}))

    assert read_marker(folder) == (Revision(1, ("1.dcm",), "quiet", done=True),)


def test_an_image_is_there_in_whichever_copy() -> None:
    assert gone_from((FULL,), ["1~ff.dcm", "2.dcm"]) == 0
    assert gone_from((FULL,), ["2.dcm"]) == 1
    assert known_names((FULL,)) == {"1.dcm", "2~ab.dcm", "2.dcm"}


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"revisions": 1}', '{"revisions": [{"revision": 1}]}', "{", "7"]
)
def test_a_damaged_record_is_named_as_one(text: str, folder: Path) -> None:
    (folder / MARKER).write_text(text)

    with pytest.raises(ValueError, match=r"."):
        read_marker(folder)
