"""The port that senders connect to: a connection becomes an association (`association.py`)."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from dicom_node.monitoring.logs import describe
from dicom_node.network.pynetdicom_patches import install
from dicom_node.receiving.association import InstanceHandler, ReceivingAssociation
from dicom_node.receiving.descriptors import SpareDescriptor
from dicom_node.receiving.rejections import Caller, Reason

log = structlog.get_logger()

LISTEN_BACKLOG: Final = 128
"""Connections the system holds while associations are being set up (pynetdicom: 5)."""

OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of a connection for which the system, or its limits for us, have nothing left."""

PAUSE_S: Final = 0.1
"""The listener's pause where it cannot even turn anyone away."""

TURN_AWAY_WITHIN_S: Final = 0.25
"""The time that a caller who is turned away at once may take to say who it is."""

MAX_REQUEST_BYTES: Final = 1 << 17
REJECTION: Final = bytes((3, 0, 0, 0, 0, 4, 0, *Reason.TOO_MANY.rejection))
"""A-ASSOCIATE-RJ (PS3.8 9.3.4): transient, local limit exceeded."""


def note_nothing() -> None:
    """Nobody wants to know that a listener moves."""


class ReceivingEntity(AE):
    """Counts as active only associations that continue."""

    def __init__(self, ae_title: str) -> None:
        install()
        super().__init__(ae_title)

    @property
    def active_associations(self) -> list[Association]:
        """Those that are requested or established, without those that are closing."""
        found = super().active_associations
        return [each for each in found if not each._kill]  # noqa: SLF001


class ReceivingServer(ThreadedAssociationServer):
    """Listens on a port; each association has a thread of its own.

    Where there is no file descriptor or thread for one more, the caller is rejected without
    either: a port that does nothing keeps senders waiting for their timeouts.

    begin: makes the `InstanceHandler` of a new association.
    turned_away: counts a caller for whom there was nothing left.
    note: called several times a second, as a sign of life.
    """

    request_queue_size = LISTEN_BACKLOG

    def __init__(
        self,
        *arguments: Any,
        begin: Callable[[], InstanceHandler],
        turned_away: Callable[[Caller], None],
        note: Callable[[], None] = note_nothing,
        **settings: Any,
    ) -> None:
        self.begin = begin
        self._turned_away = turned_away
        self._note = note
        self._spare = SpareDescriptor()
        super().__init__(*arguments, request_handler=_Handler, **settings)

    def service_actions(self) -> None:
        """Say that the port is looked at: `serve_forever` calls this with each look."""
        self._note()
        super().service_actions()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; one too many is turned away.

        Raises:
            OSError: there is none after all.
        """
        self._spare.keep()
        try:
            connection: socket.socket
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in OUT_OF:
                self._turn_one_away()
            raise
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of a connection that did not become an association, and reject its caller."""
        error = sys.exc_info()[1]
        log.error("connection.failed", host=client_address[0], **describe(error or OSError()))
        if isinstance(error, RuntimeError) or getattr(error, "errno", None) in OUT_OF:
            self._reject(request, client_address[0])

    def server_close(self) -> None:
        """Close the port."""
        super().server_close()
        self._spare.give_up()

    def _turn_one_away(self) -> None:
        """Accept a connection by the descriptor that is kept for it, and reject it."""
        try:
            if self._spare.give_up() and self.socket is not None:
                connection, address = self.socket.accept()
                with connection:
                    self._reject(connection, address[0])
                return
        except OSError:
            pass  # another thread was quicker to take it
        finally:
            self._spare.keep()
        time.sleep(PAUSE_S)

    def _reject(self, connection: socket.socket, host: str) -> None:
        """Reject the request that comes on a connection; under TLS, only close it."""
        request = b""
        if self.ssl_context is None:
            with contextlib.suppress(OSError):
                request = _whole_request(connection)
                connection.sendall(REJECTION)
                connection.shutdown(socket.SHUT_WR)
        called, calling = (request[at : at + 16].decode("ascii", "replace") for at in (10, 26))
        self._turned_away(Caller(calling.strip("\0 "), called.strip("\0 "), host))


def _whole_request(connection: socket.socket) -> bytes:
    """What a caller says at first; unread, it would take our answer from him.

    Raises:
        OSError: it did not come in time.
    """
    connection.settimeout(TURN_AWAY_WITHIN_S)
    deadline_s = time.monotonic() + TURN_AWAY_WITHIN_S
    request = b""
    while len(request) < 6 or len(request) < 6 + int.from_bytes(request[2:6], "big"):
        part = connection.recv(1 << 14)
        request += part
        if not part or len(request) > MAX_REQUEST_BYTES or time.monotonic() > deadline_s:
            break
    return request


class _Handler(RequestHandler):
    """Makes an association of a connection."""

    def _create_association(self) -> Association:
        # As pynetdicom does it, without a copy of every context that is supported.
        association = ReceivingAssociation(self.ae, self.server.begin())
        association._server = self.server  # noqa: SLF001
        association.name = f"AcceptorThread@{self.client_address[0]}"
        association.set_socket(AssociationSocket(association, client_socket=self.request))
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        association.requestor.address_info = self.remote
        for event, bound in self.server._handlers.items():  # noqa: SLF001
            for handler in [bound] if event.is_intervention else bound:
                association.bind(event, *handler)
        return association
