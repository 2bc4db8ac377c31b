"""A backup as it lies on disk: one compressed file (`.tar.zst`) or a folder, and its manifest.

Both hold the same names; `manifest.json` comes last and tells of each file its size, SHA-256,
permissions and time. A backup holds images and secrets: only its owner may read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Final, Protocol

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from dicom_node.durable_files import CHUNK_BYTES, OWN, PART, sync, sync_folder
from dicom_node.errors import ConfigurationError

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
ENDING: Final = ".tar.zst"
OWN_FOLDER: Final = 0o700


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a backup.

    modified_s: its time, in seconds since the epoch.
    """

    name: str
    size: int
    sha256: str
    mode: int
    modified_s: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of, and every file in it.

    versions: of msk-node, Python and the ledger.
    roots: where spool, work, results and database were.
    settings: the names in the backup of files that the settings name, by key.
    database: "sqlite", "postgresql", or "none" where no node has run yet.
    left_out: how many images of answered series are not in it.
    gone: files that went while the backup was made, by name.
    """

    format: int
    made_at: datetime
    versions: Mapping[str, str]
    roots: Mapping[str, str]
    settings: Mapping[str, str]
    database: str
    images: bool
    left_out: int
    files: tuple[Entry, ...]
    gone: tuple[str, ...] = ()


_MANIFEST: Final = TypeAdapter(Manifest)


class Writer(Protocol):
    """Takes files, one after the other."""

    def put(self, name: str, source: IO[bytes], size: int, mode: int, time_s: float) -> str:
        """Keep a file of exactly so many bytes; its SHA-256."""


class _Digesting(io.RawIOBase):
    """Reads a file and digests what it has read."""

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__()
        self._source = source
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        part = self._source.read(size)
        self.digest.update(part)
        return part


@dataclass(slots=True)
class _TarWriter:
    tar: tarfile.TarFile

    def put(self, name: str, source: IO[bytes], size: int, mode: int, time_s: float) -> str:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, mode, time_s
        reading = _Digesting(source)
        self.tar.addfile(info, reading)
        return reading.digest.hexdigest()


@dataclass(slots=True)
class _FolderWriter:
    folder: Path
    made: set[Path] = field(default_factory=set)

    def put(
        self,
        name: str,
        source: IO[bytes],
        size: int,
        mode: int,  # noqa: ARG002 - the manifest has it; here all is its owner's alone
        time_s: float,
    ) -> str:
        path = self.folder / name
        if path.parent not in self.made:
            make_own_folders(path.parent, self.folder)
            self.made.add(path.parent)
        _, digest = copied(source, path, size)
        os.utime(path, (time_s, time_s))
        return digest


@contextlib.contextmanager
def new_backup(out: Path) -> Iterator[Writer]:
    """A backup that appears under its name only when all of it is on disk.

    Raises:
        ConfigurationError: there is something of that name.
        OSError: the disk is full or fails.
    """
    if out.exists():
        raise ConfigurationError(f"{out} is there already; a backup replaces nothing")
    out.parent.mkdir(parents=True, exist_ok=True)
    making = _new_file(out) if out.name.endswith(ENDING) else _new_folder(out)
    with making as writer:
        yield writer
    sync_folder(out.parent)


@contextlib.contextmanager
def _new_file(out: Path) -> Iterator[Writer]:
    part = out.with_name(f"{PART}{os.getpid()}-{out.name}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWN)
        with (
            os.fdopen(descriptor, "wb") as file,
            pa.CompressedOutputStream(file, "zstd") as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield _TarWriter(tar)
        sync(part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Writer]:
    part = Path(tempfile.mkdtemp(prefix=f"{PART}{out.name}-", dir=out.parent))
    try:
        yield _FolderWriter(part)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def make_own_folders(folder: Path, below: Path) -> None:
    """Make a folder and those on the way to it, each for its owner alone."""
    if folder == below or folder.is_dir():
        return
    make_own_folders(folder.parent, below)
    folder.mkdir(mode=OWN_FOLDER)


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as its file."""
    return _MANIFEST.dump_json(manifest, indent=1)


def backup_members(backup: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Every file in a backup, by name, in the order in which it was put there.

    Raises:
        ConfigurationError: it is no backup, is cut off, or holds anything but files.
        OSError: it cannot be read.
    """
    members = _members_of_folder(backup) if backup.is_dir() else _members_of_file(backup)
    for name, stream in members:
        if not _is_inside(name):
            raise ConfigurationError(f"{backup}: {name!r} is no name for a file of a backup")
        yield name, stream


def _members_of_file(backup: Path) -> Iterator[tuple[str, IO[bytes]]]:
    try:
        with (
            backup.open("rb") as file,
            pa.CompressedInputStream(file, "zstd") as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for info in tar:
                content = tar.extractfile(info) if info.isreg() else None
                if content is None:
                    raise ConfigurationError(f"{backup}: {info.name!r} is not a file")
                yield info.name, content
    except (tarfile.TarError, EOFError, pa.ArrowException) as error:
        raise ConfigurationError(f"{backup}: no backup, or not whole: {error}") from error
    except OSError as error:
        if error.errno is None:  # of the decompression, which names no file
            raise ConfigurationError(f"{backup}: no backup, or not whole: {error}") from error
        raise


def _members_of_folder(backup: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for path in sorted(backup.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ConfigurationError(f"{path} is not a file")
        if path.is_file():
            with path.open("rb") as stream:
                yield path.relative_to(backup).as_posix(), stream


def _is_inside(name: str) -> bool:
    """True if a name stays inside the folder that it is put into."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def read_manifest(text: bytes, backup: Path) -> Manifest:
    """A manifest from its file.

    Raises:
        ConfigurationError: it is damaged, or of a form that this version does not know.
    """
    try:
        manifest = _MANIFEST.validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(f"{backup}: its {MANIFEST} is damaged") from error
    if manifest.format != FORMAT:
        raise ConfigurationError(
            f"{backup}: a backup of form {manifest.format}; this msk-node knows {FORMAT}"
        )
    return manifest


def copied(stream: IO[bytes], sink: Path | None = None, most: int = -1) -> tuple[int, str]:
    """Read a stream to its end, or so many bytes of it; their number and SHA-256.

    sink: a new file for them, which only its owner may read and which is on disk afterwards.

    Raises:
        OSError: the disk is full or fails, or there is such a file.
    """
    found, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        out: IO[bytes] | None = None
        if sink is not None:
            descriptor = os.open(sink, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWN)
            out = stack.enter_context(os.fdopen(descriptor, "wb"))
        while part := stream.read(CHUNK_BYTES if most < 0 else min(CHUNK_BYTES, most - size)):
            found.update(part)
            size += len(part)
            if out is not None:
                out.write(part)
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
    return size, found.hexdigest()
