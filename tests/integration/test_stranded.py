"""Claims about work whose record the database did not take, on a real SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from support.waiting import wait_until

from dicom_node.persistence.job_queue import Engine
from dicom_node.persistence.jobs import JobKind, JobRequest, Payload

TABLE = "operation_outputs"


def test_work_whose_record_was_not_written_is_done_by_the_next_start(tmp_path: Path) -> None:
    """As on a full disk: the effect is there, and the queue does not know it."""
    database = tmp_path / "db"
    done: list[str] = []

    def break_the_record(_payload: Payload) -> tuple[JobRequest, ...]:
        if not done:
            rename(database, TABLE, "away")
        done.append("effect")
        return (JobRequest("note", "note:1", {}),)

    def note(_payload: Payload) -> tuple[JobRequest, ...]:
        done.append("follower")
        return ()

    def engine() -> Engine:
        kinds = {"break": JobKind(break_the_record, "q"), "note": JobKind(note, "q")}
        return Engine(f"sqlite:///{database}", "worker-0", kinds, {"q": 1}, 0.05)

    first = engine()
    first.start()
    before = first.is_orphaned()
    first.put(JobRequest("break", "break:1", {}))
    wait_until(first.is_orphaned)
    first.stop()
    rename(database, "away", TABLE)
    second = engine()
    second.start()
    wait_until(lambda: "follower" in done)
    after = second.is_orphaned()
    second.stop()

    assert (before, after) == (False, False)
    assert done == ["effect", "effect", "follower"]


def rename(database: Path, table: str, name: str) -> None:
    connection = sqlite3.connect(database, timeout=30.0)
    connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
    connection.close()
