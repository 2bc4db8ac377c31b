"""What a series of an archive becomes: when it is listed, and after it was asked for; pure.

A series is in exactly one state for each schedule. Wanted ones end as fetched, refused,
incomplete or failed after a bounded number of attempts and a bounded time. Nothing is asked
for twice: what the node has, what another schedule has in hand, and what was decided before
stays as it is, unless the archive lists more images of it than it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from dicom_node.archive.politeness import wait_after
from dicom_node.archive.requests import is_offline
from dicom_node.archive.stock import NOTHING, Stock
from dicom_node.peers.archives import Retrieval, RetrievalEnd
from dicom_node.persistence.archive_rows import ArchiveSeriesRow, ArchiveState
from dicom_node.persistence.rows import SeriesRow, SeriesState
from dicom_node.series.candidates import Candidate
from dicom_node.settings.schedules import Schedule

IN_HAND: Final = (ArchiveState.WANTED, ArchiveState.FETCHED)
"""States in which another schedule has a series, or is about to."""
MAY_GROW: Final = (
    ArchiveState.FETCHED,
    ArchiveState.HAD,
    ArchiveState.INCOMPLETE,
    ArchiveState.REFUSED,
)
"""States in which a series is wanted again when the archive has got more of it."""
TROUBLE: Final = (
    RetrievalEnd.BUSY,
    RetrievalEnd.TURNED_AWAY,
    RetrievalEnd.REFUSED,
    RetrievalEnd.SILENT,
)
"""Ends after which an archive is left alone for a while."""
HAD_BY_SCHEDULE: Final = "schedule "
"""So begins the reason of a series that is had since another schedule has it in hand."""
WHOLE_BUT: Final = "whole; waits for the others of its study"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A series that was listed, with all that decides what it becomes.

    reasons: why it is not wanted, if anything is against it.
    in_ledger: its last revision in the node; None where it was not handed over.
    others: what other schedules made of it, of those in the settings.
    undecided: why nothing can be decided of it yet; mostly empty.
    """

    candidate: Candidate
    stock: Stock
    reasons: tuple[str, ...] = ()
    in_ledger: SeriesRow | None = None
    others: Sequence[ArchiveSeriesRow] = ()
    undecided: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing: by which schedule, in which run, and when."""

    schedule: Schedule
    run: str
    now: datetime


def seen(sighting: Sighting, listing: Listing) -> ArchiveSeriesRow:
    """The row of a series that its schedule sees for the first time."""
    candidate = sighting.candidate
    row = ArchiveSeriesRow(
        schedule=listing.schedule.name,
        series_instance_uid=candidate.series_instance_uid,
        study_instance_uid=candidate.study_instance_uid,
        archive=listing.schedule.archive,
        run=listing.run,
        found_at=listing.now,
        changed_at=listing.now,
        listed=candidate.images,
        instances=sighting.stock.instances,
        offline=is_offline(candidate),
    )
    if sighting.undecided:
        return replace(row, state=ArchiveState.FOUND, reason=sighting.undecided)
    if sighting.reasons:
        return replace(row, state=ArchiveState.REFUSED, reason="; ".join(sighting.reasons))
    if had := why_had(row, sighting):
        return replace(row, state=ArchiveState.HAD, reason=had)
    return replace(row, state=ArchiveState.WANTED, next_at=listing.now)


def why_had(row: ArchiveSeriesRow, sighting: Sighting) -> str:
    """The reason why a series need not be asked for; empty where it must.

    One that the node has answered is asked for where its images here are no whole stack and
    the archive counts more, or does not count.
    """
    known, stock = sighting.in_ledger, sighting.stock
    if _is_refused_by_another(sighting):
        return _why_had_by_another(row, sighting)
    if known is not None and (words := _why_had_in_ledger(row.listed, known, stock)):
        return words
    if known is None and stock.is_whole(row.listed):
        return "it is in the spool, whole"
    return _why_had_by_another(row, sighting)


def _is_refused_by_another(sighting: Sighting) -> bool:
    """True if a series is here since another schedule fetched it, whose rules refused it.

    It is left out for these alone: the next schedule's rules are to see its headers, too.
    """
    known = sighting.in_ledger
    refused = (each.state is ArchiveState.REFUSED for each in sighting.others if each.asked_at)
    return (known is None or known.state is SeriesState.LEFT_OUT) and any(refused)


def _why_had_by_another(row: ArchiveSeriesRow, sighting: Sighting) -> str:
    """The reason, where another schedule has it in hand."""
    before = [each for each in sighting.others if each.state in IN_HAND and _first(each, row)]
    if not before:
        return ""
    return f"{HAD_BY_SCHEDULE}{before[0].schedule} has it: {before[0].state}"


def had_no_more(row: ArchiveSeriesRow, now: datetime) -> ArchiveSeriesRow:
    """A series that another schedule had in hand and has no more: wanted, as a new one."""
    return replace(
        row,
        state=ArchiveState.WANTED,
        reason="",
        attempts=0,
        visit=row.visit + 1,
        asked_at=None,
        next_at=now,
        changed_at=now,
    )


def _why_had_in_ledger(listed: int | None, known: SeriesRow, stock: Stock) -> str:
    """The reason why a series that the node has is enough, with what it has less or not."""
    words = f"the node has it: {known.state}"
    gap = stock.missing if stock.instances else ""
    held = max(known.instances, stock.instances)
    if gap and (listed is None or listed > held):
        return ""
    if listed is None or listed <= held:
        return f"{words}; {gap}, and the archive counts no more" if gap else words
    at_hand = "no gap among them" if stock.instances else "its images are no longer here"
    return f"{words}, with {held} of the {listed} images that the archive counts; {at_hand}"


def _first(other: ArchiveSeriesRow, row: ArchiveSeriesRow) -> bool:
    """True if another schedule saw a series before; of two at once, the first by name."""
    return (other.found_at, other.schedule) < (row.found_at, row.schedule)


def seen_again(
    row: ArchiveSeriesRow, sighting: Sighting, listing: Listing
) -> ArchiveSeriesRow | None:
    """A known series that has grown since, wanted once more; None where nothing changes.

    One of which nothing was decided is as one that is seen for the first time. So is one that
    was refused as it was listed, and against which nothing is any more: it has grown, or the
    rules are others.
    """
    is_refused = row.state is ArchiveState.REFUSED
    if is_refused and (sighting.reasons or sighting.undecided):
        return None
    if row.state is ArchiveState.FOUND or (is_refused and row.asked_at is None):
        decided = seen(sighting, listing)
        if decided.state is ArchiveState.FOUND:
            return None
        return replace(decided, found_at=row.found_at, visit=row.visit + 1)
    listed = sighting.candidate.images
    have = max(row.listed or 0, sighting.stock.instances, row.instances)
    if row.state not in MAY_GROW or listed is None or not row.listed or listed <= have:
        return None
    return replace(
        row,
        state=ArchiveState.WANTED,
        reason=f"the archive counts {listed} images now, {row.listed} before",
        listed=listed,
        instances=sighting.stock.instances,
        run=listing.run,
        attempts=0,
        visit=row.visit + 1,
        asked_at=None,
        next_at=listing.now,
        changed_at=listing.now,
    )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at the series of a study: of which job, when, and the rule for the next.

    jitter: chance, from 0 to 1.
    """

    number: int
    now: datetime
    schedule: Schedule
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Fetching:
    """What is known of a series after an attempt.

    all_listed_here: whether every image that the archive lists is here.
    lacked_room: whether images came for which this node had no room.
    uncounted: whether it neither counts the images of the series nor lists them.
    retrieval: what the archive said; None where nothing was asked for.
    """

    stock: Stock
    all_listed_here: bool = False
    retrieval: Retrieval | None = None
    uncounted: bool = False
    lacked_room: bool = False

    @property
    def is_said_to_be_whole(self) -> bool:
        """True of a stack without a gap, of which there is nothing but a word to go by.

        That all was sent, by an archive that tells in no other way how many there are.
        """
        is_done = self.retrieval is not None and self.retrieval.end is RetrievalEnd.DONE
        return self.uncounted and is_done and not self.stock.missing


def after_fetching(
    row: ArchiveSeriesRow, fetching: Fetching, attempt: Attempt
) -> ArchiveSeriesRow:
    """A wanted series after an attempt; the same when repeated."""
    tried = replace(
        row,
        visit=attempt.number,
        instances=fetching.stock.instances,
        attempts=row.attempts + _counts(fetching),
        changed_at=attempt.now,
        next_at=None,
    )
    if fetching.stock.is_whole(row.listed) or fetching.is_said_to_be_whole:
        return replace(tried, state=ArchiveState.FETCHED, reason="")
    if not fetching.stock.missing and fetching.all_listed_here:
        words = (
            f"all {tried.instances} images that it lists are here, though it counts "
            f"{row.listed}; no gap"
        )
        return replace(tried, state=ArchiveState.FETCHED, reason=words)
    words = what_came(tried, fetching)
    if tried.attempts >= attempt.schedule.attempts or _is_over(tried, attempt):
        return given_up(tried, words)
    wait = wait_after(max(tried.attempts, 1), attempt.schedule, attempt.jitter)
    return replace(tried, reason=words, next_at=attempt.now + wait)


def given_up(row: ArchiveSeriesRow, words: str) -> ArchiveSeriesRow:
    """A series that is asked for no more: named, with what is missing."""
    state = ArchiveState.INCOMPLETE if row.instances else ArchiveState.FAILED
    tries = "attempt" if row.attempts == 1 else "attempts"
    return replace(
        row, state=state, next_at=None, reason=f"after {row.attempts} {tries}: {words}"
    )


def no_longer_wanted(row: ArchiveSeriesRow, number: int, now: datetime) -> ArchiveSeriesRow:
    """A wanted series of a schedule that the settings have no more."""
    return replace(
        row,
        state=ArchiveState.INCOMPLETE if row.instances else ArchiveState.FAILED,
        reason=f"schedule {row.schedule} is no longer configured",
        visit=number,
        changed_at=now,
        next_at=None,
    )


def after_error(row: ArchiveSeriesRow, attempt: Attempt) -> ArchiveSeriesRow:
    """A wanted series whose job raised at every try, and of which nothing can be said."""
    tried = replace(
        row, visit=attempt.number, attempts=row.attempts + 1, changed_at=attempt.now
    )
    words = "what is here of it could not be looked at; the node's log says why"
    if tried.attempts >= attempt.schedule.attempts or _is_over(tried, attempt):
        return given_up(tried, words)
    wait = wait_after(tried.attempts, attempt.schedule, attempt.jitter)
    return replace(tried, reason=words, next_at=attempt.now + wait)


def what_came(row: ArchiveSeriesRow, fetching: Fetching) -> str:
    """What is here of a series and what is not, with positions, and the archive's own words."""
    stock, retrieval = fetching.stock, fetching.retrieval
    counted = f" of {row.listed}" if row.listed is not None else ""
    words = [f"{stock.instances}{counted} images are here"]
    if stock.missing not in {"", NOTHING}:
        words.append(stock.missing)
    elif stock.instances:
        words.append("no gap among them: an end may be missing")
    if fetching.all_listed_here:
        words.append("the archive lists no more")
    if fetching.lacked_room:
        words.append("there was no room here for what came")
    if retrieval is not None:
        said = f": {retrieval.words}" if retrieval.words else ""
        words.append(f"the archive says {retrieval.end.value}{said}")
    return "; ".join(words)


def after_judging(
    row: ArchiveSeriesRow, reasons: Sequence[str], attempt: Attempt
) -> ArchiveSeriesRow:
    """A series that is asked for no more, after the rules have seen its headers.

    What is said of one that is incomplete stays with the reasons against it.
    """
    words = "" if row.reason == WHOLE_BUT else row.reason
    ended = row.state is ArchiveState.INCOMPLETE
    state = ArchiveState.INCOMPLETE if ended else ArchiveState.FETCHED
    if reasons:
        state = ArchiveState.REFUSED
        words = "; ".join([*reasons, *([words] if ended else [])])
    return replace(row, state=state, reason=words, visit=attempt.number, changed_at=attempt.now)


def is_trouble(retrieval: Retrieval) -> bool:
    """True if an archive should be left alone after a retrieval."""
    return retrieval.end in TROUBLE


def _counts(fetching: Fetching) -> bool:
    """True if an attempt counts: not where nobody took the association, or we had no room."""
    retrieval = fetching.retrieval
    if retrieval is None:
        return True
    return not fetching.lacked_room and not (
        retrieval.end is RetrievalEnd.TURNED_AWAY and retrieval.status is None
    )


def is_over(row: ArchiveSeriesRow, schedule: Schedule, now: datetime) -> bool:
    """True if a series has been asked for so long that it is given up."""
    asked_at = row.asked_at
    return asked_at is not None and now - asked_at >= timedelta(hours=schedule.give_up_h)


def _is_over(row: ArchiveSeriesRow, attempt: Attempt) -> bool:
    return is_over(row, attempt.schedule, attempt.now)
