"""Fetching the wanted series of a study: one job for one attempt.

First it is looked what is here, and only what is missing is asked for: of a series of which
something came, the images that the archive lists less those in the spool. What the archive
says of the retrieval decides whether it is left alone for a while; whether a series is whole
is decided by its own stack (`stock.py`). What is not is asked for again later, and named when
that was often enough. The rules see the headers of what is whole; where they choose the best
of a study, when all of it that is wanted is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from dicom_node.archive.asking import Asking
from dicom_node.archive.orphans import ASK_ELSEWHERE_IN
from dicom_node.archive.requests import image_query
from dicom_node.archive.selection import Selection
from dicom_node.archive.states import (
    WHOLE_BUT,
    Attempt,
    Fetching,
    Sighting,
    after_error,
    after_fetching,
    after_judging,
    given_up,
    is_over,
    is_trouble,
    what_came,
    why_had,
)
from dicom_node.archive.stock import Stock, stock_of, stock_or_why
from dicom_node.errors import PeerError, PeerUnreachableError
from dicom_node.peers.archives import Answer, Archive, Retrieval, Wanted
from dicom_node.persistence.archive_rows import ArchiveSeriesRow, ArchiveState
from dicom_node.persistence.jobs import JobRequest, Payload
from dicom_node.persistence.rows import AGAINST_RULES, COMPETING, RELEASED, SeriesState
from dicom_node.series.candidate_reading import candidate_of
from dicom_node.series.candidates import Candidate
from dicom_node.settings.archives import ArchiveSettings
from dicom_node.spool.copies import images_of
from dicom_node.spool.refusals import Why, lost_images, read_refusals, refused_file

log = structlog.get_logger()

KIND: Final = "archive-retrieve"
LOOK_FOR_ROOM_EVERY: Final = timedelta(minutes=1)
LEFT_OUT_BY_SCHEDULE: Final = "schedule "
"""So begins the node's reason against what a schedule's rules refused by its headers."""
Rows = Sequence[ArchiveSeriesRow]


@dataclass(frozen=True, slots=True)
class Gap:
    """What is missing of a series: what to ask for, or nothing where no more is listed.

    counted: how many images the archive has of it, by its count or else by its list of them;
        None where it does not tell.
    """

    wanted: Wanted | None
    all_listed_here: bool = False
    counted: int | None = None


@dataclass(frozen=True, slots=True)
class RetrieveJobs:
    """The jobs that fetch what is wanted of a study."""

    asking: Asking

    def run(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Make one attempt at a study, unless that was done already."""
        now, due = self.asking.clock(), self._due(payload)
        settings = self.asking.of(payload["schedule"])
        if not due or settings is None:
            return ()
        schedule, archive = settings
        gate = self.asking.gate(archive)
        if not gate.is_open:
            self._put_off(due, payload["visit"], gate.opens_at or now)
            return ()
        if self.asking.no_room():
            self._put_off(due, payload["visit"], now + LOOK_FOR_ROOM_EVERY)
            return ()
        attempt = Attempt(payload["visit"], now, schedule, self.asking.jitter())
        left = self._without_had(due, attempt)
        if not left:
            self._settle(payload["study_instance_uid"], (), {}, {}, attempt)
            return ()
        asked = [replace(row, asked_at=row.asked_at or now) for row in left]
        # Before anything comes: from now on nobody takes what is here for the whole series.
        self.asking.ledger.enter(changed=asked)
        try:
            self._fetch(asked, attempt, archive)
        except PeerUnreachableError as error:
            until = self.asking.trouble_of(archive, schedule, error)
            self._put_off(asked, payload["visit"], until)
        return ()

    def give_back(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Put a study off whose job raised at every try; that counts as an attempt."""
        due, settings = self._due(payload), self.asking.of(payload["schedule"])
        if not due or settings is None:
            return ()
        now = self.asking.clock()
        attempt = Attempt(payload["visit"], now, settings[0], self.asking.jitter())
        gaps = {row.series_instance_uid: Gap(None) for row in due}
        try:
            self._settle(payload["study_instance_uid"], due, gaps, {}, attempt)
        except Exception:
            # Nobody comes after this: were the rows left due, nothing else would be fetched.
            log.exception("task.failed", kind=KIND)
            self.asking.ledger.enter(changed=[after_error(row, attempt) for row in due])
        return ()

    def _due(self, payload: Payload) -> Rows:
        """What a job is to deal with, if it was not done; else its rows are moved on, too.

        That is where the clock was set back, or where this worker's settings do not have its
        schedule: another's may, and if none has, `orphans.py` ends it.
        """
        rows, now, number = self._rows(payload), self.asking.clock(), payload["visit"]
        if number <= _last_visit(rows):
            return ()
        open_ones = [row for row in rows if row.state is ArchiveState.WANTED]
        due = [row for row in open_ones if _is_due(row, now)]
        if self.asking.of(payload["schedule"]) is None:
            self._put_off(open_ones, number, now + ASK_ELSEWHERE_IN)
        elif not due:
            self.asking.ledger.enter(changed=[replace(row, visit=number) for row in open_ones])
        return due

    def expire(self, archive: ArchiveSettings) -> None:
        """Give up what was asked for too long ago, also where the archive is never open."""
        now, ledger = self.asking.clock(), self.asking.ledger
        over = [
            row
            for row in ledger.asked_before(archive.name, now)
            if (settings := self.asking.of(row.schedule)) and is_over(row, settings[0], now)
        ]
        studies: dict[tuple[str, str], list[ArchiveSeriesRow]] = {}
        for row in over:
            studies.setdefault((row.schedule, row.study_instance_uid), []).append(row)
        for of_study in studies.values():
            self._expire(of_study, now)

    def _expire(self, over: Rows, now: datetime) -> None:
        """End the series of a study that were asked for too long ago, the rules being asked."""
        schedule, study = over[0].schedule, over[0].study_instance_uid
        settings = self.asking.of(schedule)
        if settings is None:
            return
        rows = self.asking.ledger.series(schedule, study_instance_uid=study)
        attempt = Attempt(_last_visit(rows) + 1, now, settings[0])
        ended = [self._ended(row, attempt) for row in over]
        try:
            after = self._judged(ended, attempt, study, is_last=True)
        except Exception:
            # One that cannot be judged must not keep the others from their end.
            log.exception("task.failed", kind="expire", study_instance_uid=study)
            after = tuple(ended)
        self.asking.ledger.enter(changed=after)
        for row in after:
            _log(row)

    def _ended(self, row: ArchiveSeriesRow, attempt: Attempt) -> ArchiveSeriesRow:
        """A series that is asked for no more, by what is here of it."""
        stock = stock_or_why(self.asking.spool, row.series_instance_uid)
        numbered = replace(
            row,
            visit=attempt.number,
            instances=stock.instances or row.instances,
            changed_at=attempt.now,
            next_at=None,
        )
        was_whole = row.reason == WHOLE_BUT and not stock.missing
        if was_whole or stock.is_whole(row.listed):
            return replace(numbered, state=ArchiveState.FETCHED, reason="")
        return given_up(numbered, what_came(numbered, Fetching(stock)))

    def _fetch(self, asked: Rows, attempt: Attempt, archive: ArchiveSettings) -> None:
        """Ask for what is missing of the series of a study, and see what came."""
        peer = self.asking.call(archive)
        gaps = self._gaps(asked, peer)
        wanted = [gap.wanted for gap in gaps.values() if gap.wanted is not None]
        said = self.asking.retrieve(peer, archive, wanted) if wanted else {}
        if said:
            self.asking.tell_retrieval(archive, said, asked[0].study_instance_uid)
        retrievals = {each.series_instance_uid: said[each] for each in wanted if each in said}
        ends = [
            ended
            for uid, ended in retrievals.items()
            # Some give no more once we refused an image: that is no trouble of theirs.
            if is_trouble(ended) and not self._lacked_room(uid)
        ]
        trouble = next(iter(ends), None)
        if trouble is not None:
            words = trouble.words or trouble.end.value
            self.asking.trouble(archive, attempt.schedule, words, trouble.again_after_s)
        else:
            self.asking.well(archive, pause=True)
        after = replace(attempt, now=self.asking.clock())
        counted = [replace(row, listed=gaps[row.series_instance_uid].counted) for row in asked]
        self._settle(asked[0].study_instance_uid, counted, gaps, retrievals, after)

    def _gaps(self, rows: Rows, peer: Archive) -> Mapping[str, Gap]:
        """What is missing of each series, by what the archive lists.

        It is asked for that of those that are begun, and of those that it does not count.
        """
        stocks = {row.series_instance_uid: self._stock(row) for row in rows}
        whole = {
            row.series_instance_uid: Wanted(row.study_instance_uid, row.series_instance_uid)
            for row in rows
        }
        gaps = {
            row.series_instance_uid: Gap(whole[row.series_instance_uid], counted=row.listed)
            for row in rows
        }
        for row in rows:
            uid, counted = row.series_instance_uid, row.listed
            if counted is not None and not stocks[uid].instances:
                continue
            answer = _images_listed(peer, row)
            listed = {each.get("SOPInstanceUID") for each in answer.listed} - {""}
            missing = tuple(sorted(listed - stocks[uid].sop_instance_uids))
            if counted is None and listed and answer.is_whole:
                counted = len(listed)
            if stocks[uid].is_whole(counted):
                gaps[uid] = Gap(None, counted=counted)
            elif not missing and listed and answer.is_whole:
                gaps[uid] = Gap(None, all_listed_here=True, counted=counted)
            elif missing and stocks[uid].instances:
                some = replace(whole[uid], sop_instance_uids=missing)
                gaps[uid] = Gap(some, counted=counted)
            else:
                gaps[uid] = Gap(whole[uid], counted=counted)
        return gaps

    def _settle(
        self,
        study_instance_uid: str,
        rows: Rows,
        gaps: Mapping[str, Gap],
        retrievals: Mapping[str, Retrieval],
        attempt: Attempt,
    ) -> None:
        """Enter what became of the series of a study, all in one go."""
        fetched = []
        for row in rows:
            uid = row.series_instance_uid
            stock = self._stock(row)
            uncounted = row.listed is None
            said = retrievals.get(uid)
            lacked_room = said is not None and self._lacked_room(uid)
            fetching = Fetching(
                stock, gaps[uid].all_listed_here, said, uncounted, lacked_room=lacked_room
            )
            fetched.append(after_fetching(row, fetching, attempt))
        after = self._judged(fetched, attempt, study_instance_uid)
        self._release([row for row in after if row.series_instance_uid in gaps], gaps, attempt)
        self.asking.ledger.enter(changed=after)
        for row in after:
            _log(row)

    def _release(self, rows: Rows, gaps: Mapping[str, Gap], attempt: Attempt) -> None:
        """Have the node analyse what it left out for another schedule, if this one takes it.

        Nothing came, so that nobody would hand it over again. Where a schedule names no rules,
        those of the node would have to be asked: then it stays with what they said.
        """
        taken = [
            row.series_instance_uid
            for row in rows
            if row.state is ArchiveState.FETCHED
            and gaps[row.series_instance_uid].wanted is None
        ]
        for known in self.asking.ledger.known_to_node(taken).values():
            schedule, config = attempt.schedule, self.asking.config
            has_rules = config.for_called(known.called_ae_title).analysis.rules is not None
            is_of_schedule = known.code == AGAINST_RULES and known.reason.startswith(
                LEFT_OUT_BY_SCHEDULE
            )
            is_left_out = known.state is SeriesState.LEFT_OUT and is_of_schedule
            if is_left_out and (schedule.rules or not has_rules):
                words = f"schedule {schedule.name} takes it"
                taken_now = known.become(
                    SeriesState.RECEIVED, attempt.now, code=RELEASED, reason=words
                )
                self.asking.ledger.ledger.save(taken_now)
                log.info(
                    "requery.released",
                    schedule=schedule.name,
                    series_instance_uid=known.series_instance_uid,
                )

    def _judged(
        self, after: Rows, attempt: Attempt, study_instance_uid: str, *, is_last: bool = False
    ) -> tuple[ArchiveSeriesRow, ...]:
        """The same, once the rules have seen the headers.

        Where they choose the best of a study, whole series wait for the others, and those
        that were fetched before are compared with too. One that stayed incomplete is compared
        with none.

        is_last: whether whole ones wait no longer for others that are still wanted.
        """
        selection = self.asking.selection(attempt.schedule)
        changed = {
            row.series_instance_uid: self._judged_alone(row, selection, attempt)
            for row in after
        }
        study = self.asking.ledger.series(
            attempt.schedule.name, study_instance_uid=study_instance_uid
        )
        rows = [changed.get(row.series_instance_uid, row) for row in study]
        whole = [row for row in rows if _is_whole(row, changed)]
        others = [row for row in rows if row not in whole]
        has_to_wait = selection.rules.best and not is_last
        if has_to_wait and any(row.state is ArchiveState.WANTED for row in others):
            waiting = {
                row.series_instance_uid: replace(
                    row, state=ArchiveState.WANTED, reason=WHOLE_BUT, next_at=None
                )
                for row in whole
            }
            return tuple((changed | waiting).values())
        rivals = self._rivals(others) if selection.rules.best and whole else ()
        reasons = selection.by_headers(self._candidates([*whole, *rivals]))
        judged = {
            row.series_instance_uid: after_judging(
                row, reasons.get(row.series_instance_uid, ()), attempt
            )
            for row in whole
        }
        return tuple((changed | judged).values())

    def _rivals(self, rows: Rows) -> Rows:
        """Those that were fetched before, unless the node refused them or could not do them."""
        fetched = [row for row in rows if row.state is ArchiveState.FETCHED]
        uids = [row.series_instance_uid for row in fetched]
        known = self.asking.ledger.known_to_node(uids)
        gone = {uid for uid, row in known.items() if row.state not in COMPETING}
        return [row for row in fetched if row.series_instance_uid not in gone]

    def _judged_alone(
        self, row: ArchiveSeriesRow, selection: Selection, attempt: Attempt
    ) -> ArchiveSeriesRow:
        """A series that stayed incomplete, once the rules have seen its values."""
        if row.state is not ArchiveState.INCOMPLETE:
            return row
        # Of its stack not all is here, and that is against none.
        candidates = [
            replace(each, images=row.listed, stack=None) for each in self._candidates([row])
        ]
        reasons = selection.by_headers(candidates).get(row.series_instance_uid, ())
        return after_judging(row, reasons, attempt)

    def _candidates(self, rows: Rows) -> tuple[Candidate, ...]:
        """Series by the headers of their images, as far as these are still here."""
        spool = self.asking.spool
        images = [images_of(spool.entries(row.series_instance_uid)).chosen for row in rows]
        return tuple(candidate_of(entry.path for entry in each) for each in images if each)

    def _without_had(self, due: Rows, attempt: Attempt) -> Rows:
        """The series that still have to be asked for: not what came from elsewhere since."""
        ledger = self.asking.ledger
        # One that is wanted once more, as it grew or by hand, has words, and is had by none.
        fresh = [row for row in due if row.asked_at is None and not row.reason]
        uids = [row.series_instance_uid for row in fresh]
        in_ledger = ledger.known_to_node(uids)
        others = self.asking.others(due[0].schedule, ledger.series_of_uids(uids))
        had = {}
        for row in fresh:
            uid = row.series_instance_uid
            of_others = [each for each in others if each.series_instance_uid == uid]
            candidate = Candidate(row.study_instance_uid, uid)
            stock = self._stock(row)
            sighting = Sighting(candidate, stock, (), in_ledger.get(uid), of_others)
            if words := why_had(row, sighting):
                had[uid] = replace(
                    row,
                    state=ArchiveState.HAD,
                    reason=words,
                    visit=attempt.number,
                    changed_at=attempt.now,
                    next_at=None,
                )
        ledger.enter(changed=list(had.values()))
        return [row for row in due if row.series_instance_uid not in had]

    def _stock(self, row: ArchiveSeriesRow) -> Stock:
        """What is here of a series; what a disk has not given an attempt long counts as lost.

        Raises:
            OSError: a file cannot be read just now.
        """
        lost = row.attempts > 0
        return stock_of(self.asking.spool, row.series_instance_uid, errors_are_damage=lost)

    def _lacked_room(self, series_instance_uid: str) -> bool:
        """True if images of a series were refused for want of room, and are not here since."""
        spool = self.asking.spool
        refusals = read_refusals(refused_file(spool.folder, series_instance_uid))
        kept = {entry.sop_instance_uid for entry in spool.entries(series_instance_uid)}
        return bool(lost_images(refusals, kept).images.get(Why.ROOM))

    def _put_off(self, rows: Rows, visit: int, when: datetime) -> None:
        """Leave series due at a later time; the number of the job is used."""
        now = self.asking.clock()
        later = [
            replace(row, visit=visit, next_at=max(when, now), changed_at=now) for row in rows
        ]
        self.asking.ledger.enter(changed=later)

    def _rows(self, payload: Payload) -> tuple[ArchiveSeriesRow, ...]:
        return self.asking.ledger.series(
            payload["schedule"], study_instance_uid=payload["study_instance_uid"]
        )


def retrieve_job(archive: str, rows: Rows) -> JobRequest:
    """The next job for a study, given all of its rows."""
    schedule, study = rows[0].schedule, rows[0].study_instance_uid
    number = _last_visit(rows) + 1
    payload = {"schedule": schedule, "study_instance_uid": study, "visit": number}
    return JobRequest(KIND, f"{KIND}:{archive}:{schedule}:{study}:{number}", payload)


def _images_listed(peer: Archive, row: ArchiveSeriesRow) -> Answer:
    """What an archive lists of a series by image; nothing where it will not.

    Raises:
        PeerUnreachableError: nobody is there to be asked.
    """
    try:
        (answer,) = peer.find([image_query(row.study_instance_uid, row.series_instance_uid)])
    except PeerUnreachableError:
        raise
    except PeerError as error:
        uid = row.series_instance_uid
        log.warning("requery.no_image_list", series_instance_uid=uid, reason=str(error))
        return Answer((), is_whole=False, words=str(error))
    return answer


def _last_visit(rows: Rows) -> int:
    return max((row.visit for row in rows), default=0)


def _is_due(row: ArchiveSeriesRow, now: datetime) -> bool:
    return row.state is ArchiveState.WANTED and row.next_at is not None and row.next_at <= now


def _is_whole(row: ArchiveSeriesRow, changed: Mapping[str, ArchiveSeriesRow]) -> bool:
    """True if a series is whole and not judged yet, in this attempt or one before."""
    if row.series_instance_uid in changed and row.state is ArchiveState.FETCHED:
        return True
    return row.state is ArchiveState.WANTED and row.reason == WHOLE_BUT


LEVELS: Final = {
    ArchiveState.INCOMPLETE: "error",
    ArchiveState.FAILED: "error",
    ArchiveState.WANTED: "warning",
}


def _log(row: ArchiveSeriesRow) -> None:
    getattr(log, LEVELS.get(row.state, "info"))(
        f"requery.{row.state.value}",
        schedule=row.schedule,
        series_instance_uid=row.series_instance_uid,
        instances=row.instances,
        attempt=row.attempts,
        reason=row.reason,
    )
