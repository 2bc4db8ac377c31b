"""Claims about analyses and other steps that find no room, job by job."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.ct import SERIES_UID
from support.small_node import small_arrival

from dicom_node.node import case_room, room, workflow
from dicom_node.node.room import PUBLICATION, Disk
from dicom_node.node.status import node_status
from dicom_node.node.workflow import MAX_WAIT_FOR_ROOM_S, UNEXPLAINED_TRIES, Workflow
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.capacity import promise, promised
from dicom_node.spool.spool import Spool

ALL = ("spool", "work", "results", "database")
MB = 1 << 20
ENDS_WITHOUT_ROOM = (sys.executable, "-c", "raise SystemExit(5)")
SetDisk = Callable[[Disk], None]


class Waits:
    """An event that is never set, and keeps how long it was waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait no time at all."""
        self.seconds.append(timeout or 0.0)
        return False

    def is_set(self) -> bool:
        """It never is."""
        return False


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    config = NodeConfig().rooted(tmp_path)
    Spool(config.node.spool)
    ledger = Ledger(config.node.database_url)
    yield ledger
    ledger.close()


@pytest.fixture
def node(tmp_path: Path, ledger: Ledger) -> Workflow:
    ending: Any = Waits()
    config = NodeConfig().rooted(tmp_path)
    return Workflow(config, ledger, "0" * 64, ENDS_WITHOUT_ROOM, ending=ending)


@pytest.fixture
def arrival(node: Workflow) -> SeriesArrival:
    return small_arrival(node.config.node.spool / SERIES_UID)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SetDisk:
    """Says what the one disk of the node has."""

    def has(found: Disk) -> None:
        monkeypatch.setattr(room, "disks", lambda _config: (found,))
        monkeypatch.setattr(case_room, "disks", lambda _config: (found,))
        monkeypatch.setattr(workflow, "disks", lambda _config: (found,))

    has(Disk(ALL, free=1 << 40, reserve=0, size=1 << 41))
    return has


def run(node: Workflow, job: JobRequest) -> JobRequest:
    (follows,) = node.kinds()[job.kind].run(job.payload)
    return follows


def waits(node: Workflow) -> list[float]:
    ending: Any = node.ending
    return list(ending.seconds)


def state(node: Workflow) -> SeriesState:
    row = node.ledger.series(SERIES_UID, 1)
    assert row is not None
    return row.state


@pytest.mark.usefixtures("disk")
def test_an_analysis_without_room_where_no_disk_is_short_uses_up_its_attempts_minutes_apart(
    node: Workflow, arrival: SeriesArrival
) -> None:
    """A quota, /tmp or /dev/shm: it was run anew every five seconds, without end or a word."""
    (job,) = node.admit(arrival)
    attempts = node.config.analysis.attempts
    delays = []
    while job.kind == "segment":
        job = run(node, job)
        if job.kind == "segment":
            delays.append(job.delay_s)
            (told,) = node_status(node.config).without_room
            assert "a quota" in told.reason
            assert f"of {attempts})" in told.reason

    assert len(delays) == attempts - 1
    assert all(60 <= delay <= MAX_WAIT_FOR_ROOM_S for delay in delays)
    assert job.kind == "publish"
    assert state(node) is SeriesState.SEGMENTED
    assert node_status(node.config).without_room == ()


def test_an_analysis_for_which_the_disk_ran_full_is_put_again_later_and_uses_up_no_attempt(
    node: Workflow, arrival: SeriesArrival, disk: SetDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = node.admit(arrival)
    full = Disk(ALL, free=0, reserve=0, size=1 << 41)
    analyse = Workflow._analyse

    def fills_it(self: Workflow, *given: Any) -> Any:
        disk(full)
        return analyse(self, *given)

    monkeypatch.setattr(Workflow, "_analyse", fills_it)
    again = run(node, job)

    assert (again.kind, again.payload["attempt"], again.payload["waits"]) == ("segment", 1, 1)
    assert again.key != job.key
    assert again.delay_s == 30


def test_a_case_without_room_lets_one_go_first_that_has_some(
    node: Workflow, arrival: SeriesArrival, disk: SetDisk
) -> None:
    """A megabyte each to analyse nothing, and to tell of it."""
    (job,) = node.admit(arrival)
    other = replace(arrival, series_instance_uid="1.2.3.4")
    (small,) = node.admit(other)
    rows, voxels = node.ledger.all_series(), {SERIES_UID: 1 << 37, "1.2.3.4": 0}
    node.ledger.save(*(replace(row, voxels=voxels[row.series_instance_uid]) for row in rows))
    disk(Disk(ALL, free=3 * MB, reserve=0, size=1 << 41))
    again = run(node, job)

    assert (again.kind, again.payload["waits"], again.delay_s) == ("segment", 1, 30)
    assert waits(node) == []
    assert promised(node.config.node.spool) == 2 * MB
    assert small.delay_s == 0


def test_the_size_of_a_series_of_a_version_before_is_told_from_its_files(
    node: Workflow, arrival: SeriesArrival
) -> None:
    node.admit(arrival)
    kept = promised(node.config.node.spool)
    promise(node.config.node.spool, 0)
    node.ledger.save(*(replace(row, voxels=None) for row in node.ledger.all_series()))
    node.keep_room()

    assert 0 < kept == promised(node.config.node.spool)


def test_a_case_larger_than_the_disk_is_tried_at_once(
    node: Workflow, arrival: SeriesArrival, disk: SetDisk
) -> None:
    (job,) = node.admit(arrival)
    disk(Disk(ALL, free=2 * MB, reserve=0, size=2 * MB))
    again = run(node, job)

    assert again.payload["attempt"] == 2
    assert waits(node) == []


def test_what_was_promised_before_is_worked_out_anew(
    node: Workflow, arrival: SeriesArrival, disk: SetDisk
) -> None:
    disk(Disk(ALL, free=1 << 40, reserve=0, size=1 << 41))
    node.admit(arrival)
    kept = promised(node.config.node.spool)
    promise(node.config.node.spool, 1 << 40)
    node.keep_room()
    again = promised(node.config.node.spool)
    later = replace(node, clock=lambda: datetime.now(UTC) + timedelta(hours=2))
    disk(Disk(ALL, free=0, reserve=0, size=1 << 41))
    later.keep_room()

    assert 0 < kept == again
    assert promised(node.config.node.spool) == 0


@pytest.mark.parametrize("is_short", [False, True])
def test_another_step_backs_off_and_fails_in_the_end_where_no_disk_is_short(
    node: Workflow, arrival: SeriesArrival, disk: SetDisk, *, is_short: bool
) -> None:
    (job,) = node.admit(arrival)
    tries = []

    def without_room(_node: Workflow, _payload: Any) -> tuple[JobRequest, ...]:
        tries.append(1)
        if len(tries) == 9:
            return ()
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    if is_short:
        disk(Disk(ALL, free=0, reserve=0, size=1 << 41))
        node._in_pipeline(without_room, PUBLICATION, job.payload)
    else:
        with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
            node._in_pipeline(without_room, PUBLICATION, job.payload)
    expected = [5, 10, 20, 40, 80, 160, 300, 300]

    assert waits(node) == (expected if is_short else expected[: UNEXPLAINED_TRIES - 1])
