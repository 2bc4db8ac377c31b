"""Much at once: many associations, large objects, and the order in which things are durable."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pynetdicom.transport import AssociationSocket
from support.raw_sender import (
    RawObject,
    associated,
    raw_object,
    send_all,
    send_object,
    status_of,
)
from support.raw_wire import association_request, data
from support.waiting import wait_until

from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.spool.open_associations import sending

WORKING, ALLOWED = 64, 200
LARGE_BYTES = 300 << 20
MEGABYTES = 24
"""What an object may cost the process, however large it is."""

SERVER = """
import sys, threading
from pathlib import Path
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
settings = ReceiverSettings("MSKNODE", Path(sys.argv[1]), port=0, free_reserve_bytes=0)
receiver = Receiver(settings)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


@contextlib.contextmanager
def server(spool: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A receiver in a process of its own, and its port; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline().strip()).isdigit():
            pass
        try:
            yield process, int(line)
        finally:
            process.kill()


def incoming(spool: Path) -> list[Path]:
    return list((spool / ".incoming").iterdir())


# --- many associations


def test_64_associations_store_at_once_the_201st_is_refused_and_nothing_is_lost(
    settings: ReceiverSettings,
) -> None:
    """The refusal: rejected transient, by the service provider, local limit exceeded."""
    stacks = [
        [raw_object(f"1.2.{number}", place, 100_000) for place in range(1, 4)]
        for number in range(1, WORKING + 1)
    ]
    with (
        Receiver(replace(settings, max_associations=ALLOWED)) as receiver,
        contextlib.ExitStack() as idle,
    ):
        for _ in range(ALLOWED - WORKING):
            idle.enter_context(associated(receiver.port))
        with ThreadPoolExecutor(WORKING) as pool, contextlib.ExitStack() as working:
            lines = [working.enter_context(associated(receiver.port)) for _ in stacks]

            refusal = answer_to_a_request(receiver.port)
            answers = list(pool.map(send_each, lines, stacks))

        idle.close()
        wait_until(
            lambda: answer_to_a_request(receiver.port)[0] == 0x02, 5.0, "one is accepted again"
        )
        kept = {path.stem: path for path in receiver.spool.folder.rglob("*.dcm")}

    assert refusal == bytes.fromhex("03 00 00000004 00 02 03 02")
    assert answers == [[0, 0, 0]] * WORKING
    assert sorted(kept) == sorted(sent.sop_instance_uid for stack in stacks for sent in stack)
    assert all(path.stat().st_size > 100_000 for path in kept.values())
    assert incoming(settings.spool) == []


def answer_to_a_request(port: int) -> bytes:
    """All that comes back on a new connection, until the peer waits or closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
        connection.sendall(association_request())
        head = connection.recv(6, socket.MSG_WAITALL)
        return head + connection.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)


def send_each(line: object, stack: list[RawObject]) -> list[int]:
    return [send_object(line, each) for each in stack]


# --- large objects


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


# --- durable, then success


def test_success_is_answered_after_bytes_and_names_are_durable(
    settings: ReceiverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system is asked for, in order; the first of a series makes its folder too."""
    done: list[str] = []
    real_sync, real_link, real_answer = os.fsync, os.link, AssociationSocket.send

    def sync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        real_sync(descriptor)
        done.append(f"synced {path.suffix or path.name}")

    def link(source: Path, target: Path) -> None:
        real_link(source, target)
        done.append(f"named {target.name}")

    def answer(transport: AssociationSocket, encoded: bytes) -> None:
        if encoded[0] == 0x04:
            done.append("answered")
        real_answer(transport, encoded)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(AssociationSocket, "send", answer)
    with Receiver(settings) as receiver:
        # A UID without a point in it is a folder without a suffix.
        send_all(receiver.port, [raw_object("12", place, 1000) for place in (1, 2)])

    assert done == [
        *("synced .part", "synced spool", "named 12.1.dcm", "synced 12", "answered"),
        *("synced .part", "named 12.2.dcm", "synced 12", "answered"),
    ]


def test_a_crash_amid_an_object_leaves_a_temporary_file_that_is_swept(
    settings: ReceiverSettings,
) -> None:
    """One object is acknowledged, the next one arrives when the process is killed."""
    with (
        server(settings.spool) as (process, port),
        contextlib.suppress(OSError),
        associated(port) as line,
    ):
        assert send_object(line, raw_object("1.2.1", 1, 1000)) == 0
        line.say(raw_object("1.2.1", 2, 300_000).before_pixels, data(1, 0x00, bytes(200_000)))
        wait_until(lambda: incoming(settings.spool) != [], 5.0, "it is arriving")
        process.kill()
    assert len(incoming(settings.spool)) == 1

    with Receiver(settings) as again:
        assert incoming(settings.spool) == []
        assert [entry.path.name for entry in again.spool.entries("1.2.1")] == ["1.2.1.1.dcm"]
        assert sending(settings.spool / "1.2.1").interrupted


def test_a_stop_lets_an_association_finish_what_it_writes(
    settings: ReceiverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop comes while the object is being made durable: it is kept, and answered."""
    receiver = Receiver(settings)
    receiver.start()
    real_sync = os.fsync
    stopping: list[bool] = []

    def sync(descriptor: int) -> None:
        if not stopping:
            stopping.append(True)
            for association in receiver._server.active_associations:
                association.abort()
        real_sync(descriptor)

    monkeypatch.setattr("dicom_node.spool.spool.os.fsync", sync)
    with associated(receiver.port) as line:
        line.say(*raw_object("1.2.1", 1, 1000).parts())

        assert status_of(line) == 0
        assert line.hear() == "aborted"
    receiver.stop()
    assert len(receiver.spool.entries("1.2.1")) == 1
    assert incoming(settings.spool) == []
