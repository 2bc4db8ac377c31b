"""The spool: instances kept durably on disk, under names that cannot clash.

```
spool/
├── .incoming/                     being written; whatever a crash leaves there is swept
├── .watching                      locked by the watcher that is looking just now
├── .turned-away.json              who was not let in, and how often (`admission.py`)
├── .waiting.json                  which series wait for what (`waiting.py`)
└── <Series Instance UID>/
    ├── <SOP Instance UID>.dcm             the instance
    ├── <SOP Instance UID>~<digest>.dcm    other bytes under the same UID: kept, never lost
    ├── .sending-<name>                    an association sends it (`transmissions.py`)
    └── handed-over.json                   which files went to the engine, in which revision
```
Everything there is to know is on disk: arrival times are file times, the association's AE
titles stand in the file meta information. A restart only has to look.

A folder is one Series Instance UID, whoever sent it: the same series from the scanner and
from the archive is one series. Two patients under one series UID meet in one folder, and
are refused there by name.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

INCOMING: Final = ".incoming"
UID_PATTERN: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Digits and single dots (PS3.5 9.1): also what makes a UID safe as a file name."""


def is_uid(text: str) -> bool:
    """Whether a text is a UID, and so nothing that could leave the spool's folder."""
    return len(text) <= 64 and UID_PATTERN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One file of the spool, by its name and its file time alone.

    received_s: seconds since the epoch.
    """

    path: Path
    series_instance_uid: str
    sop_instance_uid: str
    received_s: float


class Spool:
    """The spool folder: keeps instances durably, and lists what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True)

    def keep(
        self,
        series_instance_uid: str,
        sop_instance_uid: str,
        parts: Sequence[bytes | memoryview],
    ) -> SpoolEntry:
        """Keep one file, given as file meta information and dataset; durable on return.

        The same dataset again changes nothing. Another dataset under the same SOP Instance
        UID is kept beside the first, for the series to be refused by name.

        Raises:
            OSError: the disk is full or fails; nothing half-written is left.
            ValueError: a UID that is none.
        """
        for uid in (series_instance_uid, sop_instance_uid):
            if not is_uid(uid):
                raise ValueError(f"{uid[:64]!r} is not a UID")
        with temporary_file(self.folder, parts) as temporary:
            folder = self._series_folder(series_instance_uid)
            path = self._name(temporary, folder, sop_instance_uid, parts[-1])
        sync_folder(folder)
        return entry_of(path)

    def series(self) -> tuple[str, ...]:
        """The Series Instance UIDs that the spool holds."""
        names = (item.name for item in os.scandir(self.folder) if item.is_dir())
        return tuple(sorted(name for name in names if is_uid(name)))

    def entries(self, series_instance_uid: str) -> tuple[SpoolEntry, ...]:
        """The files of one series, in the order of their names; empty where there is none."""
        folder = self.folder / series_instance_uid
        with contextlib.suppress(FileNotFoundError):
            return tuple(entry_of(path) for path in sorted(folder.glob("*.dcm")))
        return ()

    def purge(self, series_instance_uid: str) -> int:
        """Delete the images of a series and keep the record of what was handed over.

        Answers how many files went. The same images sent again open no new revision.
        """
        entries = self.entries(series_instance_uid)
        for entry in entries:
            entry.path.unlink(missing_ok=True)
        return len(entries)

    def sweep(self) -> int:
        """Delete what a crash left half-written; answers how many files went.

        A file that another receiver is still writing is locked, and stays.
        """
        swept = 0
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink()
                swept += 1
        return swept

    def free_bytes(self) -> int:
        """Free space on the spool's disk."""
        return shutil.disk_usage(self.folder).free

    def size_bytes(self) -> int:
        """What all kept files hold together; as slow as there are many of them."""
        return sum(
            _size_or_nothing(path)
            for uid in self.series()
            for path in (self.folder / uid).glob("*.dcm")
        )

    def _series_folder(self, series_instance_uid: str) -> Path:
        folder = self.folder / series_instance_uid
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(self.folder)
        return folder

    def _name(
        self, temporary: Path, folder: Path, sop_instance_uid: str, dataset: bytes | memoryview
    ) -> Path:
        """Give a file its name; a link, unlike a rename, never replaces what is there."""
        path = folder / f"{sop_instance_uid}.dcm"
        if _linked(temporary, path) or _same_dataset(path, dataset):
            return path
        digest = hashlib.sha256(dataset).hexdigest()
        beside = folder / f"{sop_instance_uid}~{digest[:16]}.dcm"
        if _linked(temporary, beside):
            log.warning("store.conflict", sop_instance_uid=sop_instance_uid)
        return beside


@contextlib.contextmanager
def temporary_file(spool: Path, parts: Sequence[bytes | memoryview]) -> Iterator[Path]:
    """A complete, synced file under a temporary name, which is gone afterwards.

    To be linked or renamed to where it belongs; what a crash leaves is swept.
    """
    path = spool / INCOMING / f"{uuid.uuid4().hex}.part"
    try:
        with path.open("xb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
            yield path
    finally:
        path.unlink(missing_ok=True)


def entry_of(path: Path) -> SpoolEntry:
    """What the name and time of a file say."""
    return SpoolEntry(
        path=path,
        series_instance_uid=path.parent.name,
        sop_instance_uid=path.stem.split("~", 1)[0],
        received_s=path.stat().st_mtime,
    )


def _size_or_nothing(path: Path) -> int:
    """The size of a file, 0 where it has just been purged."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file a second name; False where that name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    return True


def _same_dataset(path: Path, dataset: bytes | memoryview) -> bool:
    """Whether a kept file ends in exactly this dataset, after its own file meta information."""
    size = path.stat().st_size
    start = size - len(dataset)
    if start < 132 or start != _dataset_start(path):
        return False
    with path.open("rb") as stream:
        stream.seek(start)
        held = stream.read()
    return held == dataset


def _dataset_start(path: Path) -> int:
    """Where the dataset begins: after preamble, prefix, group length and group 2."""
    with path.open("rb") as stream:
        head = stream.read(144)
    return 144 + int.from_bytes(head[140:144], "little")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
