"""Wire out: asking a peer whether it is there, and sending it files as they are.

A file's bytes go out unread: its file meta information tells which presentation context it
needs. Only a peer that refuses the file's own syntax gets the same elements and pixels in
another one: Implicit VR Little Endian, which every node must take (PS3.5 10.1), for an
uncompressed file; either uncompressed little endian syntax for an RLE Lossless one, such as
a label map. What is compressed in any other way is never converted.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicom_node.config import DestinationTls, DicomDestination, NodeConfig
from dicom_node.errors import (
    ConfigurationError,
    PeerError,
    PeerRefusedError,
    PeerUnreachableError,
)
from dicom_node.tls import Call
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

MAX_MESSAGE_ID: Final = 65535
"""Message identifiers are unsigned 16-bit numbers (PS3.7 E.1); no two alike are open."""

CONTEXT_RESULTS: Final = {
    1: "refused by the user",
    2: "refused, no reason given",
    3: "SOP class not supported",
    4: "transfer syntax not supported",
}
"""Result of a presentation context (PS3.8 Table 9-18), in words."""

NEVER_ACCEPTED: Final = frozenset({3, 4})
"""Results that say what a peer is able to do, not how it is today (PS3.8 Table 9-18)."""

SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
"""Status of a C-STORE (PS3.7 C.5.6)."""

FALLBACKS: Final[Mapping[str, tuple[str, ...]]] = {
    ExplicitVRLittleEndian: (ImplicitVRLittleEndian,),
    RLELossless: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
}
"""Transfer syntaxes a file may be converted to without loss, by its own; the best first."""

LATER_NAMES: Final = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}
"""SOP classes (PS3.4 Table B.5-1) whose names the library's dictionary does not have."""

UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    InvalidDicomError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading and decompressing a damaged file may raise."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote application entity, and how long to wait for it.

    name: how configuration and messages call it.
    connect_timeout_s: for the TCP connection and the association.
    answer_timeout_s: for each answer, and for a stalled connection.
    tls: how it proves who it is, and how we do; without it, a plain connection.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "MSKNODE"
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 60.0
    tls: DestinationTls | None = None

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
    refused: trying again cannot help: the peer does not support the SOP class or none of
        the transfer syntaxes that the file can be sent in.
    again_after_s: how long the peer wants to be left alone; 0 where it did not say.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    reason: str = ""
    comment: str = ""
    refused: bool = False
    again_after_s: float = 0.0

    @property
    def stored(self) -> bool:
        """Whether the peer has the instance: success or a warning (PS3.4 B.2.3)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)


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


def send(
    peer: Peer,
    paths: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
    requires: Mapping[Path, Collection[Path]] | None = None,
) -> tuple[SendOutcome, ...]:
    """Send files to a peer, in one association; answers one outcome a path, in order.

    They go out strictly one after the other, in the order given. More SOP classes and
    transfer syntaxes than one association can negotiate go in several, one after the other.
    An RLE Lossless file is offered uncompressed too; a peer that accepts only that gets the
    same SOP instance decompressed, for which it is held in memory.

    Args:
        peer: Where to send them.
        paths: DICOM files with file meta information.
        progress: Called after each file with the number done and the number of all.
        requires: By path, the paths before it without which the peer is not to get it. Only
            what is stored by this very call counts. What is held back has neither status nor
            `refused`, and its reason names what it waits for.

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
    order = _Order(requires or {}, {p.path: p for p in parcels if isinstance(p, _Parcel)})
    for batch in _batches(parcels):
        try:
            for number, outcome in _send_batch(peer, batch, order):
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
        others = FALLBACKS.get(self.transfer_syntax_uid, ())
        syntaxes = (self.transfer_syntax_uid, *others)
        return tuple((self.sop_class_uid, syntax) for syntax in syntaxes)

    def outcome(
        self,
        status: int | None,
        reason: str = "",
        comment: str = "",
        *,
        refused: bool = False,
    ) -> SendOutcome:
        """What became of this file."""
        return SendOutcome(self.path, self.sop_instance_uid, status, reason, comment, refused)


@dataclass(slots=True)
class _Order:
    """What must have been stored before what, and what has been.

    requires: paths by the path that needs them.
    parcels: what is sent, by path.
    """

    requires: Mapping[Path, Collection[Path]]
    parcels: Mapping[Path, _Parcel]
    stored: set[Path] = field(default_factory=set)

    def waits_for(self, path: Path) -> str:
        """Why a path is held back, in words; empty when it may go."""
        missing = next((p for p in self.requires.get(path, ()) if p not in self.stored), None)
        if missing is None:
            return ""
        parcel = self.parcels.get(missing)
        name = _name(parcel.sop_class_uid) if parcel else "an object"
        return f"waits for {name} that was not taken"


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


def _send_batch(
    peer: Peer, batch: dict[int, _Parcel], order: _Order
) -> Iterator[tuple[int, SendOutcome]]:
    """Send one association's worth; whatever happens, every parcel gets its outcome."""
    pairs = dict.fromkeys(pair for parcel in batch.values() for pair in parcel.contexts)
    contexts = [build_context(UID(abstract), UID(syntax)) for abstract, syntax in pairs]
    with associate(peer, contexts) as association:
        for number, parcel in batch.items():
            if held_back := order.waits_for(parcel.path):
                log.warning("send.held_back", peer=peer.name, reason=held_back)
                yield number, parcel.outcome(None, held_back)
                continue
            outcome = _send_one(peer, association, parcel, number % MAX_MESSAGE_ID + 1)
            if outcome.stored:
                order.stored.add(parcel.path)
            else:
                log.warning(
                    "send.refused",
                    peer=peer.name,
                    sop_instance_uid=outcome.sop_instance_uid,
                    status=outcome.status,
                    reason=outcome.reason,
                )
            yield number, outcome


def _send_one(peer: Peer, association: Any, parcel: _Parcel, message_id: int) -> SendOutcome:
    """Send one file on an association, if that has a context for it."""
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    usable = next((pair for pair in parcel.contexts if pair in accepted), None)
    if usable is None:
        proposed = association.requestor.requested_contexts
        reason, refused = _refusal(proposed, association.rejected_contexts, parcel)
        return parcel.outcome(None, reason, refused=refused)
    if not association.is_established:
        return parcel.outcome(None, f"{peer} ended the association before this object")
    try:
        exact = usable[1] == parcel.transfer_syntax_uid
        source = parcel.path if exact else _uncompressed(parcel.path)
        answer = association.send_c_store(source, message_id)
    except (RuntimeError, ValueError, AttributeError, OSError) as error:
        return parcel.outcome(None, f"could not be sent: {error}")
    if "Status" not in answer:
        # The library takes a moment to see that a connection is gone. An object sent in that
        # moment would be waited for in vain, as long as for an answer.
        association.kill()
        waited = f"{peer.answer_timeout_s:g} s"
        return parcel.outcome(None, f"{peer} broke off or did not answer within {waited}")
    status, comment = int(answer.Status), str(answer.get("ErrorComment") or "")
    refused = status == SOP_CLASS_NOT_SUPPORTED
    return parcel.outcome(status, _status_words(status), comment, refused=refused)


def _uncompressed(path: Path) -> Dataset:
    """The same instance, to be encoded in whichever uncompressed syntax was accepted.

    No bit of a pixel changes, so it keeps its SOP Instance UID.

    Raises:
        ValueError: the file is damaged. What exactly pydicom minded may quote the patient,
            and goes into no reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(path)
            if dataset.file_meta.TransferSyntaxUID.is_compressed:
                dataset.decompress(as_rgb=False, generate_instance_uid=False)
    except UNREADABLE as error:
        msg = f"its pixels cannot be decompressed ({type(error).__name__})"
        raise ValueError(msg) from None
    return dataset


def _status_words(status: int) -> str:
    """A status with its meaning in the standard (PS3.4 Table B.2-1); nothing for success."""
    if status == 0:
        return ""
    category, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status, ("Unknown", ""))
    return ", ".join(part for part in (f"0x{status:04X}", category.lower(), meaning) if part)


def _refusal(
    proposed: Sequence[PresentationContext],
    rejected: Sequence[PresentationContext],
    parcel: _Parcel,
) -> tuple[str, bool]:
    """Why there is no presentation context for a file, and whether there never will be.

    A rejection is known by its number alone: the transfer syntax that comes with it means
    nothing (PS3.8 Table 9-18), and DCMTK's is always Implicit VR Little Endian.
    """
    numbers = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
        for context in proposed
    }
    by_number = {context.context_id: context.result for context in rejected}
    results = [by_number.get(numbers.get(pair)) for pair in parcel.contexts]
    why = CONTEXT_RESULTS.get(results[0] or 0, "refused")
    reason = (
        f"presentation context {why}: {_name(parcel.sop_class_uid)}"
        f" in {_name(parcel.transfer_syntax_uid)}"
    )
    return reason, all(result in NEVER_ACCEPTED for result in results)


def _name(uid: str) -> str:
    """A SOP class or transfer syntax in words."""
    return LATER_NAMES.get(uid) or UID(uid).name


@contextmanager
def associate(peer: Peer, contexts: list[PresentationContext]) -> Iterator[Any]:
    """An association, released afterwards.

    Yields also where the peer refused every presentation context: then it is not
    established, and its rejected contexts say why.
    """
    connected: list[bool] = []
    handlers = [(evt.EVT_CONN_OPEN, _handle_open, [peer.answer_timeout_s, connected])]
    try:
        call = Call(peer.tls) if peer.tls is not None else None
        association = _entity(peer).associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU_BYTES,
            evt_handlers=handlers,
            tls_args=None if call is None else (call, _expected_name(peer)),
        )
    except (ConfigurationError, OSError, ValueError) as error:
        raise PeerUnreachableError(f"{peer} cannot be called: {error}") from error
    if not association.is_established and not association.rejected_contexts:
        raise _why_not(
            peer, association, call.problem if call else "", was_connected=bool(connected)
        )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _expected_name(peer: Peer) -> str:
    """The name that the peer's certificate should bear."""
    return (peer.tls and peer.tls.server_name) or peer.host


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


def _why_not(
    peer: Peer, association: Any, tls_problem: str, *, was_connected: bool
) -> PeerError:
    """The error for an association that did not come about."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        return PeerUnreachableError(
            f"{peer} rejected the association called from {peer.calling_ae_title}:"
            f" {answer.reason_str} ({answer.result_str})"
        )
    if tls_problem:
        return PeerUnreachableError(f"{peer} cannot be reached by TLS: {tls_problem}")
    if was_connected:
        return PeerUnreachableError(
            f"{peer} took the connection but not the association, within"
            f" {peer.connect_timeout_s:g} s; is it a DICOM port"
            f" {'of TLS' if peer.tls else 'without TLS'}?"
        )
    return PeerUnreachableError(
        f"{peer} cannot be reached: no connection to {peer.host} port {peer.port}"
    )
