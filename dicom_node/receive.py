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
from pynetdicom.sop_class import Verification

from dicom_node.selection import CT_SOP_CLASSES
from dicom_node.spool import Spool, is_uid
from dicom_node.wire import (
    IMPLEMENTATION_CLASS_UID,
    MAX_PDU_BYTES,
    file_meta_bytes,
    implementation_version,
    socket_of,
    tune,
)

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

CALLED_AE_NOT_RECOGNIZED: Final = (0x01, 0x01, 0x07)
"""Result, source and reason of the rejection (PS3.8 9.3.4)."""

SERIES_INSTANCE_UID: Final = 0x0020000E
LOOKED_UP: Final = (0x00080016, 0x00080018, 0x0020000D, SERIES_INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """Who the receiver is and what it protects itself from.

    port: 0 takes any free port; `Receiver.port` says which.
    calling_ae_titles, called_ae_titles: who may call, and by what name; empty: any.
    idle_timeout_s: how long an association may be silent, also inside an object.
    free_reserve_bytes: free space below which instances are answered 0xA700.
    """

    ae_title: str
    spool: Path
    host: str = "127.0.0.1"
    port: int = 11112
    calling_ae_titles: tuple[str, ...] = ()
    called_ae_titles: tuple[str, ...] = ()
    max_associations: int = 64
    idle_timeout_s: float = 60.0
    acse_timeout_s: float = 30.0
    free_reserve_bytes: int = 1 << 30


class Receiver:
    """The SCP: started and stopped by its owner, or used as a context manager."""

    def __init__(self, settings: ReceiverSettings) -> None:
        self.settings = settings
        self.spool = Spool(settings.spool)
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
        """
        swept = self.spool.sweep()
        settings = self.settings
        self._ae = _application_entity(settings)
        handlers = [
            (evt.EVT_CONN_OPEN, _handle_open, [settings.idle_timeout_s]),
            (evt.EVT_REQUESTED, _handle_requested, [settings.called_ae_titles]),
            (evt.EVT_REJECTED, _handle_rejected),
            (evt.EVT_C_ECHO, _handle_echo),
            (evt.EVT_C_STORE, _handle_store, [partial(keep, self.spool, settings)]),
        ]
        self._server = self._ae.start_server(
            (settings.host, settings.port),
            block=False,
            contexts=[build_context(Verification)],
            evt_handlers=handlers,
        )
        self._server.socket.listen(LISTEN_BACKLOG)
        log.info("receiver.started", host=settings.host, port=self.port, count=swept)

    def stop(self) -> None:
        """Stop listening and end open associations; what was answered is on disk."""
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


def keep(spool: Spool, settings: ReceiverSettings, instance: Instance) -> int:
    """Keep one instance on disk; answers the status of its C-STORE."""
    uid = instance.sop_instance_uid
    if spool.free_bytes() - len(instance.dataset) < settings.free_reserve_bytes:
        log.error("store.refused", sop_instance_uid=uid, reason="the disk is nearly full")
        return OUT_OF_RESOURCES
    try:
        found = look_up(instance.dataset, instance.transfer_syntax_uid)
    except (ValueError, zlib.error, EOFError, KeyError, TypeError, NotImplementedError):
        log.warning("store.refused", sop_instance_uid=uid, reason="not a readable dataset")
        return CANNOT_UNDERSTAND
    series_uid = found.get(SERIES_INSTANCE_UID, "")
    if not (is_uid(uid) and is_uid(series_uid)):
        log.warning("store.refused", reason="SOP or Series Instance UID missing or not a UID")
        return CANNOT_UNDERSTAND
    if found.get(0x00080018) != uid or found.get(0x00080016) != instance.sop_class_uid:
        log.warning("store.refused", sop_instance_uid=uid, reason="not what the command says")
        return DOES_NOT_MATCH
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
        return OUT_OF_RESOURCES
    return SUCCESS


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


def _application_entity(settings: ReceiverSettings) -> AE:
    entity = AE(ae_title=settings.ae_title)
    entity.maximum_pdu_size = MAX_PDU_BYTES
    entity.maximum_associations = settings.max_associations
    entity.network_timeout = settings.idle_timeout_s
    entity.acse_timeout = settings.acse_timeout_s
    entity.dimse_timeout = settings.idle_timeout_s
    entity.require_calling_aet = list(settings.calling_ae_titles)
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = implementation_version()
    return entity


def _handle_open(event: evt.Event, stall_s: float) -> None:
    """Set up an accepted socket, which pynetdicom would let wait for ever."""
    connection = socket_of(event.assoc)
    if connection is not None:
        tune(connection, stall_s)


def _handle_requested(event: evt.Event, called_ae_titles: Sequence[str]) -> None:
    """Support what this association proposes, as far as we support it at all."""
    association = event.assoc
    request = association.requestor.primitive
    if called_ae_titles and request.called_ae_title.strip() not in called_ae_titles:
        # The library can check a single title only (PS3.8 Table 9-21: not recognized).
        association.acse.send_reject(*CALLED_AE_NOT_RECOGNIZED)
        association.kill()
        log.warning("association.rejected", called_ae=request.called_ae_title.strip())
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
    return [build_context(UID(uid), syntaxes) for uid, syntaxes in wanted.items() if syntaxes]


def _known_syntaxes(abstract_syntax: str) -> Sequence[str]:
    if abstract_syntax == Verification:
        return TRANSFER_SYNTAXES[:3]
    return TRANSFER_SYNTAXES if abstract_syntax in CT_SOP_CLASSES else ()


def _handle_rejected(event: evt.Event) -> None:
    log.warning("association.rejected", calling_ae=event.assoc.requestor.ae_title.strip())


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
    status = int(keep_instance(instance))
    if status == SUCCESS:
        log.info(
            "store.kept",
            sop_instance_uid=instance.sop_instance_uid,
            calling_ae=instance.calling_ae_title,
            bytes=len(instance.dataset),
        )
    return status
