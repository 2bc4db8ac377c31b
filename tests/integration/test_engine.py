"""Claims about the durable queue, on a real SQLite file and with real processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.waiting import wait_until

from dicom_node.errors import EngineBusyError
from dicom_node.persistence.job_queue import Engine
from dicom_node.persistence.jobs import JobKind, JobRequest, Payload

QUEUES = {"gpu": 1, "light": 4}


def running(
    folder: Path,
    jobs: dict[str, Callable[[Payload], tuple[JobRequest, ...]]],
    queue: str = "light",
) -> AbstractContextManager[Engine]:
    """An engine that does these jobs until the block ends."""
    kinds = {name: JobKind(run=job, queue=queue) for name, job in jobs.items()}
    url = f"sqlite:///{folder}/node.sqlite"
    return started(Engine(url, "worker-0", kinds, QUEUES, 0.05))


@contextmanager
def started(engine: Engine) -> Iterator[Engine]:
    """An engine that works until the block ends."""
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def nothing(_payload: Payload) -> tuple[JobRequest, ...]:
    return ()


def test_a_job_puts_the_jobs_that_follow_it(tmp_path: Path) -> None:
    done: list[int] = []

    def count(payload: Payload) -> tuple[JobRequest, ...]:
        done.append(payload["n"])
        after = payload["n"] + 1
        return (JobRequest("count", f"count:{after}", {"n": after}),) if after < 3 else ()

    with running(tmp_path, {"count": count}) as engine:
        engine.put(JobRequest("count", "count:0", {"n": 0}))
        wait_until(lambda: done == [0, 1, 2])


def test_a_key_is_done_once_however_often_it_is_put(tmp_path: Path) -> None:
    done: list[str] = []

    def note(payload: Payload) -> tuple[JobRequest, ...]:
        done.append(payload["word"])
        return ()

    with running(tmp_path, {"note": note}) as engine:
        for word in ("a", "b", "c"):
            engine.put(JobRequest("note", "note:1", {"word": word}))
        engine.put(JobRequest("note", "note:2", {"word": "last"}))
        wait_until(lambda: "last" in done and not engine.list(states=("enqueued", "pending")))

    assert sorted(done) == ["a", "last"]


def test_delayed_work_waits(tmp_path: Path) -> None:
    with running(tmp_path, {"nothing": nothing}) as engine:
        engine.put(JobRequest("nothing", "n:1", {}, delay_s=3600.0))

        assert [(each.kind, each.state) for each in engine.list()] == [("nothing", "delayed")]


def test_only_the_records_of_work_that_ended_well_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what is held as an error, nor what waits; nor what ended a moment too late."""
    monkeypatch.setattr("dicom_node.persistence.job_queue.MAX_RETRIES", 0)
    now = datetime.now(UTC)

    def fails(_payload: Payload) -> tuple[JobRequest, ...]:
        raise OSError("no disk")

    with running(tmp_path, {"nothing": nothing, "fails": fails}) as engine:
        for n in range(3):
            engine.put(JobRequest("nothing", f"nothing:{n}", {}))
        engine.put(JobRequest("fails", "fails:1", {}))
        engine.put(JobRequest("nothing", "later:1", {}, delay_s=3600.0))
        wait_until(lambda: len(engine.list(states=("success", "error"))) == 4)
        early = engine.forget_finished(now - timedelta(days=7))
        forgotten = engine.forget_finished(now + timedelta(hours=1))
        left = sorted((each.key, each.state) for each in engine.list())

    assert (early, forgotten) == (0, 3)
    assert left == [("fails:1", "error"), ("later:1", "delayed")]


def test_a_queue_for_one_never_runs_two(tmp_path: Path) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def alone(_payload: Payload) -> tuple[JobRequest, ...]:
        inside.append(1)
        seen.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return ()

    with running(tmp_path, {"alone": alone}, queue="gpu") as engine:
        for n in range(4):
            engine.put(JobRequest("alone", f"alone:{n}", {}))
        wait_until(lambda: len(seen) == 4)

    assert seen == [1, 1, 1, 1]


def test_a_job_that_raises_is_put_again_and_then_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.persistence.job_queue.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("dicom_node.persistence.job_queue.MAX_RETRIES", 2)
    tries: list[int] = []

    def broken(_payload: Payload) -> tuple[JobRequest, ...]:
        tries.append(1)
        raise ZeroDivisionError

    with running(tmp_path, {"broken": broken}) as engine:
        engine.put(JobRequest("broken", "broken:1", {}))
        wait_until(lambda: bool(engine.list(states=("error",))))
        held = engine.list(states=("error",))

    assert len(tries) == 3
    assert [each.key for each in held] == ["broken:1~2"]


def test_a_last_resort_is_done_when_every_try_has_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.persistence.job_queue.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("dicom_node.persistence.job_queue.MAX_RETRIES", 1)
    seen: list[str] = []

    def broken(payload: Payload) -> tuple[JobRequest, ...]:
        seen.append(payload["word"])
        raise ZeroDivisionError

    def resort(_payload: Payload) -> tuple[JobRequest, ...]:
        return (JobRequest("note", "note:1", {"word": "resort"}),)

    def note(payload: Payload) -> tuple[JobRequest, ...]:
        seen.append(payload["word"])
        return ()

    kinds = {
        "note": JobKind(note, "light"),
        "broken": JobKind(broken, "light", fallback=resort),
    }
    with started(Engine(f"sqlite:///{tmp_path}/db", "worker-0", kinds, QUEUES, 0.05)) as engine:
        engine.put(JobRequest("broken", "broken:1", {"word": "try"}))
        wait_until(lambda: seen == ["try", "try", "resort"])


def test_held_work_is_tried_again_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.persistence.job_queue.MAX_RETRIES", 0)
    mended: list[int] = []

    def broken(_payload: Payload) -> tuple[JobRequest, ...]:
        raise ZeroDivisionError

    def mend(_payload: Payload) -> tuple[JobRequest, ...]:
        mended.append(1)
        return ()

    with running(tmp_path, {"job": broken}) as engine:
        engine.put(JobRequest("job", "job:1", {}))
        wait_until(lambda: bool(engine.list(states=("error",))))
    with running(tmp_path, {"job": mend}) as engine:
        wait_until(lambda: mended == [1])
        wait_until(lambda: not engine.list(states=("error", "pending")))


def test_cancelled_work_is_not_begun_until_resumed(tmp_path: Path) -> None:
    done: list[int] = []

    def note(_payload: Payload) -> tuple[JobRequest, ...]:
        done.append(1)
        return ()

    with running(tmp_path, {"note": note}) as engine:
        engine.put(JobRequest("note", "note:1", {}, delay_s=3600.0))
        engine.cancel("note:1")
        assert [each.state for each in engine.list()] == ["cancelled"]
        engine.resume("note:1")
        wait_until(lambda: done == [1])


def test_work_that_was_begun_here_unknown_to_us_is_put_into_the_queue_again(
    tmp_path: Path,
) -> None:
    """As after a server's death between the commit and the answer to it."""
    done: list[int] = []

    def note(_payload: Payload) -> tuple[JobRequest, ...]:
        done.append(1)
        return ()

    with running(tmp_path, {"note": note}) as engine:
        engine.put(JobRequest("note", "note:1", {}, delay_s=3600.0))
        connection = sqlite3.connect(tmp_path / "node.sqlite", timeout=30.0)
        connection.execute(
            "UPDATE workflow_status SET status = 'PENDING', executor_id = 'worker-0'"
        )
        connection.commit()
        connection.close()
        engine.take_up_stranded()
        assert [each.state for each in engine.list()] == ["pending"]
        engine.take_up_stranded()
        wait_until(lambda: done == [1])
        wait_until(lambda: [each.state for each in engine.list()] == ["success"])


def test_a_second_engine_on_the_same_database_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, {"nothing": nothing}):
        second = Engine(f"sqlite:///{tmp_path}/node.sqlite", "worker-0", {}, {})
        with pytest.raises(EngineBusyError, match=f"process {os.getpid()}"):
            second.start()


def test_no_pickle_is_stored_and_the_log_is_written_ahead(tmp_path: Path) -> None:
    with running(tmp_path, {"nothing": nothing}) as engine:
        engine.put(JobRequest("nothing", "n:1", {"plain": "words"}))
        wait_until(lambda: not engine.list(states=("enqueued", "pending")))
    connection = sqlite3.connect(tmp_path / "node.sqlite")
    stored = connection.execute("SELECT DISTINCT serialization FROM workflow_status").fetchall()
    mode = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()

    assert stored == [("portable_json",)]
    assert mode == ("wal",)


LINKS = 6
CHAIN = f"""
import sys, os
from pathlib import Path
from dicom_node.persistence.job_queue import Engine
from dicom_node.persistence.jobs import JobKind, JobRequest
folder = Path(sys.argv[1])
def link(payload):
    with open(folder / "effects", "a") as effects:
        effects.write(f"{{payload['chain']}}:{{payload['n']}}\\n")
    after = payload["n"] + 1
    if after == {LINKS}:
        return ()
    key = f"link:{{payload['chain']}}:{{after}}"
    return (JobRequest("link", key, {{**payload, "n": after}}),)
engine = Engine(f"sqlite:///{{folder}}/node.sqlite", "worker-0",
    {{"link": JobKind(link, "light")}}, {{"light": 4}}, 0.05)
engine.start()
for chain in range(3):
    engine.put(JobRequest("link", f"link:{{chain}}:0", {{"chain": chain, "n": 0}}))
while engine.list(states=("pending", "enqueued", "delayed")):
    __import__("time").sleep(0.05)
print("finished", flush=True)
os._exit(0)
"""


def test_chains_are_finished_after_kills_with_no_link_lost(tmp_path: Path) -> None:
    """Three chains of six links; the process is killed after 4, 8 and 12 effects.

    Every link is done at least once, and only what ran at a kill more than once.
    """
    effects = tmp_path / "effects"
    effects.touch()
    kills = 0
    for limit in (4, 8, 12, None):
        process = subprocess.Popen(
            [sys.executable, "-c", CHAIN, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        if limit is not None:
            while len(effects.read_text().split()) < limit and process.poll() is None:
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        output = process.communicate(timeout=60)[0]

    done = effects.read_text().split()
    assert "finished" in output
    assert kills >= 2
    assert set(done) == {f"{chain}:{n}" for chain in range(3) for n in range(LINKS)}
    assert len(done) <= 3 * LINKS + 3 * kills
