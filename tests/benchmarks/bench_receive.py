"""How fast the receiver is beside DCMTK's: `python tests/benchmarks/bench_receive.py [--help]`.

Both get the same series from the same sender (dcmsend) in one run, in turns, inside a network
namespace; so only ratios count on a machine that does other things too. storescp writes as it
receives and never syncs; ours answers success when file and name are durable. Needs root for
the namespace, and DCMTK.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydicom.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.ct import ct_slice, ct_stack, save
from support.namespace import Namespace, make_namespace

PORT = 11112
SYSTEM_TICKS = os.sysconf("SC_CLK_TCK")
NODELAY = os.environ | {"TCP_NODELAY": "1"}
"""Without it DCMTK waits 40 ms for a delayed acknowledgement, object by object."""

OURS = """
import sys, threading
from pathlib import Path
from dicom_node.config import Logging
from dicom_node.logs import configure_logging
from dicom_node.receive import Receiver, ReceiverSettings
configure_logging(Logging())
settings = ReceiverSettings("MSKNODE", Path(sys.argv[1]), port=int(sys.argv[2]))
with Receiver(settings):
    threading.Event().wait()
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What receiving took: seconds on the clock, of processor, and most memory held."""

    wall_s: float
    processor_s: float
    peak_mb: float


def storescp(folder: Path, associations: int) -> list[str]:
    """DCMTK's receiver: bytes written as they come; several associations in processes.

    Those processes count in no figure but the time.
    """
    several = ["--fork"] if associations > 1 else []
    return ["storescp", "+B", *several, "--max-pdu", "131072", "-od", str(folder), str(PORT)]


def ours(folder: Path, _associations: int) -> list[str]:
    """Our receiver as the node runs it, without the rest of the node."""
    return [sys.executable, "-c", OURS, str(folder), str(PORT)]


RECEIVERS: dict[str, Callable[[Path, int], list[str]]] = {"storescp": storescp, "ours": ours}


def main() -> None:
    """Send the same to both in turns, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--associations", type=int, default=1, help="senders at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-mb", type=int, default=0, help="one object of this size")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / f"sent-{n}" for n in range(asked.associations)]
        for number, folder in enumerate(folders):
            save(objects(asked, number), folder)
        namespace = make_namespace(f"bench-{os.getpid()}")
        try:
            costs: dict[str, list[Cost]] = {name: [] for name in RECEIVERS}
            for turn in range(asked.rounds):
                for name, command in RECEIVERS.items():
                    kept = Path(scratch) / f"{name}-{turn}"
                    kept.mkdir()
                    started = command(kept, len(folders))
                    costs[name].append(measure(namespace, started, folders, kept))
        finally:
            namespace.remove()
    for name, each in costs.items():
        print(  # noqa: T201 - its purpose
            f"{name:9}: {median(c.wall_s for c in each):6.2f} s"
            f" (fastest {min(c.wall_s for c in each):.2f}),"
            f" processor {median(c.processor_s for c in each):.2f} s,"
            f" at most {max(c.peak_mb for c in each):.0f} MB"
        )


def objects(asked: argparse.Namespace, number: int) -> list[Dataset]:
    """What one sender sends: slices, or a single large object."""
    series = f"1.2.826.0.1.3680043.8.498.9.{number}"
    if asked.large_mb:
        return [ct_slice(SeriesInstanceUID=series, PixelData=bytes(asked.large_mb << 20))]
    shape = (asked.size, asked.size)
    return ct_stack(range(asked.slices), shape=shape, SeriesInstanceUID=series)


def measure(namespace: Namespace, command: list[str], folders: list[Path], kept: Path) -> Cost:
    """Run a receiver, send each folder to it at once, and see that all of it came."""
    with receiver(namespace, command) as pid:
        before, started = processor_s(pid), time.perf_counter()
        senders = [
            subprocess.Popen(
                namespace.argv(
                    *("dcmsend", "--scan-directories", "--no-uid-checks"),
                    *("-aec", "MSKNODE", "127.0.0.1", str(PORT), str(folder)),
                ),
                env=NODELAY,
            )
            for folder in folders
        ]
        failed = sum(sender.wait() != 0 for sender in senders)
        wall = time.perf_counter() - started
        cost = Cost(wall, processor_s(pid) - before, peak_mb(pid))
    sent = sum(len(list(folder.iterdir())) for folder in folders)
    came = sum(path.is_file() and path.stat().st_size > 0 for path in kept.rglob("*"))
    if failed or came < sent:
        raise RuntimeError(f"{failed} senders failed; {came} of {sent} objects arrived")
    return cost


@contextmanager
def receiver(namespace: Namespace, command: list[str]) -> Iterator[int]:
    """A receiver that answers, by its process number; ended afterwards."""
    with subprocess.Popen(
        namespace.argv(*command),
        env=NODELAY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            echo = namespace.argv("echoscu", "-aec", "MSKNODE", "127.0.0.1", str(PORT))
            deadline = time.monotonic() + 30
            while subprocess.run(echo, stderr=subprocess.DEVNULL, check=False).returncode:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(f"{command[0]} does not answer")
                time.sleep(0.2)
            yield process.pid
        finally:
            process.terminate()


def processor_s(pid: int) -> float:
    """Processor seconds of a process, its own and the system's (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / SYSTEM_TICKS


def peak_mb(pid: int) -> float:
    """The most memory that the process itself has held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
