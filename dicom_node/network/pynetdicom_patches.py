"""The changes to pynetdicom in this process: `install`, before any socket is opened.

The sockets behind associations are reached through pynetdicom's own attributes; the exact
version is pinned; `test_pynetdicom_seams.py` and `test_peers.py` in `tests/integration` cover
the seam.
"""

from __future__ import annotations

import contextlib
import socket
from functools import cache
from typing import Any

from pynetdicom import _config
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from dicom_node.network.limits import install_limits
from dicom_node.network.tls_sockets import TlsSocket, handshake


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
    no answer, which ends the association.
    """
    if provider.assoc.is_acceptor:
        return _next_message(provider, block=block)
    if not block:
        return None, None
    context_id, message = _next_message(provider, block=True)
    if getattr(message, "MessageIDBeingRespondedTo", None) != vars(provider).get("asked"):
        return None, None
    return context_id, message


@cache
def install() -> None:
    """Change pynetdicom for the whole process: its limits, its sockets, and its answers.

    Called by whatever opens a socket that speaks DICOM. Nothing may depend on which module
    happens to have been imported: without the limits, a peer is believed whatever it announces.
    """
    # pynetdicom's own event log costs time per object and may quote datasets.
    _config.LOG_HANDLER_LEVEL = "none"
    # Files are sent from disk as they are, not decoded and encoded again.
    _config.STORE_SEND_CHUNKED_DATASET = True
    AssociationSocket._shutdown_socket = _close_always  # noqa: SLF001
    AssociationSocket.close = _close_remembering
    AssociationSocket.ready = property(_can_be_read)
    ThreadedAssociationServer.finish_request = _handshake_first
    DIMSEServiceProvider.send_msg = _ask
    DIMSEServiceProvider.get_msg = _answer
    install_limits()
