"""From spool to engine: which series is handed over when, each revision exactly once decided.

The record of what went is a small file in the series' folder, written before the engine is
called and again afterwards: after a crash the same revision with the same files is offered
again, and a late image opens the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import structlog
from pydicom.filereader import read_file_meta_info

from dicom_node.completeness import Arrivals, CompletionSettings, is_complete, is_quiet
from dicom_node.errors import SeriesError
from dicom_node.frames import SliceHeader, kinds, read_header, slice_header
from dicom_node.pixels import fingerprint
from dicom_node.selection import leave_out
from dicom_node.spool import Spool, SpoolEntry, entry_of, sync_folder

log = structlog.get_logger()

MARKER: Final = "handed-over.json"
WATCH_LOCK: Final = ".watching"


@dataclass(frozen=True, slots=True)
class SeriesArrival:
    """A series, or what there is of it, handed to the engine.

    revision: 1, then one more for every time that late images changed the series.
    paths, sop_instance_uids: the files it consists of, in the order of their names.
    reason: why it was handed over now, in words.
    """

    series_instance_uid: str
    study_instance_uid: str
    revision: int
    paths: tuple[Path, ...]
    sop_instance_uids: tuple[str, ...]
    calling_ae_title: str
    called_ae_title: str
    reason: str


SETTLED_AFTER_NS: Final = 2_000_000_000
"""A folder unchanged for two seconds shows every later change in its time."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One handing-over, as the marker file keeps it.

    done: whether the engine has taken it; if not, it is offered again.
    """

    revision: int
    files: tuple[str, ...]
    reason: str
    done: bool = False


class Watcher:
    """Hands complete series to the engine, each revision exactly as first decided.

    `hand_over` must be idempotent: after a crash the same revision with the same files may
    be offered again, never with others.
    """

    def __init__(
        self,
        spool: Spool,
        settings: CompletionSettings,
        hand_over: Callable[[SeriesArrival], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._hand_over = hand_over
        self._clock = clock
        self._settled: dict[str, int] = {}
        self._waiting: dict[str, frozenset[str]] = {}

    def run(self, stop: threading.Event, interval_s: float = 1.0) -> None:
        """Look at the spool until told to stop."""
        while not stop.wait(interval_s):
            try:
                self.poll()
            except OSError:
                log.exception("inbox.failed")

    def poll(self) -> tuple[SeriesArrival, ...]:
        """Look once at every series; answers what was handed over.

        Of several watchers of one spool only one looks at a time.
        """
        with (self._spool.folder / WATCH_LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return ()
            return self._look_at_all()

    def _look_at_all(self) -> tuple[SeriesArrival, ...]:
        found = []
        for uid in self._spool.series():
            try:
                arrival = self._look(uid)
            except Exception:
                # One series' bad moment (disk, database) must not hold up the others;
                # it is looked at again the next time.
                log.exception("series.hand_over_failed", series_instance_uid=uid)
                continue
            if arrival is not None:
                found.append(arrival)
        return tuple(found)

    def _look(self, uid: str) -> SeriesArrival | None:
        """One series: finish an interrupted handing-over, or decide about new files."""
        folder = self._spool.folder / uid
        changed_ns = folder.stat().st_mtime_ns
        if self._settled.get(uid) == changed_ns:
            return None
        entries = self._spool.entries(uid)
        revisions = read_marker(folder)
        if revisions and not revisions[-1].done:
            return self._offer(folder, revisions)
        known = {name for revision in revisions for name in revision.files}
        late = [entry for entry in entries if entry.path.name not in known]
        if not late:
            self._settle(uid, changed_ns)
            return None
        newest_s = max(entry.received_s for entry in entries)
        if not is_quiet(newest_s, self._clock(), self._settings.quiet_s):
            return None
        if revisions and not _any_counts(late):
            self._settle(uid, changed_ns)
            return None
        return self._decide(folder, entries, newest_s, revisions)

    def _settle(self, uid: str, changed_ns: int) -> None:
        """Look at a folder no more until it changes.

        A folder changed just now is not settled: file systems count time in ticks, and a
        further change in the same tick would go unseen.
        """
        if time.time_ns() - changed_ns > SETTLED_AFTER_NS:
            self._settled[uid] = changed_ns

    def _decide(
        self,
        folder: Path,
        entries: Sequence[SpoolEntry],
        newest_s: float,
        revisions: tuple[Revision, ...],
    ) -> SeriesArrival | None:
        """Open a revision if the series is complete; read headers only when that can be."""
        names = tuple(entry.path.name for entry in entries)
        giving_up = is_quiet(newest_s, self._clock(), self._settings.give_up_s)
        if self._waiting.get(folder.name) == frozenset(names) and not giving_up:
            return None
        verdict = is_complete(read_arrivals(entries), self._clock(), self._settings)
        if not verdict.complete:
            self._waiting[folder.name] = frozenset(names)
            log.info("series.waiting", series_instance_uid=folder.name, reason=verdict.reason)
            return None
        self._waiting.pop(folder.name, None)
        number = revisions[-1].revision + 1 if revisions else 1
        revisions = (*revisions, Revision(number, names, verdict.reason))
        write_marker(folder, revisions)
        return self._offer(folder, revisions)

    def _offer(self, folder: Path, revisions: tuple[Revision, ...]) -> SeriesArrival:
        """Hand the last revision over, and note that it was taken."""
        arrival = arrival_of(folder, revisions[-1])
        self._hand_over(arrival)
        write_marker(folder, (*revisions[:-1], replace(revisions[-1], done=True)))
        log.info(
            "series.handed_over",
            series_instance_uid=arrival.series_instance_uid,
            revision=arrival.revision,
            instances=len(arrival.paths),
            reason=arrival.reason,
        )
        return arrival


def arrival_of(folder: Path, revision: Revision) -> SeriesArrival:
    """The series that one revision of a folder stands for."""
    paths = tuple(folder / name for name in revision.files)
    calling, called = _association_titles(paths[0])
    return SeriesArrival(
        series_instance_uid=folder.name,
        study_instance_uid=_study_of(paths),
        revision=revision.revision,
        paths=paths,
        sop_instance_uids=tuple(sorted({entry_of(path).sop_instance_uid for path in paths})),
        calling_ae_title=calling,
        called_ae_title=called,
        reason=revision.reason,
    )


def read_arrivals(entries: Sequence[SpoolEntry]) -> Arrivals:
    """Read the headers of a series' files; what cannot be read becomes its defect."""
    slices: list[SliceHeader] = []
    defect = ""
    for entry in entries:
        try:
            slices += _slices_of(entry.path)
        except SeriesError as error:
            defect = defect or str(error)
    return Arrivals(max(entry.received_s for entry in entries), tuple(slices), defect)


def _slices_of(path: Path) -> Iterator[SliceHeader]:
    header = read_header(path)
    if header is None:
        return
    for kind in kinds(header):
        if leave_out(kind) is None:
            yield slice_header(path, header, kind.frame_number)


def _any_counts(late: Iterable[SpoolEntry]) -> bool:
    """Whether a file among these changes the volume.

    A late localiser does not, nor does an image that is there already and only came again
    in another encoding or with other words in its header.
    """
    return any(_counts(entry) for entry in late)


def _counts(entry: SpoolEntry) -> bool:
    first = entry.path.with_name(f"{entry.sop_instance_uid}.dcm")
    try:
        prints = [fingerprint(one) for one in _slices_of(entry.path)]
        known = first != entry.path and prints == [
            fingerprint(one) for one in _slices_of(first)
        ]
    except (SeriesError, OSError):
        return True
    return bool(prints) and not known


def read_marker(folder: Path) -> tuple[Revision, ...]:
    """The revisions of a series so far; none where nothing was handed over."""
    try:
        table = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(
        Revision(**(item | {"files": tuple(item["files"])})) for item in table["revisions"]
    )


def write_marker(folder: Path, revisions: Sequence[Revision]) -> None:
    """Write the revisions durably: temporary file, sync, rename, sync."""
    temporary = folder / f"{MARKER}.part"
    table = {"revisions": [asdict(revision) for revision in revisions]}
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(table, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(folder / MARKER)
    sync_folder(folder)


def _association_titles(path: Path) -> tuple[str, str]:
    """Calling and called AE title of the association that a file came on."""
    meta = read_file_meta_info(path)
    return (
        str(meta.get("SendingApplicationEntityTitle", "")).strip(),
        str(meta.get("ReceivingApplicationEntityTitle", "")).strip(),
    )


def _study_of(paths: Sequence[Path]) -> str:
    """The Study Instance UID that the first readable header states."""
    for path in paths:
        with contextlib.suppress(SeriesError):
            header = read_header(path)
            if header is not None and header.get("StudyInstanceUID"):
                return str(header.StudyInstanceUID)
    return ""
