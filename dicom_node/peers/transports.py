"""Transports to destinations, one for each kind: DICOM, DICOMweb and FHIR."""

# ruff: noqa: PLC0415 - a node without a DICOMweb service need not wait for what speaks HTTP
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from dicom_node.errors import PeerLacksServiceError
from dicom_node.peers.association import Peer
from dicom_node.peers.commitment import KeepReport, ask_to_commit
from dicom_node.peers.echo import echo
from dicom_node.peers.outcome import Progress, Requires, SendOutcome
from dicom_node.peers.query import listed_instances
from dicom_node.peers.store import send
from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    FhirDestination,
    WebDestination,
)
from dicom_node.settings.node import NodeConfig

if TYPE_CHECKING:
    from dicom_node.peers.dicomweb import WebService


class Transport(Protocol):
    """A transport to a destination. Whatever goes wrong on it is a `PeerError`."""

    @property
    def name(self) -> str:
        """The destination's name in configuration and messages."""

    def within(self, timeout_s: float) -> Self:
        """The same transport, with this timeout for a connection and for each answer."""

    def verify(self) -> None:
        """Raise where the destination is not there."""

    def send(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        requires: Requires | None = None,
    ) -> tuple[SendOutcome, ...]:
        """Send files; what became of each, in order."""

    def list_instances(self, study: str, series: Iterable[str]) -> frozenset[str]:
        """The SOP Instance UIDs that it lists in series of a study."""

    def ask_to_commit(
        self, transaction_uid: str, instances: Sequence[tuple[str, str]], keep: KeepReport
    ) -> None:
        """Ask for storage commitment; a report that comes at once is kept.

        Raises:
            PeerLacksServiceError: it knows none, and is asked by a query instead.
        """


@dataclass(frozen=True, slots=True)
class DicomTransport:
    """By associations (PS3.7, PS3.8)."""

    peer: Peer

    @property
    def name(self) -> str:
        """The peer's."""
        return self.peer.name

    def within(self, timeout_s: float) -> Self:
        """To the same peer."""
        peer = replace(self.peer, connect_timeout_s=timeout_s, answer_timeout_s=timeout_s)
        return replace(self, peer=peer)

    def verify(self) -> None:
        """C-ECHO."""
        echo(self.peer)

    def send(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        requires: Requires | None = None,
    ) -> tuple[SendOutcome, ...]:
        """C-STORE."""
        return send(self.peer, paths, progress, requires)

    def list_instances(self, study: str, series: Iterable[str]) -> frozenset[str]:
        """C-FIND."""
        return listed_instances(self.peer, study, series)

    def ask_to_commit(
        self, transaction_uid: str, instances: Sequence[tuple[str, str]], keep: KeepReport
    ) -> None:
        """N-ACTION."""
        ask_to_commit(self.peer, transaction_uid, instances, keep)

    def __str__(self) -> str:
        """The peer."""
        return str(self.peer)


@dataclass(frozen=True, slots=True)
class WebTransport:
    """By HTTP (PS3.18)."""

    service: WebService

    @property
    def name(self) -> str:
        """The service's."""
        return self.service.name

    def within(self, timeout_s: float) -> Self:
        """To the same service."""
        service = replace(self.service, connect_timeout_s=timeout_s, answer_timeout_s=timeout_s)
        return replace(self, service=service)

    def verify(self) -> None:
        """QIDO-RS for a single study."""
        from dicom_node.peers.dicomweb import ask_whether_there

        ask_whether_there(self.service)

    def send(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        requires: Requires | None = None,
    ) -> tuple[SendOutcome, ...]:
        """STOW-RS."""
        from dicom_node.peers.stow import store

        return store(self.service, paths, progress, requires)

    def list_instances(self, study: str, series: Iterable[str]) -> frozenset[str]:
        """QIDO-RS."""
        from dicom_node.peers.stow import listed_by

        return listed_by(self.service, study, series)

    def ask_to_commit(
        self,
        transaction_uid: str,  # noqa: ARG002 - nobody is asked
        instances: Sequence[tuple[str, str]],  # noqa: ARG002
        keep: KeepReport,  # noqa: ARG002
    ) -> None:
        """DICOMweb has no such service."""
        raise PeerLacksServiceError(f"{self} does not offer Storage Commitment")

    def __str__(self) -> str:
        """The service."""
        return str(self.service)


def transport_for(config: NodeConfig, destination: Destination) -> Transport:
    """The transport to a configured destination."""
    return TRANSPORTS[type(destination)](config, destination)


def _dicom_transport(config: NodeConfig, destination: DicomDestination) -> Transport:
    """The transport to an application entity."""
    return DicomTransport(peer_of(config, destination))


def peer_of(config: NodeConfig, destination: DicomDestination) -> Peer:
    """A configured application entity, as it is called."""
    return Peer(
        name=destination.name,
        ae_title=destination.ae_title,
        host=destination.host,
        port=destination.port,
        calling_ae_title=destination.calling_ae_title or config.node.ae_title,
        answer_timeout_s=config.delivery.timeout_s,
        tls=destination.tls,
    )


def _web_transport(config: NodeConfig, destination: WebDestination) -> Transport:
    """The transport to a DICOMweb service."""
    from dicom_node.peers.dicomweb import service_of

    return WebTransport(service_of(config, destination))


def _fhir_transport(config: NodeConfig, destination: FhirDestination) -> Transport:
    """The transport to a FHIR server."""
    from dicom_node.peers.fhir import FhirTransport, server_of

    return FhirTransport(server_of(config, destination))


TRANSPORTS: Final[dict[type[Destination], Callable[[NodeConfig, Any], Transport]]] = {
    DicomDestination: _dicom_transport,
    WebDestination: _web_transport,
    FhirDestination: _fhir_transport,
}
"""The maker of the transport for each kind of destination (`settings.destinations.KINDS`)."""
