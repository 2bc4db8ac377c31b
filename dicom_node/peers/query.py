"""Asking a peer which instances of a series it lists (C-FIND, PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.errors import PeerRefusedError, PeerUnreachableError
from dicom_node.peers.association import Peer, associate

SUCCESS: Final = 0x0000
PENDING: Final = (0xFF00, 0xFF01)
"""PS3.4 Table C.4-1."""


def listed_instances(peer: Peer, study: str, series: Iterable[str]) -> frozenset[str]:
    """The SOP Instance UIDs that a peer lists in these series of a study.

    Raises:
        PeerUnreachableError: no connection, no association, or the answers broke off.
        PeerRefusedError: it offers no query, or answered one with a failure.
    """
    contexts = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    with associate(peer, contexts) as association:
        if not association.is_established:
            raise PeerRefusedError(f"{peer} does not offer C-FIND (Study Root)")
        found: set[str] = set()
        for one in series:
            found |= _listed(peer, association, study, one)
    return frozenset(found)


def _listed(peer: Peer, association: Any, study: str, series: str) -> set[str]:
    """The SOP Instance UIDs that are listed in one series."""
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = study
    query.SeriesInstanceUID = series
    query.SOPInstanceUID = ""
    found: set[str] = set()
    try:
        answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
        for status, match in answers:
            # An archive that does not know us may just stop answering.
            if "Status" not in status:
                raise PeerUnreachableError(f"{peer} did not answer the C-FIND to its end")
            if status.Status == SUCCESS:
                return found
            if status.Status not in PENDING:
                raise PeerRefusedError(f"{peer} answered the C-FIND with 0x{status.Status:04X}")
            if match is not None:
                found.add(str(match.get("SOPInstanceUID", "")))
    except (RuntimeError, ValueError) as error:
        raise PeerUnreachableError(f"{peer} ended the association: {error}") from error
    raise PeerUnreachableError(f"{peer} did not answer the C-FIND to its end")
