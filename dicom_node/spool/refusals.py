"""Images that the node refused: remembered, for no sender sends them again by itself.

A refused C-STORE leaves nothing of the image, and many senders report success all the same:
only the node can tell that a series is cut off. So each refusal is a line of its series'
file, written before the refusal is answered; that file is read when the series is judged
(`watcher.py`). An image that was refused and then came and was kept is not lost.

```
spool/.refused/.<Series Instance UID>     one line each: <why> <SOP Instance UID>
                                          beside <SOP Instance UID> <Series Instance UID>
```

An image whose series cannot be told (its dataset was not read, or is damaged at its start)
counts for the series that its association sent before it and sends next, and that is said
(`amid`); each of the two has a line that names the other, for an image that is kept later as
one of either is lost to neither; where there is none, only its caller is counted
(`rejections.py`).
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from dicom_node.durable_files import sync_folder
from dicom_node.uids import is_uid

log = structlog.get_logger()

REFUSED: Final = ".refused"
MAX_LINES: Final = 16384
"""So many refused images of one series are told apart: as many as a series has slices."""
MAX_WITHOUT_IMAGES: Final = 256
"""So many series of which nothing was kept are remembered, the latest ones."""
MAX_KNOWN: Final = 64
"""The refusals of so many series are in memory; of others their file is read again."""
MAX_UNTOLD: Final = 1024
"""So many refusals of one association wait for a series to count for."""
MAX_OWED: Final = 1024
"""So many lines that the disk did not take are held in memory, of all associations together."""
BESIDE: Final = "beside"
AMID: Final = "?"
"""The mark of a refusal whose series is that of its neighbours."""


class Why(StrEnum):
    """The reason why an image was not kept, as the file names it."""

    ROOM = "room"
    DISK = "disk"
    SIZE = "size"
    TIME = "time"
    DAMAGED = "damaged"
    MISMATCH = "mismatch"
    UNSUPPORTED = "unsupported"

    @property
    def words(self) -> str:
        """What follows "images were refused"."""
        return _WORDS[self]


_WORDS: Final[Mapping[Why, str]] = {
    Why.ROOM: "for lack of room",
    Why.DISK: "because the disk failed",
    Why.SIZE: "as too large, which ended the transfer",
    Why.TIME: "as too slow, which ended the transfer",
    Why.DAMAGED: "as damaged",
    Why.MISMATCH: "as another image than the sender announced",
    Why.UNSUPPORTED: "as of a kind that was not agreed",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One image that was refused.

    sop_instance_uid: as it was announced, or what stands for one that is no UID.
    amid: whether it is of this series only by its neighbours.
    """

    sop_instance_uid: str
    why: Why
    amid: bool = False

    @property
    def line(self) -> str:
        """The line that stands for it."""
        return f"{self.why}{AMID if self.amid else ''} {self.sop_instance_uid}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A series of which an image may be that was refused amid another one."""

    sop_instance_uid: str
    series_instance_uid: str

    @property
    def line(self) -> str:
        """The line that stands for it; the version before passes it over."""
        return f"{BESIDE} {self.sop_instance_uid} {self.series_instance_uid}"


@dataclass(frozen=True, slots=True)
class Lost:
    """The images that a series lost to refusals: how many, and why.

    amid: those that are of this series only by their neighbours.
    """

    images: Mapping[Why, int] = field(default_factory=dict)
    amid: Mapping[Why, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of images, also of those that only may be of this series."""
        return sum(self.images.values()) + sum(self.amid.values())

    @property
    def words(self) -> str:
        """What a person must know; empty where nothing was lost."""
        told = []
        if self.images:
            told.append(f"{_counted(self.images, 'of this series')}")
        if self.amid:
            amid = _counted(self.amid, "that came amid this series")
            told.append(f"{amid} (of which series, nothing says)")
        return "; ".join(told)


class RefusalRecord:
    """The refusals of all series, as the receiver writes them."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._known: OrderedDict[str, set[str]] = OrderedDict()
        self._owed: dict[tuple[str, Refusal | Neighbour], None] = {}
        self._bare: deque[str] | None = None
        self._lock = threading.Lock()

    def add(self, series_instance_uid: str, refusal: Refusal | Neighbour) -> bool:
        """Remember a refusal durably; False where the disk does not take it now.

        What it does not take is owed: written before the next one, whoever brings that.
        """
        with self._lock:
            owed = (series_instance_uid, refusal)
            if len(self._owed) < MAX_OWED:
                self._owed[owed] = None
            elif owed not in self._owed:
                log.error("refusal.forgotten", series_instance_uid=series_instance_uid)
            self._pay()
            return not self._owed

    def pay(self) -> None:
        """Write what the disk did not take before, as far as it does now."""
        with self._lock:
            self._pay()

    def _pay(self) -> None:
        for uid, refusal in tuple(self._owed):
            try:
                self._add(uid, refusal)
            except OSError as error:
                log.warning(
                    "refusal.not_remembered",
                    series_instance_uid=uid,
                    error=type(error).__name__,
                    count=len(self._owed),
                )
                return
            del self._owed[uid, refusal]

    def _add(self, uid: str, refusal: Refusal | Neighbour) -> None:
        path = refused_file(self._spool, uid)
        lines = self._lines(path)
        if refusal.line in lines or len(lines) >= MAX_LINES:
            return
        is_new = not path.exists()
        if is_new:
            self._make_room(uid)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        try:
            # A line before it that was cut off stays by itself.
            text = f"\n{refusal.line}\n".encode()
            if os.write(descriptor, text) != len(text):
                raise OSError("the disk took a part of a line")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(path.parent)
        lines.add(refusal.line)

    def _lines(self, path: Path) -> set[str]:
        """The lines of a series, as long as its file is there."""
        lines = self._known.pop(path.name, None)
        if lines is None or not path.exists():
            lines = {refusal.line for refusal in read_refusals(path)}
            lines |= {neighbour.line for neighbour in read_neighbours(path)}
        self._known[path.name] = lines
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return lines

    def _make_room(self, uid: str) -> None:
        """Of series of which nothing was kept remember only the latest."""
        folder = self._spool / REFUSED
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(self._spool)
        if self._bare is None:
            self._bare = deque(_without_images(self._spool))
        if not (self._spool / uid).is_dir():
            self._bare.append(uid)
        while len(self._bare) > MAX_WITHOUT_IMAGES:
            oldest = self._bare.popleft()
            if not (self._spool / oldest).is_dir():
                refused_file(self._spool, oldest).unlink(missing_ok=True)
                log.warning("refusal.forgotten", series_instance_uid=oldest)


class AssociationRefusals:
    """The refusals of one association; every call may come from another thread.

    count: takes what no series can be found for.
    """

    def __init__(self, record: RefusalRecord, count: Callable[[Why], None]) -> None:
        self._record, self._count = record, count
        self._series = ""
        self._seriesless: list[Refusal] = []
        self._lock = threading.Lock()
        record.pay()

    def came(self, series_instance_uid: str) -> None:
        """Note that an image of a series came: what nobody's image came before may be of it."""
        with self._lock:
            waiting, self._seriesless = self._seriesless, []
            if series_instance_uid != self._series:
                before, self._series = self._series, series_instance_uid
                for refusal in waiting:
                    self._record.add(series_instance_uid, replace(refusal, amid=True))
                    if before and is_uid(refusal.sop_instance_uid):
                        uid = refusal.sop_instance_uid
                        self._record.add(series_instance_uid, Neighbour(uid, before))
                        self._record.add(before, Neighbour(uid, series_instance_uid))
            self._record.pay()

    def refused(self, series_instance_uid: str, sop_instance_uid: str, why: Why) -> None:
        """Remember that an image was refused; its series may be empty, for unknown."""
        refusal = Refusal(sop_instance_uid, why)
        with self._lock:
            if series_instance_uid:
                self._record.add(series_instance_uid, refusal)
                return
            if self._series:
                self._record.add(self._series, replace(refusal, amid=True))
            if len(self._seriesless) < MAX_UNTOLD:
                self._seriesless.append(refusal)
            elif not self._series:
                self._count(why)

    def end(self) -> None:
        """Count what nothing more will be learnt of."""
        with self._lock:
            self._record.pay()
            waiting, self._seriesless = self._seriesless, []
            for refusal in waiting if not self._series else ():
                self._count(refusal.why)


def refused_file(spool: Path, series_instance_uid: str) -> Path:
    """The file that names the refused images of a series."""
    return spool / REFUSED / f".{series_instance_uid}"


def refused_series(spool: Path) -> tuple[str, ...]:
    """The Series Instance UIDs of which images were refused."""
    try:
        names = [path.name.removeprefix(".") for path in (spool / REFUSED).iterdir()]
    except OSError:
        return ()
    return tuple(sorted(filter(is_uid, names)))


def read_refusals(path: Path) -> tuple[Refusal, ...]:
    """The refusals of a series, each once; a line that a crash cut off is passed over."""
    found = map(_refusal, _lines_in(path))
    return tuple(dict.fromkeys(one for one in found if one is not None))


def read_neighbours(path: Path) -> tuple[Neighbour, ...]:
    """The series of which images may be that were refused amid this one, each once."""
    found = map(_neighbour, _lines_in(path))
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _lines_in(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(MAX_LINES * 140).decode("ascii", "replace").split("\n")
    except OSError:
        return []


def lost_images(refusals: Iterable[Refusal], kept: Collection[str]) -> Lost:
    """The images that were refused and did not come later; the last reason of each counts."""
    by_uid = {one.sop_instance_uid: one for one in refusals if one.sop_instance_uid not in kept}
    return Lost(
        images=Counter(one.why for one in by_uid.values() if not one.amid),
        amid=Counter(one.why for one in by_uid.values() if one.amid),
    )


def _refusal(line: str) -> Refusal | None:
    """The refusal in a line, or None where it holds none."""
    word, _, uid = line.partition(" ")
    why = word.removesuffix(AMID)
    if why not in set(Why) or not (is_uid(uid) or uid.startswith("-")):
        return None
    return Refusal(uid, Why(why), amid=word.endswith(AMID))


def _neighbour(line: str) -> Neighbour | None:
    """The neighbour in a line, or None where it holds none."""
    match line.split(" "):
        case [word, image, series] if word == BESIDE and is_uid(image) and is_uid(series):
            return Neighbour(image, series)
    return None


def _counted(counts: Mapping[Why, int], whose: str) -> str:
    """`9 images of this series were refused for lack of room, 1 as damaged`."""
    ((first, count), *others) = Counter(counts).most_common()
    noun = "image" if count == 1 else "images"
    were = "was" if count == 1 else "were"
    words = f"{count} {noun} {whose} {were} refused {first.words}"
    return ", ".join([words, *(f"{number} {why.words}" for why, number in others)])


def _without_images(spool: Path) -> list[str]:
    """The series of which there is nothing but refusals, the oldest first."""
    bare = [uid for uid in refused_series(spool) if not (spool / uid).is_dir()]
    return sorted(bare, key=lambda uid: refused_file(spool, uid).stat().st_mtime)
