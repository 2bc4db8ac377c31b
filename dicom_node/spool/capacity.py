"""Capacity of the spool: what it and its disk may still take.

On the disk, the reserve is left, and what was promised to the series that are to be analysed
next: the worker says how much that is (`node/room.py`), in a small file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from dicom_node.durable_files import temporary_file
from dicom_node.spool.spool import Spool

log = structlog.get_logger()

MEASURE_SPOOL_EVERY_S: Final = 60.0
REST: Final = 20.0
"""A spool of millions of files is left for so many times what measuring it took."""
READ_PROMISE_EVERY_S: Final = 1.0
PROMISED: Final = ".promised"
"""The bytes that are left free for analyses, in digits; none where there is no file."""
PROMISE_LOCK: Final = ".promised.lock"
PROMISE_PATIENCE_S: Final = 10.0


@contextlib.contextmanager
def promising(folder: Path) -> Iterator[None]:
    """Hold the promise of a spool, against other threads and workers, while it is worked out.

    Else one would take back what another promised in between. Whoever holds it for longer than
    it takes was stopped: nobody waits for that.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            path = folder / PROMISE_LOCK
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            held.callback(os.close, descriptor)
            _lock_within(descriptor, PROMISE_PATIENCE_S)
        yield


def _lock_within(descriptor: int, patience_s: float) -> None:
    """Lock an open file, unless that takes too long."""
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.02)


def promise(folder: Path, size_bytes: int) -> None:
    """Have the receiver of a spool leave so much free; a disk that takes no file is full."""
    path = folder / PROMISED
    with contextlib.suppress(OSError):
        if size_bytes == 0:
            path.unlink(missing_ok=True)
        elif promised(folder) != size_bytes:
            with temporary_file(folder, [str(size_bytes).encode("ascii")]) as temporary:
                temporary.rename(path)


def promised(folder: Path) -> int:
    """The bytes that are to be left free in a spool, beside the reserve."""
    with contextlib.suppress(OSError, ValueError):
        return max(int((folder / PROMISED).read_text(encoding="ascii")), 0)
    return 0


class SpoolCapacity:
    """The capacity that is left: a reserve of free space, and the spool's own limit.

    The spool is measured in the background, for it may hold a million files; in between,
    what is kept is added to it, and what is purged is noticed at the next measurement. What
    is still arriving counts too, on whatever association: it is on the disk already.
    """

    def __init__(
        self, spool: Spool, free_reserve_bytes: int, max_spool_bytes: int | None = None
    ) -> None:
        self._spool = spool
        self._free_reserve_bytes = free_reserve_bytes
        self._max_spool_bytes = max_spool_bytes
        self._measured_bytes = 0
        self._added_bytes = 0
        self._arriving_bytes = 0
        self._promised_bytes = 0
        self._promise_read_s = -READ_PROMISE_EVERY_S
        self._is_measuring = False
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self) -> None:
        """Measure the spool, now and from time to time, if it has a limit."""
        if self._max_spool_bytes is not None and not self._is_measuring:
            self._is_measuring = True
            self.measure()
            threading.Thread(target=self._measure_often, name="spool-size", daemon=True).start()

    def change(self, free_reserve_bytes: int, max_spool_bytes: int | None) -> None:
        """Keep another reserve, or another limit, from now on."""
        self._free_reserve_bytes = free_reserve_bytes
        self._max_spool_bytes = max_spool_bytes
        self.start()

    def stop(self) -> None:
        """Measure no more."""
        self._stop.set()

    def add(self, size_bytes: int) -> None:
        """Note that so much has been kept."""
        with self._lock:
            self._added_bytes += size_bytes

    def arrives(self, size_bytes: int) -> None:
        """Note that so much more is arriving; negative, once it is kept or given up."""
        with self._lock:
            self._arriving_bytes += size_bytes

    def shortage(self, size_bytes: int = 0) -> str:
        """The reason why so much more cannot be received, as text; empty where it can."""
        if self._spool.free_bytes() - size_bytes < self._kept_free():
            return "the disk is nearly full"
        limit = self._max_spool_bytes
        held = self._measured_bytes + self._added_bytes + self._arriving_bytes
        if limit is not None and held + size_bytes > limit:
            return "the spool is as large as it may be"
        return ""

    def _kept_free(self) -> int:
        """The reserve, and what was promised a moment ago."""
        now_s = time.monotonic()
        if now_s - self._promise_read_s >= READ_PROMISE_EVERY_S:
            self._promised_bytes = promised(self._spool.folder)
            self._promise_read_s = now_s
        return self._free_reserve_bytes + self._promised_bytes

    def measure(self) -> None:
        """Measure the spool; what is kept meanwhile counts twice rather than not at all."""
        with self._lock:
            before = self._added_bytes
        size = self._spool.size_bytes()
        with self._lock:
            self._measured_bytes = size
            self._added_bytes -= before

    def _measure_often(self) -> None:
        wait_s = MEASURE_SPOOL_EVERY_S
        while not self._stop.wait(wait_s):
            began_s = time.monotonic()
            try:
                self.measure()
            except OSError:
                log.exception("spool.not_measured")
            wait_s = max(MEASURE_SPOOL_EVERY_S, REST * (time.monotonic() - began_s))
