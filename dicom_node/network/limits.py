"""Limits, which pynetdicom does not have, on what a peer may make us hold, and for how long.

pynetdicom believes every length a peer states, gathers a message for as long as parts of it
come, and loses the thread of an association to an error inside a message. Here each of these
ends the association, with the reason in the log. `install_limits` puts them into the pinned
version's inner seams, which serve the associations that we request; those that others request
(`receiving/association.py`) keep the same limits in `pdus.py` and `messages.py`.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import StateMachine
from pynetdicom.transport import AssociationSocket

log = structlog.get_logger()

MAX_RECEIVED_PDU_BYTES: Final = 1 << 20
"""No PDU is longer: we ask for 128 KiB, and a request with 128 contexts is shorter."""

MAX_COMMAND_BYTES: Final = 1 << 16
"""No command set is longer (PS3.7 Annex E)."""

MAX_MESSAGE_S: Final = 3600.0
"""No object takes longer to arrive, however it trickles."""

DEFAULT_OBJECT_BYTES: Final = 1 << 31
"""No object is larger, unless more is allowed: 2 GiB."""

MAX_UNREAD: Final = 4096
"""So many answers of a peer wait to be taken: it may list a million images."""

MAX_UNREAD_S: Final = 60.0
"""Nobody takes longer to take one."""

READ_BYTES: Final = 1 << 16

INVALID_PDU: Final = bytes.fromhex("07 00 00000004 0000 02 06")
"""A-ABORT from the service provider: invalid PDU parameter value (PS3.8 9.3.8)."""

_gather = DIMSEServiceProvider.receive_primitive
_step = StateMachine.do_action
_run = Association.run_reactor


class LimitError(OSError):
    """A peer went beyond a limit; the message says which."""


def _receive(transport: AssociationSocket, wanted: int) -> bytearray:
    """So many bytes, fewer where the peer closed; the socket's timeout is for all of them.

    Raises:
        OSError: the PDU is too long, or it came too slowly.
    """
    connection = transport.socket
    if wanted > MAX_RECEIVED_PDU_BYTES:
        log_abort(f"a PDU of {wanted} bytes")
        with contextlib.suppress(OSError):
            connection.sendall(INVALID_PDU)
        raise LimitError("the PDU is too long")
    patience_s = connection.gettimeout()
    started = time.monotonic()
    received = bytearray()
    while len(received) < wanted:
        if patience_s is not None and time.monotonic() - started > patience_s:
            log_abort(f"a PDU that took longer than {patience_s:g} s")
            raise LimitError("the PDU came too slowly")
        part = connection.recv(min(wanted - len(received), READ_BYTES))
        if not part:
            break
        received += part
    return received


def _take_in(provider: DIMSEServiceProvider, primitive: Any) -> None:
    """Gather parts of a message, or end the association where they make none."""
    try:
        _check_limits(provider, primitive)
        _gather(provider, primitive)
        if provider.message is None:
            vars(provider).pop("message_since", None)
            _wait_until_taken(provider)
    except Exception as error:  # noqa: BLE001 - bytes of a peer; the thread must live
        log_abort(str(error) if isinstance(error, LimitError) else "malformed message")
        provider.message = None
        provider.dul.event_queue.put("Evt19")


def _check_limits(provider: DIMSEServiceProvider, primitive: Any) -> None:
    """Refuse what would be held for too long, or be too much."""
    held = vars(provider)
    now = time.monotonic()
    if now - held.setdefault("message_since", now) > MAX_MESSAGE_S:
        raise LimitError(f"a message that took longer than {MAX_MESSAGE_S:g} s")
    message = provider.message
    command = message.encoded_command_set.tell() if message else 0
    dataset = message.data_set.tell() if message else 0
    for _, part in primitive.presentation_data_value_list:
        if part[0] & 1:
            command += len(part) - 1
        else:
            dataset += len(part) - 1
    if command > MAX_COMMAND_BYTES:
        raise LimitError(f"a command set of more than {MAX_COMMAND_BYTES} bytes")
    most = held.get("max_object_bytes", DEFAULT_OBJECT_BYTES)
    if dataset > most:
        raise LimitError(f"an object of more than {most} bytes")


def _wait_until_taken(provider: DIMSEServiceProvider) -> None:
    """Read nothing more while too many messages wait; the peer's connection fills then."""
    until_s = time.monotonic() + MAX_UNREAD_S
    while provider.msg_queue.qsize() > MAX_UNREAD:
        if provider.assoc._sent_abort or provider.dul._kill_thread:  # noqa: SLF001
            return
        if time.monotonic() > until_s:
            raise LimitError(f"{MAX_UNREAD} answers that nobody took")
        time.sleep(0.005)


def _act(machine: StateMachine, event: str) -> None:
    """One step of the state machine; where that fails, the association is over."""
    try:
        _step(machine, event)
    except Exception:  # noqa: BLE001 - bytes of a peer; the thread must end in order
        log_abort("malformed PDU")
        abort_connection(machine.dul)


def _serve(association: Association) -> None:
    """An association from its request to its end, whatever happens on the way."""
    try:
        _run(association)
    except Exception:  # noqa: BLE001 - bytes of a peer; nothing may stay open
        log_abort("malformed request")
        abort_connection(association.dul)
        association.kill()


def abort_connection(dul: DULServiceProvider) -> None:
    """Say that it is over, close the connection, and let its thread end."""
    dul._kill_thread = True  # noqa: SLF001
    if dul.socket is not None and dul.socket.socket is not None:
        with contextlib.suppress(OSError):
            dul.socket.socket.sendall(INVALID_PDU)
        dul.socket.close()


def log_abort(reason: str, **about: str) -> None:
    """Say in the log why an association ends, whose it is, and what was coming."""
    log.warning("association.aborted", reason=reason, **about)


def install_limits() -> None:
    """Put the limits into pynetdicom; `pynetdicom_patches.install` does, once a process."""
    AssociationSocket.recv = _receive
    DIMSEServiceProvider.receive_primitive = _take_in
    StateMachine.do_action = _act
    Association.run_reactor = _serve
