"""A Storage and Verification SCP that keeps what it is sent, and nothing else.

An instance goes from the association to a durable file without being decoded: only its
series is looked up, in the first few hundred bytes. Success is answered once the bytes and
their name are on disk; a full or failing disk answers 0xA700 and leaves nothing behind.

    listener.py      the port: a connection becomes an association
    association.py   associations, one thread each: pynetdicom negotiates
    messages.py      C-STORE is taken part by part, everything else when it is whole
    instance.py      one instance on its way into the spool, and the status of its C-STORE
    spool.py         temporary file (`durable_files.py`), fsync, name, fsync
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node.monitoring import metrics
from dicom_node.monitoring.audit import NO_TRAIL, AuditTrail
from dicom_node.monitoring.metrics_files import watch
from dicom_node.network.implementation import MAX_PDU_BYTES, implementation_version
from dicom_node.network.limits import DEFAULT_OBJECT_BYTES
from dicom_node.network.tls_contexts import Listener, server_context
from dicom_node.network.tls_sockets import TlsSocket, socket_of
from dicom_node.network.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.receiving.admission import ArchivePlaces, AssociationPolicy, Rules
from dicom_node.receiving.association import caller_of
from dicom_node.receiving.audit import AssociationAudit, RejectionAudit
from dicom_node.receiving.descriptors import (
    associations_within,
    claim_descriptors,
    descriptors_for,
)
from dicom_node.receiving.host_names import HostNames
from dicom_node.receiving.instance import SUCCESS, InstanceWriter, StoreCommand
from dicom_node.receiving.listener import ReceivingEntity, ReceivingServer, note_nothing
from dicom_node.receiving.rejections import IMAGE_REFUSED, Caller, Reason, RejectionLog
from dicom_node.series.selection import CT_SOP_CLASSES
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import ReceiveTls
from dicom_node.spool.capacity import SpoolCapacity
from dicom_node.spool.commitment_reports import REPORTS, handle_report
from dicom_node.spool.open_associations import Transmissions
from dicom_node.spool.refusals import AssociationRefusals, RefusalRecord, Why
from dicom_node.spool.spool import Spool
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, is_uid

log = structlog.get_logger()

LOOK_EVERY_S: Final = 0.1
"""How often a listener looks whether it is to stop."""

STOP_WITHIN_S: Final = 10.0
"""The time for which a stop waits for associations that are just writing."""


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """The receiver's names and limits, in bytes and without the file.

    port: 0 takes any free port; `Receiver.port` says which.
    calling_ae_titles: who may call from anywhere; any, without senders too.
    senders: who else may call, and from where.
    called_ae_titles: by what names; empty: any.
    archive_ae_titles: with which titles archives call, to send what they were asked for.
    reserved_for_senders: how many associations those leave free.
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
    senders: tuple[Sender, ...] = ()
    called_ae_titles: tuple[str, ...] = ()
    archive_ae_titles: tuple[str, ...] = ()
    max_associations: int = 64
    reserved_for_senders: int = 16
    idle_timeout_s: float = 60.0
    acse_timeout_s: float = 30.0
    free_reserve_bytes: int = 1 << 30
    max_spool_bytes: int | None = None
    tls: ReceiveTls | None = None
    max_object_bytes: int = DEFAULT_OBJECT_BYTES

    @classmethod
    def of(cls, config: NodeConfig) -> Self:
        """As a node's settings say."""
        node, limits = config.node, config.receive
        return cls(
            ae_title=node.ae_title,
            spool=node.spool,
            host=node.host,
            port=node.port,
            calling_ae_titles=node.calling_ae_titles,
            senders=config.allowed_senders(),
            called_ae_titles=node.called_ae_titles,
            archive_ae_titles=_titles(config.archive_senders()),
            max_associations=limits.max_associations,
            reserved_for_senders=limits.reserved_for_senders,
            idle_timeout_s=limits.idle_timeout_s,
            free_reserve_bytes=limits.free_reserve_mb << 20,
            max_spool_bytes=limits.max_spool_mb and limits.max_spool_mb << 20,
            tls=limits.tls,
            max_object_bytes=limits.max_object_mb << 20,
        )


class Receiver:
    """The SCP: started and stopped by its owner, or used as a context manager."""

    def __init__(
        self,
        settings: ReceiverSettings,
        note: Callable[[], None] = note_nothing,
        trail: AuditTrail = NO_TRAIL,
    ) -> None:
        """A receiver; `note` is called as a sign of life by each look of a listener."""
        self.settings = settings
        self._note = note
        self._trail = trail
        self.spool = Spool(settings.spool)
        self.capacity = SpoolCapacity(
            self.spool, settings.free_reserve_bytes, settings.max_spool_bytes
        )
        self._ae: ReceivingEntity | None = None
        self._change: Callable[[ReceiverSettings], None] | None = None
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
        self.capacity.start()
        settings = self.settings
        most = _associations_taken(settings.max_associations)
        rejections = RejectionLog(settings.spool)
        policy = AssociationPolicy(
            _rules(settings),
            self.capacity,
            rejections,
            HostNames(),
            RejectionAudit(self._trail),
        )
        places = ArchivePlaces(settings.archive_ae_titles, _for_archives(settings, most))
        self._ae = _application_entity(settings, most)
        self._be_measured(most)
        handlers = [
            (evt.EVT_REQUESTED, _handle_requested, [policy, places]),
            (evt.EVT_REJECTED, _handle_rejected, [policy]),
            (evt.EVT_ACCEPTED, _handle_accepted),
            (evt.EVT_ABORTED, _handle_aborted),
            (evt.EVT_C_ECHO, _handle_echo),
            (evt.EVT_N_EVENT_REPORT, handle_report, [settings.spool / REPORTS]),
        ]
        refusals = RefusalRecord(settings.spool)
        store = _Store(settings, self.spool, self.capacity, refusals, rejections, self._trail)
        self._change = partial(_change, policy, places, store, self._ae, most)
        self._server = self._listen(settings.port, handlers, settings.tls, policy, store)
        if settings.tls is not None and settings.tls.plain_port is not None:
            self._listen(settings.tls.plain_port, handlers, None, policy, store)
        log.info("receiver.started", host=settings.host, port=self.port, count=swept)

    def _be_measured(self, most: int) -> None:
        """Have the associations counted, those of callers who are known by their titles."""
        metrics.CALLING_AE.know(_known_titles(self.settings))
        metrics.ASSOCIATIONS_LIMIT.set(most)
        # What has never happened is told as 0: of what begins with 1, no rate sees the first.
        for reason in Reason:
            metrics.ASSOCIATIONS_REJECTED.labels(reason=reason.word).inc(0)
        for why in Why:
            metrics.INSTANCES_REFUSED.labels(reason=why.value).inc(0)
        watch(metrics.ASSOCIATIONS_OPEN, lambda: len(self._open()))

    def _open(self) -> list[Any]:
        return [] if self._ae is None else self._ae.active_associations

    def _listen(
        self,
        port: int,
        handlers: Sequence[Any],
        tls: ReceiveTls | None,
        policy: AssociationPolicy,
        store: _Store,
    ) -> Any:
        """Listen on one port."""
        if self._ae is None:
            raise RuntimeError("only a receiver that is starting listens")
        server = self._ae.make_server(
            (self.settings.host, port),
            contexts=[build_context(Verification)],
            ssl_context=Listener(server_context(tls)) if tls is not None else None,
            evt_handlers=handlers,
            server_class=ReceivingServer,
            begin=partial(_SpoolHandler, store),
            turned_away=policy.is_full,
            note=self._note,
        )
        self._ae._servers.append(server)  # noqa: SLF001 - as start_server does
        threading.Thread(
            target=server.serve_forever, args=[LOOK_EVERY_S], name="listener", daemon=True
        ).start()
        return server

    def change(self, settings: ReceiverSettings) -> None:
        """Let in, and take, as other settings say, from the next association on.

        What is open goes on as it was let in. Where it listens, and how many associations
        there may be, stays as it is.
        """
        if self._change is not None:
            self._change(settings)
            metrics.CALLING_AE.know(_known_titles(settings))
            self.capacity.change(settings.free_reserve_bytes, settings.max_spool_bytes)
            log.info("receiver.changed")

    def stop(self) -> None:
        """Stop listening and end open associations; what was answered is on disk."""
        self.capacity.stop()
        if self._ae is not None:
            associations = self._ae.active_associations
            self._ae.shutdown()
            for association in associations:
                association.join(STOP_WITHIN_S)
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


@dataclass(slots=True)
class _Store:
    """All that takes what is sent, the same for every association; only settings change."""

    settings: ReceiverSettings
    spool: Spool
    capacity: SpoolCapacity
    refusals: RefusalRecord
    rejections: RejectionLog
    trail: AuditTrail


class _SpoolHandler:
    """Takes what comes on one association into the spool."""

    def __init__(self, store: _Store) -> None:
        self.max_object_bytes = store.settings.max_object_bytes
        self._store = store
        self._sent = Transmissions(store.settings.spool)
        self._refusals = AssociationRefusals(store.refusals, self._count)
        self._caller = Caller("", "", "")
        self._audit = AssociationAudit(store.trail)

    def called_by(self, caller: Caller) -> None:
        """Note who sends."""
        self._caller = self._audit.caller = caller

    def begin(self, command: StoreCommand) -> InstanceWriter:
        """Take an instance that is announced."""
        store = self._store
        writer = InstanceWriter(
            store.spool, store.capacity, self._sent, self._refusals, command
        )
        if store.trail is not NO_TRAIL:
            writer.audit = self._audit
        return writer

    def refused(self, sop_instance_uid: str, why: Why) -> None:
        """Note that an instance was not taken, of which no more is known."""
        metrics.INSTANCES_REFUSED.labels(reason=why.value).inc()
        uid = sop_instance_uid if is_uid(sop_instance_uid) else "-"
        self._refusals.refused("", uid, why)

    def released(self) -> None:
        """Note that the peer has sent all it wanted to."""
        self._sent.released()

    def broke_off(self) -> None:
        """Note that nothing more comes, unless it was released before."""
        self._sent.broke_off()
        self._refusals.end()
        self._audit.end()

    def _count(self, why: Why) -> None:
        """Count an image for which no series was found, by its caller."""
        self._store.rejections.note(IMAGE_REFUSED[why], self._caller)


def _change(  # noqa: PLR0913, PLR0917 - all that a receiver judges by
    policy: AssociationPolicy,
    places: ArchivePlaces,
    store: _Store,
    entity: ReceivingEntity,
    most: int,
    settings: ReceiverSettings,
) -> None:
    """Have all that judges associations judge by other settings."""
    policy.change(_rules(settings))
    places.change(settings.archive_ae_titles, _for_archives(settings, most))
    store.settings = settings
    entity.network_timeout = settings.idle_timeout_s
    entity.dimse_timeout = settings.idle_timeout_s


def _for_archives(settings: ReceiverSettings, most: int) -> int:
    """How many associations archives may have: one, also where fewer are taken than allowed."""
    return max(most - settings.reserved_for_senders, 1)


def _rules(settings: ReceiverSettings) -> Rules:
    """The rules for callers: titles from anywhere, and senders from where they belong."""
    from_anywhere = tuple(Sender(ae_title=title) for title in settings.calling_ae_titles)
    return Rules((*from_anywhere, *settings.senders), settings.called_ae_titles)


def _known_titles(settings: ReceiverSettings) -> tuple[str, ...]:
    """The titles that the settings name; of others only so many are told apart."""
    return (
        *settings.calling_ae_titles,
        *settings.archive_ae_titles,
        *_titles(settings.senders),
    )


def _titles(senders: Sequence[Sender]) -> tuple[str, ...]:
    """The AE titles of senders, each once."""
    return tuple(dict.fromkeys(each.ae_title for each in senders if each.ae_title))


def _associations_taken(allowed: int) -> int:
    """As many associations as allowed, or as the system has file descriptors for."""
    descriptors = claim_descriptors(descriptors_for(allowed))
    most = min(allowed, associations_within(descriptors))
    if most < allowed:
        words = f"{descriptors} file descriptors (ulimit -n) are enough for {most} associations"
        log.warning("receiver.limited", limit=most, reason=words)
    return most


def _application_entity(settings: ReceiverSettings, most: int) -> ReceivingEntity:
    entity = ReceivingEntity(ae_title=settings.ae_title)
    entity.maximum_pdu_size = MAX_PDU_BYTES
    entity.maximum_associations = most
    entity.network_timeout = settings.idle_timeout_s
    entity.acse_timeout = settings.acse_timeout_s
    entity.dimse_timeout = settings.idle_timeout_s
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = implementation_version()
    return entity


def _handle_requested(
    event: evt.Event, policy: AssociationPolicy, places: ArchivePlaces
) -> None:
    """Accept or reject an association; support what it proposes, as far as we can."""
    association = event.assoc
    request = association.requestor.primitive
    connection = socket_of(association)
    shown = connection.shown if isinstance(connection, TlsSocket) else ""
    caller = caller_of(association)
    reason = policy.refuses(caller, shown)
    if reason is None and not places.take(caller, association, _is_open):
        reason = Reason.KEPT_FREE
        policy.is_full(caller, reason)
    if reason is not None:
        # The library can check calling titles alone, and a single called one.
        association.acse.send_reject(*reason.rejection)
        association.kill()
        return
    association.acceptor.supported_contexts = supported(
        request.presentation_context_definition_list
    )


def _is_open(association: Any) -> bool:
    """True if an association goes on, or is being negotiated."""
    return bool(association.is_alive() and not association._kill)  # noqa: SLF001


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


def _handle_rejected(event: evt.Event, policy: AssociationPolicy) -> None:
    """Count what the library itself rejects: more associations than allowed."""
    policy.is_full(caller_of(event.assoc))


def _handle_accepted(event: evt.Event) -> None:
    """Count an association that begins."""
    title = caller_of(event.assoc).calling_ae_title
    metrics.ASSOCIATIONS_ACCEPTED.labels(calling_ae=title).inc()


def _handle_aborted(event: evt.Event) -> None:
    """Count an association that ended otherwise than by a release."""
    if event.assoc.requestor.primitive is not None:
        title = caller_of(event.assoc).calling_ae_title
        metrics.ASSOCIATIONS_BROKEN.labels(calling_ae=title).inc()


def _handle_echo(_event: evt.Event) -> int:
    return SUCCESS
