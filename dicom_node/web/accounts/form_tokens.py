"""Tokens in forms, against requests that another site makes in a user's name (CSRF).

Each is signed with a key of this spool and bound to what the browser shows beside it: the
session, or before the login a cookie of its own.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from itsdangerous import BadData, URLSafeTimedSerializer

from dicom_node.durable_files import OWN, write_durably

KEY_FILE: Final = ".web-key"
KEY_BYTES: Final = 32
SALT: Final = "msk-node form"


def web_key(spool: Path) -> bytes:
    """The key of a spool; made where there is none, or no whole one.

    Raises:
        OSError: it can be neither read nor written.
    """
    path = spool / KEY_FILE
    key = path.read_bytes() if path.exists() else b""
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        write_durably(path, key, mode=OWN)
    return key


class FormTokens:
    """Makes them and knows them again."""

    def __init__(self, key: bytes, longest_s: float) -> None:
        self._serializer = URLSafeTimedSerializer(key, salt=SALT)
        self._longest_s = int(longest_s)

    def token(self, bound_to: str) -> str:
        """A token for one session."""
        return self._serializer.dumps(bound_to)

    def fits(self, token: str, bound_to: str) -> bool:
        """True if we made it, for this session, and not too long ago."""
        try:
            found = self._serializer.loads(token, max_age=self._longest_s)
        except BadData:
            return False
        return isinstance(found, str) and secrets.compare_digest(
            found.encode(), bound_to.encode()
        )
