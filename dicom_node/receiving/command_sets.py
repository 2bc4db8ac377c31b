"""Command sets of C-STORE, read and written without a dataset library (PS3.7 6.3, 9.3.1).

A series has hundreds of them, and all look alike. Every other command is left to pynetdicom.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
NO_DATASET: Final = 0x0101
"""Command Data Set Type of a message that is a command alone (PS3.7 E.1)."""

AFFECTED_SOP_CLASS_UID: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
"""Element numbers of group 0000 (PS3.7 E.1)."""

MAX_UID_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """The fields of a C-STORE-RQ; the UIDs are text, and may be no UIDs."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool


def read_command(encoded: bytes) -> dict[int, bytes]:
    """The values of a command set by element number: group 0000, Implicit VR Little Endian.

    Raises:
        ValueError: it is malformed, or goes beyond its end.
    """
    elements: dict[int, bytes] = {}
    place = 0
    while place < len(encoded):
        if len(encoded) - place < 8:
            raise ValueError("an element that is cut off")
        group, number, length = struct.unpack_from("<HHI", encoded, place)
        place += 8
        if group != 0 or place + length > len(encoded):
            raise ValueError("not a command set")
        elements[number] = encoded[place : place + length]
        place += length
    return elements


def number_in(elements: Mapping[int, bytes], number: int) -> int:
    """The value of an unsigned short.

    Raises:
        ValueError: it is missing, or no unsigned short.
    """
    value = elements.get(number, b"")
    if len(value) != 2:
        raise ValueError(f"element (0000,{number:04X}) is missing or not a number")
    return int.from_bytes(value, "little")


def store_request(elements: Mapping[int, bytes]) -> StoreRequest:
    """The fields of a C-STORE-RQ, read from its elements.

    Raises:
        ValueError: what its answer needs is missing or too long.
    """
    return StoreRequest(
        message_id=number_in(elements, MESSAGE_ID),
        sop_class_uid=_uid_in(elements, AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_uid_in(elements, AFFECTED_SOP_INSTANCE_UID),
        has_dataset=number_in(elements, COMMAND_DATA_SET_TYPE) != NO_DATASET,
    )


def store_response(request: StoreRequest, status: int) -> bytes:
    """The command set of a C-STORE-RSP (PS3.7 9.3.1.2)."""
    body = b"".join(
        struct.pack("<HHI", 0, number, len(value)) + value
        for number, value in (
            (AFFECTED_SOP_CLASS_UID, _padded(request.sop_class_uid)),
            (COMMAND_FIELD, struct.pack("<H", C_STORE_RSP)),
            (MESSAGE_ID_BEING_RESPONDED_TO, struct.pack("<H", request.message_id)),
            (COMMAND_DATA_SET_TYPE, struct.pack("<H", NO_DATASET)),
            (STATUS, struct.pack("<H", status)),
            (AFFECTED_SOP_INSTANCE_UID, _padded(request.sop_instance_uid)),
        )
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _uid_in(elements: Mapping[int, bytes], number: int) -> str:
    """A UID as it stands there, without its padding."""
    text = elements.get(number, b"").rstrip(b"\0 ").decode("ascii", "replace")
    if not 0 < len(text) <= MAX_UID_BYTES:
        raise ValueError(f"element (0000,{number:04X}) is missing or too long")
    return text


def _padded(uid: str) -> bytes:
    encoded = uid.encode("ascii", "replace")
    return encoded + b"\0" * (len(encoded) % 2)
