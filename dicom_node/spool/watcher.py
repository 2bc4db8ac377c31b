"""From spool to engine: which series is handed over when, each revision exactly once decided.

The record of what went is a small file in the series' folder, written before the engine is
called and again afterwards: after a crash the same revision with the same files is offered
again, and a late image opens the next one.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from dicom_node.spool.arrivals import (
    SeriesArrival,
    any_changes_volume,
    arrival_of,
    association_titles,
    count_instances,
    read_arrivals,
    stated_instances,
    study_of,
)
from dicom_node.spool.completeness import (
    CompletionSettings,
    Expectation,
    is_complete,
    is_quiet,
)
from dicom_node.spool.open_associations import Sending, sending
from dicom_node.spool.pending import WaitingList, WaitingSeries
from dicom_node.spool.revisions import Revision, gone_from, read_marker, write_marker
from dicom_node.spool.spool import Spool, SpoolEntry

log = structlog.get_logger()

WATCH_LOCK: Final = ".watching"

BREATH_S: Final = 1.0
"""Images of one association come faster than this one after the other."""

JUMP_S: Final = 2.0
"""The clock is being kept right in smaller steps than this."""

SETTLED_AFTER_NS: Final = 2_000_000_000
"""A folder unchanged for two seconds shows every later change in its time."""

Ask = Callable[[str, str, str], Expectation | None]
"""Calling AE title, Study and Series Instance UID to what their sender counts, if it says."""


def ask_nobody(_calling_ae_title: str, _study: str, _series: str) -> Expectation | None:
    """No sender counts for us."""
    return None


class Watcher:
    """Hands complete series to the engine, each revision exactly as first decided.

    `hand_over` must be idempotent: after a crash the same revision with the same files may
    be offered again, never with others. `ask` may take a moment: it holds up other series,
    and no reception. What came before `since_s` came unwatched: its sender gets the time to
    go on that it would have had. So does what came before the clock was set, which
    `steady_clock` tells: one that nobody sets.
    """

    def __init__(  # noqa: PLR0913 - the clock and what follows have their defaults
        self,
        spool: Spool,
        settings: CompletionSettings,
        hand_over: Callable[[SeriesArrival], None],
        clock: Callable[[], float] = time.time,
        *,
        ask: Ask = ask_nobody,
        since_s: float = 0.0,
        steady_clock: Callable[[], float] | None = None,
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._hand_over = hand_over
        self._clock = clock
        self._ask = ask
        self._since_s = since_s
        self._steady_clock = steady_clock or clock
        self._offset_s = clock() - self._steady_clock()
        self._set_s = 0.0
        self._settled: dict[str, int] = {}
        self._waiting: dict[str, _Seen] = {}
        self._told: dict[str, WaitingSeries] = {}
        self._list = WaitingList(spool.folder)
        self._stated: dict[str, int | None] = {}

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
            self._notice_a_jump()
            return self._look_at_all()

    def _notice_a_jump(self) -> None:
        """Watch anew where the clock was set, or the machine slept: ages say nothing then."""
        now_s = self._clock()
        offset_s = now_s - self._steady_clock()
        if abs(offset_s - self._offset_s) > JUMP_S:
            log.warning("clock.jumped", seconds=round(offset_s - self._offset_s))
            self._since_s = self._set_s = now_s
            self._waiting.clear()
        self._offset_s = offset_s

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
        self._list.write(self._told)
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
        seen = self._seen(entries, sending(folder))
        if not seen.quiet and not self._is_counted_out(uid, entries, seen):
            return None
        if revisions and not any_changes_volume(late):
            self._settle(uid, changed_ns)
            return None
        return self._decide(folder, entries, seen, revisions)

    def _seen(self, entries: Sequence[SpoolEntry], marks: Sending) -> _Seen:
        """What of a series can be seen without opening a file."""
        now_s, settings = self._clock(), self._settings
        received_s = max(marks.active_s, *(entry.received_s for entry in entries))
        last_s = max(received_s, self._set_s)  # as if it had come when the clock was set
        if last_s > now_s + JUMP_S:
            last_s = self._since_s  # it came before the clock was set back
        idle_s = max(last_s, self._since_s)
        return _Seen(
            names=frozenset(entry.path.name for entry in entries),
            last_s=last_s,
            interrupted=marks.interrupted,
            quiet=is_quiet(idle_s, now_s, settings.quiet_s),
            rung=(
                is_quiet(idle_s, now_s, settings.resend_s),
                is_quiet(last_s, now_s, settings.give_up_s),
                is_quiet(idle_s, now_s, settings.give_up_s),
            ),
        )

    def _is_counted_out(self, uid: str, entries: Sequence[SpoolEntry], seen: _Seen) -> bool:
        """Whether there are as many instances as the first file's header counts.

        Such a count may be out of date: it closes nothing while images stream in.
        """
        if not is_quiet(seen.last_s, self._clock(), BREATH_S):
            return False
        if uid not in self._stated:
            self._stated[uid] = stated_instances(entries[0].path)
        return self._stated[uid] == count_instances(entries)

    def _settle(self, uid: str, changed_ns: int) -> None:
        """Look at a folder no more until it changes.

        A folder changed just now is not settled: file systems count time in ticks, and a
        further change in the same tick would go unseen.
        """
        self._told.pop(uid, None)
        if time.time_ns() - changed_ns > SETTLED_AFTER_NS:
            self._settled[uid] = changed_ns
            self._stated.pop(uid, None)

    def _decide(
        self,
        folder: Path,
        entries: Sequence[SpoolEntry],
        seen: _Seen,
        revisions: tuple[Revision, ...],
    ) -> SeriesArrival | None:
        """Open a revision if the series is complete; read headers only when that can be."""
        if self._waiting.get(folder.name) == seen:
            return None
        gone = gone_from(revisions, seen.names)
        if gone:
            # A revision of the late images alone would be a refusal that helps nobody.
            reason = f"{gone} images were deleted; the whole series must be sent again"
            self._wait(folder.name, seen, reason)
            return None
        arrivals = replace(
            read_arrivals(entries),
            last_received_s=seen.last_s,
            interrupted=seen.interrupted,
            watched_since_s=self._since_s,
        )
        if seen.quiet and arrivals.expected is None:
            arrivals = replace(arrivals, expected=self._asked(folder.name, entries))
        verdict = is_complete(arrivals, self._clock(), self._settings)
        if verdict.rule is None:
            self._wait(folder.name, seen, verdict.reason)
            return None
        self._waiting.pop(folder.name, None)
        self._told.pop(folder.name, None)
        number = revisions[-1].revision + 1 if revisions else 1
        names = tuple(entry.path.name for entry in entries)
        closed = Revision(number, names, verdict.reason, rule=verdict.rule.value)
        revisions = (*revisions, closed)
        write_marker(folder, revisions)
        return self._offer(folder, revisions)

    def _wait(self, uid: str, seen: _Seen, reason: str) -> None:
        """Leave a series for now, and say what it waits for."""
        self._waiting[uid] = seen
        log.info("series.waiting", series_instance_uid=uid, reason=reason)
        self._told[uid] = WaitingSeries(uid, len(seen.names), seen.last_s, reason)

    def _asked(self, uid: str, entries: Sequence[SpoolEntry]) -> Expectation | None:
        """What the sender of the latest image counts, if it can be asked."""
        latest = max(entries, key=lambda entry: entry.received_s).path
        calling, _ = association_titles(latest)
        return self._ask(calling, study_of([latest]), uid)

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
            code=revisions[-1].rule,
            reason=arrival.reason,
        )
        return arrival


@dataclass(frozen=True, slots=True)
class _Seen:
    """What of a series can be seen without opening a file.

    last_s: when an image last came.
    rung: which timers have run out; a series that waits is looked at again when one does.
    """

    names: frozenset[str]
    last_s: float = field(compare=False)
    interrupted: bool
    quiet: bool
    rung: tuple[bool, ...]
