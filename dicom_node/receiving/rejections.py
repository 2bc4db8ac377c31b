"""Rejected associations: the reasons, and a count of who was rejected, kept in the spool.

An image that was refused, and of which nothing says what series it is of (`refusals.py`), is
counted here too: by its caller.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from dicom_node.monitoring import metrics
from dicom_node.monitoring.moments import moment_of
from dicom_node.spool.refusals import Why

log = structlog.get_logger()

REJECTIONS_FILE: Final = ".turned-away.json"
MAX_ROWS: Final = 100
"""A limit, so that no caller fills the disk by many titles: the rest is counted together."""


class Reason(StrEnum):
    """The reason why an association was rejected."""

    CALLED_TITLE = "called AE title not known"
    CALLING_TITLE = "calling AE title not known"
    HOST = "calling AE title not allowed from this address"
    CERTIFICATE = "calling AE title not allowed with this certificate"
    TOO_MANY = "too many associations"
    KEPT_FREE = "associations kept free for other senders than archives"
    NO_ROOM = "no room for more images"

    @property
    def word(self) -> str:
        """The reason as a label of metrics has it: `called-title`, `no-room`, ..."""
        return self.name.lower().replace("_", "-")

    @property
    def rejection(self) -> tuple[int, int, int]:
        """Result, source and reason of the A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
        return _REJECTIONS[self]


_REJECTIONS: Final = {
    Reason.CALLED_TITLE: (1, 1, 7),
    Reason.CALLING_TITLE: (1, 1, 3),
    # A title is recognised only together with where it calls from, and what it shows.
    Reason.HOST: (1, 1, 3),
    Reason.CERTIFICATE: (1, 1, 3),
    # Transient, local limit exceeded: the sender may come again.
    Reason.TOO_MANY: (2, 3, 2),
    Reason.KEPT_FREE: (2, 3, 2),
    Reason.NO_ROOM: (2, 3, 2),
}


class ImageReason(StrEnum):
    """The reason why an image was refused of which nothing says what series it is of."""

    ROOM = "image refused, of an unknown series: no room"
    DISK = "image refused, of an unknown series: the disk failed"
    SIZE = "image refused, of an unknown series: too large"
    TIME = "image refused, of an unknown series: too slow"
    DAMAGED = "image refused, of an unknown series: damaged"
    MISMATCH = "image refused, of an unknown series: not what was announced"
    UNSUPPORTED = "image refused, of an unknown series: of a kind not agreed"


IMAGE_REFUSED: Final[Mapping[Why, ImageReason]] = {why: ImageReason[why.name] for why in Why}


@dataclass(frozen=True, slots=True)
class Caller:
    """The requestor of an association, and its address."""

    calling_ae_title: str
    called_ae_title: str
    host: str


@dataclass(frozen=True, slots=True)
class Count:
    """The number of rejections of one caller for one reason; `last_at` in ISO 8601."""

    reason: str
    calling_ae_title: str
    called_ae_title: str
    host: str
    count: int
    last_at: str


OTHERS: Final = Caller("(others)", "", "")


class RejectionLog:
    """Counts of rejected callers, in a file of the spool that outlives the process."""

    def __init__(
        self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._path = folder / REJECTIONS_FILE
        self._temporary = folder / f"{REJECTIONS_FILE}.part"
        with contextlib.suppress(OSError):  # what it is then, it keeps nobody from starting
            self._temporary.unlink()
        self._clock = clock
        self._lock = threading.Lock()
        since, counts = read_rejections(folder)
        self._since = since or self._now()
        self._counts = {_key(each): each for each in counts}

    def note(self, reason: Reason | ImageReason, caller: Caller) -> None:
        """Count one more; a disk that takes no file keeps nobody waiting."""
        log.warning(
            "caller.turned_away" if isinstance(reason, Reason) else "caller.image_refused",
            reason=reason.value,
            calling_ae=printable(caller.calling_ae_title),
            called_ae=printable(caller.called_ae_title),
            host=caller.host,
        )
        if isinstance(reason, Reason):
            metrics.ASSOCIATIONS_REJECTED.labels(reason=reason.word).inc()
        with self._lock:
            self._count(reason, caller)
            try:
                self._write()
            except OSError as error:
                log.warning("caller.not_counted", error=type(error).__name__)

    def _count(self, reason: Reason | ImageReason, caller: Caller) -> None:
        one = Count(
            reason.value,
            printable(caller.calling_ae_title),
            printable(caller.called_ae_title),
            caller.host,
            1,
            self._now(),
        )
        if _key(one) not in self._counts and len(self._counts) >= MAX_ROWS:
            one = replace(
                one, calling_ae_title=OTHERS.calling_ae_title, called_ae_title="", host=""
            )
        known = self._counts.get(_key(one))
        self._counts[_key(one)] = replace(one, count=known.count + 1) if known else one

    def _write(self) -> None:
        """Replace the file whole; losing the last count in a power cut does no harm."""
        table = {
            "since": self._since,
            "counts": [asdict(each) for each in self._counts.values()],
        }
        self._temporary.write_text(json.dumps(table, indent=1), encoding="utf-8")
        self._temporary.rename(self._path)

    def _now(self) -> str:
        return self._clock().isoformat(timespec="seconds")


def read_rejections(folder: Path) -> tuple[str, tuple[Count, ...]]:
    """The start of counting, and the counts of rejections; empty where there never was one."""
    try:
        table = json.loads((folder / REJECTIONS_FILE).read_text(encoding="utf-8"))
        counts = tuple(Count(**each) for each in table["counts"])
        for text in (table["since"], *(each.last_at for each in counts)):
            moment_of(text)
    except FileNotFoundError:
        return "", ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("caller.counts_unreadable", error=type(error).__name__)
        return "", ()
    return str(table["since"]), counts


def _key(one: Count) -> tuple[str, str, str, str]:
    return (one.reason, one.calling_ae_title, one.called_ae_title, one.host)


def printable(title: str) -> str:
    """An AE title as a peer wrote it, without what could confuse a terminal."""
    return "".join(each if " " <= each <= "~" else "?" for each in title.strip())[:16]
