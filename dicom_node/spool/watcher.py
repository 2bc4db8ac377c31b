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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from dicom_node.settings.node import Completion
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
    Completeness,
    Expectation,
    Glance,
    at_a_glance,
    is_complete,
    is_worth_reading,
)
from dicom_node.spool.open_associations import Sending, sending
from dicom_node.spool.pending import WaitingList, WaitingSeries
from dicom_node.spool.revisions import Revision, gone_from, read_marker, write_marker
from dicom_node.spool.spool import Spool, SpoolEntry
from dicom_node.spool.watch_clock import WatchClock

log = structlog.get_logger()

WATCH_LOCK: Final = ".watching"

SETTLED_AFTER_NS: Final = 2_000_000_000
"""A folder unchanged for two seconds shows every later change in its time."""

Ask = Callable[[str, str, str], Expectation | None]
"""Calling AE title, Study and Series Instance UID to what their sender counts, if it says."""


def ask_nobody(_calling_ae_title: str, _study: str, _series: str) -> Expectation | None:
    """No sender counts for us."""
    return None


@dataclass(slots=True)
class SeriesWatch:
    """The watcher's memory of one series.

    settled_ns: the time of its folder when there was nothing left to decide about it.
    waiting: what of it was seen when it was last decided to wait.
    look_again_at_s: when to decide again though nothing else is seen.
    told: what it waits for, for `msk-node status`.
    stated: what the first file's header counts, or None in it; None until it was read.
    """

    settled_ns: int | None = None
    waiting: Glance | None = None
    look_again_at_s: float = 0.0
    told: WaitingSeries | None = None
    stated: tuple[int | None] | None = None

    def waits(self, glance: Glance, now_s: float) -> bool:
        """True if there is nothing new to decide on: it waits, and no header need be read."""
        return self.waiting == glance and now_s < self.look_again_at_s

    def is_all_here(self, entries: Sequence[SpoolEntry]) -> bool:
        """True if there are as many instances as the first file's header counts."""
        if self.stated is None:
            self.stated = (stated_instances(entries[0].path),)
        return self.stated == (count_instances(entries),)

    def settle(self, changed_ns: int) -> None:
        """Look at a folder no more until it changes.

        A folder changed just now is not settled: file systems count time in ticks, and a
        further change in the same tick would go unseen.
        """
        self.told = None
        if time.time_ns() - changed_ns > SETTLED_AFTER_NS:
            self.settled_ns = changed_ns
            self.stated = None

    def wait(self, uid: str, glance: Glance, verdict: Completeness) -> None:
        """Leave it for now, and say what it waits for."""
        self.waiting, self.look_again_at_s = glance, verdict.look_again_at_s
        log.info("series.waiting", series_instance_uid=uid, reason=verdict.reason)
        received_s = glance.last_received_s
        self.told = WaitingSeries(uid, len(glance.names), received_s, verdict.reason)


class Watcher:
    """Hands complete series to the engine, each revision exactly as first decided.

    `hand_over` must be idempotent: after a crash the same revision with the same files may
    be offered again, never with others. `ask` may take a moment: it holds up other series,
    and no reception. `since_s` and `steady_clock` are a `WatchClock`'s.
    """

    def __init__(  # noqa: PLR0913 - the clock and what follows have their defaults
        self,
        spool: Spool,
        settings: Completion,
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
        self._clock = WatchClock(clock, steady_clock, since_s)
        self._ask = ask
        self._watches: dict[str, SeriesWatch] = {}
        self._list = WaitingList(spool.folder)

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
            if self._clock.jumped():
                for watch in self._watches.values():
                    watch.waiting = None
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
        told = {uid: watch.told for uid, watch in self._watches.items()}
        self._list.write({uid: row for uid, row in told.items() if row is not None})
        return tuple(found)

    def _look(self, uid: str) -> SeriesArrival | None:
        """One series: finish an interrupted handing-over, or decide about new files."""
        watch = self._watches.setdefault(uid, SeriesWatch())
        folder = self._spool.folder / uid
        changed_ns = folder.stat().st_mtime_ns
        if watch.settled_ns == changed_ns:
            return None
        entries = self._spool.entries(uid)
        revisions = read_marker(folder)
        if revisions and not revisions[-1].done:
            return self._offer(folder, revisions)
        known = {name for revision in revisions for name in revision.files}
        late = [entry for entry in entries if entry.path.name not in known]
        glance = self._glance(entries, revisions, sending(folder))
        if late and self._is_left_alone(watch, entries, glance):
            return None
        if not late or (revisions and not any_changes_volume(late)):
            watch.settle(changed_ns)
            return None
        verdict = at_a_glance(glance) or self._read(uid, entries, glance)
        if verdict.rule is None:
            watch.wait(uid, glance, verdict)
            return None
        watch.waiting = watch.told = None
        number = revisions[-1].revision + 1 if revisions else 1
        names = tuple(entry.path.name for entry in entries)
        closed = Revision(number, names, verdict.reason, rule=verdict.rule.value)
        revisions = (*revisions, closed)
        write_marker(folder, revisions)
        return self._offer(folder, revisions)

    def _is_left_alone(
        self, watch: SeriesWatch, entries: Sequence[SpoolEntry], glance: Glance
    ) -> bool:
        """True if no header need be read now: it waits already, or is still arriving."""
        now_s = self._clock.now()
        return watch.waits(glance, now_s) or not is_worth_reading(
            glance, now_s, self._settings, lambda: watch.is_all_here(entries)
        )

    def _glance(
        self, entries: Sequence[SpoolEntry], revisions: tuple[Revision, ...], marks: Sending
    ) -> Glance:
        """The facts about a series that can be seen without opening a file."""
        names = frozenset(entry.path.name for entry in entries)
        stamp_s = max([marks.active_s, *(entry.received_s for entry in entries)])
        return Glance(
            names=names,
            gone=gone_from(revisions, names),
            last_received_s=self._clock.received_s(stamp_s),
            watched_since_s=self._clock.since_s,
            interrupted=marks.interrupted,
        )

    def _read(self, uid: str, entries: Sequence[SpoolEntry], glance: Glance) -> Completeness:
        """The decision on a series by its headers, and by its sender's count."""
        arrivals = replace(
            read_arrivals(entries),
            last_received_s=glance.last_received_s,
            interrupted=glance.interrupted,
            watched_since_s=glance.watched_since_s,
        )
        is_quiet = glance.is_quiet(self._clock.now(), self._settings)
        if is_quiet and arrivals.expected is None:
            arrivals = replace(arrivals, expected=self._asked(uid, entries))
        return is_complete(arrivals, self._clock.now(), self._settings)

    def _asked(self, uid: str, entries: Sequence[SpoolEntry]) -> Expectation | None:
        """The count of the sender of the latest image, if it can be asked."""
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
