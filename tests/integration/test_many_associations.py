"""Many associations at once: those allowed lose nothing, the next one is refused."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.raw_sender import (
    RawObject,
    associated,
    raw_object,
    send_object,
)
from support.raw_wire import association_request
from support.receiver_process import incoming
from support.waiting import wait_until

from dicom_node.receiving.receiver import Receiver, ReceiverSettings

WORKING, ALLOWED = 64, 200


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


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
