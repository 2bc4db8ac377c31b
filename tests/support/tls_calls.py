"""DICOM TLS on loopback: certificates, a receiver, and those who call it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom.association import Association

from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import DestinationTls, ReceiveTls
from support.certificates import RSA, Authority, Certificate, make_authority
from support.ct import SERIES_UID
from support.pacs import dataset_bytes


@dataclass(frozen=True)
class Pki:
    """Everybody's certificates: an authority of ours, and one that we do not know."""

    ours: Authority
    node: Certificate
    scanner: Certificate
    old: Certificate
    foreign: Authority
    stranger: Certificate


def make_pki(folder: Path) -> Pki:
    ours = make_authority(folder / "ours")
    foreign = make_authority(folder / "foreign", "Foreign CA")
    return Pki(
        ours=ours,
        node=ours.issue("node", algorithm=RSA),
        scanner=ours.issue("scanner"),
        old=ours.issue("old", days=(-20, -10)),
        foreign=foreign,
        stranger=foreign.issue("stranger"),
    )


def listening(pki: Pki, shown: Certificate | None = None, **values: Any) -> ReceiveTls:
    shown = shown or pki.node
    known = {"certificate": shown.path, "key": shown.key, "client_ca": pki.ours.path}
    return ReceiveTls.model_validate(known | values)


def calling(pki: Pki, shown: Certificate | None = None, **values: Any) -> DestinationTls:
    own = {"certificate": shown.path, "key": shown.key} if shown else {}
    return DestinationTls.model_validate({"ca": pki.ours.path} | own | values)


@contextmanager
def receiving(
    folder: Path, tls: ReceiveTls | None, senders: tuple[Sender, ...] = ()
) -> Iterator[Receiver]:
    settings = ReceiverSettings(
        ae_title="MSKNODE",
        spool=folder / "spool",
        port=0,
        free_reserve_bytes=0,
        senders=senders,
        tls=tls,
    )
    with Receiver(settings) as running:
        yield running


def peer_of(receiver: Receiver, tls: DestinationTls | None) -> Peer:
    return Peer("node", "MSKNODE", "127.0.0.1", receiver.port, "SCANNER", 5.0, 5.0, tls)


def kept(receiver: Receiver) -> list[bytes]:
    return sorted(dataset_bytes(entry.path) for entry in receiver.spool.entries(SERIES_UID))


def accepted(receiver: Receiver) -> list[Association]:
    """Connections that have become associations, or may."""
    return list(receiver._server.active_associations)


def refusals(logs: list[Any]) -> list[str]:
    return [each["reason"] for each in logs if each["event"] == "tls.refused"]


def association_request() -> bytes:
    """The bytes with which our own sender asks for an association."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Peer("x", "MSKNODE", "127.0.0.1", listener.getsockname()[1], "SCANNER", 5.0, 5.0)

        def ask() -> None:
            with contextlib.suppress(PeerUnreachableError):
                echo(peer)

        asking = threading.Thread(target=ask)
        asking.start()
        with listener.accept()[0] as connection:
            request = connection.recv(65536)
        asking.join()
    return request


@dataclass
class ByHand:
    """A caller whose every record and packet is under control."""

    raw: socket.socket
    plain: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO

    def encrypted(self) -> bytes:
        """The records that were written since last asked."""
        return self.outgoing.read()

    def read(self, count: int) -> bytes:
        """So many decrypted bytes."""
        while True:
            try:
                return self.plain.read(count)
            except ssl.SSLWantReadError:
                received = self.raw.recv(65536)
                self.incoming.write(received) if received else self.incoming.write_eof()

    def read_until_closed(self) -> bytes:
        """Everything decrypted until the other side ends."""
        found = b""
        while True:
            try:
                part = self.read(4096)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return found
            if not part:
                return found
            found += part


@contextmanager
def calling_by_hand(receiver: Receiver, pki: Pki) -> Iterator[ByHand]:
    context = ssl.create_default_context(cafile=pki.ours.path)
    context.load_cert_chain(pki.scanner.path, pki.scanner.key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    plain = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=5) as raw:
        caller = ByHand(raw, plain, incoming, outgoing)
        while True:
            try:
                plain.do_handshake()
            except ssl.SSLWantReadError:
                raw.sendall(caller.encrypted())
                incoming.write(raw.recv(65536))
                continue
            raw.sendall(caller.encrypted())
            break
        yield caller
