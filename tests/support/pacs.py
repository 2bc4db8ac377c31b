"""A peer to send to: a Storage SCP on a free port that can refuse, stall and break off."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, Verification

DEFAULT_CONTEXTS = (
    (Verification, [ImplicitVRLittleEndian]),
    (CTImageStorage, [ExplicitVRLittleEndian]),
)


@dataclass
class Pacs:
    """What the peer does, and what it got.

    statuses: answered to successive C-STOREs; success when they run out. A Dataset may carry
        an Error Comment.
    stalled: while set, no C-STORE is answered.
    break_off_after: closes the connection after this many bytes of an association.
    answers_twice: how many C-STOREs, the first ones, are answered with success once too often.
    """

    contexts: Sequence[tuple[Any, Sequence[Any]]] = DEFAULT_CONTEXTS
    statuses: Iterable[int | Dataset] = ()
    calling_ae_titles: tuple[str, ...] = ()
    echo_status: int = 0
    break_off_after: int | None = None
    answers_twice: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    received: list[tuple[str, str, bytes]] = field(default_factory=list)
    associations: list[str] = field(default_factory=list)
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Pacs]:
        """Listen until the end of the block."""
        answers = chain(self.statuses, repeat(0x0000))
        entity = AE(ae_title="PACS")
        entity.require_calling_aet = list(self.calling_ae_titles)
        handlers = [
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_ECHO, lambda _event: self.echo_status),
            (evt.EVT_C_STORE, self._store, [answers]),
            (evt.EVT_DATA_RECV, self._count, [[0]]),
        ]
        contexts = [
            build_context(abstract, list(syntaxes)) for abstract, syntaxes in self.contexts
        ]
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, contexts=contexts, evt_handlers=handlers
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
        if self.stalled.is_set():
            self.released.wait()
        answer = next(answers)
        self.received.append(
            (
                str(event.request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                event.request.DataSet.getvalue(),
            )
        )
        if len(self.received) <= self.answers_twice:
            answer_once_more(event)
        return answer

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
