"""File meta information of a received instance, encoded byte by byte (PS3.10 7.1)."""

from __future__ import annotations

import struct

from dicom_node.network.implementation import implementation_version
from dicom_node.uids import IMPLEMENTATION_CLASS_UID


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
