"""The spool: instances kept durably on disk, under names that cannot clash.

```
spool/
├── .incoming/                     being written; whatever a crash leaves there is swept
├── .watching                      locked by the watcher that is looking just now
├── .turned-away.json              who was rejected, and how often (`rejections.py`)
├── .waiting.json                  which series wait for what (`pending.py`)
├── .promised                      what is left free for analyses (`capacity.py`)
└── <Series Instance UID>/
    ├── <SOP Instance UID>.dcm             the instance
    ├── <SOP Instance UID>~<digest>.dcm    other bytes under the same UID: kept, never lost
    ├── .sending-<name>                    an association sends it (`open_associations.py`)
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
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from dicom_node.durable_files import INCOMING, Incoming, sync_folder
from dicom_node.uids import is_uid

log = structlog.get_logger()

MAX_REMEMBERED: Final = 4096
"""So many folders are known to be durable; what is forgotten is made so once more."""


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

    def __init__(self, folder: Path, *, only_look: bool = False) -> None:
        """The spool in a folder, which is made.

        Args:
            folder: where it is.
            only_look: make nothing; for who keeps nothing in it.
        """
        self.folder = folder
        self._incoming = folder / INCOMING
        if not only_look:
            self._incoming.mkdir(parents=True, exist_ok=True)
        self._durable: set[str] = set()

    def begin(self) -> Incoming:
        """A new file under a temporary name, for an instance that is arriving.

        Raises:
            OSError: the disk takes no file.
        """
        return Incoming(self.folder / INCOMING)

    def take(
        self, series_instance_uid: str, sop_instance_uid: str, incoming: Incoming
    ) -> SpoolEntry:
        """Keep a file that has arrived whole; durable on return, under its name.

        First the bytes are made durable, then they get their name, then the name is made
        durable: whatever moment a power cut chooses, what has a name is whole, and what was
        answered with success has one.

        The same dataset again changes nothing, and is not made durable twice. Another one
        under the same SOP Instance UID is kept beside the first, for the series to be refused
        by name.

        Raises:
            OSError: the disk is full or fails.
            ValueError: an invalid UID.
        """
        for uid in (series_instance_uid, sop_instance_uid):
            if not is_uid(uid):
                raise ValueError(f"{uid[:64]!r} is not a UID")
        path = self.folder / series_instance_uid / f"{sop_instance_uid}.dcm"
        is_known = _same_dataset(path, incoming)
        if not is_known:
            incoming.sync()
        folder = self._series_folder(series_instance_uid)
        if not is_known:
            path = self._name(incoming, folder, sop_instance_uid)
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
        """The size of all kept files together; as slow as there are many of them."""
        return sum(
            _size_or_nothing(path)
            for uid in self.series()
            for path in (self.folder / uid).glob("*.dcm")
        )

    def _series_folder(self, series_instance_uid: str) -> Path:
        """The folder of a series, whose own name is durable.

        Who finds it made by another thread cannot know whether that one has come as far as
        making its name durable. A folder that was purged meanwhile is made anew: it is
        forgotten before that, and looked for before it is remembered, so that of two threads
        neither trusts the other's half-made one.
        """
        folder = self.folder / series_instance_uid
        if folder.is_dir() and series_instance_uid in self._durable:
            return folder
        self._durable.discard(series_instance_uid)
        folder.mkdir(exist_ok=True)
        sync_folder(self.folder)
        if len(self._durable) >= MAX_REMEMBERED:
            self._durable.clear()
        self._durable.add(series_instance_uid)
        return folder

    def _name(self, incoming: Incoming, folder: Path, sop_instance_uid: str) -> Path:
        """Give a file its name; a link, unlike a rename, never replaces what is there."""
        path = folder / f"{sop_instance_uid}.dcm"
        if _linked(incoming.path, path) or _same_dataset(path, incoming):
            return path
        beside = folder / f"{sop_instance_uid}~{incoming.digest()[:16]}.dcm"
        if _linked(incoming.path, beside):
            log.warning("store.conflict", sop_instance_uid=sop_instance_uid)
        return beside


def entry_of(path: Path) -> SpoolEntry:
    """The entry for a file, by its name and time."""
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


def _same_dataset(path: Path, incoming: Incoming) -> bool:
    """True if a kept file ends in exactly this dataset, after its own file meta information."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as kept:
        start = os.fstat(kept.fileno()).st_size - incoming.dataset_bytes
        if start >= 132 and start == _dataset_start(kept):
            kept.seek(start)
            return all(kept.read(len(chunk)) == chunk for chunk in incoming.chunks())
    return False


def _dataset_start(file: BinaryIO) -> int:
    """The start of the dataset: after preamble, prefix, group length and group 2."""
    head = file.read(144)
    return 144 + int.from_bytes(head[140:144], "little")
