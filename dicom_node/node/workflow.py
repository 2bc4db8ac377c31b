"""The steps of a series: received -> analysed -> published -> delivered.

    admit    enter it into the ledger, unless the very same one has been answered before
    select   where there are rules: take it, leave it out, or wait for the rest of its study
    segment  analyse it in a child process; the answer is a case, a refusal, or a failure
    publish  build the result objects once, keep them as files, name their destinations
    deliver  one attempt at one destination (`delivery/jobs.py`); what it did not take is tried
             again later, and what it took is asked for, if it is to confirm it

All but the first are jobs of the engine. Each may run twice, so its effects are derived
from what it is about (UIDs, seeds), or written whole under their final names, or not
written again. Each analysis has a folder of its own, and the queue's record says which one
counts: of nodes that share their work, one that was taken to be dead may still write. A
device does one analysis at a time, whichever process began it. What follows a job is a value
it returns. A series that is taken is always answered: one that is refused, or whose analysis
fails at every try, with a picture and a key object that give the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from dicom_node.analysis.request import (
    CASE_FOLDER,
    Outcome,
    Request,
    read_outcome,
    write_outcome,
    write_request,
)
from dicom_node.analysis.subprocesses import EXIT_NO_ROOM, Ended, run_child
from dicom_node.delivery.attempts import first_rows
from dicom_node.delivery.holding import held_back
from dicom_node.delivery.jobs import DeliveryJobs, delivery_job
from dicom_node.errors import ResultError
from dicom_node.monitoring import metrics
from dicom_node.monitoring.logs import describe
from dicom_node.node.case_room import CaseRoom
from dicom_node.node.case_rows import PatientHistory, case_row
from dicom_node.node.noted import note_answer, note_children, note_received, timed
from dicom_node.node.publication import earlier_revisions, keep_results, publish_series
from dicom_node.node.room import (
    ANALYSIS,
    LOOK_EVERY_S,
    NO_ROOM,
    PUBLICATION,
    Ending,
    GivingWay,
    Need,
    Step,
    disks,
    need_of_case,
    voxels_of_case,
    wait_for_room,
)
from dicom_node.node.selection import Selection, arrival_in_spool, rules_for
from dicom_node.node.series_events import (
    answered_event,
    arrival_events,
    event,
    held_events,
    left_out_event,
)
from dicom_node.node.series_jobs import (
    about_job,
    arrival_of_job,
    first_job,
    payload_of,
    publish_job,
    segment_job,
    segment_later,
    select_job,
    select_later,
)
from dicom_node.node.series_keys import keys_of
from dicom_node.persistence.jobs import JobKind, JobRequest, Payload
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.locks import try_lock
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import (
    AGAINST_RULES,
    ANSWERED,
    AWAITS_RULES,
    RELEASED,
    UNANSWERED,
    DeliveryRow,
    EventRow,
    SeriesEvent,
    SeriesKeyRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.results.fhir.bundle_file import keep_bundle
from dicom_node.series.candidates import Candidate
from dicom_node.settings.destinations import Destination
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.uids import settings_digest, sources_digest

if TYPE_CHECKING:
    from dicom_node.archive.holding import Choice

log = structlog.get_logger()

QUEUES: Final = {"gpu": 1, "publish": 1, "deliver": 4, "select": 1}
"""The number of jobs of each queue that one worker does at a time."""

MAX_WAIT_FOR_DEVICE_S: Final = 30.0
FIRST_WAIT_FOR_ROOM_S: Final = 30.0
MAX_WAIT_FOR_ROOM_S: Final = 600.0
MAX_BETWEEN_TRIES_S: Final = 300.0
UNEXPLAINED_TRIES: Final = 6
"""Of a step that finds no room although no disk of the node's is short: a quota, or /tmp."""
NO_ROOM_THERE: Final = (
    "it found no room although no disk of the node's is short: "
    "a quota, /tmp, or too large a case"
)
SECONDS_TO_HEAR_OF_OUR_END: Final = 1.0


@dataclass(frozen=True, slots=True)
class Workflow:
    """The jobs, with all they need.

    bundle_sha256: of the bundle that the analysis will use.
    bundles_sha256: of those that pipelines use instead, by their names.
    grader_sha256: of the grader of the disease status; empty without one.
    command: what analyses a request file.
    clock: tells the time, with its zone.
    device: the name under which the analysing device is locked; see `devices.py`.
    ending: set when this process was told to end.
    needs: of cases whose size the ledger does not know, by series and revision, so that none
        is estimated twice.
    candidates: for rules, as `Selection` has read them.
    """

    config: NodeConfig
    ledger: Ledger
    bundle_sha256: str
    command: Sequence[str]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    bundles_sha256: Mapping[str, str] = field(default_factory=dict)
    grader_sha256: str = ""
    device: str = "device"
    ending: threading.Event = field(default_factory=threading.Event)
    needs: MutableMapping[tuple[str, int], Need] = field(default_factory=dict)
    candidates: MutableMapping[str, Candidate] = field(default_factory=dict)

    def kinds(self) -> Mapping[str, JobKind]:
        """Every kind of job, for the engine."""
        return {
            "select": JobKind(self.select, "select", fallback=self.take_unjudged),
            "segment": JobKind(
                partial(self._in_pipeline, Workflow.segment, ANALYSIS),
                "gpu",
                fallback=partial(self._in_pipeline, Workflow.fail, PUBLICATION),
            ),
            "publish": JobKind(
                partial(self._in_pipeline, Workflow.publish, PUBLICATION),
                "publish",
                fallback=partial(self._in_pipeline, Workflow.fail, PUBLICATION),
            ),
            "deliver": JobKind(self.deliver, "deliver"),
        }

    def pipeline(self, called_ae_title: str) -> Self:
        """The same workflow with the analysis settings that a called AE title selects."""
        config = self.config.for_called(called_ae_title)
        sha256 = self.bundles_sha256.get(config.analysis.bundle, self.bundle_sha256)
        return replace(self, config=config, bundle_sha256=sha256)

    def _in_pipeline(
        self,
        job: Callable[[Workflow, Payload], tuple[JobRequest, ...]],
        step: Step,
        payload: Payload,
    ) -> tuple[JobRequest, ...]:
        """Do a job about a series as the title that it was sent to wants it.

        One for which the disk has no room is done again when there is some, less and less
        often; where no disk of the node's is short, a few times only, and it counts as failed.
        """
        pipeline = self.pipeline(payload["called_ae_title"])
        for tries in itertools.count(1):
            try:
                return job(pipeline, payload)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                log.warning("room.gone", count=tries, **describe(error), **about_job(payload))
                if not self.room.is_short(arrival_of_job(payload), step):
                    if tries >= UNEXPLAINED_TRIES:
                        raise
                    self._note(arrival_of_job(payload), f"{NO_ROOM_THERE}; tried {tries} times")
            wait_s = min(LOOK_EVERY_S * 2.0 ** min(tries - 1, 16), MAX_BETWEEN_TRIES_S)
            if self.ending.wait(wait_s):
                _wait_for_our_end()
        raise AssertionError("unreachable")

    def admit(
        self, arrival: SeriesArrival, choice: Choice | None = None
    ) -> tuple[JobRequest, ...]:
        """Enter a complete series into the ledger; what to do about it.

        What a schedule has chosen by rules of its own is not asked about again.

        The same images under the same settings are one revision, however often they are
        handed over. One whose analysis failed does not count: sending it again is how a
        person asks for another try.
        """
        known = self.ledger.revisions(arrival.series_instance_uid)
        fingerprint = self.fingerprint(arrival)
        ruled = self._ruled(arrival, fingerprint, choice)
        for row in known:
            is_same = row.fingerprint in {fingerprint, ruled}
            if is_same and row.state is not SeriesState.FAILED:
                return self._admit_again(arrival, row)
        row = self._new_row(arrival, known, ruled)
        if choice is not None and choice.against:
            return self._enter_left_out(arrival, row, choice)
        if ruled != fingerprint:
            row = replace(row, code=AWAITS_RULES)
        self.ledger.add(row, *self._told_of(arrival, row))
        log.info("series.accepted", instances=row.instances, **_about(row))
        note_received(arrival.paths)
        self.keep_room()
        return (first_job(arrival, row),)

    def select(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Ask the rules about a series; it is analysed, left out, or asked about later."""
        arrival = arrival_of_job(payload)
        row = self._known_row(arrival)
        if row.state is SeriesState.LEFT_OUT:  # by this very job, before it was killed
            return self._second_choices(arrival)
        if row.state is not SeriesState.RECEIVED:
            return ()
        rules = rules_for(self.config, arrival.called_ae_title)
        if row.code != AWAITS_RULES or rules is None:
            return self._take(arrival, row, payload)
        if rules.best and (wait_s := self.selection.wait_s(arrival)) > 0:
            self._note_rules(row, "waits until nothing more comes of its study")
            return (select_later(payload, wait_s),)
        judgement, code = self.selection.judgement(arrival, rules)
        if judgement.is_taken is not False:
            return self._take(arrival, row, payload)
        self._leave_out(row, code, "; ".join(judgement.reasons), payload)
        return self._second_choices(arrival)

    def take_unjudged(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Take a series that the rules could not be asked about: none is lost by them."""
        arrival = arrival_of_job(payload)
        row = self._known_row(arrival)
        if row.state is not SeriesState.RECEIVED:
            return ()
        log.warning("series.unjudged", **_about(row))
        return self._take(arrival, row, payload)

    def released_jobs(self) -> tuple[JobRequest, ...]:
        """The jobs for series that a person has released, and whose images are here."""
        rows = self.ledger.received(RELEASED)
        found = ((row, arrival_in_spool(self.config.node.spool, row)) for row in rows)
        return tuple(
            select_job(arrival, f"{row.revision}:released") for row, arrival in found if arrival
        )

    def segment(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Analyse a series in a child process; an analysis that dies is tried again."""
        arrival = arrival_of_job(payload)
        if self._is_cancelled(arrival):
            return self._nothing_more(arrival)
        found = self._finished(arrival) or self._attempt(arrival, payload)
        if not isinstance(found, Path):
            return found
        if not self._reach_segmented(arrival, found):
            return self._nothing_more(arrival)
        return (publish_job(payload, found),)

    def _attempt(
        self, arrival: SeriesArrival, payload: Payload
    ) -> Path | tuple[JobRequest, ...]:
        """Make one attempt to analyse a series.

        Returns:
            The folder with its outcome, or the jobs that follow where there is none.
        """
        attempt = payload["attempt"]
        ending = GivingWay(self.ending, partial(self._is_to_give_way, arrival))
        if not self._has_room(arrival, ANALYSIS, ending):
            return (segment_later(payload, FIRST_WAIT_FOR_ROOM_S, MAX_WAIT_FOR_ROOM_S),)
        lock = try_lock(self.config.node.work / f".{self.device}.lock")
        if lock is None:
            return (self._wait_for_device(payload),)
        folder = self._work_folder(arrival) / uuid.uuid4().hex
        self._tell(arrival, SeriesEvent.ANALYSIS_STARTED, attempt)
        self._note_wait(arrival, attempt)
        ended = self._analyse(arrival, folder, lock)
        if self._is_cancelled(arrival):
            return self._nothing_more(arrival)
        if self._outcome(folder) is None:
            if ended.by_signal and self.ending.wait(SECONDS_TO_HEAR_OF_OUR_END):
                _wait_for_our_end()
            self._note_lost(arrival, attempt, ended.words)
            shutil.rmtree(folder, ignore_errors=True)
            if ended.exit_code == EXIT_NO_ROOM and self.room.is_short(arrival, ANALYSIS):
                return (segment_later(payload, FIRST_WAIT_FOR_ROOM_S, MAX_WAIT_FOR_ROOM_S),)
            if attempt < self.config.analysis.attempts:
                return (self._another_attempt(payload, ended),)
            self._give_up(folder, _words(ended), attempt)
        return folder

    def _note_lost(self, arrival: SeriesArrival, attempt: int, words: str) -> None:
        """Tell of an attempt that came to no end of its own."""
        log.warning(
            "analysis.lost",
            series_instance_uid=arrival.series_instance_uid,
            attempt=attempt,
            reason=words,
        )
        metrics.ANALYSES_LOST.inc()
        self._tell(arrival, SeriesEvent.ANALYSIS_LOST, attempt, words)

    def publish(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Build, keep and enter the result objects; then put their deliveries."""
        arrival = arrival_of_job(payload)
        if self._is_cancelled(arrival):
            return self._nothing_more(arrival)
        if self._known_row(arrival).state not in ANSWERED:
            self._has_room(arrival, PUBLICATION, self.ending)
            with timed("publication"):
                self._publish(arrival, self._work_folder(arrival) / payload.get("analysis", ""))
        self._clear(arrival)
        deliveries = (
            delivery_job((arrival.series_instance_uid, arrival.revision, each.name), 1)
            for each in self._destinations(arrival)
        )
        return (*deliveries, *self._second_choices(arrival))

    def _clear(self, arrival: SeriesArrival) -> None:
        """Leave nothing of a series' analysis, nor room for it."""
        shutil.rmtree(self._work_folder(arrival), ignore_errors=True)
        with contextlib.suppress(OSError):  # another revision is still at work
            self._work_folder(arrival).parent.rmdir()
        self.keep_room()

    def _nothing_more(self, arrival: SeriesArrival) -> tuple[JobRequest, ...]:
        """End the jobs of a series that was cancelled."""
        log.info("series.cancelled", **_about(self._known_row(arrival)))
        self._clear(arrival)
        return ()

    def fail(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Answer a series whose jobs raised at every try with a reason instead."""
        arrival = arrival_of_job(payload)
        if payload.get("analysis") == NODE_FAILED:
            raise ResultError("not even the failure could be published")
        words = "the node could not analyse the series or build its results; its log says why"
        folder = self._work_folder(arrival) / NODE_FAILED
        write_outcome(folder, self._failed(NODE_FAILED, words))
        return (publish_job(payload, folder, ":failed"),)

    def deliver(self, payload: Payload) -> tuple[JobRequest, ...]:
        """Deliver to one destination, once."""
        group = (payload["series_instance_uid"], payload["revision"], payload["destination"])
        return self.delivery_jobs.run(group, payload["attempt"])

    def pending_jobs(self) -> tuple[JobRequest, ...]:
        """The delivery jobs that are not finished, for a node that starts."""
        return self.delivery_jobs.pending_jobs()

    def keep_room(self) -> None:
        """Have the receiver leave room for the cases that wait, as the ledger has them now."""
        self.room.keep()

    @property
    def room(self) -> CaseRoom:
        """The room of the cases that wait."""
        return CaseRoom(self.config, self.ledger, self.clock, self.needs)

    @property
    def selection(self) -> Selection:
        """The rules for series that arrive."""
        return Selection(self.config, self.ledger, self.clock, self.candidates)

    @property
    def delivery_jobs(self) -> DeliveryJobs:
        """Deliveries, from the first attempt to the confirmation."""
        return DeliveryJobs(self.config, self.ledger, self.clock)

    @property
    def settings_hash(self) -> str:
        """A digest of all that changes results beside the images."""
        analysis = self.config.analysis
        return settings_digest(
            self.bundle_sha256, analysis.samples, analysis.partial, self.grader_sha256
        )

    @property
    def model_settings(self) -> str:
        """A digest of all that changes what the model finds: of all but the grader."""
        analysis = self.config.analysis
        return settings_digest(self.bundle_sha256, analysis.samples, analysis.partial)

    def fingerprint(self, arrival: SeriesArrival) -> str:
        """A digest of the images (a file's name tells its content apart) and settings.

        Where a name does not tell, or more is to be told of the same images, their revision
        has a distinction.
        """
        digest = sources_digest(path.name for path in arrival.paths)
        settings = self.pipeline(arrival.called_ae_title).settings_hash
        facts = [digest, settings, *filter(None, [arrival.distinction])]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()

    def _ruled(self, arrival: SeriesArrival, fingerprint: str, choice: Choice | None) -> str:
        """The fingerprint of a series until rules have taken it: theirs is in it.

        So one that they left out is judged anew under other rules, and one that was analysed
        is not analysed again.
        """
        if choice is not None:
            digest = choice.rules_digest if choice.against else ""
        else:
            rules = rules_for(self.config, arrival.called_ae_title)
            digest = rules.digest if rules is not None else ""
        if not digest:
            return fingerprint
        return hashlib.sha256(f"{fingerprint}\n{digest}".encode()).hexdigest()

    def _take(
        self, arrival: SeriesArrival, row: SeriesRow, payload: Payload
    ) -> tuple[JobRequest, ...]:
        """Have a series analysed."""
        if row.code:
            now = self.clock()
            taken = row.become(SeriesState.RECEIVED, now)
            taken = replace(taken, fingerprint=self.fingerprint(arrival))
            name = f"taken:{payload.get('asked', '')}"
            told = event(row, SeriesEvent.TAKEN, now, name=name, reason=row.reason)
            if not self.ledger.reach(taken, told):
                return ()
            log.info("series.taken", **_about(row))
        return (segment_job(payload_of(arrival), attempt=1),)

    def _leave_out(self, row: SeriesRow, code: str, reason: str, payload: Payload) -> None:
        """Note that a series is not analysed, and why."""
        left_out = row.become(SeriesState.LEFT_OUT, self.clock(), code=code, reason=reason)
        name = f"left-out:{payload.get('asked', '')}"
        self.ledger.reach(left_out, left_out_event(left_out, name))
        log.info("series.left_out", code=code, reason=reason, **_about(row))
        metrics.SERIES_LEFT_OUT.labels(code=code).inc()
        self.keep_room()

    def _enter_left_out(
        self, arrival: SeriesArrival, row: SeriesRow, choice: Choice
    ) -> tuple[JobRequest, ...]:
        """Enter a series that a schedule fetched, and then refused by its headers."""
        reason = f"schedule {choice.schedule}: {choice.against}"
        row = row.become(SeriesState.LEFT_OUT, self.clock(), code=AGAINST_RULES, reason=reason)
        told = self._told_of(arrival, row)
        self.ledger.add(row, *told, left_out_event(row, "left-out:schedule"))
        log.info("series.left_out", code=AGAINST_RULES, reason=reason, **_about(row))
        metrics.SERIES_LEFT_OUT.labels(code=AGAINST_RULES).inc()
        return ()

    def _note_rules(self, row: SeriesRow, words: str) -> None:
        """Note in the ledger, for `status`, why rules have not been asked yet."""
        if row.reason != words:
            noted = row.become(row.state, self.clock(), code=AWAITS_RULES, reason=words)
            self.ledger.save(noted)

    def _second_choices(self, arrival: SeriesArrival) -> tuple[JobRequest, ...]:
        """Ask again about those that were left out for a series that is not analysed itself.

        All of them await the rules before one is asked about: each is compared with the others.
        """
        row = self._known_row(arrival)
        if row.state is SeriesState.REPORTED:
            return ()
        rest = self.selection.left_out_for(arrival)
        for each, _ in rest:
            # With its old reason: should this job be killed now, it finds them by that.
            again = each.become(
                SeriesState.RECEIVED, self.clock(), code=AWAITS_RULES, reason=each.reason
            )
            self.ledger.save(again)
        name = f"after:{row.series_instance_uid}:{row.revision}"
        return tuple(select_job(series, f"{each.revision}:{name}") for each, series in rest)

    def _admit_again(self, arrival: SeriesArrival, row: SeriesRow) -> tuple[JobRequest, ...]:
        """The jobs for a series that is in the ledger: only those that may have been lost."""
        if row.state is SeriesState.RECEIVED:
            return (first_job(arrival, row),)
        log.info("series.repeated", **_about(row))
        return ()

    def _told_of(
        self, arrival: SeriesArrival, row: SeriesRow
    ) -> tuple[EventRow | SeriesKeyRow, ...]:
        """What the ledger keeps of how a series came, and what it can be found by."""
        arrival = replace(arrival, revision=row.revision)
        return (*arrival_events(arrival, row), *keys_of(arrival, self.config.node.spool))

    def _new_row(
        self, arrival: SeriesArrival, known: Sequence[SeriesRow], fingerprint: str
    ) -> SeriesRow:
        """The row of a series that has just come in, under a revision of its own."""
        now = self.clock()
        return SeriesRow(
            series_instance_uid=arrival.series_instance_uid,
            revision=max([arrival.revision, *(row.revision + 1 for row in known)]),
            study_instance_uid=arrival.study_instance_uid,
            calling_ae_title=arrival.calling_ae_title,
            called_ae_title=arrival.called_ae_title,
            instances=len(arrival.paths),
            fingerprint=fingerprint,
            received_at=now,
            changed_at=now,
            voxels=voxels_of_case(arrival.paths),
        )

    def _wait_for_device(self, payload: Payload) -> JobRequest:
        """The same attempt a little later: somebody else's analysis has the device."""
        later = segment_later(payload, 1.0, MAX_WAIT_FOR_DEVICE_S)
        log.info(
            "analysis.waits",
            series_instance_uid=payload["series_instance_uid"],
            attempt=payload["attempt"],
            count=later.payload["waits"],
        )
        return later

    def _another_attempt(self, payload: Payload, ended: Ended) -> JobRequest:
        """The next attempt; minutes later, where it found no room and nothing says where."""
        attempt = payload["attempt"]
        again = segment_job(payload, attempt=attempt + 1)
        if ended.exit_code != EXIT_NO_ROOM:
            return again
        of = self.config.analysis.attempts
        self._note(arrival_of_job(payload), f"{NO_ROOM_THERE} (attempt {attempt} of {of})")
        return replace(again, delay_s=min(60.0 * 5 ** (attempt - 1), MAX_WAIT_FOR_ROOM_S))

    def _analyse(self, arrival: SeriesArrival, folder: Path, lock: int) -> Ended:
        """Run the child on a series; it holds the device's lock for as long as it lives."""
        analysis = self.config.analysis
        request = Request(
            series_instance_uid=arrival.series_instance_uid,
            paths=arrival.paths,
            out=folder,
            bundle=analysis.bundle,
            device=analysis.device,
            samples=analysis.samples,
            settings_hash=self.settings_hash,
            logging=self.config.logging,
            grader=analysis.grader or "",
            grader_sha256=self.grader_sha256,
            model_settings=self.model_settings,
        )
        started = time.monotonic()
        with timed("analysis"):
            ended = run_child(
                [*self.command, str(write_request(request))],
                analysis.timeout_s,
                lambda done, total: log.debug("analysis.progress", done=done, total=total),
                lock,
                partial(self._is_cancelled, arrival),
            )
        note_children()
        log.info(
            "analysis.ended",
            series_instance_uid=arrival.series_instance_uid,
            exit_code=ended.exit_code,
            seconds=round(time.monotonic() - started, 1),
        )
        return ended

    def _note_wait(self, arrival: SeriesArrival, attempt: int) -> None:
        """Note how long a series waited for its first analysis."""
        if attempt == 1:
            waited = self.clock() - self._known_row(arrival).received_at
            metrics.STEP_SECONDS.labels(step="wait").observe(waited.total_seconds())

    def _has_room(self, arrival: SeriesArrival, step: Step, ending: Ending) -> bool:
        """Wait until a step has room for what it writes; False where it gives way.

        What no disk could hold if it were empty is tried: it may be refused before it writes.
        """
        need = need_of_case(arrival.paths, self.config)
        about = {
            "series_instance_uid": arrival.series_instance_uid,
            "revision": arrival.revision,
        }
        if too_small := step.too_small(disks(self.config), need):
            log.warning("room.never", reason=f"too small: {', '.join(too_small)}", **about)
        has_room = wait_for_room(self.config, step, need, ending, about)
        if self.ending.is_set() and not has_room:
            _wait_for_our_end()
        return has_room

    def _is_cancelled(self, arrival: SeriesArrival) -> bool:
        """True if a person has ended what is done about a series."""
        return self._known_row(arrival).state is SeriesState.CANCELLED

    def _is_to_give_way(self, arrival: SeriesArrival) -> bool:
        """True if a case is to wait for room no longer."""
        return self._is_cancelled(arrival) or self.room.is_in_the_way(self._known_row(arrival))

    def _tell(
        self, arrival: SeriesArrival, kind: SeriesEvent, attempt: int, reason: str = ""
    ) -> None:
        """Note what became of an attempt to analyse a series."""
        row, name = self._known_row(arrival), f"{kind.value.replace(' ', ':')}:{attempt}"
        self.ledger.add(event(row, kind, self.clock(), name=name, reason=reason))

    def _note(self, arrival: SeriesArrival, words: str) -> None:
        """Note in the ledger, for `status`, why a series is not answered yet."""
        row = self._known_row(arrival)
        if row.state in UNANSWERED:
            self.ledger.save(row.become(row.state, self.clock(), reason=words))

    def _finished(self, arrival: SeriesArrival) -> Path | None:
        """The folder of an analysis that came to its end, whoever made it and was then lost."""
        own = self._work_folder(arrival)
        folders = [*sorted(path for path in own.glob("*") if path.is_dir()), own]
        return next((each for each in folders if self._outcome(each) is not None), None)

    def _outcome(self, folder: Path) -> Outcome | None:
        """The outcome of an analysis with the present settings."""
        try:
            outcome = read_outcome(folder)
        except (OSError, ValueError) as error:
            # Cut off or zeroed by a disk: an analysis that is done again, not one that fails.
            log.warning("analysis.unreadable", path=str(folder), error=type(error).__name__)
            return None
        if outcome is None or outcome.settings_hash != self.settings_hash:
            return None
        return outcome

    def _give_up(self, folder: Path, ending: str, attempts: int) -> None:
        """Conclude an analysis that never came to its end."""
        words = f"the analysis failed in {attempts} attempt(s); in the last one {ending}"
        write_outcome(folder, self._failed(ANALYSIS_FAILED, words))

    def _failed(self, code: str, words: str) -> Outcome:
        """The outcome of an analysis that there will not be."""
        return Outcome(
            "failed",
            self.settings_hash,
            self.clock(),
            code,
            words,
            model_settings=self.model_settings,
        )

    def _publish(self, arrival: SeriesArrival, folder: Path) -> None:
        """Build the result objects, keep them, and enter all that follows in one go."""
        outcome = read_outcome(folder)
        if outcome is None:
            raise ResultError("there is no outcome to publish")
        earlier = earlier_revisions(arrival, self.ledger)
        publication = publish_series(
            arrival,
            outcome,
            folder / CASE_FOLDER,
            self.config,
            earlier,
            PatientHistory(self.ledger, self.config),
        )
        kept = self.config.node.results / arrival.series_instance_uid / str(arrival.revision)
        results = keep_results(arrival, publication.objects, kept, outcome.finished_at)
        if publication.label_map is not None:
            publication.label_map.write(kept)
        if self.config.objects.fhir:
            keep_bundle(publication.objects, kept)
        now = self.clock()
        deliveries = [
            row
            for name, wanted in publication.per_destination.items()
            for row in first_rows(results, wanted, name, now)
        ]
        row = self._known_row(arrival).become(
            publication.state, now, code=publication.code, reason=publication.reason
        )
        case = case_row(publication.statement, arrival, outcome, self.config)
        first = partial(self._first_deliveries, arrival, deliveries)
        told = answered_event(row)
        if not self.ledger.reach(row, told, new=results, changed=(case,), then=first):
            # Cancelled while they were built.
            shutil.rmtree(kept, ignore_errors=True)
            return
        note_answer(publication.state.value, publication.code, publication.statement)
        log.info(
            "series.answered",
            state=publication.state.value,
            code=publication.code,
            **_about(row),
        )

    def _first_deliveries(
        self, arrival: SeriesArrival, rows: Sequence[DeliveryRow], connection: Any
    ) -> tuple[DeliveryRow | EventRow, ...]:
        """The deliveries of an answer, held where that was ordered before it was one."""
        operation = OperationLedger(self.ledger)
        held = operation.held_destinations(
            arrival.series_instance_uid, arrival.revision, within=connection
        )
        deliveries = held_back(rows, held)
        return (*deliveries, *held_events(deliveries))

    def _destinations(self, arrival: SeriesArrival) -> tuple[Destination, ...]:
        return self.config.destinations_for(arrival.calling_ae_title, arrival.called_ae_title)

    def _reach_segmented(self, arrival: SeriesArrival, folder: Path) -> bool:
        """Note in the ledger that an analysis has ended; False where it was cancelled."""
        outcome = read_outcome(folder)
        words = outcome.kind if outcome is not None else ""
        row = self._known_row(arrival).become(SeriesState.SEGMENTED, self.clock())
        told = event(row, SeriesEvent.ANALYSIS_ENDED, self.clock(), reason=words)
        return self.ledger.reach(row, told)

    def _known_row(self, arrival: SeriesArrival) -> SeriesRow:
        row = self.ledger.series(arrival.series_instance_uid, arrival.revision)
        if row is None:
            raise ResultError(f"series {arrival.series_instance_uid} is not in the ledger")
        return row

    def _work_folder(self, arrival: SeriesArrival) -> Path:
        """The folder for the files of the analysis of one revision of a series."""
        return self.config.node.work / arrival.series_instance_uid / str(arrival.revision)


ANALYSIS_FAILED: Final = "analysis-failed"
NODE_FAILED: Final = "node-failed"


def _wait_for_our_end() -> None:
    """Conclude nothing any more: this process was told to end, and does so within seconds.

    The job is then taken up anew by our successor, as one that was under way. A service
    manager tells every process of a service at once, so that a child may seem lost.
    """
    threading.Event().wait()


def _words(ended: Ended) -> str:
    """The end of an analysis, for the answer to its series."""
    return NO_ROOM_THERE if ended.exit_code == EXIT_NO_ROOM else ended.words


def _about(row: SeriesRow) -> dict[str, Any]:
    """The series that an event is about."""
    return {"series_instance_uid": row.series_instance_uid, "revision": row.revision}
