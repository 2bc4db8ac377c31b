"""Claims about when a node counts as ready and alive: by the heartbeats of its processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.monitoring.heartbeats import HEARTBEATS, Heart
from dicom_node.monitoring.service_manager import ServiceManager
from dicom_node.node.process_health import node_name
from dicom_node.node.roles import MAIN
from dicom_node.node.service_task import ServiceTask
from dicom_node.settings.loading import parse_config


class Told(ServiceManager):
    """Keeps what it is told."""

    lines: list[str]

    def tell(self, *lines: str) -> None:
        """Keep them."""
        self.lines.extend(lines)


@pytest.fixture
def told() -> list[str]:
    Told.lines = []
    return Told.lines


@pytest.fixture
def task(tmp_path: Path, told: list[str]) -> ServiceTask:
    config = parse_config({"node": {"spool": "spool"}}, source="test", folder=tmp_path)
    (config.node.spool / HEARTBEATS).mkdir(parents=True)
    return ServiceTask(config, ("receive", "work"), Told("somewhere"))


def heart(task: ServiceTask, role: str) -> Heart:
    return Heart(task.config.node.spool, role, node=node_name(task.config))


def test_a_node_is_ready_when_it_listens_whatever_its_worker_waits_for(
    task: ServiceTask, told: list[str]
) -> None:
    receiver, worker = heart(task, "receive"), heart(task, "work")
    receiver._write()
    worker.note("starting")
    worker._write()
    task.look(datetime.now(UTC))
    assert "READY=1" not in told

    receiver.note(MAIN)
    receiver._write()
    task.look(datetime.now(UTC))
    assert told.count("READY=1") == 1
    task.look(datetime.now(UTC))
    assert told.count("READY=1") == 1


def test_the_watchdog_is_fed_only_while_every_process_beats(
    task: ServiceTask, told: list[str]
) -> None:
    receiver, worker = heart(task, "receive"), heart(task, "work")
    receiver.note(MAIN)
    receiver._write()
    worker._write()
    now = datetime.now(UTC)
    task.look(now)
    assert "WATCHDOG=1" in told

    told.clear()
    task.look(now + timedelta(seconds=31))
    assert told == ["STATUS=no heartbeat of receive, work"]


def test_a_role_that_freezes_after_the_clock_was_set_back_is_found(
    task: ServiceTask, told: list[str]
) -> None:
    """It was started later than we were, by a clock that says so no more."""
    an_hour = timedelta(hours=1)
    task.started_at += an_hour
    receiver, worker = heart(task, "receive"), heart(task, "work")
    receiver._write()
    worker._write()
    task.began_s -= 31
    task.look(datetime.now(UTC) + timedelta(seconds=31))
    assert told == ["STATUS=no heartbeat of receive, work"]

    told.clear()
    task.look(datetime.now(UTC) - an_hour)  # set back again, and no beat since
    assert told == ["STATUS=no heartbeat of receive, work"]


def test_beats_of_processes_that_ran_before_count_for_nothing(
    task: ServiceTask, told: list[str]
) -> None:
    receiver, worker = heart(task, "receive"), heart(task, "work")
    receiver.note(MAIN)
    receiver._write()
    worker._write()
    task.started_at = datetime.now(UTC) + timedelta(seconds=1)
    task.began_s = time.monotonic() + 1
    task.look(datetime.now(UTC))

    assert "READY=1" not in told
