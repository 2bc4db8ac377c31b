"""The upper layer protocol byte by byte (PS3.8 9.3), for saying on it what no library says."""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.filereader import read_dataset

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
ECHO: Final = "1.2.840.10008.1.1"
IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
APPLICATION: Final = "1.2.840.10008.3.1.1.1"
NO_DATASET: Final = 0x0101
KINDS: Final = {2: "accepted", 3: "rejected", 6: "released", 7: "aborted"}

Context = tuple[int, str, Sequence[str]]
STORE_AND_ECHO: Final[tuple[Context, ...]] = ((1, CT, [EXPLICIT]), (3, ECHO, [IMPLICIT]))


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU with any stated length."""
    return struct.pack(">BBI", kind, 0, len(body) if length is None else length) + body


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def association_request(
    contexts: Sequence[Context] = STORE_AND_ECHO,
    *,
    calling: bytes = b"SCANNER",
    called: bytes = b"MSKNODE",
    version: int = 1,
    application: str = APPLICATION,
    user: bytes | None = None,
) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    body = struct.pack(">HH", version, 0) + called.ljust(16) + calling.ljust(16) + b"\0" * 32
    body += item(0x10, application.encode())
    for number, abstract, syntaxes in contexts:
        inside = struct.pack(">BBBB", number, 0, 0, 0) + item(0x30, abstract.encode())
        inside += b"".join(item(0x40, syntax.encode()) for syntax in syntaxes)
        body += item(0x20, inside)
    if user is None:
        user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4")
    return pdu(0x01, body + item(0x50, user))


def data(context: int, control: int, value: bytes, length: int | None = None) -> bytes:
    """A P-DATA-TF with one presentation data value (PS3.8 9.3.5, E.2)."""
    stated = len(value) + 2 if length is None else length
    return pdu(0x04, struct.pack(">IBB", stated, context, control) + value)


def command(elements: dict[int, bytes]) -> bytes:
    """A command set: group 0000, Implicit VR Little Endian."""
    body = b"".join(
        struct.pack("<HHI", 0, number, len(value)) + value
        for number, value in sorted(elements.items())
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def store_request(
    sop_instance_uid: str = "1.2.3", *, sop_class_uid: str = CT, dataset_type: int = 1
) -> dict[int, bytes]:
    """The elements of a C-STORE-RQ (PS3.7 9.3.1.1)."""
    return {
        0x0002: uid(sop_class_uid),
        0x0100: struct.pack("<H", 0x0001),
        0x0110: struct.pack("<H", 7),
        0x0700: struct.pack("<H", 0),
        0x0800: struct.pack("<H", dataset_type),
        0x1000: uid(sop_instance_uid),
    }


def store(elements: dict[int, bytes], dataset: bytes, context: int = 1) -> bytes:
    """A C-STORE-RQ and its dataset, in parts of 16 KiB."""
    sent = data(context, 0x03, command(elements))
    parts = range(0, max(len(dataset), 1), 16000)
    for start in parts:
        control = 0x02 if start == parts[-1] else 0x00
        sent += data(context, control, dataset[start : start + 16000])
    return sent


@dataclass
class Line:
    """A connection on which anything can be said."""

    connection: socket.socket

    def say(self, *parts: bytes) -> None:
        """Send; a peer that has hung up does not hear it."""
        for part in parts:
            try:
                self.connection.sendall(part)
            except OSError:
                return

    def associate(self, request: bytes | None = None) -> str:
        """Ask for an association and tell how that ended."""
        self.say(association_request() if request is None else request)
        return self.hear()

    def hear(self) -> str:
        """What comes next: the kind of a PDU, `status 0x....`, or `closed`."""
        try:
            head = self.read(6)
            if len(head) < 6:
                return "closed"
            kind, _, length = struct.unpack(">BBI", head)
            body = self.read(length)
        except TimeoutError:
            return "silent"
        except OSError:
            return "closed"
        return KINDS.get(kind, "") or _status(body)

    def read(self, wanted: int) -> bytes:
        """So many bytes, fewer where the peer has closed."""
        found = b""
        while len(found) < wanted and (part := self.connection.recv(wanted - len(found))):
            found += part
        return found


def _status(body: bytes) -> str:
    answer = read_dataset(io.BytesIO(body[6:]), is_implicit_VR=True, is_little_endian=True)
    return f"status 0x{answer.Status:04X}"
