"""Storage commitment: asking a destination to commit to objects, and keeping its reports.

The request (N-ACTION, PS3.4 J.3.2) goes out on an association of its own. The report
(N-EVENT-REPORT, J.3.3) comes on the same one, if the destination is quick, or on one that
it opens to our receiver, seconds or days later. Either way it is a file before it is
answered with success; `visits.py` reads it and enters what it says into the ledger.

```
spool/.reports/<Transaction UID>.json
```
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicom_node.case_store import write_durably
from dicom_node.errors import PeerLacksServiceError, PeerRefusedError, PeerUnreachableError
from dicom_node.peers import Peer, associate
from dicom_node.spool import is_uid

log = structlog.get_logger()

REPORTS: Final = ".reports"
"""Where reports are kept, below the spool."""
REQUEST_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3-1)."""
REPORT_LINGER_S: Final = 1.0
"""How long an association stays open for a report; most destinations open one of theirs."""
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
"""PS3.7 C.5.9: the report could not be kept; the destination may send it again."""
INVALID_ARGUMENT: Final = 0x0115
"""PS3.7 C.5.13."""

FAILURES: Final[Mapping[int, str]] = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "referenced SOP class not supported",
    0x0119: "class / instance conflict",
    0x0131: "duplicate transaction UID",
}
"""Failure Reason (0008,1197) in words (PS3.4 J.3.3.1.1)."""

ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
"""Result of a presentation context (PS3.8 Table 9-18)."""
NEVER_COMMITTED: Final = frozenset({0x0122, 0x0119})
"""Reasons that sending the object again does not change."""

DUPLICATE_TRANSACTION: Final = 0x0131
"""A reason that says something of the request and nothing of the object."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a destination says of one request.

    committed: SOP Instance UIDs that it has for good.
    failed: the others, with the Failure Reason of each.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: Mapping[str, int]


def failure_words(reason: int) -> str:
    """A Failure Reason in words: `0112H, no such object instance`."""
    return f"{reason:04X}H, {FAILURES.get(reason, 'a reason of its own')}"


def ask_to_commit(
    peer: Peer, transaction_uid: str, instances: Sequence[tuple[str, str]], folder: Path
) -> None:
    """Ask a destination to commit to objects; its report is kept in `folder`.

    Args:
        peer: the destination.
        transaction_uid: names this request; the report carries it.
        instances: SOP Class UID and SOP Instance UID of each.
        folder: where reports are kept.

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
        reports = _Reports(folder)
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


def handle_report(event: evt.Event, folder: Path) -> tuple[int, None]:
    """Answer a report on an association that the destination opened."""
    try:
        information = event.event_information
    except Exception:  # noqa: BLE001 - whatever a broken dataset raises
        log.warning("commitment.unreadable")
        return INVALID_ARGUMENT, None
    return keep_report(information, folder), None


def keep_report(information: Dataset, folder: Path) -> int:
    """Keep a report durably; answers the status of its N-EVENT-REPORT."""
    try:
        report = _report(information)
    except Exception:  # noqa: BLE001 - values are decoded late; any of them may be broken
        report = None
    if report is None:
        log.warning("commitment.unreadable")
        return INVALID_ARGUMENT
    content = {
        "transaction_uid": report.transaction_uid,
        "committed": report.committed,
        "failed": report.failed,
    }
    try:
        write_durably(_path(folder, report.transaction_uid), json.dumps(content).encode())
    except OSError:
        log.exception("commitment.not_kept")
        return PROCESSING_FAILURE
    log.info("commitment.reported", count=len(report.committed), key=report.transaction_uid)
    return SUCCESS


def read_reports(folder: Path) -> Iterator[Report]:
    """The reports that are kept and not forgotten yet."""
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            committed, failed = tuple(content["committed"]), dict(content["failed"])
            report = Report(content["transaction_uid"], committed, failed)
        except (KeyError, TypeError, ValueError):
            # One that a disk has spoiled must not keep all others waiting.
            log.exception("commitment.unreadable", path=path.name)
            path.rename(path.with_suffix(".unreadable"))
            continue
        yield report


def forget_report(folder: Path, report: Report) -> None:
    """Delete a report that has been entered into the ledger."""
    _path(folder, report.transaction_uid).unlink(missing_ok=True)


def _path(folder: Path, transaction_uid: str) -> Path:
    return folder / f"{transaction_uid}.json"


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


def _report(information: Dataset) -> Report | None:
    """Event Information (PS3.4 Table J.3-3); None where it names no transaction."""
    transaction_uid = str(information.get("TransactionUID", ""))
    if not is_uid(transaction_uid):
        return None
    committed = information.get("ReferencedSOPSequence") or ()
    failed = information.get("FailedSOPSequence") or ()
    return Report(
        transaction_uid,
        tuple(str(item.ReferencedSOPInstanceUID) for item in committed),
        {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in failed},
    )


class _Reports:
    """Keeps a report that comes on the association of its request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._came = threading.Event()
        self._serving: threading.Thread | None = None

    def handle(self, event: evt.Event) -> tuple[int, None]:
        """Keep one report; pynetdicom answers it on the same thread afterwards."""
        self._serving = threading.current_thread()
        status = handle_report(event, self._folder)
        self._came.set()
        return status

    def linger(self) -> None:
        """Wait a moment for a report, and until it is answered."""
        if self._came.wait(REPORT_LINGER_S) and self._serving is not None:
            self._serving.join(REPORT_LINGER_S)
