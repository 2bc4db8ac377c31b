"""Memory of a whole case: `python tests/benchmarks/bench_memory.py [--help]`.

The phantom as a series of 600 slices of 512 x 512 goes through the two processes that hold a
case in memory: the node's child that reads, segments, measures and saves it, and the worker's
step that reads images and case again and builds the result objects. The target is 4 GB for
either. Where a peak arises shows in the resident memory of each stage, looked at 50 times a
second; `peak` is the kernel's own count. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from dicom_node.analysis.child import EXIT_ANALYSED
from dicom_node.analysis.request import CASE_FOLDER, Outcome, Request, write_request
from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.node.case_rows import PatientHistory
from dicom_node.node.publication import EarlierRevisions, publish_series
from dicom_node.persistence.ledger import Ledger
from dicom_node.settings.node import Logging, NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from inference.models.bayesian_unet.network import FIVE_LAYERS, SIX_LAYERS, BayesianUNet
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.phantom.spec import DEFAULT_PHANTOM, PhantomSpec, Zone

LOOK_S: Final = 0.02
GIGABYTE: Final = 1e9
PUBLISHED: Final = {"5layers": FIVE_LAYERS, "6layers": SIX_LAYERS}


def main() -> None:
    """Make the series, run both processes, print their memory; or, as a child, be one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--bundle", default="compact", help="also 5layers, 6layers: random")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--series", type=Path, help="made already: `msk-node phantom`, or any")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.answer:
        answer(asked.answer)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, Path(folder))


def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Both processes, one after the other."""
    series = asked.series or folder / "series"
    if not asked.series:
        write_phantom_series(series, scanned_in(asked.slices))
    paths = sorted(series.iterdir())
    bundle = untrained(folder, asked.bundle) if asked.bundle in PUBLISHED else asked.bundle
    request = Request(
        series_instance_uid=str(dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID),
        paths=tuple(paths),
        out=folder / "out",
        bundle=bundle,
        device=asked.device,
        samples=asked.samples,
        settings_hash="benchmark",
        logging=Logging(),
    )
    path = write_request(request)
    say(f"{asked.bundle}, {len(paths)} slices, {asked.samples} samples on {asked.device}")
    watched("-m", "dicom_node.analysis.child", str(path), stages=("read", "network", "measure"))
    watched(__file__, "--answer", str(path), stages=("answer",))


def scanned_in(slices: int) -> PhantomSpec:
    """The demo's phantom from knee to hip, in as many slices of 512 x 512."""
    upper_mm = DEFAULT_PHANTOM.zones[-1].upper_mm
    thickness_mm = (upper_mm - DEFAULT_PHANTOM.lower_mm) / slices
    return replace(DEFAULT_PHANTOM, zones=(Zone(thickness_mm, upper_mm),))


def untrained(folder: Path, network: str) -> str:
    """The folder of a published network with random weights, fed whole slices as published."""
    bundle = write_unet_bundle(
        folder / network,
        name=network,
        version="0",
        network=BayesianUNet(PUBLISHED[network]),
        window=Window(),
        grid=PixelGrid(None, body_only=False),
        samples=10,
        training={},
        model_card="",
    )
    return str(bundle.folder)


def watched(*command: str, stages: tuple[str, ...]) -> None:
    """Run a process; print its time and the most memory it held in each stage."""
    started = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,  # the node's child ends when it closes
        stdout=subprocess.PIPE,
        text=True,
    )
    watch = Watch(child.pid, stages)
    watch.start()
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith('{"done"'):
            watch.told(json.loads(line))
    _, status, usage = os.wait4(child.pid, 0)
    watch.stop()
    if os.waitstatus_to_exitcode(status) != EXIT_ANALYSED:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    most = ", ".join(f"{name} {most / GIGABYTE:.2f}" for name, most in watch.most.items())
    busy_s = usage.ru_utime + usage.ru_stime
    say(
        f"{Path(command[1]).name}: peak {usage.ru_maxrss * 1024 / GIGABYTE:.2f} GB ({most}); "
        f"{time.monotonic() - started:.0f} s, {busy_s:.0f} core-seconds"
    )


def say(words: str) -> None:
    """A line of the result."""
    print(words, flush=True)  # noqa: T201 - its purpose


class Watch(threading.Thread):
    """Looks at a process's resident memory, stage by stage."""

    def __init__(self, pid: int, stages: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.most = dict.fromkeys(stages, 0)
        self._statm = Path(f"/proc/{pid}/statm")
        self._stages = list(stages)
        self._stage = stages[0]
        self._over = threading.Event()

    def told(self, progress: dict[str, int]) -> None:
        """The next stage begins with the first slice done, and the one after with the last."""
        done = progress["done"] == progress["total"]
        self._stage = self._stages[2 if done else 1]

    def run(self) -> None:
        """Look until the process has ended."""
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._over.wait(LOOK_S):
            try:
                resident = int(self._statm.read_text(encoding="ascii").split()[1]) * page
            except (OSError, IndexError):
                return
            self.most[self._stage] = max(self.most[self._stage], resident)

    def stop(self) -> None:
        """The process has ended."""
        self._over.set()
        self.join()


def answer(path: Path) -> None:
    """What the worker does with an analysed series, with the node's default settings."""
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    out, uid = Path(told["out"]), told["series_instance_uid"]
    paths = tuple(Path(name) for name in told["paths"])
    arrival = SeriesArrival(uid, "1.2.3", 1, paths, (), "SCANNER", "MSKNODE", "benchmark")
    outcome = Outcome("analysed", told["settings_hash"], datetime.now(UTC))
    config = NodeConfig()
    history = PatientHistory(Ledger(f"sqlite:///{out}/ledger"), config)
    found = publish_series(
        arrival, outcome, out / CASE_FOLDER, config, EarlierRevisions(), history
    )
    for number, one in enumerate(found.objects):
        one.dataset.save_as(out / f"{number}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
