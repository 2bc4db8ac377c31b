"""One worker of a kill trial: `python trial_worker.py URL NAME FOLDER DEVICE [LEASE_S]`.

The engine, the leases, the ledger with its fence and the device's lock are the node's own;
only what the jobs do is small. Each series is a chain of eight effects:

    segment   a child process holds the device for a moment and notes when it had it
    publish   three objects, each written once under its name
    deliver   three objects arrive at a peer that keeps one of each name, and the ledger's row
    confirm   the ledger's row says so

A worker runs until it is killed, or ends (exit code 1) when another has taken over from it or
its queue can go on only after a new start: both are found out as in the node's role.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa
import structlog

from dicom_node.analysis.subprocesses import run_child
from dicom_node.errors import LeaseLostError, OrphanedError
from dicom_node.monitoring.heartbeats import Heart
from dicom_node.monitoring.logs import configure_logging
from dicom_node.node.roles import _monitor
from dicom_node.persistence.database import open_database, sqlite_path
from dicom_node.persistence.job_queue import Engine
from dicom_node.persistence.jobs import JobKind, JobRequest, Payload
from dicom_node.persistence.leases import Leases
from dicom_node.persistence.ledger import Ledger, no_fence
from dicom_node.persistence.locks import try_lock
from dicom_node.persistence.rows import DeliveryRow, DeliveryState
from dicom_node.settings.node import Logging

log = structlog.get_logger()

OBJECTS = ("seg", "sr", "qc")
QUEUES = {"gpu": 1, "light": 4}
HOLD_DEVICE = """
import json, os, sys, threading, time
from dicom_node.analysis.subprocesses import end_with_standard_input
end_with_standard_input()
path, series, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
def note(what):
    line = json.dumps({"what": what, "series": series, "pid": os.getpid(),
                       "at": time.monotonic()})
    with open(path, "a") as file:
        file.write(line + "\\n")
note("begin")
time.sleep(seconds)
note("end")
"""


def segment(folder: Path, device: str, payload: Payload) -> tuple[JobRequest, ...]:
    """Hold the device in a child process; come back later where another holds it."""
    series, waits = payload["series"], payload.get("waits", 0)
    lock = try_lock(folder / f".{device}.lock")
    if lock is None:
        again = {**payload, "waits": waits + 1}
        return (JobRequest("segment", f"segment:{series}:w{waits + 1}", again, 0.2),)
    log = str(folder / f"device-{device}.jsonl")
    command = [sys.executable, "-c", HOLD_DEVICE, log, series, "0.2"]
    ended = run_child(command, 60.0, lambda _done, _total: None, lock)
    if ended.exit_code != 0:
        raise RuntimeError(ended.words)
    return (JobRequest("publish", f"publish:{series}", {"series": series}),)


def publish(folder: Path, payload: Payload) -> tuple[JobRequest, ...]:
    """Write each object once, under its name."""
    series = payload["series"]
    for name in OBJECTS:
        _write_once(folder / "results" / f"{series}.{name}", uuid.uuid4().hex)
    return (JobRequest("deliver", f"deliver:{series}", {"series": series}),)


def deliver(folder: Path, ledger: Ledger, payload: Payload) -> tuple[JobRequest, ...]:
    """Hand the objects to a peer, which notes each arrival, and enter that."""
    series = payload["series"]
    for name in OBJECTS:
        content = (folder / "results" / f"{series}.{name}").read_text()
        with (folder / "arrivals").open("a") as arrivals:
            arrivals.write(f"{series}.{name} {content}\n")
        ledger.save(_row(series, name, DeliveryState.SENT))
    return (JobRequest("confirm", f"confirm:{series}", {"series": series}),)


def confirm(ledger: Ledger, payload: Payload) -> tuple[JobRequest, ...]:
    """Enter that the peer has got them."""
    rows = [_row(payload["series"], name, DeliveryState.CONFIRMED) for name in OBJECTS]
    ledger.save(*rows)
    return ()


def _row(series: str, name: str, state: DeliveryState) -> DeliveryRow:
    return DeliveryRow(f"{series}.{name}", "peer", series, 1, datetime.now(UTC), state)


def _write_once(path: Path, content: str) -> None:
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(f"{path.suffix}.{uuid.uuid4().hex}.part")
    part.write_text(content)
    with contextlib.suppress(FileExistsError):
        os.link(part, path)
    part.unlink()


def main(url: str, name: str, folder: Path, device: str, lease_s: float) -> int:
    """Work until killed or lost."""
    configure_logging(Logging(format="json", level="info"))
    leases = None
    if sqlite_path(url) is None:
        leases = Leases(open_database(url), name, lease_s)
    fence = leases.fence if leases is not None else no_fence
    ledger = Ledger(url, fence=fence, patient=True)
    kinds = {
        "segment": JobKind(partial(segment, folder, device), "gpu"),
        "publish": JobKind(partial(publish, folder), "light"),
        "deliver": JobKind(partial(deliver, folder, ledger), "light"),
        "confirm": JobKind(partial(confirm, ledger), "light"),
    }
    engine = Engine(url, name, kinds, QUEUES, 0.1, leases=leases)
    engine.start()
    threading.Thread(target=watch, args=(folder / "inbox", engine), daemon=True).start()
    try:
        _monitor(engine, threading.Event(), Heart(folder, "work"))
    except (LeaseLostError, OrphanedError) as error:
        log.error("worker.ends", reason=str(error))  # noqa: TRY400 - no defect, but its end
    return 1


def watch(inbox: Path, engine: Engine) -> None:
    """As the node's watcher: put what comes in, then note that it was; twice does nothing."""
    while True:
        time.sleep(0.1)
        for order in sorted(inbox.glob("*.new")):
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # it is put the next time
                engine.put(
                    JobRequest("segment", f"segment:{order.stem}", {"series": order.stem})
                )
                order.unlink(missing_ok=True)


if __name__ == "__main__":
    code = main(
        sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], float((*sys.argv, "6")[5])
    )
    os._exit(code)
