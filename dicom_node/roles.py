"""The processes of a node: `python -m dicom_node.roles receive|work`.

    receive   Storage SCP to spool; nothing it does can be slowed by an analysis
    work      the spool's watcher and the durable engine with its jobs

A role reads its orders (`Orders`) as one line of JSON from standard input, which then stays
open: when it closes, the supervisor is gone and the role ends. SIGTERM ends it in order;
being killed loses nothing. A role that cannot start for a reason that another try would
not change says the reason on standard output and ends with exit code 3.
"""

# ruff: noqa: PLC0415 - a role loads what it needs: the receiver must not wait for torch
from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import TypeAdapter

from dicom_node.child_process import end_with_standard_input
from dicom_node.config import NodeConfig
from dicom_node.errors import ConfigurationError
from dicom_node.logs import configure_logging
from inference.errors import InferenceError

log = structlog.get_logger()

EXIT_UNUSABLE: Final = 3
EXECUTOR_ID: Final = "worker-0"
"""The one worker's name; work begun under another name would never be taken up."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a role is started with.

    analysis_command: what analyses a request file.
    """

    config: NodeConfig
    analysis_command: tuple[str, ...]


ORDERS: Final = TypeAdapter(Orders)


def receive(orders: Orders, stop: threading.Event) -> None:
    """Receive until told to stop."""
    from dicom_node.receive import Receiver, ReceiverSettings

    node, limits = orders.config.node, orders.config.receive
    settings = ReceiverSettings(
        ae_title=node.ae_title,
        spool=node.spool,
        host=node.host,
        port=node.port,
        calling_ae_titles=node.calling_ae_titles,
        called_ae_titles=node.called_ae_titles,
        max_associations=limits.max_associations,
        idle_timeout_s=limits.idle_timeout_s,
        free_reserve_bytes=limits.free_reserve_mb << 20,
    )
    with Receiver(settings):
        stop.wait()


def work(orders: Orders, stop: threading.Event) -> None:
    """Watch the spool and do the engine's jobs until told to stop."""
    from dicom_node.completeness import CompletionSettings
    from dicom_node.engine import Engine
    from dicom_node.inbox import SeriesArrival, Watcher
    from dicom_node.ledger import Ledger
    from dicom_node.spool import Spool
    from dicom_node.workflow import QUEUES, Workflow
    from inference.bundle import load_bundle

    config = orders.config
    workflow = Workflow(
        config=config,
        ledger=Ledger(config.node.database_url),
        bundle_sha256=load_bundle(config.analysis.bundle).sha256,
        command=orders.analysis_command,
    )
    engine = Engine(config.node.database_url, EXECUTOR_ID, workflow.kinds(), QUEUES)

    def hand_over(arrival: SeriesArrival) -> None:
        for job in workflow.admit(arrival):
            engine.put(job)

    completion = CompletionSettings(config.completion.quiet_s, config.completion.give_up_s)
    watcher = Watcher(Spool(config.node.spool), completion, hand_over)
    engine.start()
    for job in workflow.owed():
        engine.put(job)
    watching = threading.Thread(target=watcher.run, args=(stop,), name="inbox", daemon=True)
    watching.start()
    stop.wait()
    watching.join(timeout=5.0)
    engine.stop()


ROLES: Final[Mapping[str, Callable[[Orders, threading.Event], None]]] = {
    "receive": receive,
    "work": work,
}


def main(role: str) -> int:
    """Play a role to its end; returns the exit code."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # A Ctrl-C reaches the whole terminal; the supervisor turns it into a SIGTERM for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = ORDERS.validate_json(_first_line())
    configure_logging(orders.config.logging)
    structlog.contextvars.bind_contextvars(role=role)
    end_with_standard_input()
    try:
        ROLES[role](orders, stop)
    except (ConfigurationError, InferenceError) as error:
        print(error, flush=True)  # noqa: T201 - for the supervisor
        return EXIT_UNUSABLE
    except Exception:
        log.exception("role.died")
        return 1
    log.info("role.ended")
    return 0


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
    code = main(sys.argv[1])
    # Threads of a job that still runs must not hold the process: it will be run again.
    sys.stdout.flush()
    os._exit(code)
