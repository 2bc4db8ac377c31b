"""DICOM TLS: no agreement on less than the profile."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.tls_calls import (
    Pki,
    calling,
    listening,
    make_pki,
    receiving,
    refusals,
)
from support.waiting import wait_until

from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def receiver(pki: Pki, tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, listening(pki)) as running:
        yield running


def weak_caller(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """A caller that would believe anyone, and takes anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize(
    ("version", "ciphers", "reason"),
    [
        (ssl.TLSVersion.TLSv1, "ALL", "it speaks nothing newer than TLS 1.1"),
        (ssl.TLSVersion.TLSv1_1, "ALL", "it speaks nothing newer than TLS 1.1"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256", "no cipher suite that is allowed"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA256", "no cipher suite that is allowed"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-NULL-SHA", "no cipher suite that is allowed"),
    ],
)
def test_a_caller_that_offers_less_is_refused(
    version: ssl.TLSVersion,
    ciphers: str,
    reason: str,
    receiver: Receiver,
) -> None:
    """TLS 1.0 and 1.1 (RFC 8996), no forward secrecy, no authenticated encryption, none."""
    context = weak_caller(version, ciphers)

    with capture_logs() as logs, socket.create_connection(("127.0.0.1", receiver.port)) as raw:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(raw)
        wait_until(lambda: refusals(logs), words="the refusal is logged")

    assert reason in refusals(logs)[0]


def test_a_destination_that_offers_less_gets_nothing(pki: Pki) -> None:
    """The same the other way round: a server of TLS 1.1 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(pki.node.path, pki.node.key)

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        peer = Peer("old", "OLD", "127.0.0.1", listener.getsockname()[1], tls=calling(pki))
        with pytest.raises(PeerUnreachableError, match=r"speaks nothing newer than TLS 1\.1"):
            echo(peer)
        server.join()
