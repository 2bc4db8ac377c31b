"""The processes of a node: `python -m dicom_node.node.roles receive|work`.

    receive   Storage SCP to spool; nothing it does can be slowed by an analysis
    work      the spool's watcher and the durable engine with its jobs
    web       the dashboard and the API, where there is a `[web]` table (`web/process.py`)

A role reads its `RoleSettings` as one line of JSON from standard input, which then stays
open: when it closes, the supervisor is gone and the role ends. SIGTERM ends it in order;
being killed loses nothing. A role that cannot start for a reason that another try would
not change says the reason on standard output and ends with exit code 3.
"""

# ruff: noqa: PLC0415 - a role loads what it needs: the receiver must not wait for torch
from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from pydantic import TypeAdapter

from dicom_node.analysis.subprocesses import end_with_standard_input
from dicom_node.errors import (
    ConfigurationError,
    EngineBusyError,
    LeaseLostError,
    OrphanedError,
)
from dicom_node.monitoring.heartbeats import Heart
from dicom_node.monitoring.logs import configure_logging
from dicom_node.monitoring.signals import ENDS_A_PART, signals_taken
from dicom_node.node.process_health import node_name
from dicom_node.settings.node import NodeConfig
from inference.errors import InferenceError

if TYPE_CHECKING:
    from dicom_node.archive.holding import Holding
    from dicom_node.node.workflow import Workflow
    from dicom_node.peers.transports import Transport
    from dicom_node.persistence.job_queue import Engine, JobRequest
    from dicom_node.persistence.leases import Leases
    from dicom_node.spool.watcher import Watcher

log = structlog.get_logger()

EXIT_UNUSABLE: Final = 3
LOOK_EVERY_S: Final = 2.0
MAIN: Final = "main thread"
STARTING: Final = "start"
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


def receive(settings: RoleSettings, stop: threading.Event, heart: Heart) -> None:
    """Receive until told to stop."""
    from dicom_node.receiving.receiver import Receiver, ReceiverSettings

    listens = heart.noting("listener", LOOK_EVERY_S)
    with Receiver(ReceiverSettings.of(settings.config), listens):
        wait_noting(stop, heart)


def counting_peer(config: NodeConfig, calling_ae_title: str) -> Transport | None:
    """The peer to ask how many images a series of this sender has, if anyone knows."""
    from dicom_node.peers.transports import transport_for

    destination = config.count_at(calling_ae_title)
    if destination is None:
        return None
    return transport_for(config, destination).within(config.completion.count_timeout_s)


def work(settings: RoleSettings, stop: threading.Event, heart: Heart) -> None:
    """Watch the spool and do the engine's jobs until told to stop."""
    from dicom_node.archive.holding import Holding
    from dicom_node.node.alarm_task import AlarmTask
    from dicom_node.node.maintenance import MaintenanceTasks
    from dicom_node.node.requery import RequeryTasks, asking_of, kinds, queues
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
    asking = asking_of(settings.config, workflow.ledger)
    engine = Engine(
        node.database_url,
        node.executor_id,
        {**workflow.kinds(), **kinds(asking)},
        {**QUEUES, **queues(settings.config)},
        leases=leases,
        note=heart.note,
    )
    engine.start()
    workflow.keep_room()
    for job in workflow.pending_jobs():
        engine.put(job)
    watching = threading.Thread(
        target=_watcher(workflow, engine.put, Holding(asking), heart).run,
        args=(stop,),
        name="inbox",
        daemon=True,
    )
    watching.start()
    is_first = leases.is_first if leases is not None else lambda: True
    tasks = MaintenanceTasks(
        workflow.delivery_jobs,
        engine.put,
        is_first,
        engine.forget_finished,
        workflow.released_jobs,
        heart.note,
    ).run(stop)
    requery = RequeryTasks(asking, engine.put, engine.unfinished, is_first, heart.note).run(
        stop
    )
    heart.forget(STARTING)
    _monitor(engine, stop, heart)
    for thread in (watching, *tasks, *requery):
        thread.join(timeout=5.0)
    engine.stop()


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
    from dicom_node.analysis.devices import device_key
    from dicom_node.node.workflow import Workflow
    from dicom_node.persistence.ledger import Ledger, no_fence
    from inference.grading.grader_files import grader_sha256
    from inference.models.bundle_files import bundle_sha256

    config = settings.config
    fence = leases.fence if leases is not None else no_fence
    return Workflow(
        config=config,
        ledger=Ledger(config.node.database_url, fence=fence, patient=True),
        bundle_sha256=bundle_sha256(config.analysis.bundle),
        bundles_sha256={name: bundle_sha256(name) for name in config.bundles[1:]},
        grader_sha256=grader_sha256(config.analysis.grader) if config.analysis.grader else "",
        command=settings.analysis_command,
        device=device_key(config.analysis.device),
        ending=stop,
    )


def _watcher(
    workflow: Workflow, put: Callable[[JobRequest], None], holding: Holding, heart: Heart
) -> Watcher:
    """The watcher that hands complete series from the spool to the engine."""
    from dicom_node.archive.expected_counts import SenderCounts
    from dicom_node.spool.arrivals import SeriesArrival
    from dicom_node.spool.spool import Spool
    from dicom_node.spool.watcher import Watcher

    def hand_over(arrival: SeriesArrival) -> None:
        choice = holding.choice(arrival.series_instance_uid, arrival.calling_ae_title)
        for job in workflow.admit(arrival, choice):
            put(job)

    config = workflow.config
    return Watcher(
        Spool(config.node.spool),
        config.completion,
        hand_over,
        ask=holding.counts(SenderCounts(partial(counting_peer, config))),
        hold=holding.why_held,
        since_s=time.time(),
        steady_clock=time.monotonic,
        note=heart.noting("watcher", 1.0),
    )


Role: TypeAlias = Callable[[RoleSettings, threading.Event, Heart], None]
ROLES: Final[Mapping[str, Role]] = {
    "receive": receive,
    "work": work,
}


def run_role(role: str, run: Role) -> int:
    """Run a role to its end; returns the exit code.

    Args:
        role: its name, for the log.
        run: does its work until told to stop.
    """
    stop = threading.Event()
    settings = ROLE_SETTINGS.validate_json(_first_line())
    configure_logging(settings.config.logging)
    structlog.contextvars.bind_contextvars(role=role)
    end_with_standard_input()
    try:
        with signals_taken(stop.set, ENDS_A_PART), heart_of(settings.config, role) as heart:
            heart.note(STARTING, STARTS_WITHIN_S)
            run(settings, stop, heart)
    except (ConfigurationError, EngineBusyError, InferenceError) as error:
        print(error, flush=True)  # noqa: T201 - for the supervisor
        return EXIT_UNUSABLE
    except Exception:
        log.exception("role.crashed")
        return 1
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
    code = run_role(sys.argv[1], ROLES[sys.argv[1]])
    # Threads of a job that still runs must not hold the process: it will be run again.
    sys.stdout.flush()
    os._exit(code)
