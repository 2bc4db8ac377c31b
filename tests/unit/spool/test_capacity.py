"""Room in the spool: what is kept counts at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.spooled import keep_instance, purge

from dicom_node.spool.capacity import SpoolCapacity
from dicom_node.spool.spool import Spool


def test_what_is_kept_counts_at_once_and_what_is_purged_at_the_next_measurement(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    room = SpoolCapacity(spool, 0, max_spool_bytes=100)
    room.measure()
    keep_instance(spool, "1.2", "1.2.3", b"m" * 20, b"d" * 60)
    room.add(80)

    before = [bool(room.shortage(size)) for size in (20, 21)]
    room.measure()
    measured = [bool(room.shortage(size)) for size in (20, 21)]
    purge(spool, "1.2")
    room.measure()

    assert before == measured == [False, True]
    assert not room.shortage(100)


def test_what_is_kept_while_the_spool_is_measured_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    room = SpoolCapacity(spool, 0, max_spool_bytes=100)

    def measured() -> int:
        room.add(60)
        return 50

    monkeypatch.setattr(spool, "size_bytes", measured)
    room.measure()

    assert room.shortage() == "the spool is as large as it may be"
