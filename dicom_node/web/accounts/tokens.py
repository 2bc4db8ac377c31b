"""Tokens of programs that use the API, in a file that `msk-node token` writes.

A token is 256 random bits and is shown once; the file has its SHA-256. It has a role, an end,
and may belong to a user: then it goes with the user, and never may more than they.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dicom_node.errors import ConfigurationError, UnknownNameError
from dicom_node.web.accounts.records import NAME, changed_records, read_records
from dicom_node.web.accounts.roles import Role, User
from dicom_node.web.accounts.users import Account

TABLE: Final = "tokens"
PREFIX: Final = "msk_"
"""By this, scanners of repositories and mails find a token that was lost."""
TOKEN_BYTES: Final = 32
LONGEST_DAYS: Final = 3650


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without the secret itself.

    owner: the user that it belongs to; empty for none.
    """

    name: str
    role: Role
    expires_at: datetime
    owner: str = ""

    def user(self, accounts: Mapping[str, Account], now: datetime) -> User | None:
        """Who comes with this token; nobody, when it has ended or its owner has gone."""
        if now >= self.expires_at:
            return None
        if not self.owner:
            return User(f"token {self.name}", self.role)
        account = accounts.get(self.owner)
        if account is None:
            return None
        role = self.role if account.user.may_order else Role.VIEWER
        return User(f"{self.owner} (token {self.name})", role)


def read_tokens(path: Path) -> Mapping[str, Token]:
    """The tokens of a file, by their SHA-256.

    Raises:
        ConfigurationError: it cannot be used.
    """
    tokens = {}
    for name, record in read_records(path, TABLE).items():
        try:
            ends = datetime.fromisoformat(record["expires_at"]).astimezone(UTC)
            token = Token(name, Role(record["role"]), ends, record.get("owner", ""))
            tokens[record["sha256"]] = token
        except (KeyError, ValueError):
            raise ConfigurationError(f"{path}: [tokens.{name}]: not whole") from None
    return tokens


def digest_of(secret: str) -> str:
    """What a token is kept as: nothing that is random needs a slow digest."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def ends_after(days: int, now: datetime) -> datetime:
    """The end of a token that lasts so many days.

    Raises:
        ConfigurationError: so many it cannot last.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise ConfigurationError(f"a token lasts 1 to {LONGEST_DAYS} days")
    return now + timedelta(days=days)


def add_token(path: Path, token: Token) -> str:
    """Make a token; its text is returned, and kept nowhere.

    Raises:
        ConfigurationError: there is one of that name, or the name cannot be taken.
    """
    if not NAME.fullmatch(token.name):
        raise ConfigurationError("a token's name has up to 64 letters, digits and . _ @ -")
    secret = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    with changed_records(path, TABLE) as records:
        if token.name in records:
            raise ConfigurationError(f"{path}: there is a token {token.name} already")
        records[token.name] = {
            "sha256": digest_of(secret),
            "role": token.role.value,
            "owner": token.owner,
            "expires_at": token.expires_at.astimezone(UTC).isoformat(timespec="seconds"),
        }
    return secret


def remove_token(path: Path, name: str) -> None:
    """Take a token back.

    Raises:
        UnknownNameError: there is none of that name.
    """
    with changed_records(path, TABLE) as records:
        if name not in records:
            raise UnknownNameError(f"{path}: there is no token {name}")
        del records[name]
