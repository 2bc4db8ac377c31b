"""Small TOML files of users and tokens: one writer at a time, whole, for our own eyes alone."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import structlog

from dicom_node.durable_files import OWN, write_durably
from dicom_node.errors import ConfigurationError

log = structlog.get_logger()
Kind = TypeVar("Kind")

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""The name of a user or of a token."""
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
OTHERS_READ: Final = stat.S_IRGRP | stat.S_IROTH
MAX_BYTES: Final = 1 << 20

Table = Mapping[str, Mapping[str, str]]
"""A record of short texts by each name."""


def read_records(path: Path, table: str) -> Table:
    """The records of a file; none where there is no file.

    Raises:
        ConfigurationError: it cannot be read, is no such file, or others may write to it.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS_WRITE:
                raise ConfigurationError(f"{path}: others may write to this file")
            content = tomllib.loads(file.read(MAX_BYTES).decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    return _checked(path, content, table)


def _checked(path: Path, content: dict[str, Any], table: str) -> Table:
    """The one table of a file, if it is made as it should be."""
    records = content.get(table, {})
    if content.keys() - {table} or not isinstance(records, dict):
        raise ConfigurationError(f"{path}: there must be one table, [{table}]")
    for name, record in records.items():
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"{path}: [{table}]: a name is not one")
        if not isinstance(record, dict) or not all(
            isinstance(value, str) for value in record.values()
        ):
            raise ConfigurationError(f"{path}: [{table}.{name}]: texts only")
    return records


@contextmanager
def changed_records(path: Path, table: str) -> Iterator[dict[str, dict[str, str]]]:
    """The records of a file, to be changed; written durably where the block ends well.

    Raises:
        ConfigurationError: as `read_records`.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, OWN)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = {name: dict(record) for name, record in read_records(path, table).items()}
        yield records
        owner = path.stat() if path.exists() else None
        write_durably(path, _as_toml(table, records).encode(), mode=OWN)
        if owner is not None and owner.st_uid != os.geteuid():
            os.chown(path, owner.st_uid, owner.st_gid)  # root wrote for the node's user
    finally:
        os.close(lock)


def _as_toml(table: str, records: Table) -> str:
    """The text of a file; JSON's strings are TOML's, but for DEL, which no value holds."""
    lines = [f"# Written by msk-node; the program reads changes at once.\n[{table}]\n"]
    for name in sorted(records):
        lines.append(f"\n[{table}.{json.dumps(name)}]\n")
        lines += [f"{key} = {json.dumps(value)}\n" for key, value in records[name].items()]
    return "".join(lines)


def concern(path: Path) -> str:
    """What should be looked at about such a file; empty where nothing."""
    if path.exists() and path.stat().st_mode & OTHERS_READ:
        return f"{path}: others may read this file"
    return ""


class Watched(Generic[Kind]):
    """What a file says, read anew when it is another; nothing where it is unusable."""

    def __init__(self, path: Path, read: Callable[[Path], Kind], nothing: Kind) -> None:
        self._path = path
        self._read = read
        self._nothing = nothing
        self._state: object = object()
        self._value = nothing

    def now(self) -> Kind:
        """What it says at this moment."""
        state = self._look()
        if state != self._state:
            self._value = self._load()
            self._state = state
        return self._value

    def _look(self) -> tuple[int, ...] | None:
        """What tells one state of the file from another."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)

    def _load(self) -> Kind:
        """What it says, or nothing: a damaged file lets nobody in."""
        try:
            return self._read(self._path)
        except ConfigurationError as error:
            log.error("web.records-unusable", reason=str(error))  # noqa: TRY400 - words suffice
            return self._nothing
