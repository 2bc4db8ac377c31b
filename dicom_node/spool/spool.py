"""The spool: instances kept durably on disk, under names that cannot clash.

```
spool/
├── .incoming/                     being written; whatever a crash leaves there is swept
├── .watching                      locked by the watcher that is looking just now
├── .touched/<Series Instance UID> something came of it (`touched.py`)
├── .refused/.<Series Instance UID> which of its images were not kept (`refusals.py`)
├── .turned-away.json              who was rejected, and how often (`rejections.py`)
├── .waiting.json                  which series wait for what (`pending.py`)
├── .metrics/<role>@<node>.json    what each process has counted (`monitoring/metrics_files.py`)
├── .promised                      what is left free for analyses (`capacity.py`)
├── .digest-key                    a secret, for what is known of patients (`digest_key.py`)
└── <Series Instance UID>/
    ├── <SOP Instance UID>.dcm             the instance
    ├── <SOP Instance UID>~<digest>.dcm    other bytes under the same UID: kept, never lost
    ├── .sending-<name>                    an association sends it (`open_associations.py`)
    └── handed-over.json                   which files went to the engine, in which revision
```
Everything there is to know is on disk: a file's time is when its bytes last came, the
association's AE titles stand in the file meta information. A restart only has to look.

A folder is one Series Instance UID, whoever sent it: the same series from the scanner and
from the archive is one series. Two patients under one series UID meet in one folder, and
are refused there by name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from dicom_node.durable_files import INCOMING, Incoming, sync_folder
from dicom_node.errors import SeriesError
from dicom_node.series.bounded_files import NotDicomError, read_meta
from dicom_node.spool.revisions import instance_of
from dicom_node.spool.touched import touch
from dicom_node.uids import is_uid

log = structlog.get_logger()

MAX_REMEMBERED: Final = 4096
"""So many folders are known to be durable; what is forgotten is made so once more."""


AE_TITLES: Final = ("SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle")
"""Of the association that a file came on (PS3.10 7.1)."""


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One file of the spool, by its name and its file time alone.

    received_s: when it last came, in seconds since the epoch.
    is_repeat: whether what was taken had been there already, byte for byte.
    is_file: whether it is a file at all: a link or a folder is none of the node's.
    """

    path: Path
    series_instance_uid: str
    sop_instance_uid: str
    received_s: float
    is_repeat: bool = False
    is_file: bool = True


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

        The same dataset again changes nothing but its file's time, and is not made durable
        twice, unless it came under other AE titles: the newest copy of an image is the image,
        and its titles say what is wanted of it. Another one under the same SOP Instance
        UID is kept beside the first.

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
            path, is_known = self._name(incoming, folder, sop_instance_uid)
        if is_known:
            if _is_called_otherwise(path, incoming):
                incoming.sync()
                incoming.path.rename(path)
            os.utime(path)
            os.utime(folder)  # whoever looks for changes looks there
        sync_folder(folder)
        touch(self.folder, series_instance_uid)
        return replace(entry_of(path), is_repeat=is_known)

    def series(self) -> tuple[str, ...]:
        """The Series Instance UIDs that the spool holds."""
        names = (item.name for item in os.scandir(self.folder) if item.is_dir())
        return tuple(sorted(name for name in names if is_uid(name)))

    def entries(self, series_instance_uid: str) -> tuple[SpoolEntry, ...]:
        """The files of one series, in the order of their names; empty where there is none."""
        folder = self.folder / series_instance_uid
        with contextlib.suppress(FileNotFoundError):
            return tuple(filter(None, map(_listed, sorted(folder.glob("*.dcm")))))
        return ()

    def sweep(self) -> int:
        """Delete what a crash left half-written; answers how many files went.

        A file that another receiver is still writing is locked, and stays.
        """
        swept = 0
        for path in self._incoming.iterdir():
            # What cannot be opened is none of ours, and keeps nobody from starting.
            with contextlib.suppress(OSError), path.open("rb") as stream:
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

    def _name(
        self, incoming: Incoming, folder: Path, sop_instance_uid: str
    ) -> tuple[Path, bool]:
        """Give a file its name; a link, unlike a rename, never replaces what is there.

        Answers the name, and whether the same dataset had it already.
        """
        path = folder / f"{sop_instance_uid}.dcm"
        if _linked(incoming.path, path):
            return path, False
        if _same_dataset(path, incoming):
            return path, True
        digest = incoming.digest()
        beside = folder / f"{sop_instance_uid}~{digest[:16]}.dcm"
        if not _linked(incoming.path, beside):
            if _same_dataset(beside, incoming):
                return beside, True
            # What has the name is not what the name says: a disk has spoiled it.
            beside = folder / f"{sop_instance_uid}~{digest[:32]}.dcm"
            if not _linked(incoming.path, beside):
                return beside, True
        log.warning(
            "store.conflict",
            sop_instance_uid=sop_instance_uid,
            series_instance_uid=folder.name,
        )
        return beside, False


def entry_of(path: Path) -> SpoolEntry:
    """The entry for a file, by its name and time."""
    return _entry(path, path.stat().st_mtime)


def _entry(path: Path, received_s: float) -> SpoolEntry:
    return SpoolEntry(
        path=path,
        series_instance_uid=path.parent.name,
        sop_instance_uid=instance_of(path.name),
        received_s=received_s,
    )


def _listed(path: Path) -> SpoolEntry | None:
    """The entry for a name in a folder; None where it has just been purged."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError:  # a disk that fails: told when it is read
        return replace(_entry(path, 0.0), is_file=False)
    return replace(_entry(path, found.st_mtime), is_file=stat.S_ISREG(found.st_mode))


def _size_or_nothing(path: Path) -> int:
    """The size of a file, 0 where it has just been purged or cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
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
    # A copy that cannot be read is not the same: the one that came is kept beside it.
    with contextlib.suppress(OSError), path.open("rb") as kept:
        start = os.fstat(kept.fileno()).st_size - incoming.dataset_bytes
        if start >= 132 and start == _dataset_start(kept):
            kept.seek(start)
            return all(kept.read(len(chunk)) == chunk for chunk in incoming.chunks())
    return False


def _is_called_otherwise(path: Path, incoming: Incoming) -> bool:
    """True if a kept file with this dataset came under other AE titles than now."""
    now = incoming.before_dataset()
    with contextlib.suppress(OSError), path.open("rb") as kept:
        if kept.read(len(now)) == now:
            return False
    try:
        before, after = read_meta(path), read_meta(incoming.path)
    except (NotDicomError, SeriesError, OSError):
        return False
    # One that is said to be encoded otherwise is another dataset, whatever its bytes.
    if before.get("TransferSyntaxUID") != after.get("TransferSyntaxUID"):
        return False
    return any(before.get(title) != after.get(title) for title in AE_TITLES)


def _dataset_start(file: BinaryIO) -> int:
    """The start of the dataset: after preamble, prefix, group length and group 2."""
    head = file.read(144)
    return 144 + int.from_bytes(head[140:144], "little")
