"""A batch: cases through three steps, each done by processes of its own, beside each other.

    waiting -> read -> read ahead -> segment -> waits -> write -> done

While the network has one case, the next is read and checked and the last one is measured and
written. A step begins only where there is room behind it, so that no more than a few cases are
in memory (`Limits`), however many there are. What a case becomes stands in its folder, by its
marker; the parent remembers nothing that matters.

A process that dies takes only its case with it: a new one is started, and the case is tried
once more, by itself, when all others are done. So a case fails only by itself, not because
its neighbours left no memory.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal, Protocol

from dicom_node.batch.cases import Case
from dicom_node.batch.folders import alone_in, has_results_of_one, write_failed
from dicom_node.batch.markers import (
    MARKER_FORMAT,
    MadeOf,
    Marker,
    is_done,
    made_of,
    marker_bytes,
    read_marker,
)
from dicom_node.batch.messages import (
    Answer,
    Kind,
    ReadTask,
    Refusal,
    Settings,
    Step,
    WriteTask,
)
from dicom_node.batch.pace import Pace
from dicom_node.batch.parcels import packed
from dicom_node.batch.table import Row, row_of, write_table
from dicom_node.batch.workers import COMMAND, Worker
from dicom_node.case_files.result_names import clear_results
from inference import errors as inference_errors
from inference.errors import InferenceError

Outcome = Literal["analysed", "refused", "failed"]

STEP_LIMIT_S: Final = 4 * 3600.0
"""A step that takes longer hangs."""

START_LIMIT_S: Final = 600.0
MOST_FAILED_STARTS: Final = 3
TABLE_EVERY_S: Final = 60.0
WAITING_TO_BE_WRITTEN: Final = 1

STEP_WORDS: Final = {
    Step.READ: "reading",
    Step.SEGMENT: "segmenting",
    Step.WRITE: "measuring and writing",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much goes on at once.

    In memory are at most as many cases as readers and writers, and two more: one in the
    network, and one that waits to be written.
    """

    readers: int = 1
    writers: int = 1
    step_s: float = STEP_LIMIT_S

    @classmethod
    def for_cores(cls, cores: int) -> Limits:
        """Where there are many cores, the network is a GPU's, or leaves some of them free."""
        return cls(readers=max(1, min(3, cores // 6)), writers=max(1, min(4, cores // 4)))


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a batch.

    cases: with unique names. out: where each gets its folder.
    bundle_sha256, grader_sha256: of the bundle and the grader that the settings name; a
        process that finds another one there ends the batch.
    again_failed: try those again that failed in an earlier run.
    """

    cases: tuple[Case, ...]
    out: Path
    settings: Settings
    bundle_sha256: str
    limits: Limits = field(default_factory=Limits)
    again_failed: bool = False
    command: tuple[str, ...] = COMMAND
    grader_sha256: str = ""


class Watching(Protocol):
    """Whoever is told how a batch goes."""

    def begun(self, pace: Pace) -> None:
        """It begins, with so many cases done before."""

    def slices(self, case: str, done: int, total: int) -> None:
        """The network has done so many slices of a case."""

    def finished(self, row: Row, pace: Pace) -> None:
        """A case has ended."""

    def trouble(self, words: str) -> None:
        """Something that whoever runs the batch should know."""


def run_batch(request: Request, watching: Watching) -> tuple[Row, ...]:
    """Bring every case of a batch to its end; those that are done already are left alone.

    The results of a single scan in the folder go, as they do for those of another one: in an
    archive that has grown it would count twice.

    Returns:
        A row for each case, as in cases.csv.

    Raises:
        ConfigurationError: another batch writes into the same folder.
        InferenceError: bundle, grader or device cannot be used, or are not what they were.
        OSError: the results cannot be written. What is done stays done.
    """
    with alone_in(request.out):
        if has_results_of_one(request.out):
            words = "the results of one scan there are removed: each scan has its own folder"
            watching.trouble(f"{request.out}: {words}")
            clear_results(request.out)
        rows: dict[str, Row] = {}
        waiting: deque[_Work] = deque()
        for case in request.cases:
            work = _Work(case, _made_of(case, request))
            marker = read_marker(request.out / case.name)
            done = is_done(marker, work.made_of, again_failed=request.again_failed)
            rows[case.name] = row_of(case, marker if done else None)
            if not done:
                waiting.append(work)
        line = _Line(request, watching, rows, waiting)
        try:
            line.run()
        finally:
            write_table(request.out, tuple(rows.values()))
        return tuple(rows.values())


def _made_of(case: Case, request: Request) -> MadeOf:
    """What the results of a case would be made of now."""
    samples = request.settings.samples
    return made_of(case, request.bundle_sha256, samples, request.grader_sha256)


@dataclass(slots=True, eq=False)
class _Work:
    """A case on its way.

    parcels: what the steps so far have made, in their order.
    alone: it is tried once more, with nothing beside it.
    """

    case: Case
    made_of: MadeOf
    seconds: float = 0.0
    parcels: list[int] = field(default_factory=list)
    refusal: Refusal | None = None
    alone: bool = False

    def let_go(self) -> None:
        """Of everything that was made of it in memory."""
        for parcel in self.parcels:
            os.close(parcel)
        self.parcels.clear()
        self.refusal = None
        self.seconds = 0.0


class _Line:
    """The three steps, and who is at what."""

    def __init__(
        self,
        request: Request,
        watching: Watching,
        rows: dict[str, Row],
        waiting: deque[_Work],
    ) -> None:
        self._request = request
        self._settings = replace(
            request.settings,
            bundle_sha256=request.bundle_sha256,
            grader_sha256=request.grader_sha256,
        )
        self._watching = watching
        self._rows = rows
        self._before = len(rows) - len(waiting)
        self._now = 0
        self._waiting = waiting
        self._read: deque[_Work] = deque()
        self._to_write: deque[_Work] = deque()
        self._alone: deque[_Work] = deque()
        self._at: dict[Worker, _Work] = {}
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._failed_starts = 0
        self._begun_s: float | None = None
        self._table_s = time.monotonic()

    def run(self) -> None:
        """Until nothing is left to do."""
        self._watching.begun(self._pace())
        if not self._waiting:
            return
        limits = self._request.limits
        try:
            for step in (
                *[Step.READ] * limits.readers,
                Step.SEGMENT,
                *[Step.WRITE] * limits.writers,
            ):
                self._start(step)
            while self._waiting or self._read or self._to_write or self._at or self._alone:
                self._give()
                self._listen()
        finally:
            for worker in self._workers:
                worker.kill()
            self._selector.close()
            for work in (*self._read, *self._to_write, *self._at.values()):
                work.let_go()

    def _give(self) -> None:
        """Every process that can begin something, begins it; the last steps first."""
        in_memory = self._at or self._read or self._to_write
        if self._alone and not in_memory and not self._waiting:
            self._waiting.append(self._alone.popleft())
        for worker in self._idle(Step.WRITE):
            if self._to_write:
                work = self._to_write.popleft()
                self._begin(worker, work, self._write_task(work))
        for worker in self._idle(Step.SEGMENT):
            if self._read and len(self._to_write) < WAITING_TO_BE_WRITTEN:
                self._begin(worker, self._read.popleft())
        for worker in self._idle(Step.READ):
            reading = sum(other.step is Step.READ for other in self._at)
            if self._waiting and reading + len(self._read) < self._request.limits.readers:
                work = self._waiting.popleft()
                case = work.case
                task = ReadTask(
                    case.files, case.is_image, case.height_m, case.name, case.unreadable
                )
                self._begin(worker, work, task)

    def _idle(self, step: Step) -> Iterator[Worker]:
        for worker in tuple(self._workers):
            if worker.step is step and worker.ready and worker not in self._at:
                yield worker

    def _begin(self, worker: Worker, work: _Work, task: object = None) -> None:
        now = time.monotonic()
        self._begun_s = self._begun_s or now
        self._at[worker] = work
        worker.deadline_s = now + self._request.limits.step_s
        told = [] if task is None else [packed(task)]
        try:
            worker.give((*told, *work.parcels))
        finally:
            for parcel in told:
                os.close(parcel)

    def _write_task(self, work: _Work) -> WriteTask:
        marker = self._marker(work, "analysed", "", ())
        return WriteTask(self._request.out / work.case.name, marker_bytes(marker), work.refusal)

    def _listen(self) -> None:
        """Wait until a process says something, has gone, or is late."""
        deadlines = [one.deadline_s for one in self._workers if one.deadline_s is not None]
        now = time.monotonic()
        wait_s = max(0.0, min(deadlines) - now) if deadlines else None
        for key, _ in self._selector.select(wait_s):
            worker: Worker = key.data
            said = worker.answer()
            if said is None:
                self._gone(worker)
            else:
                self._heard(worker, *said)
        now = time.monotonic()
        for worker in tuple(self._workers):
            if worker.deadline_s is not None and worker.deadline_s < now:
                self._gone(worker, timed_out=True)
        if now - self._table_s > TABLE_EVERY_S:
            self._table_s = now
            write_table(self._request.out, tuple(self._rows.values()))

    def _heard(self, worker: Worker, answer: Answer, parcel: int | None) -> None:
        match answer.kind:
            case Kind.READY:
                worker.ready, worker.deadline_s = True, None
                self._failed_starts = 0
            case Kind.PROGRESS:
                self._watching.slices(self._at[worker].case.name, answer.done, answer.total)
            case Kind.UNUSABLE:
                kind = getattr(inference_errors, answer.code, InferenceError)
                raise kind("; ".join(answer.words))
            case Kind.NO_ROOM:
                raise OSError(0, "; ".join(answer.words), str(self._request.out))
            case Kind.NO_MEMORY:
                self._replace(worker)
                self._once_more(worker, self._at.pop(worker), "; ".join(answer.words))
            case Kind.FAILED:
                self._replace(worker)
                self._fail(self._at.pop(worker), worker.step, "; ".join(answer.words))
            case Kind.DONE | Kind.REFUSED:
                worker.deadline_s = None
                self._went_on(worker.step, self._at.pop(worker), answer, parcel)

    def _went_on(self, step: Step, work: _Work, answer: Answer, parcel: int | None) -> None:
        """A step is done: the case goes to the next."""
        work.seconds += answer.seconds
        if parcel is not None:
            work.parcels.append(parcel)
        if answer.kind is Kind.REFUSED:
            dicom = () if work.case.is_image else work.case.files
            work.refusal = Refusal(answer.code, "; ".join(answer.words), dicom)
            self._to_write.append(work)
        elif step is Step.READ:
            self._read.append(work)
        elif step is Step.SEGMENT:
            self._to_write.append(work)
        else:
            work.let_go()
            self._end(work, read_marker(self._request.out / work.case.name))

    def _gone(self, worker: Worker, *, timed_out: bool = False) -> None:
        """A process has died, or is late and is killed."""
        started = worker.ready
        self._forget(worker)
        words = worker.ended(timed_out=timed_out).words
        if not started:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                what = STEP_WORDS[worker.step]
                raise InferenceError(f"the process for {what} does not start: {words}")
        self._start(worker.step)
        work = self._at.pop(worker, None)
        if work is None:
            return
        if timed_out:
            self._fail(work, worker.step, words)
        else:
            self._once_more(worker, work, words)

    def _once_more(self, worker: Worker, work: _Work, words: str) -> None:
        """Try a case whose process died by itself, at the end; a second time it failed."""
        if work.alone:
            self._fail(work, worker.step, words)
            return
        what = f"{work.case.name}: {STEP_WORDS[worker.step]}: {words}"
        self._watching.trouble(
            f"{what}; it is tried once more, alone, when all others are done"
        )
        work.let_go()
        work.alone = True
        self._alone.append(work)

    def _fail(self, work: _Work, step: Step, words: str) -> None:
        """A case that cannot be brought to its end."""
        marker = self._marker(work, "failed", "failed", (f"{STEP_WORDS[step]}: {words}",))
        work.let_go()
        write_failed(self._request.out / work.case.name, marker)
        self._end(work, marker)

    def _end(self, work: _Work, marker: Marker | None) -> None:
        row = row_of(work.case, marker)
        self._rows[work.case.name] = row
        self._now += 1
        self._watching.finished(row, self._pace())

    def _marker(
        self, work: _Work, outcome: Outcome, verdict: str, words: Sequence[str]
    ) -> Marker:
        return Marker(
            MARKER_FORMAT,
            work.case.name,
            str(work.case.source),
            work.made_of,
            outcome,
            verdict,
            tuple(words),
            round(work.seconds, 1),
            datetime.now(UTC),
            f"msk-node {version('msk-node')}",
        )

    def _start(self, step: Step) -> None:
        worker = Worker(step, self._settings, self._request.command)
        worker.deadline_s = time.monotonic() + START_LIMIT_S
        self._workers.append(worker)
        self._selector.register(worker.line, selectors.EVENT_READ, worker)

    def _forget(self, worker: Worker) -> None:
        self._selector.unregister(worker.line)
        self._workers.remove(worker)

    def _replace(self, worker: Worker) -> None:
        """A process ends after a failure: a new one takes its place."""
        self._forget(worker)
        worker.ended()
        self._start(worker.step)

    def _pace(self) -> Pace:
        began = self._begun_s
        seconds = 0.0 if began is None else time.monotonic() - began
        return Pace(len(self._rows), self._before, self._now, seconds)
