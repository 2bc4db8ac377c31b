"""Protocol data units of the upper layer, read from a socket into one buffer (PS3.8 9.3).

    PduReader      the next PDU, as a view into a buffer that is used again
    Waker          ends its wait, from another thread
    values_in      the presentation data values of a P-DATA-TF
    data_pdus      a message as P-DATA-TF PDUs
    padded_with_spaces   a request whose AE titles are padded as they should be

What a peer states is believed within limits only: a PDU may be so long, and may take so long
to arrive.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from dicom_node.network.limits import MAX_RECEIVED_PDU_BYTES, LimitError
from dicom_node.network.tls_sockets import TlsSocket

A_ASSOCIATE_RQ: Final = 0x01
P_DATA_TF: Final = 0x04

CALLED: Final = slice(10, 26)
CALLING: Final = slice(26, 42)
"""Where the AE titles stand in an A-ASSOCIATE-RQ (PS3.8 Table 9-11)."""

HEADER_BYTES: Final = 6
"""Type, a reserved byte, and the length of what follows."""

BUFFER_BYTES: Final = 1 << 18
"""Two PDUs of the length that we ask for: while one is served, the next one arrives."""

COMMAND: Final = 0x01
LAST: Final = 0x02
"""Bits of the message control header (PS3.8 E.2)."""


class Pdu(NamedTuple):
    """One PDU: its type, and header and body as they came, until the next one is read."""

    kind: int
    encoded: memoryview

    @property
    def body(self) -> memoryview:
        """The bytes after the header."""
        return self.encoded[HEADER_BYTES:]


class DataValue(NamedTuple):
    """One presentation data value: part of a command or of a dataset (PS3.8 9.3.5.1)."""

    context_id: int
    control: int
    part: memoryview


class Waker:
    """Wakes the thread that waits for a connection, leaving the connection as it is."""

    def __init__(self) -> None:
        self._descriptor: int | None = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def wake(self) -> None:
        """End its wait, and every later one."""
        # A number that is closed may be another file's a moment later.
        with self._lock:
            if self._descriptor is not None:
                os.eventfd_write(self._descriptor, 1)

    def watch(self, poll: select.poll) -> None:
        """Have a poll end too, when woken."""
        with self._lock:
            if self._descriptor is not None:
                poll.register(self._descriptor, select.POLLIN)

    def close(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None


class TooSlowError(OSError):
    """A PDU that has begun to come, and does not come to its end."""


class PduReader:
    """Reads PDU after PDU from a connection, waiting in the system and nowhere else."""

    def __init__(self, connection: socket.socket, waker: Waker) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        waker.watch(self._poll)
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._end = 0

    def next(self) -> Pdu | None:
        """The next PDU, or None where the peer has closed the connection.

        The connection's timeout is for a whole PDU, and for the silence before it.

        Raises:
            LimitError: the PDU is too long.
            TimeoutError: nothing came.
            InterruptedError: it was woken.
            TooSlowError: the PDU took too long.
            OSError: the connection is broken.
        """
        if not self._has(HEADER_BYTES):
            return None
        kind, length = struct.unpack_from(">BxI", self._buffer, self._start)
        if length > MAX_RECEIVED_PDU_BYTES:
            raise LimitError(f"a PDU of {length} bytes")
        size = HEADER_BYTES + length
        if not self._has(size):
            return None
        encoded = self._buffer[self._start : self._start + size]
        self._start += size
        return Pdu(kind, encoded)

    def close(self) -> None:
        """Let go of the buffer, at once and not when an association's objects are collected."""
        self._buffer = memoryview(b"")
        self._start = self._end = 0

    def _has(self, wanted: int) -> bool:
        """Read until so many bytes are there; False where the peer closes before."""
        if self._end - self._start >= wanted:
            return True
        self._make_room(wanted)
        patience_s = self._connection.gettimeout()
        started_s = time.monotonic()
        while self._end - self._start < wanted:
            try:
                self._wait(patience_s)
                came = self._connection.recv_into(self._buffer[self._end :])
            except TimeoutError:
                if self._end == self._start:
                    raise
                came = -1
            if came == 0:
                return False
            now_s = time.monotonic()
            started_s = now_s if self._end == self._start else started_s
            if came < 0 or (patience_s is not None and now_s - started_s > patience_s):
                raise TooSlowError(f"a PDU that took longer than {patience_s:g} s")
            self._end += came
        return True

    def _wait(self, patience_s: float | None) -> None:
        """Wait until a read would not; part of a record under TLS is nothing to read yet."""
        connection = self._connection
        tls = connection if isinstance(connection, TlsSocket) else None
        if tls is not None and tls.pending():
            return
        deadline_s = None if patience_s is None else time.monotonic() + patience_s
        while True:
            left_s = None if deadline_s is None else max(deadline_s - time.monotonic(), 0.0)
            ready = dict(self._poll.poll(None if left_s is None else left_s * 1000))
            if not ready:
                raise TimeoutError("nothing came")
            if connection.fileno() not in ready or len(ready) > 1:
                raise InterruptedError("told to end")
            if tls is None or tls.has_data():
                return

    def _make_room(self, wanted: int) -> None:
        """Move what is there to the front; a PDU that is longer than usual gets its own."""
        there = self._end - self._start
        if self._start:
            self._buffer[:there] = self._buffer[self._start : self._end]
            self._start, self._end = 0, there
        if wanted > len(self._buffer):
            longer = memoryview(bytearray(wanted + HEADER_BYTES))
            longer[:there] = self._buffer[:there]
            self._buffer = longer


def values_in(body: memoryview) -> Iterator[DataValue]:
    """The presentation data values of a P-DATA-TF, each checked as it is reached.

    Raises:
        ValueError: it holds none, or one that is too short or goes beyond its end.
    """
    place = 0
    while place < len(body) or place == 0:
        if len(body) - place < 6:
            raise ValueError("malformed presentation data value")
        length, context_id, control = struct.unpack_from(">IBB", body, place)
        end = place + 4 + length
        if length < 2 or end > len(body):
            raise ValueError("a presentation data value beyond its PDU")
        yield DataValue(context_id, control, body[place + 6 : end])
        place = end


def data_pdus(context_id: int, control: int, message: bytes, max_bytes: int) -> bytes:
    """A command or a dataset as P-DATA-TF PDUs, none longer than the peer takes.

    max_bytes: the peer's Maximum Length Received; 0: any (PS3.8 D.1).
    """
    step = max(max_bytes - 6, 1) if max_bytes else len(message)
    parts = [message[start : start + step] for start in range(0, len(message), step)]
    return b"".join(
        struct.pack(">BxI", P_DATA_TF, len(part) + 6)
        + struct.pack(">IBB", len(part) + 2, context_id, control | LAST * (part is parts[-1]))
        + part
        for part in parts
    )


def padded_with_spaces(pdu: Pdu) -> bytes | memoryview:
    """A PDU in which the AE titles of a request are padded as they should be (PS3.8 9.3.2).

    Some peers pad them with NUL (pynetdicom2 0.9.8 does, and tiny_pacs with it), which the
    library takes for a malformed request.
    """
    if pdu.kind != A_ASSOCIATE_RQ or len(pdu.encoded) < CALLING.stop:
        return pdu.encoded
    encoded = bytearray(pdu.encoded)
    for title in (CALLED, CALLING):
        encoded[title] = encoded[title].rstrip(b"\0").ljust(16)
    return bytes(encoded)
