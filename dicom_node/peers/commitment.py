"""Storage commitment SCU: asking a destination to commit to objects.

The request (N-ACTION, PS3.4 J.3.2) goes out on an association of its own. The report
(N-EVENT-REPORT, J.3.3) comes on the same one, if the destination is quick, or on one that
it opens to our receiver, seconds or days later. Whoever asks says what keeps it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicom_node.errors import PeerLacksServiceError, PeerRefusedError, PeerUnreachableError
from dicom_node.peers.association import Peer, associate

log = structlog.get_logger()

KeepReport = Callable[[evt.Event], tuple[int, None]]
"""Keeps what an N-EVENT-REPORT says, and answers its status (PS3.7 10.1.1)."""

SUCCESS: Final = 0x0000
REQUEST_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3-1)."""
REPORT_LINGER_S: Final = 1.0
"""The time for which an association stays open for a report; most destinations open theirs."""

ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
"""Result of a presentation context (PS3.8 Table 9-18)."""


def ask_to_commit(
    peer: Peer, transaction_uid: str, instances: Sequence[tuple[str, str]], keep: KeepReport
) -> None:
    """Ask a destination to commit to objects; a report that comes at once is kept.

    Args:
        peer: the destination.
        transaction_uid: names this request; the report carries it.
        instances: SOP Class UID and SOP Instance UID of each.
        keep: keeps a report that comes on the association of the request.

    Raises:
        PeerUnreachableError: no connection, no association, or no answer.
        PeerLacksServiceError: it knows no storage commitment.
        PeerRefusedError: it offers none today, or did not take the request.
    """
    contexts = [build_context(StorageCommitmentPushModel)]
    with associate(peer, contexts) as association:
        if not association.is_established:
            results = {context.result for context in association.rejected_contexts}
            lacks = results == {ABSTRACT_SYNTAX_NOT_SUPPORTED}
            error = PeerLacksServiceError if lacks else PeerRefusedError
            raise error(f"{peer} does not offer Storage Commitment")
        reports = _Reports(keep)
        association.bind(evt.EVT_N_EVENT_REPORT, reports.handle)
        try:
            answer, _ = association.send_n_action(
                _request(transaction_uid, instances),
                REQUEST_COMMITMENT,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
        except (RuntimeError, ValueError) as error:
            raise PeerUnreachableError(f"{peer} ended the association: {error}") from error
        if "Status" not in answer:
            raise PeerUnreachableError(f"{peer} did not answer the N-ACTION")
        if answer.Status != SUCCESS:
            raise PeerRefusedError(f"{peer} answered the N-ACTION with 0x{answer.Status:04X}")
        reports.linger()


def _request(transaction_uid: str, instances: Sequence[tuple[str, str]]) -> Dataset:
    """Action Information (PS3.4 Table J.3-2)."""
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for sop_class_uid, sop_instance_uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class_uid
        item.ReferencedSOPInstanceUID = sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    return request


class _Reports:
    """Keeps a report that comes on the association of its request."""

    def __init__(self, keep: KeepReport) -> None:
        self._keep = keep
        self._came = threading.Event()
        self._serving: threading.Thread | None = None

    def handle(self, event: evt.Event) -> tuple[int, None]:
        """Keep one report; pynetdicom answers it on the same thread afterwards."""
        self._serving = threading.current_thread()
        status = self._keep(event)
        self._came.set()
        return status

    def linger(self) -> None:
        """Wait a moment for a report, and until it is answered."""
        if self._came.wait(REPORT_LINGER_S) and self._serving is not None:
            self._serving.join(REPORT_LINGER_S)
