"""The metrics of each process, in a small file of its own beside the spool's other notes.

```
spool/.metrics/<role>@<node>.json     what a process has counted, written every two seconds
```

A process that starts begins with what the file of its role says: counters go on where they
stood, over the restart of a role and of the whole node, and there is one file a role, however
often it was started. What is counted between the last writing and a kill is lost, and was
never shown: no counter goes back. A file that cannot be read (a disk that was cut off) is
begun anew, which Prometheus takes for a restart.

Nothing is mapped into memory: a page of a mapped file for which a full disk has no room ends
the process, and the receiver must outlive a full disk. A disk that takes no file is tried
again, and ends nobody's work.

The file of a role on a machine that has gone (a container with a new name) is taken over by
the next process of that role that starts, after a week of silence.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import Any, Final, ParamSpec

import structlog

from dicom_node.monitoring import metrics
from dicom_node.monitoring.metrics import METRICS, Key, MetricType, Numbers
from dicom_node.settings.node import NodeConfig

log = structlog.get_logger()

Arguments = ParamSpec("Arguments")
FOLDER: Final = ".metrics"
VERSION: Final = 1
WRITE_EVERY_S: Final = 2.0
ABANDONED_S: Final = 7 * 86400.0
"""A file that nobody has written for so long is taken over."""
MAX_FILE_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one process has noted, by the names of the metrics.

    written_s: when, in seconds since the epoch.
    """

    role: str
    node: str
    written_s: float
    series: Mapping[str, Mapping[Key, Sequence[float]]] = field(default_factory=dict)


def metrics_folder(config: NodeConfig) -> Path:
    """Where the files are."""
    return config.node.spool / FOLDER


@contextlib.contextmanager
def metrics_kept(
    config: NodeConfig, role: str, node: str, *, every_s: float = WRITE_EVERY_S
) -> Iterator[None]:
    """Go on counting where this role stood, and keep a file of it, as long as the block lasts.

    Nothing that goes wrong with the file is an error of the process.

    Args:
        config: says where the file is.
        role: what the process does.
        node: what tells the processes of several machines apart.
        every_s: how often the file is written.
    """
    keeper = _Keeper(metrics_folder(config), role, node)
    keeper.begin()
    stop = threading.Event()
    thread = threading.Thread(
        target=keeper.run, args=(stop, every_s), name="metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2.0)
        keeper.write()


@dataclass(slots=True)
class _Keeper:
    """Writes the file of one process.

    taken: files whose counts are in memory, and in no file of ours yet.
    """

    folder: Path
    role: str
    node: str
    is_failing: bool = False
    taken: list[Path] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.role}@{_in_a_name(self.node)}.json"

    def begin(self) -> None:
        """Take up what this role has counted before, and what others of it have left."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            taken = self._take_over()
        except OSError as error:
            self._failed(error)
            return
        for path in (self.path, *taken):
            snapshot = read_snapshot(path)
            if snapshot is not None:
                _go_on_from(snapshot)
        self.taken = taken
        self.write()

    def run(self, stop: threading.Event, every_s: float) -> None:
        """Write until told to stop."""
        while not stop.wait(every_s):
            self.write()

    def write(self) -> None:
        """Write the file; one that cannot be written leaves the one before."""
        note_process()
        part = self.path.with_suffix(".part")
        try:
            part.write_text(json.dumps(_as_json(self.role, self.node)), encoding="utf-8")
            part.replace(self.path)
        except OSError as error:
            self._failed(error)
            return
        self.is_failing = False
        while self.taken:  # what they hold is in our file now
            with contextlib.suppress(OSError):
                self.taken.pop().unlink(missing_ok=True)

    def _take_over(self) -> list[Path]:
        """The files of this role that nobody writes any more; each goes to one taker."""
        taken = list(self.folder.glob(f"{self.path.stem}.taken-*"))
        for path in self.folder.glob(f"{self.role}@*.json"):
            with contextlib.suppress(OSError):
                if path != self.path and time.time() - path.stat().st_mtime > ABANDONED_S:
                    mine = self.folder / f"{self.path.stem}.taken-{path.stem}"
                    path.rename(mine)
                    taken.append(mine)
        return taken

    def _failed(self, error: OSError) -> None:
        if not self.is_failing:
            log.warning("metrics.unwritten", path=str(self.path), reason=error.strerror)
        self.is_failing = True


def harmless(note: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """A function that notes something, and whose errors are nobody's but the log's.

    What it notes has been done: that it cannot be counted is no reason to do it again.
    """

    @wraps(note)
    def noted(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        try:
            note(*arguments, **named)
        except Exception:
            log.exception("metrics.not_noted", key=note.__name__)

    return noted


def note_process() -> None:
    """Note what the system says of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    metrics.CPU.set(usage.ru_utime + usage.ru_stime)
    metrics.STARTED.set(_started_s())
    with contextlib.suppress(OSError, ValueError, IndexError):  # another system than Linux
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        metrics.MEMORY.set(pages * os.sysconf("SC_PAGESIZE"))
        metrics.DESCRIPTORS.set(sum(1 for _ in Path("/proc/self/fd").iterdir()))
    for gauge, value in _watched.items():
        with contextlib.suppress(Exception):  # a receiver that is just stopping
            METRICS[gauge].set(value())


_watched: dict[str, Callable[[], float]] = {}


def watch(gauge: metrics.Metric, value: Callable[[], float]) -> None:
    """Have a gauge set to what this says, whenever the file is written."""
    _watched[gauge.name] = value


def read_snapshots(folder: Path) -> tuple[Snapshot, ...]:
    """What all processes have noted; a file that cannot be read is passed over."""
    found = (read_snapshot(path) for path in sorted(folder.glob("*@*.json")))
    return tuple(each for each in found if each is not None)


def read_snapshot(path: Path) -> Snapshot | None:
    """What a process has noted; None where there is no such file, or it is damaged."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["version"] != VERSION:
            return None
        return Snapshot(
            role=str(table["role"]),
            node=str(table["node"]),
            written_s=float(table["written_s"]),
            series={
                name: _series(name, rows)
                for name, rows in table["series"].items()
                if name in METRICS
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def added_up(snapshots: Sequence[Snapshot], name: str) -> dict[Key, Numbers]:
    """All series of a metric, added up over the processes that note it."""
    found: dict[Key, Numbers] = {}
    for snapshot in snapshots:
        for key, numbers in snapshot.series.get(name, {}).items():
            before = found.get(key, [0.0] * len(numbers))
            found[key] = [sum(pair) for pair in zip(before, numbers, strict=True)]
    return found


def _go_on_from(snapshot: Snapshot) -> None:
    for name, series in snapshot.series.items():
        if METRICS[name].type is not MetricType.GAUGE:
            METRICS[name].add(series)


def _series(name: str, rows: Sequence[Any]) -> dict[Key, list[float]]:
    """The series of a metric in a file; without those of another version's form."""
    metric = METRICS[name]
    found = {
        tuple(map(str, labels)): [float(number) for number in numbers]
        for labels, numbers in rows
    }
    return {
        key: numbers
        for key, numbers in found.items()
        if len(key) == len(metric.label_names) and len(numbers) == metric.width
    }


def _as_json(role: str, node: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "role": role,
        "node": node,
        "written_s": time.time(),
        "series": {
            name: [[list(key), numbers] for key, numbers in metric.copied().items()]
            for name, metric in METRICS.items()
            if metric.series
        },
    }


def _in_a_name(node: str) -> str:
    """A machine's name as a part of a file's."""
    return "".join(each if each.isalnum() or each in "._-" else "_" for each in node)[:64]


@cache
def _started_s() -> float:
    """When this process started, in seconds since the epoch, as the system knows it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = int(
            Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
        )
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return time.time() - uptime_s + ticks / os.sysconf("SC_CLK_TCK")
    return time.time()
