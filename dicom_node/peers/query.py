"""Asking a peer which instances of a series it lists (C-FIND, PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset

from dicom_node.errors import PeerRefusedError, PeerUnreachableError
from dicom_node.peers.archives import Level, Query
from dicom_node.peers.association import Peer
from dicom_node.peers.find import SUCCESS, ask, asking, identifier_of


def listed_instances(peer: Peer, study: str, series: Iterable[str]) -> frozenset[str]:
    """The SOP Instance UIDs that a peer lists in these series of a study.

    Raises:
        PeerUnreachableError: no connection, no association, or the answers broke off.
        PeerRefusedError: it offers no query, or answered one with a failure.
    """
    found: set[str] = set()

    def take(match: Dataset | None) -> bool:
        if match is not None:
            found.add(str(match.get("SOPInstanceUID", "")))
        return True

    with asking(peer) as association:
        for one in series:
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": one}
            status = ask(association, identifier_of(Query(Level.IMAGE, keys)), take)
            if status is None:
                raise PeerUnreachableError(f"{peer} did not answer the C-FIND to its end")
            if status != SUCCESS:
                raise PeerRefusedError(f"{peer} answered the C-FIND with 0x{status:04X}")
    return frozenset(found)
