"""Heartbeats: each process of a node says every two seconds that it lives.

It says which of its loops moved when, too. Whoever asks (`node/health.py`) reads it beside the
node, or after its end.

A beat is one small file in the spool, `.heartbeats/ROLE.NODE.json`, overwritten in place: a
disk without a byte left still takes it, and so frequent a write must not be synced. A process
that is frozen writes none; one whose thread hangs writes what that thread has not done. The
process's start is in it, so that another process with its number is not taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

import structlog

from dicom_node.monitoring.moments import moment_of

log = structlog.get_logger()

HEARTBEATS: Final = ".heartbeats"
BEAT_EVERY_S: Final = 2.0
PAGE_BYTES: Final = 4096
READ_TRIES: Final = 3
SUPERVISE: Final = "supervise"
"""The role of the process that looks after the others."""
STARTING: Final = "start"
"""The loop of a process that has not come to work yet."""
UNREADABLE: Final = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What a file that is no beat raises when it is read as one."""
NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")


def software_version() -> str:
    """The version of this software, as it was installed."""
    try:
        return version("msk-node")
    except PackageNotFoundError:
        return "0"


class Presence(StrEnum):
    """What the system says of the process that wrote a beat.

    STOPPED: it is there, and does nothing until somebody lets it go on (SIGSTOP).
    ELSEWHERE: it ran on another machine, or in another container: only its beats tell.
    """

    THERE = "there"
    STOPPED = "stopped"
    GONE = "gone"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class LoopBeat:
    """When a loop last said that it moves, and how long it may be until it says so again."""

    at: datetime
    every_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Beat:
    """What a process last said of itself.

    serves: the roles that a supervisor looks after.
    ended_at: when it ended in order; None while it runs, and where it was killed.
    place: the system that it runs on, as far as its number means anything.
    start: the process's start in the system's own count.
    """

    role: str
    node: str
    pid: int
    start: str
    place: str
    host: str
    version: str
    started_at: datetime
    beat_at: datetime
    ended_at: datetime | None = None
    loops: Mapping[str, LoopBeat] = field(default_factory=dict)
    serves: tuple[str, ...] = ()


def beat_name(role: str, node: str, serves: Sequence[str] = ()) -> str:
    """The name of a process's file; supervisors of different roles have one each."""
    words = [role, *(serves if len(serves) == 1 else ()), node or socket.gethostname()]
    return NOT_IN_A_NAME.sub("_", ".".join(words)) + ".json"


class Heart:
    """Beats for one process, on a thread of its own, until it is stopped.

    Args:
        folder: the spool.
        role: what the process does.
        node: the node's name among those that share the spool (default: the machine).
        serves: the roles that it looks after, if it does.
    """

    def __init__(
        self, folder: Path, role: str, *, node: str = "", serves: Sequence[str] = ()
    ) -> None:
        self.role = role
        self._path = folder / HEARTBEATS / beat_name(role, node, serves)
        self._loops: dict[str, tuple[float, float]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False
        self._began_s = time.monotonic()
        now = datetime.now(UTC)
        self._beat = Beat(
            role=role,
            node=node or socket.gethostname(),
            pid=os.getpid(),
            start=_start_of(os.getpid()),
            place=_place(),
            host=socket.gethostname(),
            version=software_version(),
            started_at=now,
            beat_at=now,
            serves=tuple(serves),
        )

    def note(self, loop: str, every_s: float = 0.0) -> None:
        """Note that a loop moves, and that it may be so long until it says so again."""
        self._loops[loop] = (time.monotonic(), every_s)

    @property
    def host(self) -> str:
        """The machine that it beats on."""
        return self._beat.host

    def noting(self, loop: str, every_s: float = 0.0) -> Callable[[], None]:
        """A function that notes one loop."""
        return lambda: self.note(loop, every_s)

    def forget(self, loop: str) -> None:
        """Expect nothing of a loop any longer: it has ended."""
        self._loops.pop(loop, None)

    def start(self) -> Self:
        """Begin to beat."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Say that the process ends in order, and beat no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=BEAT_EVERY_S)
        self._write(ended_at=datetime.now(UTC))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        if kind is None:  # what ends by an error did not end in order
            self.stop()

    def _run(self) -> None:
        while not self._stop.wait(BEAT_EVERY_S):
            self._write()

    def _write(self, ended_at: datetime | None = None) -> None:
        """Overwrite the file; a disk that fails keeps nobody from anything."""
        data = json.dumps(self._values(ended_at)).encode()
        data += b" " * (-len(data) % PAGE_BYTES)
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.pwrite(descriptor, data, 0)
                os.ftruncate(descriptor, len(data))
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._told:
                log.warning("heartbeat.unwritten", error=type(error).__name__)
            self._told = True
        else:
            self._told = False

    def _values(self, ended_at: datetime | None) -> dict[str, Any]:
        """The beat as JSON has it.

        Loops and the start count by the steady clock, whatever the other is set to meanwhile:
        all moments of a beat can be compared.
        """
        now, now_s = datetime.now(UTC), time.monotonic()
        loops = {
            name: [(now - timedelta(seconds=now_s - at_s)).isoformat(), every_s]
            for name, (at_s, every_s) in self._loops.copy().items()
        }
        beat = self._beat
        return {
            "role": beat.role,
            "node": beat.node,
            "pid": beat.pid,
            "start": beat.start,
            "place": beat.place,
            "host": beat.host,
            "version": beat.version,
            "started_at": (now - timedelta(seconds=now_s - self._began_s)).isoformat(),
            "beat_at": now.isoformat(),
            "ended_at": ended_at.isoformat() if ended_at is not None else None,
            "loops": loops,
            "serves": list(beat.serves),
        }


def read_beats(spool: Path) -> tuple[Beat, ...]:
    """The last beat of every process that ever beat here, by their files' names."""
    try:
        paths = sorted((spool / HEARTBEATS).glob("*.json"))
    except OSError:
        return ()
    return tuple(beat for beat in map(_read, paths) if beat is not None)


def presence(beat: Beat) -> Presence:
    """Whether the process that wrote a beat is there, as far as this system can tell."""
    if beat.place != _place():
        return Presence.ELSEWHERE
    if not beat.start or beat.start != _start_of(beat.pid):
        return Presence.GONE
    return {"T": Presence.STOPPED, "t": Presence.STOPPED, "Z": Presence.GONE}.get(
        _stat_of(beat.pid)[0], Presence.THERE
    )


def _read(path: Path) -> Beat | None:
    """One beat; read again where it was just being written."""
    for _ in range(READ_TRIES):
        try:
            return _beat_of(json.loads(path.read_bytes()))
        except OSError:
            return None
        except UNREADABLE:
            time.sleep(0.01)
    log.warning("heartbeat.unreadable", path=path.name)
    return None


def _beat_of(values: Mapping[str, Any]) -> Beat:
    ended = values["ended_at"]
    return Beat(
        role=str(values["role"]),
        node=str(values["node"]),
        pid=int(values["pid"]),
        start=str(values["start"]),
        place=str(values["place"]),
        host=str(values["host"]),
        version=str(values["version"]),
        started_at=moment_of(values["started_at"]),
        beat_at=moment_of(values["beat_at"]),
        ended_at=moment_of(ended) if ended is not None else None,
        loops={
            str(name): LoopBeat(moment_of(at), float(every_s))
            for name, (at, every_s) in values["loops"].items()
        },
        serves=tuple(map(str, values["serves"])),
    )


def _stat_of(pid: int) -> tuple[str, str]:
    """State and start of a process (proc_pid_stat(5)); empty where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        words = text.rpartition(")")[2].split()
        return words[0], words[19]
    except (OSError, IndexError):
        return "", ""


def _start_of(pid: int) -> str:
    return _stat_of(pid)[1]


def _place() -> str:
    """This start of this system, and the space that process numbers are of."""
    found = []
    with contextlib.suppress(OSError):
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with contextlib.suppress(OSError):
        found.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(found) or socket.gethostname()
