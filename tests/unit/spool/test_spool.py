"""Instances on disk: kept once, byte for byte, or nothing of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.ct import SERIES_UID, ct_slice
from support.pacs import dataset_bytes
from support.spooled import keep, keep_instance

from dicom_node.durable_files import temporary_file
from dicom_node.series.slice_headers import read_header
from dicom_node.spool.spool import Spool
from dicom_node.uids import is_uid


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_an_instance_is_kept_byte_for_byte_and_readable(spool: Spool, tmp_path: Path) -> None:
    dataset = ct_slice()

    keep(spool, [dataset])

    (entry,) = spool.entries(SERIES_UID)
    assert entry.path == spool.folder / SERIES_UID / f"{dataset.SOPInstanceUID}.dcm"
    assert dataset_bytes(entry.path) == dataset_bytes(tmp_path / "scratch" / "0.dcm")
    header = read_header(entry.path)
    assert header is not None
    assert header.SOPInstanceUID == dataset.SOPInstanceUID
    assert header.file_meta.SendingApplicationEntityTitle == "SCANNER"


def test_the_same_instance_again_changes_nothing(spool: Spool) -> None:
    dataset = ct_slice()

    keep(spool, [dataset], at_s=1000)
    keep(spool, [dataset], at_s=1000)

    assert len(spool.entries(SERIES_UID)) == 1


def test_other_bytes_under_the_same_uid_are_kept_beside_the_first(spool: Spool) -> None:
    first = ct_slice(SOPInstanceUID="1.2.3")
    other = ct_slice(SOPInstanceUID="1.2.3", hu=np.full((6, 8), 7))

    for dataset in (first, other, first, other):
        keep(spool, [dataset])

    entries = spool.entries(SERIES_UID)
    assert [entry.sop_instance_uid for entry in entries] == ["1.2.3", "1.2.3"]
    assert entries[0].path.name == "1.2.3.dcm"
    assert entries[1].path.name.startswith("1.2.3~")


@pytest.mark.parametrize(
    "uid", ["", "..", "../1.2", "1..2", ".1", "1.", "1.2/3", "/etc", "1.2\n", "1" * 65, "a.1"]
)
def test_what_is_no_uid_never_becomes_a_path(uid: str, spool: Spool) -> None:
    assert not is_uid(uid)
    for series, instance in [(uid, "1.2"), ("1.2", uid)]:
        with pytest.raises(ValueError, match="is not a UID"):
            keep_instance(spool, series, instance, b"meta", b"data")


def test_a_disk_that_fills_leaves_nothing_half_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dicom_node.spool.spool.os.fsync", full)

    with pytest.raises(OSError, match="No space"):
        keep_instance(spool, "1.2", "1.2.3", b"meta", b"data")

    assert not (spool.folder / "1.2").exists()
    assert list((spool.folder / ".incoming").iterdir()) == []


def test_what_a_crash_left_is_swept_at_start(spool: Spool) -> None:
    left = spool.folder / ".incoming" / "dead.part"
    left.write_bytes(b"half")

    assert spool.sweep() == 1
    assert not left.exists()


def test_the_sweep_spares_what_another_receiver_is_writing(spool: Spool) -> None:
    with temporary_file(spool.folder, (b"meta", b"data")) as writing:
        assert Spool(spool.folder).sweep() == 0
        assert writing.exists()
