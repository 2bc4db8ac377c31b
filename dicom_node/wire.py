"""What receiver and sender share: who we are on the wire, and how sockets are set.

The sockets behind associations are reached through pynetdicom's own attributes; the exact
version is pinned; `test_receive.py` and `test_peers.py` in `tests/integration` cover the seam.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from pynetdicom import _config
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from dicom_node.tls import TlsSocket, greet
from dicom_node.uids import derived_uid

_config.LOG_HANDLER_LEVEL = "none"
"""pynetdicom's own event log costs time per object and may quote datasets."""

_config.STORE_SEND_CHUNKED_DATASET = True
"""Files are sent from disk as they are, not decoded and encoded again."""


def _close_always(transport: AssociationSocket) -> None:
    """Close a socket also where it never was connected, which pynetdicom leaves open."""
    connection = transport.socket
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


AssociationSocket._shutdown_socket = _close_always  # noqa: SLF001

_close = AssociationSocket.close


def _close_remembering(transport: AssociationSocket) -> None:
    """Close, and go on knowing that there was a connection.

    The thread that requests an association looks, once it is woken, whether it came to a
    connection. Where the peer has rejected it by then, and all is closed again, pynetdicom
    takes that for none, and the rejection is lost.
    """
    was_connected = transport._is_connected  # noqa: SLF001
    _close(transport)
    transport._is_connected = was_connected  # noqa: SLF001


AssociationSocket.close = _close_remembering

_has_data = AssociationSocket.ready.fget
_begin = ThreadedAssociationServer.finish_request


def _can_be_read(transport: AssociationSocket) -> bool:
    """Whether there is something to read; under TLS, whether it can be read at once."""
    if not isinstance(transport.socket, TlsSocket):
        return bool(_has_data(transport))
    try:
        return transport.socket.has_data()
    except (OSError, ValueError):
        transport.event_queue.put("Evt17")  # transport connection closed (PS3.8 9.2.1)
        return False


def _greet_first(
    server: ThreadedAssociationServer, connection: socket.socket, address: Any
) -> None:
    """Begin an association, on a thread of its own; under TLS, only after the handshake."""
    if isinstance(connection, TlsSocket) and not greet(connection, address[0]):
        server.close_request(connection)
        return
    _begin(server, connection, address)


AssociationSocket.ready = property(_can_be_read)
ThreadedAssociationServer.finish_request = _greet_first

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


DIMSEServiceProvider.send_msg = _ask
DIMSEServiceProvider.get_msg = _answer

MAX_PDU_BYTES: Final = 131072
"""Largest PDU that we offer and use: eight times the default, much cheaper per byte."""

IMPLEMENTATION_CLASS_UID: Final = derived_uid("implementation class", "msk-node")
"""Names this software in associations and file meta information (PS3.7 D.3.3.2)."""


@cache
def implementation_version() -> str:
    """Implementation Version Name, at most 16 characters: `MSKNODE_0.1.0`."""
    try:
        found = version("msk-node")
    except PackageNotFoundError:
        found = "0"
    return f"MSKNODE_{found}"[:16]


def tune(connection: socket.socket, stall_s: float | None) -> None:
    """Send small packets at once, and never wait longer than this for a stalled peer.

    Without TCP_NODELAY every small object waits for a delayed acknowledgement (40 ms).
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(stall_s)


def socket_of(association: Any) -> socket.socket | None:
    """The TCP socket under a pynetdicom association, while there is one."""
    transport = association.dul.socket
    found = transport.socket if transport is not None else None
    return found if isinstance(found, socket.socket) else None


def file_meta_bytes(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_ae_title: str,
    called_ae_title: str,
) -> bytes:
    """Preamble and file meta information (PS3.10 7.1), always explicit little endian.

    Sending and receiving application entity titles keep, in the file itself, on which
    association it came.
    """
    elements = b"".join(
        (
            _long_element(0x0001, b"OB", b"\x00\x01"),
            _element(0x0002, b"UI", sop_class_uid, b"\0"),
            _element(0x0003, b"UI", sop_instance_uid, b"\0"),
            _element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
            _element(0x0013, b"SH", implementation_version(), b" "),
            _element(0x0017, b"AE", calling_ae_title, b" "),
            _element(0x0018, b"AE", called_ae_title, b" "),
        )
    )
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
    return b"\0" * 128 + b"DICM" + length + elements


def _element(number: int, vr: bytes, value: str, padding: bytes) -> bytes:
    """A group 2 element with a 16-bit length, padded to an even one."""
    encoded = value.encode("ascii", "replace")
    encoded += padding * (len(encoded) % 2)
    return struct.pack("<HH2sH", 0x0002, number, vr, len(encoded)) + encoded


def _long_element(number: int, vr: bytes, value: bytes) -> bytes:
    """A group 2 element with a 32-bit length."""
    return struct.pack("<HH2sHI", 0x0002, number, vr, 0, len(value)) + value
