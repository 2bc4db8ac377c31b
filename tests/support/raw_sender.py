"""A sender that costs next to nothing: PDUs made beforehand, pixels that are never held.

For asking a receiver for much: many associations at once, objects of gigabytes.
"""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from dicom_node.receiving.command_sets import STATUS, number_in, read_command
from support.ct import ct_slice
from support.raw_wire import Line, association_request, command, data, pdu, store_request

PART_BYTES: Final = 131072 - 6
"""Of one dataset in a PDU of 128 KiB."""

FULL_PART: Final = data(1, 0x00, bytes(PART_BYTES))
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class RawObject:
    """A CT image: all before its pixels as encoded PDUs, and how many zeros follow."""

    sop_instance_uid: str
    before_pixels: bytes
    pixel_bytes: int

    def parts(self) -> Iterator[bytes]:
        """What to send, in order."""
        yield self.before_pixels
        whole, rest = divmod(self.pixel_bytes, PART_BYTES)
        for _ in range(whole):
            yield FULL_PART
        yield data(1, 0x02, bytes(rest))


def raw_object(series_instance_uid: str, number: int, pixel_bytes: int) -> RawObject:
    """An object of a series, in Explicit VR Little Endian."""
    uid = f"{series_instance_uid}.{number}"
    dataset = ct_slice((0.0, 0.0, float(number)), SeriesInstanceUID=series_instance_uid)
    dataset.SOPInstanceUID = uid
    del dataset.PixelData
    encoded = DicomIO(io.BytesIO())
    encoded.is_little_endian, encoded.is_implicit_VR = True, False
    write_dataset(encoded, dataset)
    head = encoded.parent.getvalue()
    head += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixel_bytes)
    request = data(1, 0x03, command(store_request(uid)))
    return RawObject(uid, request + data(1, 0x00, head), pixel_bytes)


@contextmanager
def associated(port: int) -> Iterator[Line]:
    """An association with the receiver on a port, released at the end.

    Raises:
        ConnectionRefusedError: nobody listens, or the association is not accepted.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = Line(connection)
        if (heard := line.associate(association_request())) != "accepted":
            raise ConnectionRefusedError(heard)
        yield line
        line.say(pdu(0x05, b"\0" * 4))
        line.hear()


def send_object(line: Line, sent: RawObject) -> int:
    """Send one object, and wait for its status."""
    for part in sent.parts():
        line.connection.sendall(part)
    return status_of(line)


def send_all(port: int, objects: Sequence[RawObject]) -> list[int]:
    """Send objects on one association, each when the one before is answered."""
    with associated(port) as line:
        return [send_object(line, each) for each in objects]


def status_of(line: Line) -> int:
    """The status of the answer that comes next.

    Raises:
        ConnectionError: something else came, or nothing more.
    """
    head = line.read(6)
    if len(head) < 6 or head[0] != 0x04:
        raise ConnectionError(f"no answer, but {head.hex() or 'the end'}")
    body = line.read(int.from_bytes(head[2:], "big"))
    return number_in(read_command(body[6:]), STATUS)
