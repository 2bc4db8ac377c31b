"""Users of the pages: name, role and digest of a password, in a file of `msk-node user`."""

from __future__ import annotations

import hashlib
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dicom_node.errors import ConfigurationError, UnknownNameError
from dicom_node.web.accounts.records import NAME, changed_records, read_records
from dicom_node.web.accounts.roles import Role, User

TABLE: Final = "users"
SHORTEST_PASSWORD: Final = 12
LONGEST_PASSWORD: Final = 1024

_HASHER: Final = PasswordHasher()
"""Argon2id, with the library's own parameters (RFC 9106, low memory)."""
_NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4"
    "$4uA11ThHrj0yJXHT9ro5pg$34RGzJB8yhy2y0fRX/Lr6ZOeY2Gy4/5bIGC7WI/kfHU"
)
"""What the password of an unknown user is compared with: it takes the same time. Written out,
for every process of the web would wait for its making."""
_AT_ONCE: Final = threading.BoundedSemaphore(2)
"""A digest takes 64 MiB: guessers must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the digest of the password."""

    user: User
    digest: str = field(repr=False)

    @property
    def stamp(self) -> str:
        """What changes when role or password do: sessions under another stamp are over."""
        return hashlib.sha256(f"{self.user.role}\n{self.digest}".encode()).hexdigest()


def read_users(path: Path) -> Mapping[str, Account]:
    """The users of a file.

    Raises:
        ConfigurationError: it cannot be used.
    """
    accounts = {}
    for name, record in read_records(path, TABLE).items():
        try:
            user = User(name, Role(record["role"]))
            accounts[name] = Account(user, record["password"])
        except (KeyError, ValueError):
            raise ConfigurationError(f"{path}: [users.{name}]: no role or no digest") from None
    return accounts


def is_password(account: Account | None, password: str) -> bool:
    """True if this is the user's password; of an unknown user it takes as long to say no."""
    digest = account.digest if account is not None else _NOBODY
    with _AT_ONCE:
        try:
            fits = _HASHER.verify(digest, _normal(password)[:LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return False
    return fits and account is not None


def add_user(path: Path, name: str, role: Role, password: str) -> None:
    """Enter a user.

    Raises:
        ConfigurationError: there is one of that name, or name or password cannot be taken.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            "a name has up to 64 letters, digits and . _ @ -; the first is a letter or a digit"
        )
    digest = _digest(name, password)
    with changed_records(path, TABLE) as records:
        if name in records:
            raise ConfigurationError(f"{path}: there is a user {name} already")
        records[name] = {"role": role.value, "password": digest}


def remove_user(path: Path, name: str) -> None:
    """Take a user out.

    Raises:
        UnknownNameError: there is none of that name.
    """
    with changed_records(path, TABLE) as records:
        del records[_known(path, records, name)]


def set_role(path: Path, name: str, role: Role) -> None:
    """Give a user another role.

    Raises:
        UnknownNameError: there is none of that name.
    """
    with changed_records(path, TABLE) as records:
        records[_known(path, records, name)]["role"] = role.value


def set_password(path: Path, name: str, password: str) -> None:
    """Give a user another password.

    Raises:
        UnknownNameError: there is none of that name.
        ConfigurationError: the password cannot be taken.
    """
    digest = _digest(name, password)
    with changed_records(path, TABLE) as records:
        records[_known(path, records, name)]["password"] = digest


def _known(path: Path, records: Mapping[str, object], name: str) -> str:
    """A name that is there."""
    if name not in records:
        raise UnknownNameError(f"{path}: there is no user {name}")
    return name


def _digest(name: str, password: str) -> str:
    """The digest of a password that can be taken."""
    if not SHORTEST_PASSWORD <= len(_normal(password)) <= LONGEST_PASSWORD:
        raise ConfigurationError(f"a password has {SHORTEST_PASSWORD} characters at least")
    besides = password.lower().replace(name.lower(), "")
    if besides != password.lower() and len(besides) < SHORTEST_PASSWORD // 2:
        raise ConfigurationError("a password is more than the user's name")
    return _HASHER.hash(_normal(password))


def _normal(password: str) -> str:
    """A password in one form, whatever keyboard it was typed on."""
    return unicodedata.normalize("NFC", password)
