"""From spool to engine: which series is handed over when, each revision exactly once decided.

The record of what went is a small file in the series' folder, written before the engine is
called and again afterwards: after a crash the same revision with the same files is offered
again, and a late image opens the next one.

Each look is at the series that something came of (`touched.py`), that wait, or that had images
refused; and then, for a moment, at the others, going on where the look before broke off. A
spool of some hundred series is so seen whole every time, and a large one costs no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from dicom_node.settings.node import Completion
from dicom_node.spool.arrivals import (
    SeriesArrival,
    arrival_of,
    association_titles,
    count_instances,
    read_arrivals,
    stated_instances,
    study_of,
)
from dicom_node.spool.changes import Change, Seen, change_of
from dicom_node.spool.completeness import (
    Arrivals,
    Completeness,
    Expectation,
    Glance,
    at_a_glance,
    is_complete,
    is_worth_reading,
)
from dicom_node.spool.copies import Images, contradiction, digests, images_of, newest_of_several
from dicom_node.spool.digest_key import digest_key
from dicom_node.spool.image_index import ImageIndex
from dicom_node.spool.open_associations import Sending, sending
from dicom_node.spool.pending import WaitingList, WaitingSeries
from dicom_node.spool.refusals import (
    Lost,
    lost_images,
    read_neighbours,
    read_refusals,
    refused_file,
    refused_series,
)
from dicom_node.spool.revisions import (
    MARKER,
    Revision,
    gone_from,
    instance_of,
    known_names,
    read_marker,
    set_aside_marker,
    write_marker,
)
from dicom_node.spool.spool import Spool, SpoolEntry
from dicom_node.spool.touched import (
    forget_note,
    keep_note,
    note_looked_through,
    take_notes,
    was_looked_through,
)
from dicom_node.spool.watch_clock import WatchClock
from dicom_node.uids import is_uid

log = structlog.get_logger()

WATCH_LOCK: Final = ".watching"

Stamp = tuple[int, ...]
"""When each place that tells of a series last changed: its folder, its refusals, and so on.

Compared one by one: of two times, each hides the changes of an older other.
"""

SETTLED_AFTER_NS: Final = 2_000_000_000
"""A folder unchanged for two seconds shows every later change in its time."""

LONGEST_WAIT_S: Final = 300.0
"""A series that fails again and again is tried at least so often."""

WALK_S: Final = 0.05
"""So long each look goes on through series that nothing speaks of."""

PASSING_READ_ERRORS: Final = 6
"""A disk that fails for a moment has done so before as many looks: within half a minute."""

Ask = Callable[[str, str, str], Expectation | None]
"""Calling AE title, Study and Series Instance UID to what their sender counts, if it says."""


Hold = Callable[[str], str]
"""Series Instance UID to the reason why it is held back; empty where there is none."""

HELD_LOOK_S: Final = 2.0
"""A series that is held back is looked at again so often."""


def hold_nothing(_series_instance_uid: str) -> str:
    """Nobody is fetching a series that has begun to arrive."""
    return ""


def ask_nobody(_calling_ae_title: str, _study: str, _series: str) -> Expectation | None:
    """No sender counts for us."""
    return None


def note_nothing() -> None:
    """Nobody wants to know that the watcher moves."""


@dataclass(slots=True)
class SeriesWatch:
    """The watcher's memory of one series.

    settled: the times of its places when there was nothing left to decide about it.
    beside: series that may have an image that was refused amid this one.
    read_errors: how often in a row its files could not be read.
    waiting: what of it was seen when it was last decided to wait.
    look_again_at_s: when to decide again though nothing else is seen.
    told: what it waits for, for `msk-node status`.
    stated: what the first file's header counts, or None in it; None until it was read.
    first_s: when each file was first seen to have come: one that comes again as it was is no
        new image, and starts no timer anew.
    failures: how often in a row it could not be looked at or handed over.
    """

    settled: Stamp | None = None
    beside: tuple[str, ...] = ()
    read_errors: int = 0
    waiting: Glance | None = None
    look_again_at_s: float = 0.0
    told: WaitingSeries | None = None
    stated: tuple[int | None] | None = None
    first_s: dict[str, float] = field(default_factory=dict)
    failures: int = 0

    def waits(self, glance: Glance, now_s: float) -> bool:
        """True if there is nothing new to decide on: it waits, and no header need be read."""
        return self.waiting == glance and now_s < self.look_again_at_s

    def is_all_here(self, entries: Sequence[SpoolEntry]) -> bool:
        """True if there are as many instances as the first file's header counts."""
        if self.stated is None:
            self.stated = (stated_instances(entries[0].path),)
        return self.stated == (count_instances(entries),)

    def last_new_s(self, entries: Sequence[SpoolEntry]) -> float:
        """When the latest of these files first came, in seconds since the epoch."""
        for entry in entries:
            self.first_s.setdefault(entry.path.name, entry.received_s)
        return max((self.first_s[entry.path.name] for entry in entries), default=0.0)

    def settle(self, changed: Stamp, told: WaitingSeries | None = None) -> None:
        """Look at a folder no more until it changes.

        A folder changed just now is not settled: file systems count time in ticks, and a
        further change in the same tick would go unseen.
        """
        self.told, self.waiting, self.read_errors = told, None, 0
        self.first_s.clear()
        if time.time_ns() - max(changed) > SETTLED_AFTER_NS:
            self.settled = changed
            self.stated = None

    def wait(self, uid: str, glance: Glance, verdict: Completeness) -> None:
        """Leave it for now, and say what it waits for."""
        self.waiting, self.look_again_at_s = glance, verdict.look_again_at_s
        log.info("series.waiting", series_instance_uid=uid, reason=verdict.reason)
        self.told = _told(uid, glance, verdict.reason)

    def hold(self, uid: str, glance: Glance, reason: str, now_s: float) -> None:
        """Leave it for a moment: somebody is still fetching it."""
        if self.told is None or self.told.reason != reason:
            log.info("series.held", series_instance_uid=uid, reason=reason)
        self.waiting, self.look_again_at_s = glance, now_s + HELD_LOOK_S
        self.told = _told(uid, glance, reason)

    def arrives(self, uid: str, glance: Glance, known: Collection[str], quiet_s: float) -> None:
        """Say that its images are coming, apart from those that are known."""
        times = [at_s for name, at_s in self.first_s.items() if name not in known]
        since_s = min(times, default=glance.last_received_s)
        since = time.strftime("%H:%M:%S", time.localtime(since_s))
        reason = f"arriving since {since}; looked into when nothing has come for {quiet_s:g} s"
        self.told = _told(uid, glance, reason)

    def fail(self, uid: str, error: Exception, now_s: float) -> None:
        """Leave it for longer and longer, and say that something is wrong."""
        self.failures += 1
        wait_s = min(2.0 ** (self.failures - 1), LONGEST_WAIT_S) if self.failures > 1 else 0.0
        self.look_again_at_s = now_s + wait_s
        words = f"it could not be handed over ({type(error).__name__})"
        reason = f"ALARM: {words}; tried {self.failures} times, again in {wait_s:g} s"
        count = self.told.instances if self.told is not None else len(self.first_s)
        last_s = max(self.first_s.values(), default=now_s)
        self.told = WaitingSeries(uid, count, last_s, reason)


def _told(uid: str, glance: Glance, reason: str) -> WaitingSeries:
    images = len(set(map(instance_of, glance.names)))
    return WaitingSeries(uid, images, glance.last_received_s, reason)


class Watcher:
    """Hands complete series to the engine, each revision exactly as first decided.

    `hand_over` must be idempotent: after a crash the same revision with the same files may
    be offered again, never with others. `ask` may take a moment: it holds up other series,
    and no reception. `hold` keeps back what somebody still fetches. `since_s` and
    `steady_clock` are a `WatchClock`'s. `note` is called as a sign of life, with each look
    and each series.
    """

    def __init__(  # noqa: PLR0913 - the clock and what follows have their defaults
        self,
        spool: Spool,
        settings: Completion,
        hand_over: Callable[[SeriesArrival], None],
        clock: Callable[[], float] = time.time,
        *,
        ask: Ask = ask_nobody,
        hold: Hold = hold_nothing,
        since_s: float = 0.0,
        steady_clock: Callable[[], float] | None = None,
        note: Callable[[], None] = note_nothing,
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._hand_over = hand_over
        self._clock = WatchClock(clock, steady_clock, since_s)
        self._ask = ask
        self._hold = hold
        self._watches: dict[str, SeriesWatch] = {}
        self._settled: dict[str, Stamp] = {}
        """Of series that nothing is to be remembered of but this."""
        self._walk: Iterator[str] | None = None
        self._list = WaitingList(spool.folder)
        self._index = ImageIndex(spool.folder)
        self._note = note

    def change(self, settings: Completion) -> None:
        """Decide by other rules from the next look on."""
        self._settings = settings

    def run(self, stop: threading.Event, interval_s: float = 1.0) -> None:
        """Look at the spool until told to stop."""
        while not stop.wait(interval_s):
            self._note()
            try:
                self.poll()
            except Exception:
                # Whatever it is, the next look may see more; a thread that ends sees nothing.
                log.exception("inbox.failed")

    def poll(self) -> tuple[SeriesArrival, ...]:
        """Look once; answers what was handed over.

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
            return self._look_at_what_changed()

    def _look_at_what_changed(self) -> tuple[SeriesArrival, ...]:
        """Look at what something speaks of, then a while at the rest; what was handed over."""
        refused = frozenset(refused_series(self._spool.folder))
        noted = take_notes(self._spool.folder)
        chosen = sorted(noted | refused)
        found = [self._visit(uid, noted, refused) for uid in chosen]
        # What waits and has no note any more was finished by another watcher.
        self._watches = {uid: self._watches[uid] for uid in chosen if uid in self._watches}
        found += self._walk_on(noted, refused)
        told = {uid: watch.told for uid, watch in sorted(self._watches.items())}
        self._list.write({uid: row for uid, row in told.items() if row is not None})
        return tuple(arrival for arrival in found if arrival is not None)

    def _walk_on(
        self, noted: Collection[str], refused: Collection[str]
    ) -> Iterator[SeriesArrival | None]:
        """Go on through the whole spool for a moment.

        One that is of before there were notes is gone through to its end, once.
        """
        folder = self._spool.folder
        is_first = not was_looked_through(folder)
        until_s = time.monotonic() + WALK_S
        if self._walk is None:
            self._walk = iter(os.listdir(folder))  # noqa: PTH208 - the names, and fast
        for uid in self._walk:
            if not (uid in noted or uid in refused or self._is_as_it_was(folder / uid)):
                yield self._visit(uid, noted, refused)
            if time.monotonic() > until_s and not is_first:
                return
        self._walk = None
        if is_first:
            note_looked_through(folder)

    def _is_as_it_was(self, folder: Path) -> bool:
        """True if there is nothing to see in a folder that has no refusals."""
        settled = self._settled.get(folder.name)
        if settled is not None:
            return settled == (_changed_ns(folder), 0)
        return not (is_uid(folder.name) and folder.is_dir())

    def _visit(
        self, uid: str, noted: Collection[str], refused: Collection[str]
    ) -> SeriesArrival | None:
        """Look at one series, and remember no more of it than is needed to look again."""
        self._note()
        watch = self._watches.get(uid) or SeriesWatch(settled=self._settled.get(uid))
        now_s = self._clock.now()
        if watch.failures and now_s < watch.look_again_at_s:
            return None
        arrival = None
        try:
            arrival = self._look(uid, watch)
        except Exception as error:
            # One series' bad moment (disk, database) must not hold up the others;
            # it is looked at again, later and later.
            log.exception("series.hand_over_failed", series_instance_uid=uid)
            watch.fail(uid, error, now_s)
        else:
            watch.failures = 0
        self._remember(uid, watch, noted, refused)
        return arrival

    def _remember(
        self, uid: str, watch: SeriesWatch, noted: Collection[str], refused: Collection[str]
    ) -> None:
        """Keep the note of a series that is not done with, and its watch; else its times."""
        folder = self._spool.folder
        if watch.settled is None or watch.failures:
            self._settled.pop(uid, None)
            if uid not in noted:
                keep_note(folder, uid)
        elif uid in noted:
            forget_note(folder, uid)
        if watch.settled is None or watch.failures or uid in refused:
            self._watches[uid] = watch
        else:
            self._watches.pop(uid, None)
            self._settled[uid] = watch.settled

    def _look(self, uid: str, watch: SeriesWatch) -> SeriesArrival | None:
        """One series: finish an interrupted handing-over, or decide about new files."""
        folder = self._spool.folder / uid
        # Taken before anything is listed: what comes in between is a change after it.
        changed = _changed(folder, watch.beside)
        if watch.settled == changed:
            return None
        watch.settled = None
        revisions = _revisions(folder)
        if revisions and not revisions[-1].done:
            arrival = self._offer(folder, revisions)
            watch.told = None
            return arrival
        self._index.note(uid, revisions)
        entries = self._spool.entries(uid)
        watch.beside, lost = _lost(folder, entries, revisions)
        glance = self._glance(watch, entries, revisions, sending(folder), lost)
        seen = Seen(entries, revisions, _handed_over_s(folder), lost.count)
        if not entries or not (seen.is_new or not revisions):
            watch.settle(changed, _untold(uid, glance, lost, revisions, changed))
            return None
        if self._is_left_alone(uid, watch, seen, glance):
            return None
        if words := self._hold(uid):
            watch.hold(uid, glance, words, self._clock.now())
            return None
        return self._decide(uid, watch, glance, seen, lost, changed=changed)

    def _decide(  # noqa: PLR0913 - what was seen
        self,
        uid: str,
        watch: SeriesWatch,
        glance: Glance,
        seen: Seen,
        lost: Lost,
        *,
        changed: Stamp,
    ) -> SeriesArrival | None:
        """Look into the files of a series that is not left alone, and say what follows."""
        folder = self._spool.folder / uid
        images = _images(watch, seen)
        notes = _notes(lost, images)
        if not images.chosen:
            words = f"ALARM: not one of its {len(seen.entries)} files can be read any more"
            log.error("series.unreadable", series_instance_uid=uid)
            # A disk may come back, and changes no folder when it does.
            watch.waiting, watch.look_again_at_s = glance, self._clock.now() + LONGEST_WAIT_S
            watch.told = _told(uid, glance, words)
            return None
        arrivals = read_arrivals(images.chosen)
        change, key = Change.VOLUME, digest_key(self._spool.folder)
        if seen.revisions:
            change = change_of(seen, images, arrivals.identities, uid, key)
        if change is Change.AGAIN:
            watch.waiting = watch.told = None
            return self._offer_again(folder, seen, images)
        if change is Change.NOTHING:
            watch.settle(changed, _untold(uid, glance, lost, seen.revisions, changed))
            return None
        if change is Change.CONTRADICTION:
            verdict = _contradictory(uid, contradiction(arrivals.identities))
        else:
            missing = lost.count + len(images.damaged)
            verdict = at_a_glance(glance) or self._verdict(
                uid, images, replace(arrivals, lost=missing), glance
            )
        if verdict.rule is None:
            watch.wait(uid, glance, replace(verdict, reason=_joined(verdict.reason, *notes)))
            return None
        watch.waiting = watch.told = None
        revision = _closed(uid, verdict, images, seen.revisions, change)
        revision = replace(
            revision,
            reason=_joined(verdict.reason, *notes),
            notes=(*revision.notes, *notes),
            lost=lost.count,
            identity=digests(key, uid, arrivals.identities),
        )
        revisions = (*seen.revisions, revision)
        write_marker(folder, revisions)
        return self._offer(folder, revisions)

    def _is_left_alone(self, uid: str, watch: SeriesWatch, seen: Seen, glance: Glance) -> bool:
        """True if no header need be read now: it waits already, or is still arriving."""
        now_s = self._clock.now()
        if watch.waits(glance, now_s):
            return True
        entries = seen.entries
        if is_worth_reading(glance, now_s, self._settings, lambda: watch.is_all_here(entries)):
            return False
        watch.arrives(uid, glance, known_names(seen.revisions), self._settings.quiet_s)
        return True

    def _glance(
        self,
        watch: SeriesWatch,
        entries: Sequence[SpoolEntry],
        revisions: tuple[Revision, ...],
        marks: Sending,
        lost: Lost,
    ) -> Glance:
        """The facts about a series that can be seen without opening a file."""
        names = frozenset(entry.path.name for entry in entries)
        stamp_s = max(marks.active_s, watch.last_new_s(entries))
        return Glance(
            names=names,
            gone=gone_from(revisions, names),
            last_received_s=self._clock.received_s(stamp_s),
            watched_since_s=self._clock.since_s,
            interrupted=marks.interrupted,
            lost=lost.count,
            newest=frozenset(entry.path.name for entry in newest_of_several(entries)),
        )

    def _verdict(
        self, uid: str, images: Images, arrivals: Arrivals, glance: Glance
    ) -> Completeness:
        """The decision on a series by its headers, and by its sender's count."""
        arrivals = replace(
            arrivals,
            last_received_s=glance.last_received_s,
            interrupted=glance.interrupted,
            watched_since_s=glance.watched_since_s,
        )
        is_quiet = glance.is_quiet(self._clock.now(), self._settings)
        if is_quiet and arrivals.expected is None:
            arrivals = replace(arrivals, expected=self._asked(uid, images.chosen))
        if images.left and (words := contradiction(arrivals.identities)):
            # Images are being sent again with another patient: the others may follow.
            arrivals = replace(arrivals, expected=None, defect=arrivals.defect or words)
        return is_complete(arrivals, self._clock.now(), self._settings)

    def _asked(self, uid: str, entries: Sequence[SpoolEntry]) -> Expectation | None:
        """The count of the sender of the latest image, if it can be asked."""
        latest = max(entries, key=lambda entry: entry.received_s).path
        calling, _ = association_titles(latest)
        return self._ask(calling, study_of([latest]), uid)

    def _offer_again(self, folder: Path, seen: Seen, images: Images) -> SeriesArrival:
        """Offer a series that came again as it was, with files that are there.

        Copies may have other names than those that were handed over and then purged.
        """
        last = seen.revisions[-1]
        if set(last.files) <= {entry.path.name for entry in seen.entries}:
            return self._offer(folder, seen.revisions, again=True)
        revision = replace(
            last,
            revision=last.revision + 1,
            files=images.names,
            left=tuple(entry.path.name for entry in images.left),
            reason="all images came again, after those that were handed over were deleted",
            done=False,
        )
        revisions = (*seen.revisions, revision)
        write_marker(folder, revisions)
        return self._offer(folder, revisions)

    def _offer(
        self, folder: Path, revisions: Sequence[Revision], *, again: bool = False
    ) -> SeriesArrival:
        """Hand the last revision over, and note that it was taken.

        again: it was taken before; whoever takes it knows what that means.
        """
        arrival = arrival_of(folder, revisions[-1], known_names(revisions[:-1]))
        self._hand_over(arrival)
        write_marker(folder, (*revisions[:-1], replace(revisions[-1], done=True)))
        log.info(
            "series.offered_again" if again else "series.handed_over",
            series_instance_uid=arrival.series_instance_uid,
            revision=arrival.revision,
            instances=len(arrival.paths),
            code=revisions[-1].rule,
            reason=arrival.reason,
        )
        return arrival


def _changed(folder: Path, beside: Sequence[str]) -> Stamp:
    """When each place that tells of a series changed: its folder, refusals, neighbours."""
    spool = folder.parent
    places = (folder, refused_file(spool, folder.name), *(spool / uid for uid in beside))
    return tuple(map(_changed_ns, places))


def _changed_ns(path: Path) -> int:
    """When a file or anything in a folder last changed; 0 where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0


def _images(watch: SeriesWatch, seen: Seen) -> Images:
    """The images of a series; a disk's error counts as damage when it comes again and again.

    Raises:
        OSError: a file cannot be read just now.
    """
    try:
        images = images_of(
            seen.entries, errors_are_damage=watch.read_errors >= PASSING_READ_ERRORS
        )
    except OSError:
        watch.read_errors += 1
        raise
    return images


def _handed_over_s(folder: Path) -> float:
    """When the engine last took the series, in seconds since the epoch; 0 where never."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / MARKER).stat().st_mtime
    return 0.0


def _revisions(folder: Path) -> tuple[Revision, ...]:
    """The revisions so far; of a damaged record none, and it is set aside."""
    try:
        return read_marker(folder)
    except ValueError:
        set_aside_marker(folder)
        return ()


def _lost(
    folder: Path, entries: Sequence[SpoolEntry], revisions: Sequence[Revision]
) -> tuple[tuple[str, ...], Lost]:
    """The images that were refused and are not here, nor were when it was handed over.

    Those that came amid this series may have been kept since as images of the series beside
    it: also which series those are that have to be asked.
    """
    path = refused_file(folder.parent, folder.name)
    refusals = read_refusals(path)
    if not refusals:
        return (), Lost()
    kept = {entry.sop_instance_uid for entry in entries}
    kept |= set(map(instance_of, known_names(revisions)))
    beside: set[str] = set()
    if wanted := {one.sop_instance_uid for one in refusals if one.amid} - kept:
        for each in read_neighbours(path):
            if each.sop_instance_uid in wanted:
                beside.add(each.series_instance_uid)
                if _is_kept(folder.parent / each.series_instance_uid, each.sop_instance_uid):
                    kept.add(each.sop_instance_uid)
    return tuple(sorted(beside)), lost_images(refusals, kept)


def _is_kept(folder: Path, sop_instance_uid: str) -> bool:
    """True if a series has an image, or had it when it was handed over."""
    if (folder / f"{sop_instance_uid}.dcm").exists():
        return True
    with contextlib.suppress(OSError, ValueError):
        return sop_instance_uid in map(instance_of, known_names(read_marker(folder)))
    return False


def _untold(
    uid: str, glance: Glance, lost: Lost, revisions: Sequence[Revision], changed: Stamp
) -> WaitingSeries | None:
    """What no result of a series tells of its refused images, for `msk-node status`."""
    if not lost.words or (revisions and lost.words in revisions[-1].notes):
        return None
    state = "it was handed over before" if revisions else "nothing of it was kept"
    told = _told(uid, glance, f"ALARM: {lost.words}; {state}")
    return replace(told, last_received_s=max(changed) / 1e9)


def _contradictory(uid: str, words: str) -> Completeness:
    """The wait for the rest of a correction; meanwhile nothing is answered in any name."""
    log.error("series.patient_contradicted", series_instance_uid=uid, reason=words)
    reason = f"ALARM: by their newest copies {words}; all images must be sent again"
    return Completeness(None, reason, look_again_at_s=math.inf)


def _closed(
    uid: str,
    verdict: Completeness,
    images: Images,
    revisions: Sequence[Revision],
    change: Change,
) -> Revision:
    """The next revision of a series; one about other people's results raises an alarm."""
    number = revisions[-1].revision + 1 if revisions else 1
    notes: tuple[str, ...] = ()
    distinction = ""
    if change is Change.IDENTITY:
        log.error("series.patient_changed", series_instance_uid=uid, revision=number)
        words = "all images came again with another patient or study; earlier results"
        notes = (f"{words} were filed under the one before: these replace them",)
        # Names may be those of an earlier revision, whose images named somebody else.
        distinction = f"identity {number}"
    elif change is Change.AGREEMENT:
        notes = ("the images of earlier results contradicted each other in whose they are",)
        distinction = f"identity {number}"
    elif change is Change.REFUSED:
        distinction = f"refused {number}"
    return Revision(
        number,
        images.names,
        verdict.reason,
        rule=verdict.rule.value if verdict.rule is not None else "",
        notes=notes,
        left=tuple(entry.path.name for entry in images.left),
        distinction=distinction,
    )


def _notes(lost: Lost, images: Images) -> tuple[str, ...]:
    """What a reader must know of images that the node did not keep."""
    told = [lost.words] if lost.words else []
    if count := len({entry.sop_instance_uid for entry in images.damaged}):
        noun = "image" if count == 1 else "images"
        were = "was" if count == 1 else "were"
        told.append(
            f"{count} {noun} of this series {were} damaged on the node's disk, left out"
        )
    return tuple(told)


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))
