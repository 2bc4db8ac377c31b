"""The seams into pynetdicom that the receiver leans on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
)
from pynetdicom import evt
from support.ct import SERIES_UID, ct_slice, save
from support.delivering import peer_of
from support.pacs import dataset_bytes

from dicom_node.network.tls_sockets import socket_of
from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.series.bounded_files import uids_at_start


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


@pytest.fixture
def receiver(settings: ReceiverSettings) -> Iterator[Receiver]:
    with Receiver(settings) as running:
        yield running


def test_accepted_sockets_do_not_wait_for_acknowledgements(
    receiver: Receiver, tmp_path: Path
) -> None:
    seen: list[tuple[int, float | None]] = []

    def look(event: evt.Event) -> int:
        connection = socket_of(event.assoc)
        assert connection is not None
        nodelay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        seen.append((nodelay, connection.gettimeout()))
        return 0

    receiver._server.bind(evt.EVT_C_ECHO, look)
    echo(peer_of(receiver))

    assert seen == [(1, 60.0)]


def test_only_proposed_contexts_are_filled_in(receiver: Receiver) -> None:
    """Filling in all of them costs 50-100 ms an association."""
    seen: list[int] = []
    receiver._server.bind(
        evt.EVT_ACCEPTED,
        lambda event: seen.append(len(event.assoc.acceptor.supported_contexts)),
    )

    echo(peer_of(receiver))

    assert seen == [1]


def test_the_uids_are_found_without_reading_the_pixels(tmp_path: Path) -> None:
    (path,) = save([ct_slice(shape=(512, 512))], tmp_path)
    data = memoryview(dataset_bytes(path))

    found = uids_at_start(data[:4096], ExplicitVRLittleEndian, 1 << 16)

    assert found[0x0020000E] == SERIES_UID
