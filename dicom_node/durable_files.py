"""Files written whole and durably: under a temporary name, synced, then named.

Incoming         a file that arrives part by part, in the spool
whole_file       a file that is written by whoever wants to
whole_folder     several files that belong together
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

CHUNK_BYTES: Final = 1 << 20
"""Files are compared and digested in pieces of this size."""

INCOMING: Final = ".incoming"

OWN: Final = 0o600
"""Permissions of what only the node's own user reads."""

PART: Final = ".part-"
"""The prefix in the names of files that are not whole yet."""


class Incoming:
    """A file under a temporary name: locked while it is open, and gone when it is closed.

    To be linked or renamed to where it belongs; what a crash leaves is swept. Of a file that
    arrives nothing is held in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.part"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o640)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.size_bytes = 0
        self._dataset_start = 0

    def write(self, part: bytes | memoryview) -> None:
        """Write on; a nearly full disk may take less than it is given before it fails.

        Raises:
            OSError: the disk is full or fails.
        """
        left = memoryview(part)
        while left:
            written = os.write(self._descriptor, left)
            self.size_bytes += written
            left = left[written:]

    def dataset_begins(self) -> None:
        """Note that what is written from here on is the dataset."""
        self._dataset_start = self.size_bytes

    def before_dataset(self) -> bytes:
        """What was written before the dataset, read back."""
        return os.pread(self._descriptor, self._dataset_start, 0)

    def dataset_head(self, size_bytes: int) -> bytes:
        """The first bytes of the dataset, read back."""
        return os.pread(self._descriptor, size_bytes, self._dataset_start)

    def chunks(self) -> Iterator[bytes]:
        """The dataset, piece by piece."""
        for place in range(self._dataset_start, self.size_bytes, CHUNK_BYTES):
            yield os.pread(self._descriptor, CHUNK_BYTES, place)

    @property
    def dataset_bytes(self) -> int:
        """The length of the dataset."""
        return self.size_bytes - self._dataset_start

    def digest(self) -> str:
        """SHA-256 of the dataset, in hexadecimal."""
        found = hashlib.sha256()
        for chunk in self.chunks():
            found.update(chunk)
        return found.hexdigest()

    def sync(self) -> None:
        """Make the bytes durable.

        Raises:
            OSError: the disk is full or fails.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Remove the temporary name; a name that it got meanwhile stays."""
        with contextlib.suppress(OSError):  # a disk that turned read-only: swept later
            self.path.unlink()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path for a file that appears under its name only when all of it is on disk.

    It lies in the same folder, which is made, and its name ends as the file's does. Where the
    block fails, nothing is left and what stood there before stays.

    Raises:
        OSError: the disk is full or fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{uuid.uuid4().hex}-{path.name}")
    try:
        yield part
        sync(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_durably(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file that appears under its name only when all of it is on disk.

    mode: its permissions, less what the process masks.
    """
    with whole_file(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces `folder` when all the files put into it are on disk.

    Raises:
        OSError: the disk is full or fails.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{PART}{folder.name}-", dir=folder.parent))
    try:
        yield part
        for path in part.iterdir():
            sync(path)
        sync_folder(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def temporary_file(spool: Path, parts: Sequence[bytes | memoryview]) -> Iterator[Path]:
    """A complete, synced file under a temporary name, which is gone afterwards."""
    with Incoming(spool / INCOMING) as incoming:
        for part in parts:
            incoming.write(part)
        incoming.sync()
        yield incoming.path


def sync(path: Path) -> None:
    """Make a file's bytes durable, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    sync(folder)
