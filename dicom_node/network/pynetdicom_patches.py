"""The changes to pynetdicom in this process: `install`, before any socket is opened.

The sockets behind associations are reached through pynetdicom's own attributes; the exact
version is pinned; `test_pynetdicom_seams.py` and `test_peers.py` in `tests/integration` cover
the seam.
"""

from __future__ import annotations

import contextlib
import queue
import socket
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from pynetdicom import _config
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from dicom_node.network.limits import install_limits
from dicom_node.network.tls_sockets import TlsSocket, handshake

LOOK_EVERY_S: Final = 0.25
"""How often whoever waits for an answer asks whether it is worth the while."""


def _close_always(transport: AssociationSocket) -> None:
    """Close a socket also where it never was connected; pynetdicom leaves that to Python."""
    connection = transport.socket
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


_close = AssociationSocket.close


def _close_remembering(transport: AssociationSocket) -> None:
    """Close, and still know that there was a connection.

    The thread that requests an association looks, once it is woken, whether it came to a
    connection. Where the peer has rejected it by then, and all is closed again, pynetdicom
    takes that for none, and the rejection is lost.
    """
    was_connected = transport._is_connected  # noqa: SLF001
    _close(transport)
    transport._is_connected = was_connected  # noqa: SLF001


_has_data = AssociationSocket.ready.fget
_begin = ThreadedAssociationServer.finish_request


def _can_be_read(transport: AssociationSocket) -> bool:
    """True if there is something to read; under TLS, if it can be read at once."""
    if not isinstance(transport.socket, TlsSocket):
        return bool(_has_data(transport))
    try:
        return transport.socket.has_data()
    except (OSError, ValueError):
        transport.event_queue.put("Evt17")  # transport connection closed (PS3.8 9.2.1)
        return False


def _handshake_first(
    server: ThreadedAssociationServer, connection: socket.socket, address: Any
) -> None:
    """Begin an association, on a thread of its own; under TLS, only after the handshake."""
    if isinstance(connection, TlsSocket) and not handshake(connection, address[0]):
        server.close_request(connection)
        return
    _begin(server, connection, address)


_send_message = DIMSEServiceProvider.send_msg
_next_message = DIMSEServiceProvider.get_msg


def _ask(provider: DIMSEServiceProvider, primitive: Any, context_id: int) -> None:
    """Send a message, and remember what is asked; answers and cancellations ask nothing."""
    if primitive.MessageIDBeingRespondedTo is None:
        vars(provider)["asked"] = primitive.MessageID
    _send_message(provider, primitive, context_id)


def _answer(provider: DIMSEServiceProvider, *, block: bool = False) -> Any:
    """The next message; on an association that we requested, only the answer to our request.

    There, the association's own thread gets none. It looks, without blocking, for requests
    to serve, and pynetdicom means it to pause while `send_c_store` waits for its answer; but
    where it is woken late it does not notice, takes the answer itself and drops it as
    unexpected, and both ends wait for their timeouts (pynetdicom issues 435 and 875). We
    serve nothing on these associations but reports of storage commitment, which pynetdicom
    hands to a thread of their own without this queue.

    Nor is the answer to another request taken for this one's (PS3.7 9.1.1.1): it counts as
    no answer, which ends the association. A request to store is what a C-GET asked for, where
    one did (`take_stores`).
    """
    if provider.assoc.is_acceptor:
        return _next_message(provider, block=block)
    if not block:
        return None, None
    held = vars(provider)
    context_id, message = _awaited(provider, held.get("is_patient"))
    answered = getattr(message, "MessageIDBeingRespondedTo", None)
    if isinstance(message, C_STORE) and answered is None and held.get("takes_stores"):
        return context_id, message
    if answered != held.get("asked"):
        return None, None
    return context_id, message


def _awaited(provider: DIMSEServiceProvider, is_patient: Callable[[], bool] | None) -> Any:
    """The next message, waited for as long as usual, or as somebody is patient."""
    if is_patient is None:
        return _next_message(provider, block=True)
    while is_patient():
        with contextlib.suppress(queue.Empty):
            return provider.msg_queue.get(timeout=LOOK_EVERY_S)
    return None, None


def wait_while(association: Any, is_patient: Callable[[], bool]) -> None:
    """Wait for answers on an association while this says so, instead of a fixed time.

    A thread that waits for an answer is not woken by another that aborts the association; so
    it looks from time to time itself.
    """
    vars(association.dimse)["is_patient"] = is_patient


def is_silent(association: Any) -> bool:
    """True if nothing at all came on an association for its network timeout."""
    return bool(association.dul.idle_timer_expired())


def has_ended(association: Any) -> bool:
    """True if an association was aborted, by either side, or its connection is gone."""
    return bool(association.acse.is_aborted()) or not association.dul.is_alive()


def was_heard(association: Any) -> None:
    """Count the silence on an association from now on."""
    association.dul._idle_timer.restart()  # noqa: SLF001


def take_stores(association: Any, max_object_bytes: int) -> None:
    """Let a peer send, on an association that we requested, what a C-GET asks it for."""
    held = vars(association.dimse)
    held["takes_stores"], held["max_object_bytes"] = True, max_object_bytes


@cache
def install() -> None:
    """Change pynetdicom for the whole process: its limits, its sockets, and its answers.

    Called by whatever opens a socket that speaks DICOM. Nothing may depend on which module
    happens to have been imported: without the limits, a peer is believed whatever it announces.
    """
    # pynetdicom's own event log costs time per object and may quote datasets.
    _config.LOG_HANDLER_LEVEL = "none"
    # For its log it reads every value of every answer, in letters of its own choice.
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    # Files are sent from disk as they are, not decoded and encoded again.
    _config.STORE_SEND_CHUNKED_DATASET = True
    AssociationSocket._shutdown_socket = _close_always  # noqa: SLF001
    AssociationSocket.close = _close_remembering
    AssociationSocket.ready = property(_can_be_read)
    ThreadedAssociationServer.finish_request = _handshake_first
    DIMSEServiceProvider.send_msg = _ask
    DIMSEServiceProvider.get_msg = _answer
    install_limits()
