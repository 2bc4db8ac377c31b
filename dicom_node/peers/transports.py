"""The two ways to a destination: DICOM (C-ECHO, C-STORE, C-FIND) and DICOMweb."""

# ruff: noqa: PLC0415 - a node without a DICOMweb service need not wait for what speaks HTTP
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.outcome import SendOutcome
from dicom_node.peers.query import listed_instances
from dicom_node.peers.store import send
from dicom_node.settings.destinations import Destination, DicomDestination, WebDestination
from dicom_node.settings.node import NodeConfig

if TYPE_CHECKING:
    from dicom_node.peers.dicomweb import WebService


Progress = Callable[[int, int], None]
Requires = Mapping[Path, Collection[Path]]


class Way(Protocol):
    """How a destination is reached. What goes wrong is a `PeerError`, either way."""

    @property
    def query(self) -> str:
        """What it is asked with for what it has, in words."""

    def answers(self) -> None:
        """Raise where the destination is not there."""

    def send(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        requires: Requires | None = None,
    ) -> tuple[SendOutcome, ...]:
        """Send files; what became of each, in order."""

    def listed(self, study: str, series: Iterable[str]) -> frozenset[str]:
        """The SOP Instance UIDs that it lists in series of a study."""


@dataclass(frozen=True, slots=True)
class DicomWay:
    """By associations (PS3.7, PS3.8)."""

    peer: Peer
    query: str = "C-FIND"

    def answers(self) -> None:
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

    def listed(self, study: str, series: Iterable[str]) -> frozenset[str]:
        """C-FIND."""
        return listed_instances(self.peer, study, series)

    def __str__(self) -> str:
        """The peer."""
        return str(self.peer)


@dataclass(frozen=True, slots=True)
class WebWay:
    """By HTTP (PS3.18)."""

    service: WebService
    query: str = "QIDO-RS"

    def answers(self) -> None:
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

    def listed(self, study: str, series: Iterable[str]) -> frozenset[str]:
        """QIDO-RS."""
        from dicom_node.peers.stow import listed_by

        return listed_by(self.service, study, series)

    def __str__(self) -> str:
        """The service."""
        return str(self.service)


def way_to(config: NodeConfig, destination: Destination) -> Way:
    """The way to a configured destination."""
    if isinstance(destination, WebDestination):
        from dicom_node.peers.dicomweb import service_of

        return WebWay(service_of(config, destination))
    if isinstance(destination, DicomDestination):
        return DicomWay(peer_of(config, destination))
    raise TypeError(f"{destination.name} is of no kind")


def peer_of(config: NodeConfig, destination: DicomDestination) -> Peer:
    """A configured destination, as it is called."""
    return Peer(
        name=destination.name,
        ae_title=destination.ae_title,
        host=destination.host,
        port=destination.port,
        calling_ae_title=destination.calling_ae_title or config.node.ae_title,
        answer_timeout_s=config.delivery.timeout_s,
        tls=destination.tls,
    )
