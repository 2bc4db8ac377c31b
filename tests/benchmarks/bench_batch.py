"""Many scans from disk: `msk-node segment` over all, the network alone, and as it was before.

Run as `python tests/benchmarks/bench_batch.py DATA --before CHECKOUT`. DATA is a folder for
phantom series, which are made where they are missing; CHECKOUT a working copy of the version
to compare with (03d411c: one scan after the other, in one process).

In every round, one after the other, in turning order:

    network    the network alone, on volumes in memory, weights loaded: the most there can be
    batch      msk-node segment DATA, everything included, from the command to its end
    processes  CHECKOUT's msk-node segment, a process for each scan
    process    CHECKOUT's segment_to_folder for all scans in one process, the bundle read once

With --stand-in-s the network takes so much longer by waiting, as for a GPU, in all four ways:
what is done beside it then costs it no core, which is how a batch is meant to be.

Seconds are of the clock and of the cores (all processes together). "steady" leaves out start
and end of a batch: from the first case's end to the last one's, for each case between.
"""

# ruff: noqa: T201, PLC0415

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dicom_node.case_files.phantom_series import write_phantom_series
from inference.phantom.body import BodySpec
from inference.phantom.spec import DEFAULT_PHANTOM, SMALL_PHANTOM

WAYS = ("network", "batch", "processes", "process")
WAITING = """
import time
from inference.models.bayesian_unet import model
_predict = model.UNetPredictor.predict
def _slower(*arguments, **options):
    time.sleep({seconds})
    return _predict(*arguments, **options)
model.UNetPredictor.predict = _slower
"""
CHILD = "import sys; from dicom_node.batch.child import main; main(sys.argv[1:])"
BATCH = """
import sys
from dicom_node.commands import batch, cli
batch.COMMAND = (sys.executable, "-c", {child!r})
cli.main()
"""
CLI = "from dicom_node.commands.cli import main; main()"
IN_ONE_PROCESS = """
import sys
from pathlib import Path
from dicom_node.case_files.result_folder import segment_to_folder
from inference.models.bundle import load_bundle
bundle = load_bundle(sys.argv[1])
out, samples, device = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
for source in map(Path, sys.argv[5:]):
    segment_to_folder(
        source, out / source.parent.name, bundle=bundle, device=device, samples=samples
    )
"""


def main() -> None:
    options = _options()
    if options.network_alone:
        _network_alone(options)
        return
    series = _phantoms(options.data, options.cases, small=options.small)
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(options.rounds):
        order = WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]
        found = {}
        for way in order:
            if options.before is None and way.startswith("process"):
                continue
            found[way] = _measured(way, series, options)
            load = os.getloadavg()[0]
            print(
                f"round {number + 1}, {way}: {_words(found[way])}, load {load:.1f}", flush=True
            )
        rounds.append(found)
    _tell(rounds, len(series))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bundle", default="compact")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stand-in-s", type=float, default=0.0)
    parser.add_argument("--small", action="store_true", help="40 coarse slices a scan")
    parser.add_argument("--network-alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _phantoms(data: Path, cases: int, *, small: bool) -> list[Path]:
    folders = []
    for body in range(1, cases + 1):
        folder = data / f"body{body}" / "series"
        if not folder.exists():
            person = BodySpec(variation=1.0, variation_seed=body)
            spec = SMALL_PHANTOM if small else DEFAULT_PHANTOM
            write_phantom_series(folder, replace(spec, body=person))
        folders.append(folder)
    return folders


def _measured(way: str, series: list[Path], options: argparse.Namespace) -> dict[str, float]:
    out = options.data.parent / "bench-batch-out"
    shutil.rmtree(out, ignore_errors=True)
    common = ("--bundle", options.bundle, "--device", options.device)
    samples = ("--samples", str(options.samples))
    waiting = WAITING.format(seconds=options.stand_in_s)
    cli = ("-c", waiting + CLI, "segment")
    if way == "network":
        asked = [str(options.data), *common, *samples, "--cases", str(options.cases)]
        asked += ["--stand-in-s", str(options.stand_in_s), *["--small"] * options.small]
        line = [sys.executable, __file__, *asked, "--network-alone"]
        return json.loads(subprocess.run(line, check=True, capture_output=True).stdout)
    if way == "batch":
        batch = ("-c", BATCH.format(child=waiting + CHILD), "segment")
        line = [*batch, str(options.data), "--out", str(out), *common, *samples]
        found = _timed([line], None)
        ends = sorted(
            datetime.fromisoformat(json.loads(path.read_bytes())["finished_at"])
            for path in out.glob("*/made_of.json")
        )
        if len(ends) != len(series):
            raise SystemExit(f"{len(ends)} of {len(series)} cases are done")
        steady_s = (ends[-1] - ends[0]).total_seconds() / (len(ends) - 1)
        return {**found, "steady": steady_s * len(ends)}
    if way == "processes":
        lines = [
            [*cli, str(one), "--out", str(out / one.parent.name), *common, *samples]
            for one in series
        ]
        return _timed(lines, options.before)
    asked = [options.bundle, str(out), str(options.samples), options.device]
    return _timed([["-c", waiting + IN_ONE_PROCESS, *asked, *map(str, series)]], options.before)


def _timed(lines: list[list[str]], before: Path | None) -> dict[str, float]:
    """Run Python one time for each line: seconds of the clock, and of all cores."""
    environment = dict(os.environ)
    if before is not None:
        environment["PYTHONPATH"] = str(before)
    began, used_s = time.monotonic(), 0.0
    for line in lines:
        child = subprocess.Popen(
            [sys.executable, *line],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=before,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{line[2:4]} ended with {child.returncode}")
        used_s += usage.ru_utime + usage.ru_stime
    return {"wall": time.monotonic() - began, "core": used_s}


def _network_alone(options: argparse.Namespace) -> None:
    """In a process of its own, which has nothing else in memory."""
    from dicom_node.series.reading import read_series
    from inference.models.bundle import load_bundle
    from inference.pipeline import outline_of

    bundle = load_bundle(options.bundle)
    predictor = bundle.model.load(options.device)
    parts = []
    for folder in _phantoms(options.data, options.cases, small=options.small):
        volume = read_series(sorted(folder.iterdir())).volume
        parts.append(volume.part(outline_of(volume).seen))
    began, core = time.monotonic(), time.process_time()
    for part in parts:
        time.sleep(options.stand_in_s)
        predictor.predict(part, counts=(options.samples,), seed=1)
    wall_s, core_s = time.monotonic() - began, time.process_time() - core
    print(json.dumps({"wall": wall_s, "core": core_s}))


def _words(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} s" for name, value in found.items())


def _tell(rounds: list[dict[str, dict[str, float]]], cases: int) -> None:
    """Medians, and medians of the ratios within each round."""
    print(f"\n{cases} cases, medians of {len(rounds)} rounds")
    for way in rounds[0]:
        wall = statistics.median(one[way]["wall"] for one in rounds)
        core = statistics.median(one[way]["core"] for one in rounds)
        print(f"{way:10} {wall / cases:7.2f} s a case, {core / cases:7.2f} core-seconds a case")
    for way in rounds[0]:
        for measure in ("wall", "steady"):
            ratios = [one[way]["wall"] / one["batch"][measure] for one in rounds]
            listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            median = statistics.median(ratios)
            print(f"{way} / batch ({measure}): {median:.2f} ({listed})")


if __name__ == "__main__":
    main()
