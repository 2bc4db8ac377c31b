"""X.509 certificates in PEM files: when they begin and end to be valid."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import ConfigurationError


def read_pem(path: Path) -> str:
    """The text of a PEM file."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None


def expiry_times(path: Path) -> list[datetime]:
    """The end of the validity of each certificate of a PEM file.

    Raises:
        ConfigurationError: it cannot be read, or holds none.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    blocks = [part.partition(end)[0] for part in read_pem(path).split(begin)[1:]]
    if not blocks:
        raise ConfigurationError(f"{path}: holds no certificate")
    try:
        return [
            validity(ssl.PEM_cert_to_DER_cert(f"{begin}{block}{end}"))[1] for block in blocks
        ]
    except (ValueError, IndexError, StopIteration):
        raise ConfigurationError(f"{path}: holds a damaged certificate") from None


def validity(certificate: bytes) -> tuple[datetime, datetime]:
    """Beginning and end of a certificate's validity (DER; RFC 5280 4.1.2.5).

    Raises:
        ValueError, IndexError, StopIteration: not a certificate.
    """
    _, whole = next(_elements(certificate))
    _, signed = next(_elements(whole))
    # The version stands first, under a tag of its own, and may be left out.
    parts = [content for tag, content in _elements(signed) if tag != 0xA0]
    begin, end = (_time(tag, content) for tag, content in _elements(parts[3]))
    return begin, end


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of the DER elements that follow each other (X.690 8.1)."""
    place = 0
    while place < len(content):
        tag, length = content[place], content[place + 1]
        place += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[place : place + size], "big")
            place += size
        yield tag, content[place : place + length]
        place += length


def _time(tag: int, content: bytes) -> datetime:
    """A UTCTime, of the years 1950 to 2049, or a GeneralizedTime."""
    text = content.decode("ascii")
    if tag == 0x17:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
