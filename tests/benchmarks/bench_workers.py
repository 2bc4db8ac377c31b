"""Cases per hour of 1, 2, 4, 8 workers: `python tests/benchmarks/bench_workers.py [--help]`.

Whole workers on one PostgreSQL server and one spool, each with a device of its own; only the
network is replaced, by one that takes a given time and no processor, so that eight of them fit
on two cores. Receiving is left out: the images lie in the spool when the workers start. What is
counted is the time between answers, from when every worker has given its first to the last.

`--queue` measures instead how many empty jobs a second the queue alone does, put and done, by
one worker: the limit that more workers on one database come to.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[2]))

from support.ct import ct_stack
from support.postgres import running_postgres
from support.small_node import small_config
from support.spooled import keep

from dicom_node.persistence.job_queue import Engine
from dicom_node.persistence.jobs import JobKind, JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.spool import Spool

WORKER = str(Path(__file__).parents[1] / "support" / "standin_worker.py")
PATIENCE_S = 1800.0


def fill(spool: Path, count: int) -> None:
    """So many small series, complete by their own count."""
    for number in range(count):
        stack = ct_stack(NumberOfSeriesRelatedInstances=5)
        for image in stack:
            image.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.88.{number}"
        keep(Spool(spool), stack, at_s=time.time())


def config_of(folder: Path, url: str, number: int) -> NodeConfig:
    """The settings of one worker of several."""
    node = {
        "spool": "spool",
        "work": "work",
        "results": "results",
        "database": url,
        "name": f"w{number}",
        "port": 1,
    }
    analysis = {"bundle": str(folder / "bundle"), "device": f"cuda:{100 + number}"}
    quiet = {"format": "json", "level": "warning"}
    return small_config(folder, None, node=node, analysis=analysis, logging=quiet)


def start(folder: Path, config: NodeConfig, seconds: float) -> subprocess.Popen[bytes]:
    """One worker, as a process of its own."""
    settings = folder / f"{config.node.name}.json"
    settings.write_text(config.model_dump_json())
    with (folder / f"{config.node.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, WORKER, str(settings), str(seconds), "work"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def answers(url: str) -> list[datetime]:
    """When each answered series was answered, the first first."""
    ledger = Ledger(url)
    try:
        rows = ledger.all_series()
    finally:
        ledger.close()
    return sorted(row.changed_at for row in rows if row.state is SeriesState.REFUSED)


def cases_per_hour(workers: int, each: int, seconds: float, parent: Path | None) -> float:
    """The rate of so many workers, on so many cases for each."""
    count = workers * each
    with running_postgres() as server, tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        configs = [config_of(folder, server.url, number) for number in range(workers)]
        fill(configs[0].node.spool, count)
        processes = [start(folder, config, seconds) for config in configs]
        try:
            until_s = time.monotonic() + PATIENCE_S
            while len(answered := answers(server.url)) < count:
                if time.monotonic() > until_s:
                    raise TimeoutError(f"{len(answered)} of {count} answered")
                time.sleep(2.0)
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGTERM)
            for process in processes:
                process.wait()
    took_s = (answered[-1] - answered[workers - 1]).total_seconds()
    return 3600 * (count - workers) / took_s


def jobs_per_second(count: int, url: str) -> tuple[float, float]:
    """How many empty jobs a second are put, and done by one worker, four at a time."""
    done: list[float] = []

    def run(_given: Mapping[str, Any]) -> Sequence[JobRequest]:
        done.append(time.monotonic())
        return ()

    kinds = {"empty": JobKind(run, "all")}  # type: ignore[arg-type]
    putting = Engine(url, "putting", kinds, {})
    putting.start()
    began_s = time.monotonic()
    for number in range(count):
        putting.put(JobRequest("empty", f"empty:{number}", {"paths": ["x" * 64] * 500}))
    put_s = time.monotonic() - began_s
    putting.stop()
    doing = Engine(url, "doing", kinds, {"all": 64})
    doing.start()
    while len(done) < count:
        time.sleep(0.05)
    doing.stop()
    return count / put_s, (count - 1) / (done[-1] - done[0])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--cases", type=int, default=8, help="for each worker")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the stand-in network")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--queue", type=int, default=0, metavar="JOBS")
    given = parser.parse_args()
    if given.queue:
        with running_postgres() as server:
            put, done = jobs_per_second(given.queue, server.url)
        print(f"PostgreSQL: {put:.0f} jobs a second put, {done:.0f} done")  # noqa: T201
        return
    rates: dict[int, float] = {}
    for workers in given.workers:
        rates[workers] = cases_per_hour(workers, given.cases, given.seconds, given.folder)
        print(workers, rates[workers], flush=True)  # noqa: T201
    first = min(rates)
    print("\n| workers | cases per hour | efficiency |", "|---|---|---|", sep="\n")  # noqa: T201
    for workers, rate in rates.items():
        efficiency = rate / (rates[first] * workers / first)
        print(f"| {workers} | {rate:.0f} | {efficiency:.2f} |")  # noqa: T201


if __name__ == "__main__":
    main()
