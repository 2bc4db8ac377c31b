"""Wire in: a Storage and Verification SCP that keeps what it is sent, and nothing else.

An instance goes from the association to a durable file without being decoded: only its
series is looked up, in the first few hundred bytes. Success is answered once the bytes and
their name are on disk; a full or failing disk answers 0xA700 and leaves nothing behind.

pynetdicom is used as it is, with what a busy archive needs: large PDUs, contexts filled
in per association (copying all of them would take longer than a series), TCP_NODELAY, and
timeouts on accepted sockets.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node.admission import (
    AllowedSender,
    Caller,
    Gate,
    HostNames,
    Room,
    Rules,
    TurnedAway,
)
from dicom_node.commitment import REPORTS, handle_report
from dicom_node.config import ReceiveTls
from dicom_node.selection import CT_SOP_CLASSES
from dicom_node.spool import Spool, is_uid
from dicom_node.tls import Listener, TlsSocket, server_context
from dicom_node.transmissions import Transmissions
from dicom_node.wire import (
    IMPLEMENTATION_CLASS_UID,
    MAX_PDU_BYTES,
    file_meta_bytes,
    implementation_version,
    socket_of,
    tune,
)
from dicom_node.wire_limits import DEFAULT_OBJECT_BYTES, limit_objects

log = structlog.get_logger()

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
"""PS3.4 Table B.2-1."""
DOES_NOT_MATCH: Final = 0xA900
"""PS3.4 Table B.2-1: the dataset is not what the command says."""
CANNOT_UNDERSTAND: Final = 0xC000
"""PS3.4 Table B.2-1."""

TRANSFER_SYNTAXES: Final = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
)
"""What image instances may be encoded in: all are kept as they come."""

LISTEN_BACKLOG: Final = 128
"""Connections the system holds while associations are being set up (stock: 5)."""

HEAD_BYTES: Final = (65536, 1 << 24)
"""How far into a dataset its UIDs are looked for, first and at most."""

SERIES_INSTANCE_UID: Final = 0x0020000E
LOOKED_UP: Final = (0x00080016, 0x00080018, 0x0020000D, SERIES_INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """Who the receiver is and what it protects itself from.

    port: 0 takes any free port; `Receiver.port` says which.
    calling_ae_titles: who may call from anywhere; any, without senders too.
    senders: who else may call, and from where.
    called_ae_titles: by what names; empty: any.
    idle_timeout_s: how long an association may be silent, also inside an object.
    free_reserve_bytes: free space below which associations are rejected, and instances
        answered 0xA700.
    max_spool_bytes: the size of the spool from which on the same happens.
    tls: makes the port a TLS one; may open a plain one beside it.
    max_object_bytes: a larger object ends its association.
    """

    ae_title: str
    spool: Path
    host: str = "127.0.0.1"
    port: int = 11112
    calling_ae_titles: tuple[str, ...] = ()
    senders: tuple[AllowedSender, ...] = ()
    called_ae_titles: tuple[str, ...] = ()
    max_associations: int = 64
    idle_timeout_s: float = 60.0
    acse_timeout_s: float = 30.0
    free_reserve_bytes: int = 1 << 30
    max_spool_bytes: int | None = None
    tls: ReceiveTls | None = None
    max_object_bytes: int = DEFAULT_OBJECT_BYTES


class Receiver:
    """The SCP: started and stopped by its owner, or used as a context manager."""

    def __init__(self, settings: ReceiverSettings) -> None:
        self.settings = settings
        self.spool = Spool(settings.spool)
        self.room = Room(self.spool, settings.free_reserve_bytes, settings.max_spool_bytes)
        self._ae: AE | None = None
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port in use, once started."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Sweep what a crash left, bind and listen.

        Raises:
            OSError: the address cannot be bound.
            ConfigurationError: a certificate or a key cannot be used.
        """
        swept = self.spool.sweep()
        self.room.start()
        settings = self.settings
        turned_away = TurnedAway(settings.spool)
        gate = Gate(_rules(settings), self.room, turned_away, HostNames())
        self._ae = _application_entity(settings)
        handlers = [
            (evt.EVT_CONN_OPEN, _handle_open, [settings]),
            (evt.EVT_REQUESTED, _handle_requested, [gate]),
            (evt.EVT_REJECTED, _handle_rejected, [gate]),
            (evt.EVT_C_ECHO, _handle_echo),
            (evt.EVT_C_STORE, _handle_store, [partial(keep, self.spool, self.room)]),
            (evt.EVT_N_EVENT_REPORT, handle_report, [settings.spool / REPORTS]),
            (evt.EVT_RELEASED, _handle_released),
            (evt.EVT_ABORTED, _handle_broken_off),
            (evt.EVT_CONN_CLOSE, _handle_broken_off),
        ]
        self._server = self._listen(settings.port, handlers, settings.tls)
        if settings.tls is not None and settings.tls.plain_port is not None:
            self._listen(settings.tls.plain_port, handlers, None)
        log.info("receiver.started", host=settings.host, port=self.port, count=swept)

    def _listen(self, port: int, handlers: Sequence[Any], tls: ReceiveTls | None) -> Any:
        """Listen on one port."""
        if self._ae is None:
            raise RuntimeError("only a receiver that is starting listens")
        server = self._ae.start_server(
            (self.settings.host, port),
            block=False,
            contexts=[build_context(Verification)],
            evt_handlers=handlers,
            ssl_context=Listener(server_context(tls)) if tls is not None else None,
        )
        server.socket.listen(LISTEN_BACKLOG)
        return server

    def stop(self) -> None:
        """Stop listening and end open associations; what was answered is on disk."""
        self.room.stop()
        if self._ae is not None:
            self._ae.shutdown()
            self._ae = None
            log.info("receiver.stopped")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Instance:
    """One C-STORE request: what the command says, and the dataset as it came."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    dataset: memoryview


class _RefusedError(Exception):
    """An instance that is not kept: the status of its C-STORE, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def keep(spool: Spool, room: Room, instance: Instance, sent: Transmissions) -> int:
    """Keep one instance on disk; answers the status of its C-STORE."""
    uid = instance.sop_instance_uid
    if not is_uid(uid):
        # Said without it: what is no UID may be anything, a name too.
        log.warning("store.refused", reason="the SOP Instance UID is none")
        return CANNOT_UNDERSTAND
    try:
        series_uid = _series_of(instance)
    except _RefusedError as refused:
        log.warning("store.refused", sop_instance_uid=uid, reason=str(refused))
        return refused.status
    kept = _is_taken(spool, room, series_uid, instance)
    sent.came(series_uid, kept=kept)
    return SUCCESS if kept else OUT_OF_RESOURCES


def _is_taken(spool: Spool, room: Room, series_uid: str, instance: Instance) -> bool:
    """Write one instance, where there is room for it and the disk does not fail."""
    uid = instance.sop_instance_uid
    if lack := room.lacks(len(instance.dataset)):
        log.error("store.refused", sop_instance_uid=uid, reason=lack)
        return False
    meta = file_meta_bytes(
        instance.sop_class_uid,
        uid,
        instance.transfer_syntax_uid,
        instance.calling_ae_title,
        instance.called_ae_title,
    )
    try:
        spool.keep(series_uid, uid, (meta, instance.dataset))
    except OSError:
        log.exception("store.failed", sop_instance_uid=uid)
        return False
    room.add(len(instance.dataset))
    return True


def _series_of(instance: Instance) -> str:
    """The Series Instance UID, once the dataset is what the command says.

    Raises:
        _RefusedError: it cannot be read, names no series, or is another instance.
    """
    try:
        found = look_up(instance.dataset, instance.transfer_syntax_uid)
    except Exception as error:
        # pydicom lets out a dozen kinds, from struct.error to RecursionError.
        raise _RefusedError(CANNOT_UNDERSTAND, "not a readable dataset") from error
    series_uid = found.get(SERIES_INSTANCE_UID, "")
    if not is_uid(series_uid):
        raise _RefusedError(CANNOT_UNDERSTAND, "the Series Instance UID is missing or none")
    said = (found.get(0x00080016), found.get(0x00080018))
    if said != (instance.sop_class_uid, instance.sop_instance_uid):
        raise _RefusedError(DOES_NOT_MATCH, "not what the command says")
    return series_uid


def look_up(dataset: memoryview, transfer_syntax_uid: str) -> dict[int, str]:
    """SOP Class, SOP Instance, Study and Series Instance UID, without reading on after them."""
    # Nearly always the first bytes are enough; copying a large object only to look at its
    # start would double its memory.
    found: dict[int, str] = {}
    for size in HEAD_BYTES:
        found = _look_up_in(dataset[:size], UID(transfer_syntax_uid), size)
        if SERIES_INSTANCE_UID in found:
            break
    return found


def _look_up_in(head: memoryview, syntax: UID, size: int) -> dict[int, str]:
    if syntax == DeflatedExplicitVRLittleEndian:
        head = memoryview(zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, size))
    found = read_dataset(
        io.BytesIO(head),
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
        stop_when=_is_past_series,
        specific_tags=list(LOOKED_UP),
    )
    return {int(element.tag): str(element.value) for element in found}


def _is_past_series(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > SERIES_INSTANCE_UID


def _rules(settings: ReceiverSettings) -> Rules:
    """Who may call: titles from anywhere, and senders from where they belong."""
    from_anywhere = tuple(AllowedSender(title) for title in settings.calling_ae_titles)
    return Rules((*from_anywhere, *settings.senders), settings.called_ae_titles)


def _application_entity(settings: ReceiverSettings) -> AE:
    entity = AE(ae_title=settings.ae_title)
    entity.maximum_pdu_size = MAX_PDU_BYTES
    entity.maximum_associations = settings.max_associations
    entity.network_timeout = settings.idle_timeout_s
    entity.acse_timeout = settings.acse_timeout_s
    entity.dimse_timeout = settings.idle_timeout_s
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = implementation_version()
    return entity


def _handle_open(event: evt.Event, settings: ReceiverSettings) -> None:
    """Set up an accepted socket, which pynetdicom would let wait for ever."""
    vars(event.assoc)["transmissions"] = Transmissions(settings.spool)
    limit_objects(event.assoc, settings.max_object_bytes)
    connection = socket_of(event.assoc)
    if connection is not None:
        tune(connection, settings.idle_timeout_s)


def _handle_requested(event: evt.Event, gate: Gate) -> None:
    """Let an association in or not; support what it proposes, as far as we support it."""
    association = event.assoc
    request = association.requestor.primitive
    connection = socket_of(association)
    shown = connection.shown if isinstance(connection, TlsSocket) else ""
    reason = gate.refuses(_caller(association), shown)
    if reason is not None:
        # The library can check calling titles alone, and a single called one.
        association.acse.send_reject(*reason.rejection)
        association.kill()
        return
    association.acceptor.supported_contexts = supported(
        request.presentation_context_definition_list
    )


def supported(proposed: Sequence[PresentationContext]) -> list[PresentationContext]:
    """Our side of the negotiation: one context for each known abstract syntax proposed.

    Transfer syntaxes stand in the order in which they were proposed, since the first one
    that both know is taken: the sender knows best what it need not convert.
    """
    wanted: dict[str, list[str]] = {}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        known = _known_syntaxes(abstract_syntax)
        chosen = wanted.setdefault(abstract_syntax, [])
        chosen += [s for s in context.transfer_syntax if s in known and s not in chosen]
    contexts = [
        build_context(UID(uid), syntaxes) for uid, syntaxes in wanted.items() if syntaxes
    ]
    for context in contexts:
        if context.abstract_syntax == StorageCommitmentPushModel:
            # Whoever reports is the SCP of this class, on an association that it requests.
            context.scu_role = context.scp_role = True
    return contexts


def _known_syntaxes(abstract_syntax: str) -> Sequence[str]:
    if abstract_syntax in (Verification, StorageCommitmentPushModel):
        return TRANSFER_SYNTAXES[:3]
    return TRANSFER_SYNTAXES if abstract_syntax in CT_SOP_CLASSES else ()


def _caller(association: Any) -> Caller:
    """Who requested an association, and from which address."""
    request = association.requestor.primitive
    return Caller(
        calling_ae_title=request.calling_ae_title.strip(),
        called_ae_title=request.called_ae_title.strip(),
        host=str(association.requestor.address),
    )


def _handle_rejected(event: evt.Event, gate: Gate) -> None:
    """Count what the library itself rejects: more associations than allowed."""
    gate.is_full(_caller(event.assoc))


def _transmissions(association: Any) -> Transmissions:
    """The marks of what an association sends, made when it was opened."""
    found = vars(association)["transmissions"]
    if not isinstance(found, Transmissions):
        raise TypeError("not an association of this receiver")
    return found


def _handle_released(event: evt.Event) -> None:
    _transmissions(event.assoc).released()


def _handle_broken_off(event: evt.Event) -> None:
    _transmissions(event.assoc).broke_off()


def _handle_echo(_event: evt.Event) -> int:
    return SUCCESS


def _handle_store(event: evt.Event, keep_instance: Any) -> int:
    """Answer one C-STORE after its bytes are durable."""
    request = event.request
    instance = Instance(
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        calling_ae_title=event.assoc.requestor.ae_title.strip(),
        called_ae_title=event.assoc.requestor.primitive.called_ae_title.strip(),
        dataset=request.DataSet.getbuffer(),
    )
    status = int(keep_instance(instance, _transmissions(event.assoc)))
    if status == SUCCESS:
        log.info(
            "store.kept",
            sop_instance_uid=instance.sop_instance_uid,
            calling_ae=instance.calling_ae_title,
            bytes=len(instance.dataset),
        )
    return status
