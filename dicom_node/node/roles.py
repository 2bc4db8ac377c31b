"""The processes of a node: `python -m dicom_node.node.roles receive|work`.

    receive   Storage SCP to spool; nothing it does can be slowed by an analysis
    work      the spool's watcher and the durable engine with its jobs
    web       the dashboard and the API, where there is a `[web]` table (`web/process.py`)

A role reads its `RoleSettings` as one line of JSON from standard input, which then stays
open: when it closes, the supervisor is gone and the role ends. Every further line is other
settings, which it takes and answers with a line on standard output (`Taken`). SIGTERM ends
it in order; being killed loses nothing. A role that cannot start for a reason that another
try would not change says the reason on standard output and ends with exit code 3.
"""

# ruff: noqa: PLC0415 - a role loads what it needs: the receiver must not wait for torch
from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypedDict

import structlog
from pydantic import TypeAdapter

from dicom_node.analysis.subprocesses import end_with_standard_input
from dicom_node.errors import (
    ConfigurationError,
    EngineBusyError,
    LeaseLostError,
    OrphanedError,
)
from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
from dicom_node.monitoring.heartbeats import STARTING, Heart
from dicom_node.monitoring.logs import configure_logging
from dicom_node.monitoring.logs import describe as describe_error
from dicom_node.monitoring.metrics_files import metrics_kept
from dicom_node.monitoring.signals import ENDS_A_PART, signals_taken
from dicom_node.node.live_settings import LiveSettings, live_kinds
from dicom_node.node.process_health import node_name
from dicom_node.node.reload import settings_digest
from dicom_node.settings.node import NodeConfig
from inference.errors import InferenceError

if TYPE_CHECKING:
    from dicom_node.archive.asking import Asking
    from dicom_node.archive.holding import Holding
    from dicom_node.node.orders import Orders
    from dicom_node.node.refetch import Refetch
    from dicom_node.node.workflow import Workflow
    from dicom_node.peers.transports import Transport
    from dicom_node.persistence.job_queue import Engine
    from dicom_node.persistence.jobs import JobKind, JobRequest
    from dicom_node.persistence.leases import Leases
    from dicom_node.spool.completeness import Expectation
    from dicom_node.spool.watcher import Watcher

log = structlog.get_logger()

EXIT_UNUSABLE: Final = 3
LOOK_EVERY_S: Final = 2.0
MAIN: Final = "main thread"
STARTS_WITHIN_S: Final = 120.0
"""So long a role may take to start before that is a sign of something wrong."""


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """The settings with which a role is started.

    analysis_command: what analyses a request file.
    """

    config: NodeConfig
    analysis_command: tuple[str, ...]


ROLE_SETTINGS: Final = TypeAdapter(RoleSettings)


@dataclass(frozen=True, slots=True)
class Taken:
    """A role's answer to other settings: their digest, and why it did not take them."""

    digest: str
    problem: str = ""


TAKEN: Final = TypeAdapter(Taken)


def receive(
    live: LiveSettings, settings: RoleSettings, stop: threading.Event, heart: Heart
) -> None:
    """Receive until told to stop."""
    from dicom_node.receiving.receiver import Receiver, ReceiverSettings

    trail = open_trail(settings.config, "receive")
    listens = heart.noting("listener", LOOK_EVERY_S)
    with Receiver(ReceiverSettings.of(settings.config), listens, trail) as receiver:
        live.taken_by(lambda config: receiver.change(ReceiverSettings.of(config)))
        wait_noting(stop, heart)


def counting_peer(config: NodeConfig, calling_ae_title: str) -> Transport | None:
    """The peer to ask how many images a series of this sender has, if anyone knows."""
    from dicom_node.peers.transports import transport_for

    destination = config.count_at(calling_ae_title)
    if destination is None:
        return None
    return transport_for(config, destination).within(config.completion.count_timeout_s)


def work(
    live: LiveSettings, settings: RoleSettings, stop: threading.Event, heart: Heart
) -> None:
    """Watch the spool and do the engine's jobs until told to stop."""
    from dicom_node.node.alarm_task import AlarmTask
    from dicom_node.node.maintenance import MaintenanceTasks
    from dicom_node.node.requery import RequeryTasks, asking_of, queues
    from dicom_node.node.room import RECORD, Need, wait_for_room
    from dicom_node.node.workflow import QUEUES
    from dicom_node.persistence.database import retry_until_available
    from dicom_node.persistence.job_queue import Engine

    alarms = AlarmTask(settings.config, heart)
    alarms.run(stop)
    # A worker that cannot write its first record would end, again and again.
    if not wait_for_room(settings.config, RECORD, Need(), stop, {}):
        return
    leases = _leases(settings.config)
    alarms.is_first = leases.is_first if leases is not None else lambda: True
    workflow = retry_until_available(lambda: _workflow(settings, leases, stop), stop)
    node = settings.config.node
    parts = _Parts(workflow, asking_of(settings.config, workflow.ledger))
    engine = Engine(
        node.database_url,
        node.executor_id,
        live_kinds(parts.kinds),
        {**QUEUES, **queues(settings.config), **parts.refetch.queues()},
        leases=leases,
        note=heart.note,
    )
    engine.start()
    workflow.keep_room()
    for job in workflow.pending_jobs():
        engine.put(job)
    watcher = _watcher(parts, engine.put, heart)
    watching = threading.Thread(target=watcher.run, args=(stop,), name="inbox", daemon=True)
    watching.start()
    is_first = leases.is_first if leases is not None else lambda: True
    maintenance = MaintenanceTasks(
        workflow.delivery_jobs,
        engine.put,
        is_first,
        engine.forget_finished,
        workflow.released_jobs,
        parts.carry_out,
        heart.note,
    )
    requery = RequeryTasks(parts.asking, engine.put, engine.unfinished, is_first, heart.note)
    threads = (watching, *maintenance.run(stop), *requery.run(stop))

    def take(config: NodeConfig) -> None:
        parts.change(config)
        watcher.change(config.completion)
        maintenance.change(parts.workflow.delivery_jobs, parts.workflow.released_jobs)
        requery.change(parts.asking)
        alarms.change(config)
        parts.workflow.keep_room()

    live.taken_by(take)
    heart.forget(STARTING)
    _monitor(engine, stop, heart)
    for thread in threads:
        thread.join(timeout=5.0)
    engine.stop()


@dataclass(slots=True)
class _Parts:
    """What a worker does its work by; other settings make others, which take over whole."""

    workflow: Workflow
    asking: Asking
    orders: Orders = field(init=False)

    def __post_init__(self) -> None:
        """Make what carries out the orders of persons."""
        from dicom_node.node.orders import Orders

        config, ledger = self.workflow.config, self.workflow.ledger
        self.orders = Orders(config, ledger, self.workflow.fingerprint, fetch=self.refetch.job)

    def kinds(self) -> Mapping[str, JobKind]:
        """Every kind of job, by the settings of the moment."""
        from dicom_node.node.requery import kinds

        return {**self.workflow.kinds(), **kinds(self.asking), **self.refetch.kinds()}

    @property
    def refetch(self) -> Refetch:
        """What has archives give images once more, for an order."""
        from dicom_node.node.refetch import Refetch

        return Refetch(self.asking)

    def carry_out(self) -> tuple[JobRequest, ...]:
        """Carry out what persons have ordered; the jobs that it takes."""
        return self.orders.carry_out()

    @property
    def holding(self) -> Holding:
        """What schedules have to say of the series in the spool."""
        from dicom_node.archive.holding import Holding

        return Holding(self.asking)

    def change(self, config: NodeConfig) -> None:
        """Work by other settings from the next piece of work on.

        Raises:
            InferenceError: a bundle or a grader cannot be read.
        """
        from dicom_node.node.requery import asked_by

        workflow = _with_settings(self.workflow, config)
        asking = asked_by(config, self.asking)
        self.workflow, self.asking = workflow, asking
        self.orders = replace(
            self.orders,
            config=config,
            fingerprint=workflow.fingerprint,
            fetch=self.refetch.job,
        )


def _with_settings(workflow: Workflow, config: NodeConfig) -> Workflow:
    """The same jobs by other settings; what was estimated by the old ones is forgotten."""
    return replace(workflow, config=config, needs={}, **_models(config))


def _models(config: NodeConfig) -> _Models:
    """What the analysis will use, as the jobs know it."""
    from dicom_node.analysis.devices import device_key
    from inference.grading.grader_files import grader_sha256
    from inference.models.bundle_files import bundle_sha256

    grader = config.analysis.grader
    return {
        "bundle_sha256": bundle_sha256(config.analysis.bundle),
        "bundles_sha256": {name: bundle_sha256(name) for name in config.bundles[1:]},
        "grader_sha256": grader_sha256(grader) if grader else "",
        "device": device_key(config.analysis.device),
    }


class _Models(TypedDict):
    """The models of an analysis by their digests, and its device."""

    bundle_sha256: str
    bundles_sha256: Mapping[str, str]
    grader_sha256: str
    device: str


def _monitor(engine: Engine, stop: threading.Event, heart: Heart) -> None:
    """Wait to be told to stop; end at once where only a new process can continue."""
    look_at_s = time.monotonic() + LOOK_EVERY_S
    while not stop.wait(0.2):
        heart.note(MAIN)
        if engine.lost.is_set():
            # Our work is another's: what still runs here must stop at once, and does so
            # with this process. The supervisor starts a new one.
            raise LeaseLostError(f"another worker has taken over from {engine.executor_id}")
        if time.monotonic() >= look_at_s:
            if _is_orphaned(engine):
                raise OrphanedError("the queue's record could not be written")
            look_at_s = time.monotonic() + LOOK_EVERY_S


def _is_orphaned(engine: Engine) -> bool:
    """True if the engine must be started anew; a database that is away cannot tell."""
    try:
        return engine.is_orphaned()
    except Exception:
        log.exception("queue.unreadable")
        return False


def _leases(config: NodeConfig) -> Leases | None:
    """The leases of the workers that share a server; an SQLite file has one worker."""
    from dicom_node.persistence.database import open_database
    from dicom_node.persistence.leases import Leases

    node = config.node
    if node.database_path is not None:
        return None
    return Leases(open_database(node.database_url), node.executor_id, node.lease_s)


def _workflow(settings: RoleSettings, leases: Leases | None, stop: threading.Event) -> Workflow:
    """The jobs, on a ledger that only the holder of our lease may write to."""
    from dicom_node.node.workflow import Workflow
    from dicom_node.persistence.ledger import Ledger, no_fence

    config = settings.config
    fence = leases.fence if leases is not None else no_fence
    return Workflow(
        config=config,
        ledger=Ledger(config.node.database_url, fence=fence, patient=True),
        command=settings.analysis_command,
        ending=stop,
        **_models(config),
    )


def _watcher(parts: _Parts, put: Callable[[JobRequest], None], heart: Heart) -> Watcher:
    """The watcher that hands complete series from the spool to the engine."""
    from dicom_node.archive.expected_counts import SenderCounts
    from dicom_node.spool.arrivals import SeriesArrival
    from dicom_node.spool.spool import Spool
    from dicom_node.spool.watcher import Watcher

    def hand_over(arrival: SeriesArrival) -> None:
        choice = parts.holding.choice(arrival.series_instance_uid, arrival.calling_ae_title)
        for job in parts.workflow.admit(arrival, choice):
            put(job)

    # It remembers who does not answer, whatever the settings are.
    senders = SenderCounts(lambda title: counting_peer(parts.workflow.config, title))

    def ask(calling_ae_title: str, study: str, series: str) -> Expectation | None:
        return parts.holding.counts(senders)(calling_ae_title, study, series)

    def why_held(series_instance_uid: str) -> str:
        return parts.holding.why_held(series_instance_uid)

    config = parts.workflow.config
    return Watcher(
        Spool(config.node.spool),
        config.completion,
        hand_over,
        ask=ask,
        hold=why_held,
        since_s=time.time(),
        steady_clock=time.monotonic,
        note=heart.noting("watcher", 1.0),
    )


Role: TypeAlias = Callable[[RoleSettings, threading.Event, Heart], None]
LiveRole: TypeAlias = Callable[[LiveSettings, RoleSettings, threading.Event, Heart], None]
ROLES: Final[Mapping[str, LiveRole]] = {
    "receive": receive,
    "work": work,
}


def run_role(role: str, run: Role, live: LiveSettings | None = None) -> int:
    """Run a role to its end; returns the exit code.

    Args:
        role: its name, for the log.
        run: does its work until told to stop.
        live: takes other settings while it runs; without it, a role has to be started anew.
    """
    stop = threading.Event()
    settings = ROLE_SETTINGS.validate_json(_first_line())
    configure_logging(settings.config.logging)
    structlog.contextvars.bind_contextvars(role=role)
    end_with_standard_input(partial(_take_line, live or LiveSettings()))
    trail = open_trail(settings.config, role)
    trail.record(AuditEvent(AuditKind.APPLICATION_STARTED, words=role))
    try:
        with (
            signals_taken(stop.set, ENDS_A_PART),
            metrics_kept(settings.config, role, node_name(settings.config)),
            heart_of(settings.config, role) as heart,
        ):
            heart.note(STARTING, STARTS_WITHIN_S)
            run(settings, stop, heart)
    except (ConfigurationError, EngineBusyError, InferenceError) as error:
        print(error, flush=True)  # noqa: T201 - our answer - for the supervisor
        return EXIT_UNUSABLE
    except Exception:
        log.exception("role.crashed")
        return 1
    else:
        trail.record(AuditEvent(AuditKind.APPLICATION_STOPPED, words=role))
    finally:
        trail.close()
    log.info("role.ended")
    return 0


def heart_of(config: NodeConfig, role: str, serves: Sequence[str] = ()) -> Heart:
    """The heart of a process of this node."""
    return Heart(config.node.spool, role, node=node_name(config), serves=serves)


def wait_noting(stop: threading.Event, heart: Heart) -> None:
    """Wait in the main thread to be told to stop; that it waits is a sign of life."""
    heart.forget(STARTING)
    while not stop.wait(1.0):
        heart.note(MAIN, 1.0)


def _take_line(live: LiveSettings, line: bytes) -> None:
    """Take other settings, and answer whether they are taken."""
    digest, problem = "", ""
    try:
        settings = ROLE_SETTINGS.validate_json(line)
        digest = settings_digest(settings.config)
        live.give(settings.config)
        configure_logging(settings.config.logging)
        log.info("settings.taken", key=digest)
    except Exception as error:
        log.exception("settings.not_taken", key=digest)
        problem = describe_error(error)["error"]
        if isinstance(error, ConfigurationError | InferenceError):
            problem = str(error)
    print(TAKEN.dump_json(Taken(digest, problem)).decode(), flush=True)  # noqa: T201 - our answer


def _first_line() -> bytes:
    """The first line of standard input, and not a byte more: the rest is watched."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            break
        line += byte
    return bytes(line)


if __name__ == "__main__":
    changing = LiveSettings()
    role = sys.argv[1]
    code = run_role(role, partial(ROLES[role], changing), changing)
    # Threads of a job that still runs must not hold the process: it will be run again.
    sys.stdout.flush()
    os._exit(code)
