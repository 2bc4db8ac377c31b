"""Wire out: asking a peer whether it is there, and sending it files as they are.

A file's bytes go out unread: its file meta information tells which presentation context it
needs. Only a peer that refuses the file's own uncompressed syntax gets the same elements
and pixels in Implicit VR Little Endian, which every node must take (PS3.5 10.1).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicom_node.errors import PeerError, PeerRefusedError, PeerUnreachableError
from dicom_node.wire import (
    IMPLEMENTATION_CLASS_UID,
    MAX_PDU_BYTES,
    implementation_version,
    socket_of,
    tune,
)

log = structlog.get_logger()

MAX_CONTEXTS: Final = 128
"""Presentation context identifiers are the odd numbers 1 to 255 (PS3.8 9.3.2.2)."""

CONTEXT_RESULTS: Final = {
    1: "refused by the user",
    2: "refused, no reason given",
    3: "SOP class not supported",
    4: "transfer syntax not supported",
}
"""Result of a presentation context (PS3.8 Table 9-18), in words."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote application entity, and how long to wait for it.

    name: how configuration and messages call it.
    connect_timeout_s: for the TCP connection and the association.
    answer_timeout_s: for each answer, and for a stalled connection.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "MSKNODE"
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 60.0

    def __str__(self) -> str:
        """As on the command line: `AETITLE@host:port`."""
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one file.

    status: the C-STORE status, or None where none came.
    reason: empty for success; why not, or what the warning says, otherwise.
    comment: the peer's own Error Comment. It may name the patient: show it to the person
        who sends, keep it out of logs and ledger.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    reason: str = ""
    comment: str = ""

    @property
    def stored(self) -> bool:
        """Whether the peer has the instance: success or a warning (PS3.4 B.2.3)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)


def echo(peer: Peer) -> None:
    """Ask a peer whether it is there (C-ECHO).

    Raises:
        PeerUnreachableError: no connection, a rejected association, or no answer.
        PeerRefusedError: it answered, but not with success.
    """
    with _association(peer, [build_context(Verification)]) as association:
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


def send(
    peer: Peer,
    paths: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SendOutcome, ...]:
    """Send files to a peer, in one association; answers one outcome a path, in order.

    More SOP classes and transfer syntaxes than one association can negotiate go in several.

    Raises:
        PeerUnreachableError: no connection, or the association was rejected, before
            anything was sent.
    """
    parcels = [_parcel(path) for path in paths]
    outcomes = {
        number: parcel
        for number, parcel in enumerate(parcels)
        if isinstance(parcel, SendOutcome)
    }
    for batch in _batches(parcels):
        try:
            for number, outcome in _send_batch(peer, batch):
                outcomes[number] = outcome
                if progress is not None:
                    progress(len(outcomes), len(paths))
        except PeerUnreachableError as error:
            if not any(outcome.stored for outcome in outcomes.values()):
                raise
            for number, unsent in batch.items():
                outcomes.setdefault(number, unsent.outcome(None, str(error)))
    return tuple(outcomes[number] for number in range(len(paths)))


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A file to send, and the presentation context it needs."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def contexts(self) -> tuple[tuple[str, str], ...]:
        """Abstract and transfer syntax that would do, the best first."""
        own = (self.sop_class_uid, self.transfer_syntax_uid)
        if self.transfer_syntax_uid != ExplicitVRLittleEndian:
            return (own,)
        return (own, (self.sop_class_uid, ImplicitVRLittleEndian))

    def outcome(self, status: int | None, reason: str = "", comment: str = "") -> SendOutcome:
        """What became of this file."""
        return SendOutcome(self.path, self.sop_instance_uid, status, reason, comment)


def _parcel(path: Path) -> _Parcel | SendOutcome:
    """What a file's meta information says, or why it cannot be sent."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta = read_file_meta_info(path)
        return _Parcel(
            path,
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
        )
    except (InvalidDicomError, AttributeError, EOFError):
        return SendOutcome(path, "", None, "not a DICOM file with file meta information")
    except OSError as error:
        return SendOutcome(path, "", None, f"cannot be read: {error.strerror}")


def _batches(parcels: Sequence[_Parcel | SendOutcome]) -> Iterator[dict[int, _Parcel]]:
    """Parcels by their place in the whole, as many as one association can negotiate."""
    batch: dict[int, _Parcel] = {}
    contexts: set[tuple[str, str]] = set()
    for number, parcel in enumerate(parcels):
        if isinstance(parcel, SendOutcome):
            continue
        if len(contexts.union(parcel.contexts)) > MAX_CONTEXTS:
            yield batch
            batch, contexts = {}, set()
        contexts.update(parcel.contexts)
        batch[number] = parcel
    if batch:
        yield batch


def _send_batch(peer: Peer, batch: dict[int, _Parcel]) -> Iterator[tuple[int, SendOutcome]]:
    """Send one association's worth; whatever happens, every parcel gets its outcome."""
    pairs = dict.fromkeys(pair for parcel in batch.values() for pair in parcel.contexts)
    contexts = [build_context(UID(abstract), UID(syntax)) for abstract, syntax in pairs]
    with _association(peer, contexts) as association:
        for number, parcel in batch.items():
            outcome = _send_one(peer, association, parcel)
            if not outcome.stored:
                log.warning(
                    "send.refused",
                    peer=peer.name,
                    sop_instance_uid=outcome.sop_instance_uid,
                    status=outcome.status,
                    reason=outcome.reason,
                )
            yield number, outcome


def _send_one(peer: Peer, association: Any, parcel: _Parcel) -> SendOutcome:
    """Send one file on an association, if that has a context for it."""
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    usable = next((pair for pair in parcel.contexts if pair in accepted), None)
    if usable is None:
        return parcel.outcome(None, _refusal(association, parcel))
    if not association.is_established:
        return parcel.outcome(None, f"{peer} ended the association before this object")
    try:
        exact = usable[1] == parcel.transfer_syntax_uid
        source = parcel.path if exact else _implicit(parcel.path)
        answer = association.send_c_store(source)
    except (RuntimeError, ValueError, AttributeError, OSError) as error:
        return parcel.outcome(None, f"could not be sent: {error}")
    if "Status" not in answer:
        waited = f"{peer.answer_timeout_s:g} s"
        return parcel.outcome(None, f"{peer} broke off or did not answer within {waited}")
    status, comment = int(answer.Status), str(answer.get("ErrorComment") or "")
    return parcel.outcome(status, _status_words(status), comment)


def _implicit(path: Path) -> Dataset:
    """The same elements and pixels, to be encoded with implicit value representations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _status_words(status: int) -> str:
    """A status with its meaning in the standard (PS3.4 Table B.2-1); nothing for success."""
    if status == 0:
        return ""
    category, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status, ("Unknown", ""))
    return ", ".join(part for part in (f"0x{status:04X}", category.lower(), meaning) if part)


def _refusal(association: Any, parcel: _Parcel) -> str:
    """Why there is no presentation context for a file."""
    for context in association.rejected_contexts:
        if (str(context.abstract_syntax), str(context.transfer_syntax[0])) == parcel.contexts[
            0
        ]:
            why = CONTEXT_RESULTS.get(context.result, "refused")
            break
    else:
        why = "refused"
    return (
        f"presentation context {why}: {UID(parcel.sop_class_uid).name}"
        f" in {UID(parcel.transfer_syntax_uid).name}"
    )


@contextmanager
def _association(peer: Peer, contexts: list[PresentationContext]) -> Iterator[Any]:
    """An association, released afterwards.

    Yields also where the peer refused every presentation context: then it is not
    established, and its rejected contexts say why.
    """
    connected: list[bool] = []
    handlers = [(evt.EVT_CONN_OPEN, _handle_open, [peer.answer_timeout_s, connected])]
    try:
        association = _entity(peer).associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU_BYTES,
            evt_handlers=handlers,
        )
    except (OSError, ValueError) as error:
        raise PeerUnreachableError(f"{peer} cannot be called: {error}") from error
    if not association.is_established and not association.rejected_contexts:
        raise _why_not(peer, association, was_connected=bool(connected))
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _entity(peer: Peer) -> AE:
    entity = AE(ae_title=peer.calling_ae_title)
    entity.connection_timeout = peer.connect_timeout_s
    entity.acse_timeout = peer.connect_timeout_s
    entity.dimse_timeout = peer.answer_timeout_s
    entity.network_timeout = peer.answer_timeout_s
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = implementation_version()
    return entity


def _handle_open(event: evt.Event, stall_s: float, connected: list[bool]) -> None:
    connected.append(True)
    connection = socket_of(event.assoc)
    if connection is not None:
        tune(connection, stall_s)


def _why_not(peer: Peer, association: Any, *, was_connected: bool) -> PeerError:
    """The error for an association that did not come about."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        return PeerUnreachableError(
            f"{peer} rejected the association called from {peer.calling_ae_title}:"
            f" {answer.reason_str} ({answer.result_str})"
        )
    if was_connected:
        return PeerUnreachableError(
            f"{peer} took the connection but not the association, within"
            f" {peer.connect_timeout_s:g} s; is it a DICOM port?"
        )
    return PeerUnreachableError(
        f"{peer} cannot be reached: no connection to {peer.host} port {peer.port}"
    )
