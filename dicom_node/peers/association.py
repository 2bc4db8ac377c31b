"""Associations that we request: with whom, how long to wait, and why one did not come about."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import (
    ConfigurationError,
    PeerError,
    PeerUnreachableError,
)
from dicom_node.network.implementation import MAX_PDU_BYTES, implementation_version
from dicom_node.network.pynetdicom_patches import install
from dicom_node.network.tls_contexts import Call
from dicom_node.network.tls_sockets import socket_of, tune
from dicom_node.settings.tls import DestinationTls
from dicom_node.settings.values import OWN_AE_TITLE
from dicom_node.uids import IMPLEMENTATION_CLASS_UID

log = structlog.get_logger()

MESSAGE_IDS: Final = itertools.cycle(range(1, 1 << 16))
"""Message IDs (PS3.7 9.1): another one for each request, so that no answer to one before it is
taken for its own."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote application entity, and how long to wait for it.

    name: how configuration and messages call it.
    connect_timeout_s: for the TCP connection and the association.
    answer_timeout_s: for each answer, and for a stalled connection.
    tls: how it proves who it is, and how we do; without it, a plain connection.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str = OWN_AE_TITLE
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 60.0
    tls: DestinationTls | None = None

    def __str__(self) -> str:
        """As on the command line: `AETITLE@host:port`."""
        return f"{self.ae_title}@{self.host}:{self.port}"


@contextmanager
def associate(
    peer: Peer,
    contexts: list[PresentationContext],
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """An association, released afterwards.

    Yields also where the peer refused every presentation context: then it is not
    established, and its rejected contexts say why.

    Args:
        peer: with whom.
        contexts: proposed presentation contexts.
        roles: proposed roles of SCU and SCP, where they are not the usual ones.
        handlers: of what the peer asks for in its turn, as pynetdicom binds them.
    """
    install()
    connected: list[bool] = []
    opened = (evt.EVT_CONN_OPEN, _handle_open, [peer.answer_timeout_s, connected])
    try:
        call = Call(peer.tls) if peer.tls is not None else None
        association = _entity(peer).associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU_BYTES,
            ext_neg=list(roles),
            evt_handlers=[opened, *handlers],
            tls_args=None if call is None else (call, _expected_name(peer)),
        )
    except (ConfigurationError, OSError, ValueError) as error:
        raise PeerUnreachableError(f"{peer} cannot be called: {error}") from error
    if not association.is_established and not association.rejected_contexts:
        raise _why_not(
            peer, association, call.problem if call else "", was_connected=bool(connected)
        )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _expected_name(peer: Peer) -> str:
    """The name that the peer's certificate should bear."""
    return (peer.tls and peer.tls.server_name) or peer.host


def _entity(peer: Peer) -> AE:
    entity = AE(ae_title=peer.calling_ae_title)
    entity.connection_timeout = peer.connect_timeout_s
    entity.acse_timeout = peer.connect_timeout_s
    entity.dimse_timeout = peer.answer_timeout_s
    entity.network_timeout = peer.answer_timeout_s
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = implementation_version()
    return entity


def _handle_open(event: evt.Event, stall_s: float, connected: list[bool]) -> None:
    connected.append(True)
    connection = socket_of(event.assoc)
    if connection is not None:
        tune(connection, stall_s)


def _why_not(
    peer: Peer, association: Any, tls_problem: str, *, was_connected: bool
) -> PeerError:
    """The error for an association that did not come about."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        return PeerUnreachableError(
            f"{peer} rejected the association called from {peer.calling_ae_title}:"
            f" {answer.reason_str} ({answer.result_str})"
        )
    if tls_problem:
        return PeerUnreachableError(f"{peer} cannot be reached by TLS: {tls_problem}")
    if was_connected:
        return PeerUnreachableError(
            f"{peer} took the connection but not the association, within"
            f" {peer.connect_timeout_s:g} s; is it a DICOM port"
            f" {'of TLS' if peer.tls else 'without TLS'}?"
        )
    return PeerUnreachableError(
        f"{peer} cannot be reached: no connection to {peer.host} port {peer.port}"
    )
