"""The durable queue: jobs that survive the death of the process. Only this module knows DBOS.

A job is a function from a JSON payload to the jobs that follow it. The engine runs it as
a workflow of one recorded step, then puts what follows under deterministic keys, so that
a chain of short jobs continues where it was after a kill at any moment. A job may run
twice (killed after its effect, before its record); its effects must bear that.

A job that raises is put again later, a few times; then its fallback is done instead.
Where there is none, or it raises too, the job is held as `error` until `rewind` or the next
start of the engine. Nothing is dropped.

The traps this module keeps away from the rest (all met in trials):

- The application version is pinned: the automatic one is a hash of the code, and work
  begun under another version stays pending, silently.
- The executor's name is stable and guarded, by a lock on a file beside an SQLite database
  and by a lease on a server: a second process of the same name would take over live work.
- DBOS does not notice that a worker died. Where several share a server, each keeps a lease
  (`leases.py`), and takes over the work of one whose lease ran out.
- Payloads and results are JSON; the default serializer is pickle.
- A server that dies between a commit and its answer leaves work that is begun, by a worker
  that never learnt of it: what is begun here and not running is put into the queue again.
- Every crash counts as an attempt for all work in flight, so the limit is high.
- Nothing waits inside a workflow: waiting is a delayed entry in the queue.
- A workflow whose record cannot be written (a full disk, a database that is away) stays
  pending until the next start, and takes the place of others in its queue: the engine then
  is orphaned, and whoever runs it has to start it anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, cast

import sqlalchemy as sa
import structlog
from dbos import (
    DBOS,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetEnqueueOptions,
    SetWorkflowID,
)

from dicom_node.errors import JobFailedError
from dicom_node.monitoring.logs import describe
from dicom_node.persistence.database import SERVER_OPTIONS, retry_until_available, sqlite_path
from dicom_node.persistence.jobs import Job, JobKind, JobRequest
from dicom_node.persistence.leases import Leases
from dicom_node.persistence.locks import hold_lock

log = structlog.get_logger()

APPLICATION_VERSION: Final = "msk-node-1"
"""Raised when jobs begun by older code cannot be finished by newer code."""
MAX_RECOVERY_ATTEMPTS: Final = 200
LOOK_FOR_STRANDED_EVERY_S: Final = 10.0
POLLING_INTERVAL_S: Final = 1.0
FIRST_RETRY_S: Final = 10.0
STRANDED_AFTER_S: Final = 60.0
"""Longer than a write waits for another's lock."""
FORGOTTEN_AT_ONCE: Final = 500
LONGEST_POLLING_S: Final = 130.0
"""DBOS looks at a queue that many workers contend for less and less often, to two minutes."""
MAX_RETRIES: Final = 4
"""Retries of a job that raised: after 10, 20, 40 and 80 seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work as the queue sees it; `state` is in DBOS's words, lower case."""

    key: str
    kind: str
    state: str


@dataclass(slots=True)
class Engine:
    """A running worker; one per process.

    database_url: the database of queue and ledger.
    executor_id: this worker's name, the same at every start.
    kinds: every kind of job.
    queues: how many jobs of each queue may run at once in this worker.
    polling_interval_s: how often the queues are looked at.
    leases: of the workers that share the database, where it is a server.
    note: notes that a loop moves, and in how many seconds it does again.
    """

    database_url: str
    executor_id: str
    kinds: Mapping[str, JobKind]
    queues: Mapping[str, int]
    polling_interval_s: float = POLLING_INTERVAL_S
    leases: Leases | None = None
    note: Callable[[str, float], None] = lambda _loop, _every_s: None
    lost: threading.Event = field(default_factory=threading.Event, init=False)
    """Set when another worker has taken over from this one, which must end."""
    _dbos: DBOS = field(init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)
    _running: set[str] = field(default_factory=set, init=False)
    _idle: set[str] = field(default_factory=set, init=False)
    _lock: int | None = field(default=None, init=False)
    _run: Callable[[str, dict[str, Any], int], str] | None = field(default=None, init=False)
    _unrecorded: threading.Event = field(default_factory=threading.Event, init=False)
    _idle_since_s: dict[str, float] = field(default_factory=dict, init=False)

    def start(self) -> None:
        """Take the lock, take up unfinished work, and begin.

        Raises:
            EngineBusyError: when another process works on this database, or under this name.
        """
        self._lock = _take_lock(self.database_url, self.executor_id)
        if self.leases is not None:
            retry_until_available(self.leases.acquire)
            self.leases.keep(_executors_at_work, _recover, self.lost.set)
        _use_write_ahead_log(self.database_url)
        self._dbos = DBOS(config=self._configuration())
        _silence_console()
        self._run = self._workflow()
        DBOS.launch()
        self._note_polling()
        for name, at_once in self.queues.items():
            DBOS.register_queue(
                name,
                worker_concurrency=at_once,
                polling_interval_sec=self.polling_interval_s,
                on_conflict="always_update",
            )
        for key in _keys("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"):
            self.rewind(key)
        threading.Thread(target=self._look_for_stranded, name="stranded", daemon=True).start()
        log.info("engine.started", count=len(_keys(*UNFINISHED, most=MOST_COUNTED)))

    def stop(self, patience_s: int = 0) -> None:
        """Stop taking work; what is running is taken up again at the next start."""
        self._stopped.set()
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=patience_s)
        if self.leases is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # then it runs out by itself
                self.leases.release()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        log.info("engine.stopped")

    def put(self, work: JobRequest) -> None:
        """Put work durably; it has been put when this returns. A known key does nothing."""
        self._enqueue(work, retry=0)

    def rewind(self, key: str) -> None:
        """Do failed or finished work again, under the same key."""
        DBOS.rewind_workflow(key)

    def resume(self, key: str) -> None:
        """Take up work that was cancelled or has used up its recovery attempts."""
        DBOS.resume_workflow(key)

    def cancel(self, key: str) -> None:
        """Do not begin this work; a job already running is not interrupted."""
        DBOS.cancel_workflow(key)

    def list(
        self, *, key_prefix: str | None = None, states: tuple[str, ...] | None = None
    ) -> tuple[Work, ...]:
        """Work whose key begins so and which is in one of these states."""
        found = DBOS.list_workflows(
            workflow_id_prefix=key_prefix,
            status=[state.upper() for state in states] if states is not None else None,
            load_output=False,
        )
        return tuple(
            Work(each.workflow_id, _kind_of(each.input), each.status.lower()) for each in found
        )

    def forget_finished(self, before: datetime) -> int:
        """Delete the records of work that ended well before a moment; answers how many.

        The oldest, and only so many at once: to be called until none is left. A record holds
        the names of a series' images several times over. Whether work is done again is
        the ledger's to say by then: a delivery job by its number, the others by the state of
        their series.
        """
        found = DBOS.list_workflows(
            status="SUCCESS",
            completed_before=before.isoformat(),
            limit=FORGOTTEN_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        if found:
            DBOS.delete_workflows([each.workflow_id for each in found])
        return len(found)

    def unfinished(self, key_prefix: str) -> frozenset[str]:
        """The keys of work that waits or runs, in whichever worker, and begin so."""
        found = DBOS.list_workflows(
            workflow_id_prefix=key_prefix,
            status=[state.upper() for state in UNFINISHED],
            load_input=False,
            load_output=False,
        )
        return frozenset(each.workflow_id for each in found)

    def is_orphaned(self) -> bool:
        """True if begun work can continue only after a new start: its record is missing."""
        if self._unrecorded.is_set():
            return True
        now_s = time.monotonic()
        begun = DBOS.list_workflows(
            status="PENDING", executor_id=self.executor_id, load_input=False, load_output=False
        )
        idle = {each.workflow_id for each in begun} - self._running
        self._idle_since_s = {key: self._idle_since_s.get(key, now_s) for key in idle}
        return any(now_s - since > STRANDED_AFTER_S for since in self._idle_since_s.values())

    def _configuration(self) -> DBOSConfig:
        """The configuration of DBOS."""
        is_server = sqlite_path(self.database_url) is None
        return {
            "name": "msk-node",
            "system_database_url": self.database_url,
            "application_version": APPLICATION_VERSION,
            "executor_id": self.executor_id,
            "serializer": DBOSPortableJSONSerializer(),
            "notification_listener_polling_interval_sec": POLLING_INTERVAL_S,
            "log_level": "WARNING",
            "enable_otlp": False,
            "db_engine_kwargs": {"connect_args": dict(SERVER_OPTIONS)} if is_server else None,
        }

    def _note_polling(self) -> None:
        """Note each time that a queue is looked at: before a look DBOS reads its settings."""
        database = self._dbos._sys_db  # noqa: SLF001 - nothing public says that it polls
        read = database.get_queue

        def get_queue(name: str, **more: Any) -> Any:
            if name in self.queues:
                self.note(f"queue {name}", LONGEST_POLLING_S)
            return read(name, **more)

        vars(database)["get_queue"] = get_queue

    def _workflow(self) -> Callable[[str, dict[str, Any], int], str]:
        """The one workflow that DBOS knows, under a name that outlives renamings here."""

        @DBOS.workflow(name="job", max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)
        def job(kind: str, payload: dict[str, Any], retry: int) -> str:
            key = cast("str", DBOS.workflow_id)
            self._running.add(key)
            try:
                return self._job(key, kind, payload, retry)
            except sa.exc.DBAPIError as error:
                log.error("job.unrecorded", key=key, **describe(error))  # noqa: TRY400
                self._unrecorded.set()
                raise
            finally:
                self._running.discard(key)

        return job

    def take_up_stranded(self) -> None:
        """Put into the queue again what was begun here, and ran neither now nor last time.

        Should it run after all, its records are refused: who takes it out again owns it.
        """
        begun = DBOS.list_workflows(
            status=["PENDING"],
            executor_id=self.executor_id,
            load_input=False,
            load_output=False,
        )
        idle = {each.workflow_id for each in begun} - self._running
        for key in sorted(idle & self._idle):
            log.warning("job.stranded", key=key)
            # See `_recover`; this is its one step, for one job.
            self._dbos._sys_db.reenqueue_for_recovery(  # noqa: SLF001
                key, [self.executor_id], "_dbos_internal_queue"
            )
        self._idle = idle - self._idle

    def _look_for_stranded(self) -> None:
        """Take up what is stranded, from time to time, until the engine stops."""
        every_s = LOOK_FOR_STRANDED_EVERY_S
        if self.leases is not None:
            every_s = min(every_s, self.leases.lease_s)
        while not self._stopped.wait(every_s):
            self.note("stranded", every_s)
            try:
                self.take_up_stranded()
            except Exception as error:  # noqa: BLE001 - the database will be back
                log.warning("queue.error", reason=type(error).__name__)

    def _job(self, key: str, kind: str, payload: dict[str, Any], retry: int) -> str:
        """Run a job as a recorded step, then put what follows."""
        done = DBOS.run_step({"name": kind}, self._attempt, self.kinds[kind].run, payload, key)
        if "error" in done and retry < MAX_RETRIES:
            again = JobRequest(
                kind, _retry_key(key, retry + 1), payload, FIRST_RETRY_S * 2**retry
            )
            self._enqueue(again, retry=retry + 1)
            return "put again"
        resort = self.kinds[kind].fallback
        if "error" in done and resort is not None:
            done = DBOS.run_step({"name": "resort"}, self._attempt, resort, payload, key)
        if "error" in done:
            raise JobFailedError(f"{kind} failed {retry + 1} times: {done['error']}")
        for follower in done["followers"]:
            self._enqueue(JobRequest(**follower), retry=0)
        return "done"

    def _attempt(self, job: Job, payload: dict[str, Any], key: str) -> dict[str, Any]:
        """Run a job; its followers, or what went wrong, as JSON.

        Errors are outcomes here: an exception would change its type when it is replayed,
        and its message, which may quote a data set, would be stored.
        """
        try:
            followers = job(payload)
        except Exception as error:
            log.exception("job.failed", key=key)
            return {"error": describe(error)}
        return {"followers": [asdict(each) for each in followers]}

    def _enqueue(self, work: JobRequest, *, retry: int) -> None:
        """Hand work to DBOS."""
        if self._run is None:
            raise RuntimeError("the engine has not been started")
        delay = work.delay_s if work.delay_s > 0 else None
        with SetWorkflowID(work.key), SetEnqueueOptions(delay_seconds=delay):
            DBOS.enqueue_workflow(
                self.kinds[work.kind].queue, self._run, work.kind, dict(work.payload), retry
            )


UNFINISHED: Final = ("PENDING", "ENQUEUED", "DELAYED")
MOST_COUNTED: Final = 1000
"""A start tells how much there is to do, up to here; to count on would read it all."""


def _keys(*states: str, most: int | None = None) -> tuple[str, ...]:
    """The keys of work in these states, without what it is about."""
    found = DBOS.list_workflows(
        status=[*states], limit=most, load_input=False, load_output=False
    )
    return tuple(each.workflow_id for each in found)


def _retry_key(key: str, retry: int) -> str:
    """The key of a job's next try: `segment:1.2.3:1~2`."""
    return f"{key.split('~', maxsplit=1)[0]}~{retry}"


def _kind_of(inputs: Any) -> str:
    """The kind of job in a workflow's recorded input."""
    return str(inputs["args"][0]) if inputs and inputs.get("args") else ""


def _take_lock(database_url: str, executor_id: str) -> int | None:
    """Hold the worker's name beside the SQLite file; on a server names must differ."""
    path = sqlite_path(database_url)
    if path is None:
        return None
    return hold_lock(path.with_name(f"{path.name}.{executor_id}.lock"), f"the database {path}")


def _executors_at_work() -> set[str]:
    """The workers that have begun a job which is not finished."""
    begun = DBOS.list_workflows(status=["PENDING"], load_input=False, load_output=False)
    return {each.executor_id for each in begun if each.executor_id}


def _recover(executor_id: str) -> None:
    """Put what a dead worker had begun into the queue again; the record of its steps stays."""
    # DBOS offers no public way; its own server for many machines calls the same.
    DBOS._recover_pending_workflows([executor_id])  # noqa: SLF001


def _use_write_ahead_log(database_url: str) -> None:
    """Set the mode once; it stays with the file. Synchronous is FULL by default."""
    path = sqlite_path(database_url)
    if path is not None:
        connection = sqlite3.connect(path, timeout=30.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def _silence_console() -> None:
    """Take away DBOS's own console handler; its log goes the way of all libraries'."""
    logger = logging.getLogger("dbos")
    logger.handlers = [logging.NullHandler()]
    logger.propagate = True
