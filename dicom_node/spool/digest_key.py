"""A secret of this spool, with which facts about a patient are digested.

A birth date has forty thousand values: a digest that anybody can compute names it. The record
of a series stays when its images are purged, so what it holds must tell nothing without the
secret, which never leaves the spool.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicom_node.durable_files import write_durably

DIGEST_KEY: Final = ".digest-key"
KEY_BYTES: Final = 32
DIGEST_DIGITS: Final = 12
KEY_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class DigestKey:
    """The secret; `name` tells it from another without giving it away."""

    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """A digest of the secret."""
        return hashlib.sha256(self.secret).hexdigest()[:DIGEST_DIGITS]

    def digest(self, *texts: str) -> str:
        """What texts are known by."""
        return self._digest(texts)[:DIGEST_DIGITS]

    def patient_key(self, issuer: str, patient_id: str) -> str:
        """What a patient is known by in the database, long enough for millions of them."""
        return self._digest(("patient", issuer, patient_id))[:KEY_DIGITS]

    def find_key(self, what: str, value: str) -> str:
        """What a series is found by in the database: of an accession number, or a patient id.

        A patient id counts with any issuer: who looks for one mostly knows no issuer.
        """
        return self._digest(("find", what, value.strip()))[:KEY_DIGITS]

    def _digest(self, texts: Sequence[str]) -> str:
        return hmac.new(self.secret, "\n".join(texts).encode(), "sha256").hexdigest()


def digest_key(spool: Path) -> DigestKey:
    """The secret of a spool; made where there is none, or no whole one.

    Raises:
        OSError: it can be neither read nor written.
    """
    path = spool / DIGEST_KEY
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = b""
    if len(secret) != KEY_BYTES:
        secret = secrets.token_bytes(KEY_BYTES)
        write_durably(path, secret, mode=0o600)
    return DigestKey(secret)


def existing_digest_key(spool: Path) -> DigestKey | None:
    """The secret of a spool, for who only looks; None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        secret = (spool / DIGEST_KEY).read_bytes()
    except FileNotFoundError:
        return None
    return DigestKey(secret) if len(secret) == KEY_BYTES else None
