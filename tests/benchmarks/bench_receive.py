"""How fast the receiver is beside others: `python tests/benchmarks/bench_receive.py [--help]`.

DCMTK's storescp, Orthanc and ours get the same objects from the same sender in one run, in
turns, inside a network namespace; so only ratios count on a machine that does other things
too. The sender has its PDUs ready and sends each object when the one before is answered, so
that the receivers are measured and not the sender. storescp writes as it receives and never
syncs; Orthanc syncs (`SyncStorageArea`), parses and indexes; ours answers success when file
and name are durable. "disk" is no receiver: the same files written, synced, named and synced
by as many threads, without a network. Needs root for the namespace, and DCMTK and Orthanc.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from support.namespace import Namespace, make_namespace
from support.orthanc import start_orthanc
from support.raw_sender import RawObject, associated, raw_object, send_all
from support.waiting import wait_until

from dicom_node.spool.spool import Spool

PORT = 11112
SERIES_UID = "1.2.826.0.1.3680043.8.498.9"
SYSTEM_TICKS = os.sysconf("SC_CLK_TCK")
DCMTK_PATH = "/usr/local/bin:/usr/bin"
"""pynetdicom brings programs of the same names, which stand first in its environment."""

OURS = """
import sys, threading
from pathlib import Path
from dicom_node.settings.node import Logging
from dicom_node.monitoring.logs import configure_logging
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
configure_logging(Logging())
settings = ReceiverSettings(
    "MSKNODE", Path(sys.argv[1]), port=int(sys.argv[2]), max_associations=200
)
with Receiver(settings):
    threading.Event().wait()
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What receiving took: seconds on the clock, of processor, and most memory held."""

    wall_s: float
    processor_s: float
    peak_mb: float


@contextmanager
def storescp(namespace: Namespace, folder: Path, associations: int) -> Iterator[int]:
    """DCMTK's receiver: bytes written as they come; several associations in processes."""
    program = shutil.which("storescp", path=DCMTK_PATH) or "storescp"
    several = ["--fork"] if associations > 1 else []
    options = ["+B", *several, "--max-pdu", "131072", "-od", str(folder), str(PORT)]
    with started(namespace, [program, *options]) as pid:
        yield pid


@contextmanager
def ours(namespace: Namespace, folder: Path, _associations: int) -> Iterator[int]:
    """Our receiver as the node runs it, without the rest of the node."""
    command = [sys.executable, "-c", OURS, str(folder), str(PORT)]
    with started(namespace, command) as pid:
        yield pid


@contextmanager
def orthanc(namespace: Namespace, folder: Path, associations: int) -> Iterator[int]:
    """Orthanc with a durable storage area, and a thread for every association."""
    with namespace.inside():
        running = start_orthanc(
            namespace,
            folder,
            DicomPort=PORT,
            DicomAet="MSKNODE",
            DicomAlwaysAllowStore=True,
            DicomCheckCalledAet=False,
            DicomThreadsCount=max(associations, 4),
            MaximumPduLength=131072,
            SyncStorageArea=True,
        )
    try:
        yield running.process.pid
    finally:
        running.stop()


RECEIVERS = {"storescp": storescp, "Orthanc": orthanc, "ours": ours}
NAMES = [*RECEIVERS, "disk"]


def main() -> None:
    """Send the same to each in turns, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=320, help="shared by the associations")
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-mb", type=int, default=0, help="one object of this size")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    asked = parser.parse_args()
    # Without it DCMTK and Orthanc wait 40 ms for a delayed acknowledgement, object by object.
    os.environ["TCP_NODELAY"] = "1"
    namespace = make_namespace(f"bench-{os.getpid()}")
    try:
        for associations in [1] if asked.large_mb else asked.associations:
            compare(namespace, asked, associations)
    finally:
        namespace.remove()


def compare(namespace: Namespace, asked: argparse.Namespace, associations: int) -> None:
    """Every receiver in every round, beginning with an empty folder."""
    costs: dict[str, list[Cost]] = {name: [] for name in asked.only}
    each = 1 if asked.large_mb else asked.objects // associations
    size_bytes = asked.large_mb << 20 or asked.size**2 * 2
    stacks = [
        [raw_object(f"{SERIES_UID}.{n}", k, size_bytes) for k in range(1, each + 1)]
        for n in range(1, associations + 1)
    ]
    for _ in range(asked.rounds):
        for name in asked.only:
            with tempfile.TemporaryDirectory() as kept:
                take = write_out if name == "disk" else partial(measure, namespace, name)
                costs[name].append(take(Path(kept), stacks))
    sent_mb = associations * each * size_bytes / 1e6
    print(f"{associations} associations, {each} objects each, {sent_mb:.0f} MB")  # noqa: T201
    for name, found in costs.items():
        wall_s = median(cost.wall_s for cost in found)
        print(  # noqa: T201 - its purpose
            f"  {name:9}: {wall_s:6.2f} s (fastest {min(c.wall_s for c in found):.2f}),"
            f" {sent_mb / wall_s:4.0f} MB/s,"
            f" processor {median(c.processor_s for c in found):.2f} s,"
            f" at most {max(c.peak_mb for c in found):.0f} MB",
            flush=True,
        )


def measure(namespace: Namespace, name: str, kept: Path, stacks: list[list[RawObject]]) -> Cost:
    """Run a receiver, send it each stack on its own association, and see that all came."""
    with RECEIVERS[name](namespace, kept, len(stacks)) as pid:
        with ThreadPoolExecutor(len(stacks)) as pool:
            os.sync()
            before, started_s = processor_s(pid), time.perf_counter()
            answers = list(pool.map(partial(send_from, namespace), stacks))
            wall_s = time.perf_counter() - started_s
        cost = Cost(wall_s, processor_s(pid) - before, peak_mb(pid))
    sizes = [path.stat().st_size for path in kept.rglob("*") if path.is_file()]
    came = sum(size > stacks[0][0].pixel_bytes for size in sizes)
    if any(map(any, answers)) or came != sum(map(len, stacks)):
        raise RuntimeError(f"{name}: {came} of {sum(map(len, stacks))} arrived: {answers}")
    return cost


def write_out(kept: Path, stacks: list[list[RawObject]]) -> Cost:
    """Keep the same bytes as our receiver does, as fast as the disk takes them."""
    spool = Spool(kept)
    os.sync()
    before, started_s = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(len(stacks)) as pool:
        list(pool.map(partial(write_stack, spool), range(len(stacks)), stacks))
    wall_s = time.perf_counter() - started_s
    return Cost(wall_s, time.process_time() - before, 0.0)


def write_stack(spool: Spool, number: int, objects: list[RawObject]) -> None:
    """Keep one stack, in parts as large as those that come in a PDU."""
    for each in objects:
        with spool.begin() as incoming:
            incoming.dataset_begins()
            for part in each.parts():
                incoming.write(part)
            spool.take(f"1.2.{number}", each.sop_instance_uid, incoming)


def send_from(namespace: Namespace, objects: list[RawObject]) -> list[int]:
    """Send from inside the namespace."""
    with namespace.inside():
        return send_all(PORT, objects)


@contextmanager
def started(namespace: Namespace, command: list[str]) -> Iterator[int]:
    """A receiver that answers, by its process number; ended afterwards."""
    with subprocess.Popen(
        namespace.argv(*command),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            with namespace.inside():
                wait_until(lambda: is_listening(process), 30.0, f"{command[0]} listens")
            yield process.pid
        finally:
            process.terminate()


def is_listening(process: subprocess.Popen[bytes]) -> bool:
    """Whether an association is accepted."""
    if process.poll() is not None:
        raise RuntimeError("the receiver has ended")
    try:
        with associated(PORT):
            return True
    except OSError:
        return False


def processor_s(pid: int) -> float:
    """Processor seconds of a process and the children it waited for (proc(5), 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / SYSTEM_TICKS


def peak_mb(pid: int) -> float:
    """The most memory that the process itself has held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
