"""Large objects: written as they arrive, and never held in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.raw_sender import (
    associated,
    raw_object,
    send_object,
    status_of,
)
from support.raw_wire import data
from support.receiver_process import incoming, server
from support.waiting import wait_until

from dicom_node.receiving.receiver import Receiver, ReceiverSettings

LARGE_BYTES = 300 << 20
MEGABYTES = 24
"""What an object may cost the process, however large it is."""


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


def test_memory_stays_flat_while_a_large_object_arrives(tmp_path: Path) -> None:
    with server(tmp_path / "spool") as (process, port), associated(port) as line:
        assert send_object(line, raw_object("1.2.1", 1, 1000)) == 0
        before_kb = memory_kb(process.pid, "VmRSS")

        status = send_object(line, raw_object("1.2.1", 2, LARGE_BYTES))

        peak_kb = memory_kb(process.pid, "VmHWM")
    kept = tmp_path / "spool" / "1.2.1" / "1.2.1.2.dcm"
    assert status == 0
    assert LARGE_BYTES < kept.stat().st_size < LARGE_BYTES + 2000
    assert peak_kb - before_kb < MEGABYTES << 10


def memory_kb(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def test_an_object_is_on_disk_as_far_as_it_came(settings: ReceiverSettings) -> None:
    """Two parts of three have come: their bytes are in the file, and it has no name yet."""
    first, second, last = (bytes([number]) * 100_000 for number in (1, 2, 3))
    with Receiver(settings) as receiver, associated(receiver.port) as line:
        line.say(raw_object("1.2.1", 1, 300_000).before_pixels, data(1, 0x00, first + second))
        wait_until(
            lambda: any(path.stat().st_size > 200_000 for path in incoming(settings.spool)),
            5.0,
            "two parts are in the file",
        )

        assert receiver.spool.series() == ()
        line.say(data(1, 0x02, last))
        assert status_of(line) == 0
    (kept,) = receiver.spool.entries("1.2.1")
    assert kept.path.read_bytes().endswith(first + second + last)


def test_the_spool_limit_counts_what_is_still_arriving(settings: ReceiverSettings) -> None:
    """Of 300,000 bytes 200,000 are arriving on one association: no 200,000 on another."""
    with (
        Receiver(replace(settings, max_spool_bytes=300_000)) as receiver,
        associated(receiver.port) as slow,
        associated(receiver.port) as other,
    ):
        slow.say(raw_object("1.2.1", 1, 250_000).before_pixels, data(1, 0x00, bytes(200_000)))
        wait_until(
            lambda: any(path.stat().st_size > 200_000 for path in incoming(settings.spool)),
            5.0,
            "most of it is in the file",
        )

        refused = send_object(other, raw_object("1.2.2", 1, 200_000))
        slow.say(data(1, 0x02, bytes(50_000)))

        assert refused == 0xA700
        assert status_of(slow) == 0
        assert [path.name for path in receiver.spool.folder.rglob("*.dcm")] == ["1.2.1.1.dcm"]
