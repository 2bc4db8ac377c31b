"""Asking an archive what it has in a window of study dates: one job a window.

Studies first, then the series of each that may be wanted, some studies at a time: what is
found of them is written in one go, so that a job that is cut short goes on behind it. An
answer that is not whole makes the window smaller; a window that cannot be is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from dicom_node.archive.asking import Asking
from dicom_node.archive.orphans import ASK_ELSEWHERE_IN
from dicom_node.archive.politeness import Gate, wait_after
from dicom_node.archive.requests import (
    candidate_of_listed,
    series_query,
    study_queries,
)
from dicom_node.archive.states import Listing, Sighting, seen, seen_again
from dicom_node.archive.stock import Stock, stock_or_why
from dicom_node.archive.windows import StudyWindow, parse_window
from dicom_node.errors import PeerError, PeerUnreachableError
from dicom_node.peers.archives import Answer, Archive, Listed
from dicom_node.persistence.archive_rows import (
    ArchiveSeriesRow,
    WindowRow,
    WindowState,
)
from dicom_node.persistence.jobs import JobRequest, Payload
from dicom_node.settings.archives import ArchiveSettings
from dicom_node.settings.schedules import Schedule
from dicom_node.uids import is_uid

log = structlog.get_logger()

STUDIES_AT_ONCE: Final = 20
"""The studies whose series are asked for on one association, and written in one go."""
MOST_QUERIES: Final = 5_000
"""So many beginnings of Patient IDs are asked for at a time; those of one day."""
QUERIES_AT_ONCE: Final = 50
"""So many of them are asked on one association before it is looked if that may go on."""
KIND: Final = "archive-query"
LISTED_IN_PART: Final = "its series were listed in part only"
CUT_SO_FAR: Final = "cut so far: "
NOT_KNOWN_HERE: Final = "its schedule is not in the settings of the worker that was to list it"


@dataclass(frozen=True, slots=True)
class QueryJobs:
    """The jobs that list a window."""

    asking: Asking

    def run(self, payload: Payload) -> tuple[JobRequest, ...]:
        """List one window, unless that was done already; what is left is due later."""
        row = self.asking.ledger.window(*window_key(payload))
        if row is None or row.visit >= payload["visit"] or row.state is not WindowState.WAITING:
            return ()
        row = replace(row, visit=payload["visit"])
        settings = self.asking.of(row.schedule)
        if settings is None:
            self._later(row, self.asking.clock() + ASK_ELSEWHERE_IN, NOT_KNOWN_HERE)
            return ()
        schedule, archive = settings
        gate = self.asking.gate(archive)
        if not gate.is_open:
            self._wait(row, gate)
            return ()
        try:
            self._list(row, schedule, archive)
        except PeerError as error:
            self._fail(row, schedule, archive, error)
        return ()

    def give_back(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Put a window off whose job raised at every try."""
        row = self.asking.ledger.window(*window_key(payload))
        if row is None or row.visit >= payload["visit"] or row.state is not WindowState.WAITING:
            return ()
        row = replace(row, visit=payload["visit"])
        settings = self.asking.of(row.schedule)
        if settings is None:
            self._later(row, self.asking.clock() + ASK_ELSEWHERE_IN, NOT_KNOWN_HERE)
            return ()
        words = "the node could not enter the answer; its log says why"
        self._put_off(row, settings[0], words, counts=True)
        return ()

    def _list(self, row: WindowRow, schedule: Schedule, archive: ArchiveSettings) -> None:
        """List a window, or cut it where the answer is not whole."""
        window, peer = parse_window(row.window), self.asking.call(archive)
        answers = self._ask(peer, window, schedule, archive)
        if isinstance(answers, Gate):
            self._wait(row, answers)
            return
        short = [each for each in answers if not each.is_whole]
        if short and (halves := window.halves()):
            self._split(row, halves, short[0].words)
            return
        studies = _studies(window, answers)
        selection = self.asking.selection(schedule)
        wanted = [each for each in studies if selection.may_take_of(each)]
        row = replace(row, studies=len(studies), left_out=len(studies) - len(wanted))
        cut = self._list_series(row, schedule, archive, peer, wanted)
        if cut is None:
            return
        self.asking.well(archive)
        if cut and not self._is_last(row, schedule):
            self._list_again(row, schedule, cut)
            return
        if short:
            cut = f"listed in part only, and cannot be made smaller: {short[0].words}"
        if cut:
            self._end(replace(row, state=WindowState.CUT, reason=cut))
        else:
            self._end(replace(row, state=WindowState.LISTED, reason=""))

    def _ask(
        self, peer: Archive, window: StudyWindow, schedule: Schedule, archive: ArchiveSettings
    ) -> tuple[Answer, ...] | Gate:
        """The answers for the studies of a window, narrowed here where it cannot be cut.

        Where the archive closed meanwhile, until when: it begins anew then.
        """
        rules, found = self.asking.selection(schedule).rules, list[Answer]()
        queries = study_queries(window, schedule, rules)
        while queries:
            answers = list[Answer]()
            for begin in range(0, len(queries), QUERIES_AT_ONCE):
                gate = self.asking.gate(archive)
                if not gate.is_open:
                    return gate
                answers += peer.find(queries[begin : begin + QUERIES_AT_ONCE])
            self.asking.tell_query(archive, f"studies of {window}", len(answers))
            asked = list(zip(queries, answers, strict=True))
            more = [
                () if answer.is_whole else window.narrower(query) for query, answer in asked
            ]
            found += [answer for answer, left in zip(answers, more, strict=True) if not left]
            queries = tuple(one for left in more for one in left)
            if len(queries) > MOST_QUERIES:
                words = (
                    f"more than {MOST_QUERIES} beginnings of Patient IDs have too many studies"
                )
                return (*found, Answer((), is_whole=False, words=words))
        return tuple(found)

    def _list_series(
        self,
        row: WindowRow,
        schedule: Schedule,
        archive: ArchiveSettings,
        peer: Archive,
        studies: Sequence[Listed],
    ) -> str | None:
        """List and enter the series of studies; None where the archive closed meanwhile.

        Else the reason why not all of their series were listed; mostly empty.
        """
        rules = self.asking.selection(schedule).rules
        uids = [each.get("StudyInstanceUID") for each in studies]
        done = self.asking.ledger.listed_studies(schedule.name, row.run, uids)
        left = [each for each in studies if each.get("StudyInstanceUID") not in done]
        cut = self._cut_so_far(row)
        for begin in range(0, len(left), STUDIES_AT_ONCE):
            some = left[begin : begin + STUDIES_AT_ONCE]
            gate = self.asking.gate(archive)
            if not gate.is_open:
                self._wait(row, gate)
                return None
            answers = peer.find(
                [series_query(each.get("StudyInstanceUID"), rules) for each in some]
            )
            uids_asked = " ".join(each.get("StudyInstanceUID") for each in some)
            self.asking.tell_query(archive, f"series of {uids_asked}", len(answers))
            short = [
                f"study {study.get('StudyInstanceUID')}: {LISTED_IN_PART}"
                for study, answer in zip(some, answers, strict=True)
                if not answer.is_whole
            ]
            cut = cut or next(iter(short), "")
            is_cut = bool(cut) and self._is_last(row, schedule)
            window = replace(row, reason=f"{CUT_SO_FAR}{cut}" if is_cut else row.reason)
            self._enter(window, schedule, list(zip(some, answers, strict=True)))
        return cut

    def _enter(
        self, window: WindowRow, schedule: Schedule, found: Sequence[tuple[Listed, Answer]]
    ) -> None:
        """Enter what was listed of some studies, in one transaction, and if it was cut short.

        These studies are not listed again after a kill.
        """
        ledger = self.asking.ledger
        listing = Listing(schedule, window.run, self.asking.clock())
        sightings = list(self._sightings(window, schedule, found))
        uids = [each.candidate.series_instance_uid for each in sightings]
        known: dict[str, list[ArchiveSeriesRow]] = {}
        for row in ledger.series_of_uids(uids):
            known.setdefault(row.series_instance_uid, []).append(row)
        in_ledger = ledger.known_to_node(uids)
        new, changed = [], []
        studies = {
            row.series_instance_uid: row.study_instance_uid for row in _own(known, schedule)
        }
        for bare in sightings:
            uid = bare.candidate.series_instance_uid
            if _is_of_another_study(bare, studies, schedule):
                continue
            own = [row for row in known.get(uid, []) if row.schedule == schedule.name]
            others = self.asking.others(schedule.name, known.get(uid, []))
            each = replace(bare, in_ledger=in_ledger.get(uid), others=others)
            if own and seen_again(own[0], each, listing) is None:
                continue  # with more of it here it would be wanted even less: no file is read
            each = replace(each, stock=stock_or_why(self.asking.spool, uid))
            if not own:
                new.append(seen(each, listing))
            elif again := seen_again(own[0], each, listing):
                changed.append(again)
        # The number of this job is used when it ends.
        noted = replace(window, visit=window.visit - 1)
        is_cut = window.reason.startswith(CUT_SO_FAR)
        ledger.enter(new, [*changed, *([noted] if is_cut else [])])

    def _sightings(
        self, window: WindowRow, schedule: Schedule, found: Sequence[tuple[Listed, Answer]]
    ) -> Iterator[Sighting]:
        """The series of studies, each with what the rules and the spool say.

        Of a study whose series came in part nothing is decided before the last attempt.
        """
        selection = self.asking.selection(schedule)
        for study, answer in found:
            series = {each.get("SeriesInstanceUID"): each for each in answer.listed}
            candidates = [
                candidate_of_listed(study, each) for uid, each in series.items() if is_uid(uid)
            ]
            reasons = selection.by_listing(candidates)
            is_open = not (answer.is_whole or self._is_last(window, schedule))
            undecided = f"{LISTED_IN_PART}: {answer.words}" if is_open else ""
            for each in candidates:
                against = reasons[each.series_instance_uid]
                yield Sighting(each, Stock(), against, undecided=undecided)

    def _split(self, row: WindowRow, halves: Sequence[StudyWindow], words: str) -> None:
        """Let smaller windows stand for one whose answer was not whole."""
        now = self.asking.clock()
        new = [
            WindowRow(row.schedule, row.run, half.key, row.archive, now, next_at=now)
            for half in halves
        ]
        done = replace(row, state=WindowState.SPLIT, reason=words, next_at=None, changed_at=now)
        self.asking.ledger.enter(new, [done])
        log.info("requery.window_split", reason=words, count=len(new), **_about(row))

    def _fail(
        self, row: WindowRow, schedule: Schedule, archive: ArchiveSettings, error: PeerError
    ) -> None:
        """Put a window off that was not answered; a few times, where anyone is there."""
        self.asking.trouble_of(archive, schedule, error)
        counts = not isinstance(error, PeerUnreachableError)
        self._put_off(row, schedule, str(error), counts=counts)

    def _put_off(self, row: WindowRow, schedule: Schedule, words: str, *, counts: bool) -> None:
        tried = replace(row, attempts=row.attempts + counts, reason=words)
        if tried.attempts >= schedule.attempts:
            log.error("requery.window_failed", reason=words, **_about(row))
            self._end(replace(tried, state=WindowState.FAILED))
            return
        # The archive's own pause is what it waits for.
        self._later(tried, self.asking.clock(), words)

    def _is_last(self, row: WindowRow, schedule: Schedule) -> bool:
        """True if a window is not asked for once more, whatever comes of it now."""
        return row.attempts + 1 >= schedule.attempts

    def _list_again(self, row: WindowRow, schedule: Schedule, words: str) -> None:
        """Ask once more, later, for the series of those studies that came in part."""
        tried = replace(row, attempts=row.attempts + 1)
        wait = wait_after(tried.attempts, schedule, self.asking.jitter())
        self._later(tried, self.asking.clock() + wait, words)

    def _wait(self, row: WindowRow, gate: Gate) -> None:
        """Leave a window due until its archive may be asked."""
        self._later(row, gate.opens_at or self.asking.clock(), gate.reason)

    def _cut_so_far(self, row: WindowRow) -> str:
        """What was listed in part only of a window that is not done with, as it was entered."""
        known = self.asking.ledger.window(row.schedule, row.run, row.window)
        reason = known.reason if known is not None else ""
        return reason.removeprefix(CUT_SO_FAR) if reason.startswith(CUT_SO_FAR) else ""

    def _later(self, row: WindowRow, when: datetime, words: str) -> None:
        """Leave a window due at a later time; that it was cut so far stays noted."""
        now = self.asking.clock()
        if cut := self._cut_so_far(row):
            words = f"{CUT_SO_FAR}{cut}"
        later = replace(row, next_at=max(when, now), reason=words, changed_at=now)
        self.asking.ledger.enter(changed=[later])

    def _end(self, row: WindowRow) -> None:
        """Enter that a window is done with."""
        done = replace(row, next_at=None, changed_at=self.asking.clock())
        self.asking.ledger.enter(changed=[done])
        log.info(
            "requery.window",
            state=row.state.value,
            count=row.studies,
            left_out=row.left_out,
            reason=row.reason,
            **_about(row),
        )


def query_job(row: WindowRow) -> JobRequest:
    """The next job for a window."""
    number = row.visit + 1
    payload = {
        "schedule": row.schedule,
        "run": row.run,
        "window": row.window,
        "visit": number,
    }
    key = f"{KIND}:{row.archive}:{row.schedule}:{row.run}:{row.window}:{number}"
    return JobRequest(KIND, key, payload)


def window_key(payload: Payload) -> tuple[str, str, str]:
    """The window that a job is about."""
    return payload["schedule"], payload["run"], payload["window"]


def _studies(window: StudyWindow, answers: Sequence[Answer]) -> tuple[Listed, ...]:
    """The studies of a window, each once; without those whose UID is none.

    A UID becomes a folder's name, and the key of further questions.
    """
    found: Mapping[str, Listed] = {
        each.get("StudyInstanceUID"): each
        for answer in answers
        for each in answer.listed
        if window.takes(each.values.get("StudyDate"), each.values.get("StudyTime"))
    }
    return tuple(each for uid, each in found.items() if is_uid(uid))


def _own(
    known: Mapping[str, Sequence[ArchiveSeriesRow]], schedule: Schedule
) -> Iterator[ArchiveSeriesRow]:
    """Those rows that are a schedule's."""
    for rows in known.values():
        yield from (row for row in rows if row.schedule == schedule.name)


def _is_of_another_study(
    sighting: Sighting, studies: MutableMapping[str, str], schedule: Schedule
) -> bool:
    """True if a series was listed before as one of another study, which is named.

    A Series Instance UID is of one series (PS3.3 C.7.3.1.1.1); an archive that lists it for two
    studies gives, asked for one, perhaps the images of both. It counts for the first.

    studies: by series; that of a new one is added.
    """
    candidate = sighting.candidate
    uid, study = candidate.series_instance_uid, candidate.study_instance_uid
    first = studies.setdefault(uid, study)
    if first == study:
        return False
    log.warning(
        "requery.in_two_studies",
        schedule=schedule.name,
        series_instance_uid=uid,
        study_instance_uid=study,
        reason=f"the archive lists the series in study {first}, too, for which it counts",
    )
    return True


def _about(row: WindowRow) -> dict[str, str]:
    return {"schedule": row.schedule, "run": row.run, "window": row.window}
