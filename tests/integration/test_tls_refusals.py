"""DICOM TLS: those who should not get through do not, and are told why."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.ct import ct_slice, save
from support.tls_calls import (
    Pki,
    calling,
    kept,
    listening,
    make_pki,
    peer_of,
    receiving,
    refusals,
)
from support.waiting import wait_until

from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import DestinationTls


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def receiver(pki: Pki, tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, listening(pki)) as running:
        yield running


@contextmanager
def refused(reason: str, told: str = "by TLS: it") -> Iterator[None]:
    """Both sides know why: the node's log, and the sender's error."""
    with capture_logs() as logs:
        with pytest.raises(PeerUnreachableError, match=told):
            yield
        wait_until(lambda: refusals(logs), words="the refusal is logged")

    assert refusals(logs) == [reason]


def test_without_a_certificate_nothing_is_received(receiver: Receiver, pki: Pki) -> None:
    with refused("it shows no certificate"):
        echo(peer_of(receiver, calling(pki)))


def test_a_sender_of_a_foreign_authority_is_refused(receiver: Receiver, pki: Pki) -> None:
    with refused("unable to get local issuer certificate"):
        echo(peer_of(receiver, calling(pki, pki.stranger)))


def test_a_sender_whose_certificate_has_expired_is_refused(
    receiver: Receiver, pki: Pki
) -> None:
    with refused("certificate has expired", "it finds our certificate expired"):
        echo(peer_of(receiver, calling(pki, pki.old)))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (lambda pki: {"ca": pki.foreign.path}, "self-signed certificate in certificate chain"),
        (
            lambda pki: {"ca": None, "fingerprints": (pki.old.fingerprint,)},
            "it shows another certificate than expected",
        ),
    ],
    ids=["authority", "fingerprint"],
)
def test_a_destination_that_is_another_than_expected_gets_nothing(
    rule: Any, reason: str, receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    peer = peer_of(receiver, calling(pki, pki.scanner, **rule(pki)))

    with pytest.raises(PeerUnreachableError, match=f"by TLS: {reason}"):
        send(peer, save([ct_slice()], tmp_path / "sent"))

    assert kept(receiver) == []


def test_a_plain_sender_gets_nothing_from_a_tls_port(receiver: Receiver, pki: Pki) -> None:
    with refused("it does not speak TLS", "is it a DICOM port without TLS"):
        echo(peer_of(receiver, None))

    echo(peer_of(receiver, calling(pki, pki.scanner)))


def test_a_plain_port_called_by_tls_is_named(pki: Pki, tmp_path: Path) -> None:
    with (
        receiving(tmp_path, None) as it,
        pytest.raises(PeerUnreachableError, match="by TLS: it does not speak TLS"),
    ):
        echo(peer_of(it, calling(pki)))


def test_a_file_that_is_gone_is_named_when_it_is_needed(receiver: Receiver, pki: Pki) -> None:
    rule = DestinationTls(ca=Path("/nowhere/ca.pem"))

    with pytest.raises(PeerUnreachableError, match=r"/nowhere/ca\.pem: cannot be read"):
        echo(peer_of(receiver, rule))


@pytest.mark.parametrize("plain", [False, True])
def test_an_ae_title_may_be_bound_to_a_certificate(
    plain: bool, pki: Pki, tmp_path: Path
) -> None:
    """Whoever has some accepted certificate, or calls in the clear, is not yet the scanner."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scanner = Sender(ae_title="SCANNER", fingerprints=(pki.scanner.fingerprint,))
    listens = listening(pki, plain_port=port)

    with receiving(tmp_path, listens, (scanner,)) as it:
        echo(peer_of(it, calling(pki, pki.scanner)))
        pretender = peer_of(it, calling(pki, pki.node))
        if plain:
            pretender = replace(peer_of(it, None), port=port)
        with pytest.raises(PeerUnreachableError, match="rejected the association"):
            echo(pretender)
