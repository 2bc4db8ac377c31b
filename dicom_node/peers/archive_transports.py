"""Archives as they are configured: asked and emptied by DICOM, or by DICOMweb."""

# ruff: noqa: PLC0415 - a node without a DICOMweb service need not wait for what speaks HTTP
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from dicom_node.peers.archives import Answer, Archive, KeepInstance, Query, Retrieval, Wanted
from dicom_node.peers.association import Peer
from dicom_node.peers.find import Habits, find
from dicom_node.peers.retrieve import Receiving, get, move
from dicom_node.peers.transports import peer_of
from dicom_node.settings.archives import ArchiveSettings, retrieval_of
from dicom_node.settings.destinations import DicomDestination, WebDestination
from dicom_node.settings.node import NodeConfig

if TYPE_CHECKING:
    from dicom_node.peers.dicomweb import WebService


@dataclass(frozen=True, slots=True)
class DicomArchive:
    """An archive that is asked by C-FIND.

    peer: as it is called; its `answer_timeout_s` is for answers to queries.
    receiving: where it sends by C-MOVE; None: it gives by C-GET.
    silence_s: how long a retrieval may say and bring nothing.
    habits: how it answers.
    max_object_bytes: a larger object ends a C-GET.
    """

    peer: Peer
    receiving: Receiving | None
    silence_s: float
    habits: Habits
    max_object_bytes: int

    @property
    def name(self) -> str:
        """The archive's."""
        return self.peer.name

    def find(self, queries: Sequence[Query]) -> tuple[Answer, ...]:
        """C-FIND."""
        return find(self.peer, queries, self.habits)

    def retrieve(
        self, wanted: Collection[Wanted], keep: KeepInstance
    ) -> Mapping[Wanted, Retrieval]:
        """C-MOVE to where it is received, or C-GET."""
        if self.receiving is not None:
            return move(self.peer, wanted, self.receiving, self.silence_s)
        return get(self.peer, wanted, keep, self.silence_s, self.max_object_bytes)


@dataclass(frozen=True, slots=True)
class WebArchive:
    """An archive that is a DICOMweb service.

    service: as it is called; its `answer_timeout_s` is for answers to queries.
    silence_s, max_object_bytes: as of `DicomArchive`.
    max_answers: how many it gives to one request at most, where that is known.
    """

    service: WebService
    silence_s: float
    max_answers: int | None
    max_object_bytes: int

    @property
    def name(self) -> str:
        """The archive's."""
        return self.service.name

    def find(self, queries: Sequence[Query]) -> tuple[Answer, ...]:
        """QIDO-RS."""
        from dicom_node.peers.search_web import search

        return search(self.service, queries, self.max_answers)

    def retrieve(
        self, wanted: Collection[Wanted], keep: KeepInstance
    ) -> Mapping[Wanted, Retrieval]:
        """WADO-RS."""
        from dicom_node.peers.retrieve_web import retrieve

        patient = replace(self.service, answer_timeout_s=self.silence_s)
        return retrieve(patient, wanted, keep, self.max_object_bytes)


def archive_for(config: NodeConfig, archive: ArchiveSettings) -> Archive:
    """A configured archive, as it is asked.

    Raises:
        ValueError: it names a destination that there is not.
    """
    address = archive.address(config.destinations)
    max_object_bytes = config.receive.max_object_mb << 20
    if isinstance(address, WebDestination):
        from dicom_node.peers.dicomweb import service_of

        service = replace(
            service_of(config, address),
            name=archive.name,
            answer_timeout_s=archive.answer_timeout_s,
        )
        return WebArchive(service, archive.silence_s, archive.max_answers, max_object_bytes)
    peer = replace(
        peer_of(config, cast(DicomDestination, address)),
        name=archive.name,
        answer_timeout_s=archive.answer_timeout_s,
    )
    moves = retrieval_of(archive, address) == "move"
    ae_title = archive.move_to or config.node.ae_title
    receiving = Receiving(ae_title, config.node.spool) if moves else None
    habits = Habits(archive.max_answers, archive.answers_per_image)
    return DicomArchive(peer, receiving, archive.silence_s, habits, max_object_bytes)
