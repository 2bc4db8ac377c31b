"""Claims about nodes that share a PostgreSQL server and their folders, as whole processes.

One only receives and the other two work; the analysis is the fast one, all else is real.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import save
from support.installed_node import free_port
from support.node_parts import PORT_OF_NONE, Part
from support.pacs import Pacs
from support.postgres import Postgres, running_postgres
from support.small_node import result_pacs, small_config
from support.waiting import wait_until

from dicom_node.errors import PeerError
from dicom_node.node.status import node_status
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.settings.node import NodeConfig

PATIENCE_S = 180.0
LEASE_S = 3.0


@pytest.fixture
def server() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def parts(tmp_path: Path, server: Postgres, pacs: Pacs) -> Iterator[list[Part]]:
    """A receiver, and two workers that take two seconds for an analysis."""
    parts = []
    for name, role in (("desk", "receive"), ("a", "work"), ("b", "work")):
        node = {
            "spool": "spool",
            "work": "work",
            "results": "results",
            "database": server.url,
            "name": name,
            "lease_s": LEASE_S,
            "port": free_port() if role == "receive" else PORT_OF_NONE,
        }
        config = small_config(tmp_path, pacs.port, node=node)
        parts.append(Part.start(tmp_path, name, config, "--role", role, "--slow", "2"))
    yield parts
    for part in parts:
        if part.process.poll() is None:
            part.signal(signal.SIGKILL)
            part.process.wait()


def test_a_worker_that_freezes_over_an_analysis_is_replaced_and_does_no_harm_when_it_thaws(
    parts: list[Part], pacs: Pacs, tmp_path: Path
) -> None:
    """It is alone with the analysis; only its worker is frozen, so that its device is free."""
    desk, *workers = parts
    peer = Peer("node", "MSKNODE", "127.0.0.1", desk.config.node.port, "CT1")
    wait_until(lambda: answers(peer), PATIENCE_S, "the receiver answers")
    for worker in workers:
        wait_until(lambda: worker.events("engine.started"), PATIENCE_S, "it works")  # noqa: B023
    send(peer, save(source_datasets(), tmp_path / "series"))
    wait_until(lambda: busy(workers), PATIENCE_S, "an analysis runs")
    (frozen,) = busy(workers)
    (other,) = (each for each in workers if each is not frozen)
    worker_pid = frozen.events("role.started")[0]["pid"]
    os.kill(worker_pid, signal.SIGSTOP)
    wait_until(lambda: is_done(other.config), PATIENCE_S, "the other one finishes")
    os.kill(worker_pid, signal.SIGCONT)
    wait_until(lambda: frozen.events("lease.lost"), PATIENCE_S, "the thawed one learns of it")
    wait_until(
        lambda: len(frozen.events("engine.started")) == 2, PATIENCE_S, "it is started again"
    )

    assert [event["key"] for event in other.events("worker.dead")] == [frozen.name]
    assert is_done(other.config)
    # However often an object came: two objects, each with one content.
    assert len({uid for uid, _, _ in pacs.received}) == 2
    assert len({(uid, data) for uid, _, data in pacs.received}) == 2


def test_two_workers_of_one_name_are_refused(parts: list[Part], tmp_path: Path) -> None:
    """On another machine the lock file would be free; the lease is not."""
    _, worker, _ = parts
    wait_until(lambda: worker.events("engine.started"), PATIENCE_S, "it works")
    node = worker.config.node.model_copy(update={"spool": tmp_path / "elsewhere"})
    config = worker.config.model_copy(update={"node": node})
    second = Part.start(tmp_path, "second", config, "--role", "work")

    assert second.process.wait(timeout=PATIENCE_S) == 3
    assert "another worker called 'a' works on this database" in second.log.read_text()


def answers(peer: Peer) -> bool:
    try:
        echo(peer)
    except PeerError:
        return False
    return True


def busy(workers: list[Part]) -> list[Part]:
    return [each for each in workers if each.events("analysis.progress")]


def is_done(config: NodeConfig) -> bool:
    status = node_status(config)
    sent = status.deliveries[DeliveryState.SENT]
    return status.series[SeriesState.REPORTED] == 1 and sent == 2
