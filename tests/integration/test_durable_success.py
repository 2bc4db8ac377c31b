"""The order in which things are durable: success is answered last."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from pynetdicom.transport import AssociationSocket
from support.raw_sender import (
    associated,
    raw_object,
    send_all,
    send_object,
    status_of,
)
from support.raw_wire import data
from support.receiver_process import incoming, server
from support.waiting import wait_until

from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.spool.open_associations import sending


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


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
