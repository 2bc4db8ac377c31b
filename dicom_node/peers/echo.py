"""Verification SCU: C-ECHO."""

from __future__ import annotations

from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from dicom_node.errors import (
    PeerRefusedError,
    PeerUnreachableError,
)
from dicom_node.peers.association import Peer, associate


def echo(peer: Peer) -> None:
    """Ask a peer whether it is there (C-ECHO).

    Raises:
        PeerUnreachableError: no connection, a rejected association, or no answer.
        PeerRefusedError: it answered, but not with success.
    """
    with associate(peer, [build_context(Verification)]) as association:
        if not association.is_established:
            raise PeerRefusedError(f"{peer} does not offer Verification")
        try:
            answer = association.send_c_echo()
        except (RuntimeError, ValueError) as error:
            raise PeerUnreachableError(f"{peer} ended the association: {error}") from error
        if "Status" not in answer:
            raise PeerUnreachableError(f"{peer} did not answer the C-ECHO")
        if answer.Status != 0:
            raise PeerRefusedError(f"{peer} answered the C-ECHO with 0x{answer.Status:04X}")
