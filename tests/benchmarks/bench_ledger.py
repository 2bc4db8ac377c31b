"""What many series cost a node: `python tests/benchmarks/bench_ledger.py [--help]`.

For each number of series a ledger, a queue and a spool are made as a node leaves them that has
answered so many: a record and a few files in each folder, four objects each in the ledger and
sent, three finished jobs each in the queue (copies of real ones), a few deliveries that wait.
Then the same is measured in fresh processes, on SQLite or PostgreSQL:

    status      the whole command `msk-node status`
    start       a worker, from its first instruction to the end of its watcher's first round
    hand-over   from the watcher's look at a new series' last image until its job is put
    idle round  the watcher's round in which nothing came
    due, alarms what the maintenance tasks do every two seconds, and every minute

`--backlog N` has so many series beside them that are not analysed yet.

"Core" is seconds of a processor core in place of the clock, for a machine that others use too.
`--code FOLDER` measures another version of the source, in the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
if os.environ.get("BENCH_CODE"):
    sys.path.insert(0, os.environ["BENCH_CODE"])
else:
    sys.path.insert(1, str(Path(__file__).parents[2]))

OBJECTS: Final = ("SEG", "SR", "QC", "KO")
FILES: Final = 3
OPEN: Final = 20
"""Series whose deliveries wait, or are held: as many in a small ledger as in a large one."""
NAMES_IN_A_JOB: Final = 12
ORIGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)


def uid_of(number: int) -> str:
    """The Series Instance UID of one of many."""
    return f"1.2.826.0.1.3680043.8.498.77.{number}"


def make_spool(folder: Path, count: int) -> None:
    """So many folders of series that were handed over."""
    for number in range(count):
        series = folder / uid_of(number)
        series.mkdir()
        names = [f"{series.name}.{n}.dcm" for n in range(FILES)]
        for name in names:
            (series / name).write_bytes(b"")
        revision = {
            "revision": 1,
            "files": names,
            "reason": "quiet, and the slices leave no gap",
            "done": True,
            "rule": "gap-free",
        }
        (series / "handed-over.json").write_text(json.dumps({"revisions": [revision]}))


def make_ledger(url: str, count: int, backlog: int) -> None:
    """The rows of so many answered series, and of some that wait to be analysed."""
    import sqlalchemy as sa  # noqa: PLC0415

    from dicom_node.persistence.database import open_database  # noqa: PLC0415
    from dicom_node.persistence.ledger import Ledger  # noqa: PLC0415
    from dicom_node.persistence.tables import DELIVERIES, RESULTS, SERIES  # noqa: PLC0415

    Ledger(url).close()
    database = open_database(url)
    step = timedelta(days=700) / max(count, 1)
    with database.begin() as connection:
        for first in range(0, count + backlog, 2000):
            numbers = range(first, min(first + 2000, count + backlog))
            series = [series_row(n, ORIGIN + step * n, waits=n >= count) for n in numbers]
            if "voxels" in SERIES.c:
                series = [
                    {**row, "voxels": 512 * 512 * (300 + n % 300)}
                    for row, n in zip(series, numbers, strict=True)
                ]
            connection.execute(sa.insert(SERIES), series)
            answered = [n for n in numbers if n < count]
            if answered:
                results = [
                    result_row(n, kind, ORIGIN + step * n) for n in answered for kind in OBJECTS
                ]
                connection.execute(sa.insert(RESULTS), results)
                rows = [
                    delivery_row(n, kind, ORIGIN + step * n)
                    for n in answered
                    for kind in OBJECTS
                ]
                connection.execute(sa.insert(DELIVERIES), rows)
    database.dispose()


def series_row(number: int, at: datetime, *, waits: bool) -> dict[str, Any]:
    """One series: every fifth was refused."""
    state = "received" if waits else "refused" if number % 5 == 0 else "reported"
    return {
        "series_instance_uid": uid_of(number),
        "revision": 1,
        "study_instance_uid": f"{uid_of(number)}.1",
        "calling_ae_title": "CT1",
        "called_ae_title": "MSKNODE",
        "instances": 500,
        "fingerprint": f"{number:064d}",
        "state": state,
        "code": "too-few-slices" if state == "refused" else "",
        "reason": "it has 3 slices" if state == "refused" else "",
        "received_at": at,
        "changed_at": at,
    }


def result_row(number: int, kind: str, at: datetime) -> dict[str, Any]:
    """One object."""
    return {
        "sop_instance_uid": f"{uid_of(number)}.2.{OBJECTS.index(kind)}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
        "kind": kind,
        "own_series_instance_uid": f"{uid_of(number)}.3",
        "series_instance_uid": uid_of(number),
        "revision": 1,
        "path": f"/msk/results/{uid_of(number)}/1/{kind}.dcm",
        "sha256": "0" * 64,
        "made_at": at,
    }


def delivery_row(number: int, kind: str, at: datetime) -> dict[str, Any]:
    """One delivery: sent, but for those of the first few series."""
    state = "sent" if number >= OPEN else "waiting" if number % 2 else "held"
    return {
        "sop_instance_uid": f"{uid_of(number)}.2.{OBJECTS.index(kind)}",
        "destination": "pacs",
        "series_instance_uid": uid_of(number),
        "revision": 1,
        "state": state,
        "attempts": 1,
        "reason": "" if state == "sent" else "no connection",
        "changed_at": at,
        "next_attempt_at": datetime(2099, 1, 1, tzinfo=UTC) if state == "waiting" else None,
        "visit": 1,
        "status": 0,
        "sent_at": at,
        "losses": 0,
        "resumes": False,
    }


def make_queue(url: str, count: int) -> None:
    """Copies of the rows that one real chain of three jobs leaves, under other keys."""
    import sqlalchemy as sa  # noqa: PLC0415

    from dicom_node.persistence.database import open_database  # noqa: PLC0415
    from dicom_node.persistence.job_queue import Engine  # noqa: PLC0415
    from dicom_node.persistence.jobs import JobKind, JobRequest  # noqa: PLC0415

    payload = {
        "paths": [f"/msk/spool/{uid_of(0)}/{uid_of(n)}.dcm" for n in range(NAMES_IN_A_JOB)]
    }
    follows = {"segment": "publish", "publish": "deliver"}

    def kind(name: str) -> JobKind:
        def run(given: Mapping[str, Any]) -> tuple[JobRequest, ...]:
            after = follows.get(name)
            return (JobRequest(after, f"{after}:0", given),) if after else ()

        return JobKind(run, "all")

    names = ("segment", "publish", "deliver")
    engine = Engine(url, "bench", {name: kind(name) for name in names}, {"all": 1}, 0.05)
    engine.start()
    engine.put(JobRequest("segment", "segment:0", payload))
    while len(engine.list(states=("success",))) < len(names):
        time.sleep(0.05)
    engine.stop()
    database = open_database(url)
    found = sa.MetaData()
    schema = None if database.dialect.name == "sqlite" else "dbos"
    found.reflect(database, schema=schema)
    with database.begin() as connection:
        for table in found.sorted_tables:
            if table.name not in (
                "workflow_status",
                "workflow_input",
                "workflow_output",
                "operation_outputs",
            ):
                continue
            rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for first in range(1, count, 2000):
                copies = [
                    copy_of(row, n, count)
                    for row in rows
                    for n in range(first, min(first + 2000, count))
                ]
                if copies:
                    connection.execute(sa.insert(table), copies)
    if schema:
        with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))
    database.dispose()


def copy_of(row: Mapping[str, Any], number: int, count: int) -> dict[str, Any]:
    """A row of another series' job, earlier by as much as it came earlier."""
    earlier_ms = int(60_000 * (count - number))
    moved = {
        name: row[name] - earlier_ms
        for name in (
            "created_at",
            "updated_at",
            "started_at_epoch_ms",
            "completed_at",
            "completed_at_epoch_ms",
        )
        if isinstance(row.get(name), int)
    }
    kind = row["workflow_uuid"].partition(":")[0]
    return {**row, **moved, "workflow_uuid": f"{kind}:{number}"}


def make(folder: Path, url: str, count: int, backlog: int) -> None:
    """All that is measured, in a folder."""
    from support.small_node import small_config  # noqa: PLC0415

    config = small_config(
        folder,
        None,
        node={"spool": "spool", "work": "work", "results": "results", "database": url},
        destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}],
    )
    for each in (config.node.spool, config.node.work, config.node.results):
        each.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.model_dump_json())
    make_queue(url, count)
    make_ledger(url, count, backlog)
    make_spool(config.node.spool, count)


def measure_worker(folder: Path, began_s: float) -> dict[str, float]:
    """The times of one worker, in the order in which they come."""
    import threading  # noqa: PLC0415

    from dicom_node.node import roles  # noqa: PLC0415
    from dicom_node.node.maintenance import MaintenanceTasks  # noqa: PLC0415
    from dicom_node.persistence.job_queue import Engine  # noqa: PLC0415
    from dicom_node.settings.node import NodeConfig  # noqa: PLC0415

    config = NodeConfig.model_validate_json((folder / "config.json").read_bytes())
    settings = roles.RoleSettings(config, ("true",))
    leases = roles._leases(config)
    workflow = roles._workflow(settings, leases, threading.Event())
    # No queue is served, so that what is put costs what it costs to put it.
    engine = Engine(
        config.node.database_url, config.node.executor_id, workflow.kinds(), {}, leases=leases
    )
    engine.start()
    workflow.keep_room()
    for job in workflow.pending_jobs():
        engine.put(job)
    times = {"ready": time.time() - began_s}
    put: list[tuple[float, float]] = []

    def putting(job: Any) -> None:
        engine.put(job)
        put.append((time.perf_counter(), time.thread_time()))

    watcher = watcher_of(workflow, putting)
    watcher.poll()
    times["start"] = time.time() - began_s
    times["start, core"] = time.process_time()
    rounds = [timed(watcher.poll) for _ in range(7)]
    times["idle round"] = median(rounds)
    handed, core = [], []
    for number in range(7):
        send_new_series(config.node.spool, number)
        uid, before_s, before_core_s = f"1.2.3.{os.getpid()}.{number}", 0.0, 0.0
        while not workflow.ledger.revisions(uid):
            time.sleep(0.1)
            before_s, before_core_s = time.perf_counter(), time.thread_time()
            watcher.poll()
        seconds, core_s = put[-1][0] - before_s, put[-1][1] - before_core_s
        handed.append(seconds)
        core.append(core_s)
    times["hand-over"] = median(handed)
    times["hand-over, core"] = median(core)
    tasks = MaintenanceTasks(workflow.delivery_jobs, engine.put)
    times["due"] = median(timed(tasks.poll) for _ in range(5))
    times["alarms"] = median(timed(tasks.raise_alarms) for _ in range(5))
    engine.stop()
    return times


def watcher_of(workflow: Any, put: Any) -> Any:
    """The worker's watcher; a version before asked no archives."""
    from dicom_node.node import roles  # noqa: PLC0415

    try:
        from dicom_node.archive.holding import Holding  # noqa: PLC0415
        from dicom_node.node.requery import asking_of  # noqa: PLC0415
    except ImportError:
        return roles._watcher(workflow, put)
    asking = asking_of(workflow.config, workflow.ledger)
    return roles._watcher(workflow, put, Holding(asking))


def send_new_series(spool: Path, number: int) -> None:
    """A small series, whole, whose header counts its images."""
    from support.ct import ct_stack  # noqa: PLC0415
    from support.spooled import keep  # noqa: PLC0415

    from dicom_node.spool.spool import Spool  # noqa: PLC0415

    stack = ct_stack(NumberOfSeriesRelatedInstances=5)
    for image in stack:
        image.SeriesInstanceUID = f"1.2.3.{os.getpid()}.{number}"
    keep(Spool(spool), stack, at_s=time.time())


def timed(work: Any) -> float:
    """Seconds that a call takes."""
    before_s = time.perf_counter()
    work()
    return time.perf_counter() - before_s


def measured(folder: Path, code: Path | None, times: int) -> dict[str, float]:
    """The medians of several fresh processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if code is not None:
        environment |= {"BENCH_CODE": str(code), "PYTHONPATH": str(code)}
    status = [sys.executable, "-c", STATUS, str(folder / "config.json")]
    found: dict[str, list[float]] = {}
    for _ in range(times):
        before_s, core_s = time.perf_counter(), core_of_children_s()
        done = subprocess.run(
            status, env=environment, check=True, capture_output=True, cwd=folder
        )
        found.setdefault("status", []).append(time.perf_counter() - before_s)
        found.setdefault("status, core", []).append(core_of_children_s() - core_s)
        found.setdefault("status, lines", []).append(done.stdout.count(b"\n"))
        worker = [sys.executable, __file__, "--worker", str(folder)]
        done = subprocess.run(worker, env=environment, check=True, capture_output=True)
        for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
            found.setdefault(name, []).append(seconds)
    return {name: median(values) for name, values in found.items()}


def core_of_children_s() -> float:
    """Seconds of a core that the processes have used that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


STATUS: Final = """
import sys
from pathlib import Path
from dicom_node.commands.status_tables import render
from dicom_node.commands.console import stdout
from dicom_node.node.status import node_status
from dicom_node.settings.node import NodeConfig
config = NodeConfig.model_validate_json(Path(sys.argv[1]).read_bytes())
stdout.print(render(node_status(config)))
"""
"""The command, with its settings as they were written."""


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of a kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/node.sqlite"
        return
    from support.postgres import running_postgres  # noqa: PLC0415

    with running_postgres() as server:
        yield server.url


def main() -> None:
    """Make, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--series", type=int, nargs="+", default=[100, 100_000])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--backlog", type=int, default=0)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to make it all")
    parser.add_argument("--code", type=Path, default=None, help="another version's source")
    parser.add_argument("--make", nargs=4, metavar=("FOLDER", "URL", "COUNT", "BACKLOG"))
    parser.add_argument("--worker", type=Path, help="measure one worker of a folder")
    given = parser.parse_args()
    if given.make:
        make(Path(given.make[0]), given.make[1], int(given.make[2]), int(given.make[3]))
        return
    if given.worker:
        print(json.dumps(measure_worker(given.worker, PROCESS_BEGAN_S)))  # noqa: T201
        return
    table: dict[int, dict[str, float]] = {}
    for count in given.series:
        folder = Path(tempfile.mkdtemp(prefix="msk-bench-", dir=given.folder))
        try:
            with database(given.database, folder) as url:
                environment = dict(os.environ)
                if given.code is not None:
                    code = str(given.code)
                    environment |= {"BENCH_CODE": code, "PYTHONPATH": code}
                command = [
                    sys.executable,
                    __file__,
                    "--make",
                    str(folder),
                    url,
                    str(count),
                    str(given.backlog),
                ]
                subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
                time.sleep(2.5)  # folders are settled by then
                table[count] = measured(folder, given.code, given.times)
                print(count, table[count], flush=True)  # noqa: T201
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    show(table, given.database)


def show(table: Mapping[int, Mapping[str, float]], kind: str) -> None:
    """A table in Markdown: seconds, and how many times what the fewest series cost."""
    counts = sorted(table)
    print(f"\n| {kind} |", *(f"{count} series |" for count in counts), "ratio |")  # noqa: T201
    print("|---|", *("---|" for _ in counts), "---|", sep="")  # noqa: T201
    for name in table[counts[0]]:
        values = [table[count][name] for count in counts]
        ratio = values[-1] / values[0] if values[0] else 0.0
        cells = [f"{value:.3f} |" for value in values]
        print(f"| {name} |", *cells, f"{ratio:.2f} |")  # noqa: T201


PROCESS_BEGAN_S = time.time()

if __name__ == "__main__":
    main()
