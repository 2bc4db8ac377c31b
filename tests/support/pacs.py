"""A peer to send to: a Storage SCP on a free port that can refuse, stall and break off."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

DEFAULT_CONTEXTS = (
    (Verification, [ImplicitVRLittleEndian]),
    (CTImageStorage, [ExplicitVRLittleEndian]),
)


@dataclass
class Pacs:
    """What the peer does, and what it got.

    statuses: answered to successive C-STOREs; success when they run out. A Dataset may carry
        an Error Comment.
    stalled: while set, no C-STORE and no N-ACTION is answered, until it is `released`.
    keeps: set when a request is kept waiting for its answer.
    break_off_after: closes the connection after this many bytes of an association.
    answers_twice: how many C-STOREs, the first ones, are answered with success once too often.
    duplicates: the status for an object that it has; None: it takes it once more.
    lost_answers: how many C-STOREs, the first ones, it takes and then closes the connection.
    reports: on which association it reports on a commitment: "same", "new" (opened to
        `report_port` by `report`), or "never".
    failures: Failure Reasons by SOP Instance UID; the rest of what is asked for is committed.
    action_status: answered to N-ACTION.
    unlisted: SOP Instance UIDs that C-FIND does not list.
    find_status: the last status of a C-FIND; None breaks it off.
    asked: the Action Information of each N-ACTION.
    queries: how many C-FINDs came.
    refused: the SOP Instance UIDs of what it had.
    port: where it listens; 0 takes any free port, and then says which. It listens there again
        when it runs again.
    """

    contexts: Sequence[tuple[Any, Sequence[Any]]] = DEFAULT_CONTEXTS
    statuses: Iterable[int | Dataset] = ()
    calling_ae_titles: tuple[str, ...] = ()
    echo_status: int = 0
    break_off_after: int | None = None
    answers_twice: int = 0
    duplicates: int | None = None
    lost_answers: int = 0
    reports: str = "never"
    report_port: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    action_status: int = 0
    unlisted: set[str] = field(default_factory=set)
    find_status: int | None = 0
    asked: list[Dataset] = field(default_factory=list)
    queries: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    keeps: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    received: list[tuple[str, str, bytes]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    associations: list[str] = field(default_factory=list)
    port: int = 0
    host: str = "127.0.0.1"

    @contextmanager
    def running(self) -> Iterator[Pacs]:
        """Listen until the end of the block, which lets go of every request that is kept."""
        self.released.clear()
        answers = chain(self.statuses, repeat(0x0000))
        entity = AE(ae_title="PACS")
        entity.require_calling_aet = list(self.calling_ae_titles)
        handlers = [
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_ECHO, lambda _event: self.echo_status),
            (evt.EVT_C_STORE, self._store, [answers]),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_DATA_RECV, self._count, [[0]]),
        ]
        contexts = [
            build_context(abstract, list(syntaxes)) for abstract, syntaxes in self.contexts
        ]
        server = entity.start_server(
            (self.host, self.port), block=False, contexts=contexts, evt_handlers=handlers
        )
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            self.released.set()
            entity.shutdown()

    def _accepted(self, event: evt.Event) -> None:
        self.associations.append(event.assoc.requestor.ae_title)

    def _store(self, event: evt.Event, answers: Iterator[int | Dataset]) -> int | Dataset:
        self._keep_waiting()
        uid = str(event.request.AffectedSOPInstanceUID)
        if self.duplicates is not None and uid in {each for each, _, _ in self.received}:
            self.refused.append(uid)
            return self.duplicates
        answer = next(answers)
        self.received.append(
            (
                str(event.request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                event.request.DataSet.getvalue(),
            )
        )
        if len(self.received) <= self.lost_answers:
            event.assoc.abort()
        if len(self.received) <= self.answers_twice:
            answer_once_more(event)
        return answer

    def _action(self, event: evt.Event) -> tuple[int, None]:
        self._keep_waiting()
        self.asked.append(event.action_information)
        if self.reports == "same":
            threading.Thread(target=self._report_there, args=[event.assoc]).start()
        return self.action_status, None

    def _keep_waiting(self) -> None:
        """Return when a request may be answered."""
        if self.stalled.is_set():
            self.keeps.set()
            self.released.wait()

    def _report_there(self, association: Any) -> None:
        """Report on the association of the request, once that is answered."""
        request = self.asked[-1]
        threading.Event().wait(0.2)
        # Whoever asked has gone, before or without an answer; it asks again.
        with suppress(RuntimeError, AttributeError):
            self._send_report(association, request)

    def report(self, request: Dataset) -> int:
        """Report on an association of our own; the status of the answer."""
        entity = AE(ae_title="PACS")
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = entity.associate("127.0.0.1", self.report_port, ext_neg=[role])
        assert association.is_established
        try:
            return self._send_report(association, request)
        finally:
            association.release()

    def _send_report(self, association: Any, request: Dataset) -> int:
        status, _ = association.send_n_event_report(
            self._report_on(request),
            2 if self.failures else 1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        return int(status.Status)

    def _report_on(self, request: Dataset) -> Dataset:
        report, committed, failed = Dataset(), [], []
        for item in request.ReferencedSOPSequence:
            reason = self.failures.get(item.ReferencedSOPInstanceUID)
            (committed if reason is None else failed).append(item)
            if reason is not None:
                item.FailureReason = reason
        report.TransactionUID = request.TransactionUID
        report.ReferencedSOPSequence = committed
        if failed:
            report.FailedSOPSequence = failed
        return report

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """Every object that came, whatever series is asked for, less those not listed."""
        self.queries += 1
        if self.find_status is None:
            event.assoc.abort()
            return
        for uid in dict.fromkeys(uid for uid, _, _ in self.received):
            if uid not in self.unlisted:
                match = Dataset()
                match.QueryRetrieveLevel = "IMAGE"
                match.SOPInstanceUID = uid
                yield 0xFF00, match
        yield self.find_status, None

    def _count(self, event: evt.Event, seen: list[int]) -> None:
        seen[0] += len(event.data)
        if self.break_off_after is not None and seen[0] > self.break_off_after:
            event.assoc.dul.socket.close()


def answer_once_more(event: evt.Event) -> None:
    """Answer a C-STORE with success, besides the answer that its handler gives."""
    response = C_STORE()
    response.MessageIDBeingRespondedTo = event.request.MessageID
    response.AffectedSOPClassUID = event.request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = event.request.AffectedSOPInstanceUID
    response.Status = 0x0000
    event.assoc.dimse.send_msg(response, event.context.context_id)


def dataset_bytes(path: Path) -> bytes:
    """What follows the file meta information of a file."""
    raw = path.read_bytes()
    return raw[144 + int.from_bytes(raw[140:144], "little") :]
