"""Associations that others request: negotiated by pynetdicom, served on one thread each.

pynetdicom gives an association two threads that look for work every millisecond, reads a PDU
in small parts, and holds an object in memory until it is whole. Here its negotiation, its
state machine and its services for all but C-STORE are used as they are, driven by one thread
that waits for the socket alone; a C-STORE goes from the read buffer to the file.

    ReceivingAssociation   one association, from its request to its end
    UpperLayer             its state machine (PS3.8 9.2)
    InstanceHandler        a handler for what comes: the receiver's side (`receiver.py`)

Inner names of the pinned pynetdicom are used; `test_receive.py` and `test_bad_*.py` in
`tests/integration` cover the seam.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import Final, Protocol

from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE, P_DATA
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicom_node.network.limits import LimitError, abort_connection, log_abort
from dicom_node.network.tls_sockets import socket_of, tune
from dicom_node.receiving.command_sets import StoreRequest
from dicom_node.receiving.instance import StoreCommand
from dicom_node.receiving.messages import (
    DatasetSink,
    Messages,
    Service,
    TooLargeObjectError,
)
from dicom_node.receiving.pdus import (
    COMMAND,
    LAST,
    P_DATA_TF,
    Pdu,
    PduReader,
    TooSlowError,
    Waker,
    data_pdus,
    padded_with_spaces,
)
from dicom_node.receiving.rejections import Caller, printable
from dicom_node.spool.refusals import Why

INVALID_PDU: Final = "Evt19"
CLOSED: Final = "Evt17"
"""Events of the upper layer's state machine (PS3.8 Table 9-10)."""

LINGER_S: Final = 1.0
"""The time that the other side may take to close a connection on which all is said."""

IDLE: Final = "Sta1"
CLOSING: Final = "Sta13"
"""States in which there is no association, or none any more (PS3.8 Table 9-5)."""


class InstanceHandler(Protocol):
    """A handler for what comes on one association."""

    max_object_bytes: int

    def called_by(self, caller: Caller) -> None:
        """Note who sends, before anything comes."""

    def begin(self, command: StoreCommand) -> DatasetSink:
        """Take an instance that is announced."""

    def refused(self, sop_instance_uid: str, why: Why) -> None:
        """Note that an instance was not taken, of which no more is known."""

    def released(self) -> None:
        """Note that the peer has sent all it wanted to."""

    def broke_off(self) -> None:
        """Note that nothing more comes, unless it was released before."""


class UpperLayer(DULServiceProvider):
    """pynetdicom's upper layer without its thread: whoever reads or sends drives it."""

    @property
    def is_over(self) -> bool:
        """True if there is no association any more, or never will be."""
        return self._kill_thread or self.state_machine.current_state in (IDLE, CLOSING)

    def post_event(self, event: str) -> None:
        """Note an event (PS3.8 Table 9-10)."""
        self.event_queue.put(event)

    def take(self, pdu: Pdu) -> None:
        """Note that a PDU came, or a malformed one."""
        try:
            decoded, event = self._decode_pdu(padded_with_spaces(pdu))
        except Exception:  # noqa: BLE001 - whatever an untrusted PDU raises
            log_abort("malformed PDU")
            self.post_event(INVALID_PDU)
        else:
            self._recv_pdu.put(decoded)
            self.post_event(event)

    def drive(self) -> None:
        """Let the state machine act on all that has happened, and on all that is to be sent."""
        while True:
            with contextlib.suppress(queue.Empty):
                self.state_machine.do_action(self.event_queue.get_nowait())
                continue
            if self._kill_thread or not self._process_recv_primitive():
                return


class ReceivingAssociation(Association):
    """One association that a peer requests, on one thread from its request to its end.

    What comes is either data, which goes to `Messages`, or an event for the upper layer; what
    that then tells its user is done here.
    """

    def __init__(self, entity: AE, handler: InstanceHandler) -> None:
        super().__init__(entity, MODE_ACCEPTOR)
        self.dul = UpperLayer(self)
        self._instance_handler = handler
        self._sent_abort = False
        self._told_to_end = threading.Event()
        self._waker = Waker()
        self._messages = Messages(
            Service(self._begin, self._answer, self._serve, handler.max_object_bytes)
        )

    def run_reactor(self) -> None:
        """From the connection to its end, whatever happens on the way."""
        connection = socket_of(self)
        try:
            if connection is not None:
                tune(connection, _shorter(self.acse_timeout, self.network_timeout))
                self._serve_pdus(PduReader(connection, self._waker))
        except Exception:  # noqa: BLE001 - bytes of a peer; nothing may stay open
            log_abort("malformed request")
            abort_connection(self.dul)
        finally:
            self._end()

    def _serve_pdus(self, reader: PduReader) -> None:
        """Take PDU after PDU; the connection itself is the first event."""
        self.dul.drive()
        try:
            while not self.dul.is_over:
                self._handle_pdu(reader)
                self.dul.drive()
                self._handle_indication()
        finally:
            reader.close()

    def _handle_pdu(self, reader: PduReader) -> None:
        """Wait for one PDU, and take it."""
        try:
            pdu = None if self._told_to_end.is_set() else reader.next()
        except LimitError as error:
            self._refuse(str(error), Why.DAMAGED)
            return
        except TimeoutError:
            log_abort("silence", **self._about(Why.TIME))
            self._told_to_end.set()
            pdu = None
        except TooSlowError as error:
            log_abort(str(error), **self._about(Why.TIME))
            pdu = None
        except OSError:
            pdu = None
        if pdu is None and self._told_to_end.is_set() and self.is_established:
            self.abort()
        elif pdu is None:
            self.dul.post_event(CLOSED)
        elif pdu.kind == P_DATA_TF and self.is_established:
            self._take_data(pdu)
        else:
            self.dul.take(pdu)

    def _take_data(self, pdu: Pdu) -> None:
        try:
            self._messages.take(pdu.body)
        except TooLargeObjectError as error:
            self._refuse(str(error), Why.SIZE)
        except LimitError as error:
            self._refuse(str(error), Why.TIME)
        except ValueError:
            self._refuse("malformed message", Why.DAMAGED)

    def _refuse(self, reason: str, why: Why) -> None:
        """End the association for what the peer has sent; an object amid it is refused."""
        log_abort(reason, **self._about(why))
        self.dul.post_event(INVALID_PDU)

    def _about(self, why: Why) -> dict[str, str]:
        """The caller and the object that is coming, for the log; the object is refused."""
        request = self.requestor.primitive
        title = "" if request is None else printable(request.calling_ae_title)
        return {"calling_ae": title} | self._messages.refuse(why)

    def _handle_indication(self) -> None:
        """Do what the state machine tells its user."""
        primitive = self.dul.receive_pdu(wait=False)
        if isinstance(primitive, A_ASSOCIATE):
            self._negotiate(primitive)
        elif isinstance(primitive, A_RELEASE):
            self._release()
        elif isinstance(primitive, A_ABORT | A_P_ABORT):
            self.is_aborted = True
            self.is_established = False
            evt.trigger(self, evt.EVT_ABORTED, {})
            self.kill()

    def _negotiate(self, request: A_ASSOCIATE) -> None:
        self.requestor.primitive = request
        self._instance_handler.called_by(caller_of(self))
        evt.trigger(self, evt.EVT_REQUESTED, {})
        if not self.is_aborted and not self.is_rejected:
            self.acse.negotiate_association()
        self.dul.drive()
        connection = socket_of(self)
        if connection is not None:
            connection.settimeout(self.network_timeout)

    def _release(self) -> None:
        self.acse.send_release(is_response=True)
        self.is_released = True
        self.is_established = False
        if not self._messages.give_up():
            self._instance_handler.released()
        evt.trigger(self, evt.EVT_RELEASED, {})
        self.kill()
        self.dul.drive()

    def _abort_blocking(self, block: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        """Abort, as inherited; another thread only asks for it: a connection has one writer."""
        if threading.current_thread() is not self:
            self._told_to_end.set()
            self._waker.wake()
        elif not self._sent_abort and not self.is_released:
            self._sent_abort = True
            self.acse.send_abort(0x00)
            self.is_aborted = True
            evt.trigger(self, evt.EVT_ABORTED, {})
            self.kill()

    def _begin(self, context_id: int, request: StoreRequest) -> DatasetSink:
        """Take a C-STORE, where its context was agreed and its class can be stored."""
        context = self._accepted_cx.get(context_id)
        service = uid_to_service_class(request.sop_class_uid)
        if context is None or service is not StorageServiceClass:
            self._instance_handler.refused(request.sop_instance_uid, Why.UNSUPPORTED)
            raise ValueError("a store on a context that is not for it")
        return self._instance_handler.begin(
            StoreCommand(
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                transfer_syntax_uid=str(context.transfer_syntax[0]),
                calling_ae_title=self.requestor.ae_title.strip(),
                called_ae_title=self.requestor.primitive.called_ae_title.strip(),
            )
        )

    def _answer(self, context_id: int, response: bytes) -> None:
        """Send a command; a connection that fails is an event like others."""
        most = self.dimse.maximum_pdu_size or 0
        if self.dul.socket is not None:
            self.dul.socket.send(data_pdus(context_id, COMMAND, response, most))

    def _serve(self, context_id: int, command: bytes, dataset: bytes | None) -> None:
        """Let pynetdicom serve what is no C-STORE."""
        values = [[context_id, bytes([COMMAND | LAST]) + command]]
        if dataset is not None:
            values.append([context_id, bytes([LAST]) + dataset])
        data = P_DATA()
        data.presentation_data_value_list = values
        message = DIMSEMessage()
        try:
            message.decode_msg(data, self)
            primitive = message.message_to_primitive()
        except Exception as error:
            # pynetdicom and pydicom let out what they like.
            raise ValueError("malformed message") from error
        self._serve_request(primitive, context_id)

    def _end(self) -> None:
        """Leave nothing open."""
        self.kill()
        self._waker.close()
        self._messages.give_up()
        self._instance_handler.broke_off()
        connection = socket_of(self)
        if connection is not None:
            _linger(connection)
        if self.dul.socket is not None:
            self.dul.socket.close()
        self.dul.drive()


def caller_of(association: Association) -> Caller:
    """The requestor of an association, and its address."""
    request = association.requestor.primitive
    return Caller(
        calling_ae_title=request.calling_ae_title.strip(),
        called_ae_title=request.called_ae_title.strip(),
        host=str(association.requestor.address),
    )


def _linger(connection: socket.socket) -> None:
    """Let the peer read our last words, and close.

    A socket that is closed with bytes unread resets the connection, and what was sent last
    is lost.
    """
    deadline_s = time.monotonic() + LINGER_S
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER_S)
        while time.monotonic() < deadline_s and socket.socket.recv(connection, 1 << 16):
            pass


def _shorter(*timeouts_s: float | None) -> float | None:
    """The shortest of timeouts, None being none."""
    return min((each for each in timeouts_s if each is not None), default=None)
