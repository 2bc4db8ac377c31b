"""Marks of which association is sending which series, for the watcher of the spool.

While an association is open, every series that it has sent an image of has a mark in its
folder, and the receiver holds a lock on it. An association that is released in order takes
its marks with it. One that breaks off leaves them, unlocked, and so does a receiver that is
killed: the series is then known to be interrupted, and its sender may come again. When the
next association for the series ends in order, the marks of those before it go too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MARK: Final = ".sending-"
MAX_MARKS: Final = 4
"""So many series of one association keep a file open; a migration sends thousands in one."""
MAX_REFUSED: Final = 16384
"""So many refused images of a series are told apart while its association is open."""


@dataclass(frozen=True, slots=True)
class Sending:
    """The statements of the marks in a series' folder.

    open: whether an association that sent of it is open now.
    interrupted: whether one broke off, or had an image refused, and none came after it.
    active_s: when an image of it last came, also one that was there already, in seconds
        since the epoch; 0 without marks.
    """

    open: bool = False
    interrupted: bool = False
    active_s: float = 0.0


def sending(folder: Path) -> Sending:
    """Look at the marks of a series; works beside a running receiver, and without one."""
    is_open, interrupted, active_s = False, False, 0.0
    for path in folder.glob(f"{MARK}*"):
        with contextlib.suppress(OSError):
            active_s = max(active_s, path.stat().st_mtime)
            if _is_locked(path):
                is_open = True
            else:
                interrupted = True
    return Sending(is_open, interrupted, active_s)


class Transmissions:
    """The marks of one association; every call may come from another thread."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._marks: dict[str, _Mark] = {}
        self._lock = threading.Lock()

    def came(self, series_instance_uid: str, *, kept: bool, sop_instance_uid: str = "") -> None:
        """Note that an image of a series came, and whether it was kept.

        A mark is no image: a disk that cannot take one refuses nothing for it.
        """
        with self._lock, contextlib.suppress(OSError):
            mark = self._marks.pop(series_instance_uid, None)
            if mark is None:
                mark = _made(self._spool / series_instance_uid)
            elif mark.descriptor is not None:
                os.utime(mark.descriptor)
            mark.note(sop_instance_uid, kept=kept)
            self._marks[series_instance_uid] = mark
            if len(self._marks) > MAX_MARKS:
                # It has not come for the longest time: the sender has gone on to others.
                self._marks.pop(next(iter(self._marks))).end()

    def broke_off(self) -> None:
        """Leave the marks, unlocked, unless the association was released before."""
        with self._lock:
            for mark in self._marks.values():
                mark.unlock()

    def released(self) -> None:
        """Remove the marks of every series that was sent without a refusal."""
        with self._lock:
            for mark in self._marks.values():
                mark.end()
            self._marks.clear()


@dataclass(slots=True)
class _Mark:
    """One file, locked while its descriptor is open.

    before: marks of interrupted associations that this one makes up for.
    refused: images that were refused, and did not come again; no more than are counted.
    """

    path: Path
    descriptor: int | None
    before: tuple[Path, ...] = ()
    refused: set[str] = field(default_factory=set)

    def note(self, sop_instance_uid: str, *, kept: bool) -> None:
        """Note what became of an image."""
        if kept:
            self.refused.discard(sop_instance_uid)
        elif len(self.refused) < MAX_REFUSED:
            self.refused.add(sop_instance_uid)

    def end(self) -> None:
        """Say that the series has been sent, unless an image was refused."""
        if not self.refused:
            for path in (self.path, *self.before):
                path.unlink(missing_ok=True)
        self.unlock()

    def unlock(self) -> None:
        """Leave the mark behind."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _made(folder: Path) -> _Mark:
    before = tuple(path for path in folder.glob(f"{MARK}*") if not _is_locked(path))
    path = folder / f"{MARK}{uuid.uuid4().hex}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return _Mark(path, descriptor, before)


def _is_locked(path: Path) -> bool:
    """True if whoever made a mark is still there."""
    # One that cannot be opened, whatever a disk made of it, is held by nobody.
    with contextlib.suppress(OSError), path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
