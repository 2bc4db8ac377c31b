"""DICOM TLS between our sender and our receiver: those who get through."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ct import ct_stack, save
from support.pacs import dataset_bytes
from support.tls_calls import (
    Pki,
    calling,
    kept,
    listening,
    make_pki,
    peer_of,
    receiving,
)

from dicom_node.errors import PeerUnreachableError
from dicom_node.network import tls_contexts as tls_module
from dicom_node.network.tls_sockets import TlsSocket
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver
from dicom_node.settings.tls import DestinationTls


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def receiver(pki: Pki, tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, listening(pki)) as running:
        yield running


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_series_arrives_byte_for_byte(
    version: ssl.TLSVersion,
    pki: Pki,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Objects of a quarter of a megabyte: many PDUs, and records that end anywhere."""
    agreed: list[str | None] = []
    shake_hands = TlsSocket.do_handshake

    def noted(connection: TlsSocket, block: bool = False) -> None:
        shake_hands(connection, block)
        agreed.append(connection.version())

    monkeypatch.setattr(TlsSocket, "do_handshake", noted)
    monkeypatch.setattr(tls_module, "client_context", _at_most(version))
    paths = save(ct_stack(shape=(256, 512)), tmp_path / "sent")

    with receiving(tmp_path, listening(pki)) as receiver:
        outcomes = send(peer_of(receiver, calling(pki, pki.scanner)), paths)
        found = kept(receiver)

    assert all(outcome.status == 0 for outcome in outcomes)
    assert found == sorted(map(dataset_bytes, paths))
    assert set(agreed) == {version.name.replace("_", ".")}


def _at_most(version: ssl.TLSVersion) -> Any:
    make = tls_module.client_context

    def limited(tls: DestinationTls) -> ssl.SSLContext:
        context = make(tls)
        context.maximum_version = version
        return context

    return limited


def test_many_senders_at_once_lose_nothing(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    stacks = [ct_stack(shape=(64, 64), SeriesInstanceUID=f"1.2.{n}") for n in range(6)]
    peer = peer_of(receiver, calling(pki, pki.scanner))
    senders = [
        threading.Thread(target=send, args=(peer, save(stack, tmp_path / str(n))))
        for n, stack in enumerate(stacks)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert [len(list(receiver.spool.entries(f"1.2.{n}"))) for n in range(6)] == [5] * 6


def test_a_destination_is_known_by_its_fingerprint_whatever_its_name(
    pki: Pki, tmp_path: Path
) -> None:
    """With the fingerprint alone, nobody has to vouch for the certificate either."""
    nameless = pki.foreign.issue("nameless", names="DNS:elsewhere.example")
    rule = DestinationTls(fingerprints=(pki.node.fingerprint, nameless.fingerprint))

    with receiving(tmp_path, listening(pki, nameless, require_client_certificate=False)) as it:
        echo(peer_of(it, rule))


def test_a_fingerprint_does_not_replace_a_ca_that_is_given(pki: Pki, tmp_path: Path) -> None:
    rule = calling(pki, fingerprints=(pki.old.fingerprint,))

    with (
        receiving(tmp_path, listening(pki, pki.old, require_client_certificate=False)) as it,
        pytest.raises(PeerUnreachableError, match="by TLS: certificate has expired"),
    ):
        echo(peer_of(it, rule))


def test_a_certificate_of_its_own_may_be_what_is_believed(pki: Pki, tmp_path: Path) -> None:
    rule = DestinationTls(ca=pki.node.path)

    with receiving(tmp_path, listening(pki, require_client_certificate=False)) as it:
        echo(peer_of(it, rule))


def test_the_name_in_the_certificate_may_be_given(pki: Pki, tmp_path: Path) -> None:
    named = pki.ours.issue("named", names="DNS:pacs.hospital.example")

    with receiving(tmp_path, listening(pki, named, require_client_certificate=False)) as it:
        echo(peer_of(it, calling(pki, server_name="pacs.hospital.example")))
        with pytest.raises(PeerUnreachableError, match=r"not valid for '127\.0\.0\.1'"):
            echo(peer_of(it, calling(pki)))


def test_a_plain_port_stands_beside_the_tls_one_only_where_it_is_configured(
    pki: Pki, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        plain = free.getsockname()[1]

    with receiving(tmp_path, listening(pki, plain_port=plain)) as it:
        echo(replace(peer_of(it, None), port=plain))
        echo(peer_of(it, calling(pki, pki.scanner)))
