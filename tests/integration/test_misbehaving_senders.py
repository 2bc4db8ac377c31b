"""Senders that break off, stall or talk rubbish harm nobody else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
)
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, Verification
from support.ct import ct_slice
from support.delivering import kept, peer_of
from support.waiting import wait_until

from dicom_node.network.tls_sockets import socket_of
from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver, ReceiverSettings


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


@pytest.fixture
def receiver(settings: ReceiverSettings) -> Iterator[Receiver]:
    with Receiver(settings) as running:
        yield running


def test_an_association_cut_off_inside_an_object_leaves_nothing(
    receiver: Receiver, tmp_path: Path
) -> None:
    entity = AE("SCANNER")
    sent = [0]

    def cut(event: evt.Event) -> None:
        sent[0] += len(event.data)
        if sent[0] > 300_000:
            connection = socket_of(event.assoc)
            if connection is not None:
                connection.close()

    association = entity.associate(
        "127.0.0.1",
        receiver.port,
        contexts=[build_context(CTImageStorage, [ExplicitVRLittleEndian])],
        evt_handlers=[(evt.EVT_DATA_SENT, cut)],
    )
    small, large = ct_slice(), ct_slice(shape=(1024, 1024))
    small_status = association.send_c_store(small).Status
    cut_status = association.send_c_store(large)
    association.abort()

    assert small_status == 0
    assert cut_status == Dataset()
    assert [path.stem for path in kept(receiver)] == [small.SOPInstanceUID]
    assert list((receiver.spool.folder / ".incoming").iterdir()) == []


def test_a_sender_that_stalls_inside_a_pdu_is_cut_off(settings: ReceiverSettings) -> None:
    """A PDU header that promises 1000 bytes, and then silence."""
    with (
        Receiver(replace(settings, idle_timeout_s=0.5)) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as connection,
    ):
        connection.sendall(b"\x01\x00\x00\x00\x03\xe8")
        connection.settimeout(10.0)
        started = time.monotonic()

        assert connection.recv(1024) == b""
        assert time.monotonic() - started < 5.0


def test_a_silent_association_is_ended(settings: ReceiverSettings) -> None:
    with Receiver(replace(settings, idle_timeout_s=0.5)) as receiver:
        association = AE("SCANNER").associate(
            "127.0.0.1", receiver.port, contexts=[build_context(Verification)]
        )
        wait_until(lambda: association.is_aborted, 10.0, "the idle association ends")


def test_rubbish_on_the_port_harms_nobody(receiver: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)

    echo(peer_of(receiver))
