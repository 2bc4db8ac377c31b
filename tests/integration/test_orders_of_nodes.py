"""Claims about orders to whole nodes: killed between order and execution, and two of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import SERIES_UID, save
from support.installed_node import PATIENCE_S, InstalledNode, free_port
from support.node_parts import PORT_OF_NONE, Part
from support.pacs import Pacs
from support.postgres import running_postgres
from support.small_node import result_pacs, small_config
from support.waiting import wait_until

from dicom_node.node.history import series_history
from dicom_node.node.orders import place
from dicom_node.peers.association import Peer
from dicom_node.peers.store import send
from dicom_node.persistence.rows import OrderKind, OrderRow, SeriesState
from dicom_node.settings.node import NodeConfig

MSK_NODE = str(Path(sys.executable).parent / "msk-node")


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


def objects(pacs: Pacs) -> set[str]:
    """The SOP Instance UIDs that came."""
    return {uid for uid, _, _ in pacs.received}


def states(config: NodeConfig) -> list[SeriesState]:
    return [each.row.state for each in series_history(config, SERIES_UID).revisions]


def orders(config: NodeConfig) -> list[OrderRow]:
    found = series_history(config, SERIES_UID).revisions
    return [order for each in found for order in each.orders]


def test_an_order_outlives_every_kill_and_is_done_once(tmp_path: Path, pacs: Pacs) -> None:
    """Given to a node that is down, which is then killed as soon as it has taken it."""
    config = small_config(tmp_path, pacs.port, node={"port": free_port()})
    node = InstalledNode(tmp_path, config)
    try:
        node.start()
        send(node.peer, save(source_datasets(), tmp_path / "series"))
        wait_until(lambda: states(config) == [SeriesState.REPORTED], PATIENCE_S, "answered")
        wait_until(lambda: len(objects(pacs)) == 2, PATIENCE_S, "sent")
        node.kill()
        settings = tmp_path / "node.toml"
        settings.write_text(
            f"[node]\nspool = '{config.node.spool}'\nwork = '{config.node.work}'\n"
            f"results = '{config.node.results}'\ndatabase = '{config.node.database_path}'\n"
        )
        command = [MSK_NODE, "reanalyse", "--series", SERIES_UID, "--config", str(settings)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert done.stdout == "reanalyse ordered for 1 series\n"
        node.start()
        wait_until(lambda: orders(config)[0].done_at, PATIENCE_S, "the order is taken")
        node.kill()
        node.start()
        # What was under way at a kill may come once more: it is the same object.
        wait_until(lambda: len(objects(pacs)) == 4, PATIENCE_S, "the new revision is sent")
    finally:
        node.kill()

    assert states(config) == [SeriesState.REPORTED, SeriesState.REPORTED]
    (order,) = orders(config)
    assert order.outcome == "it is analysed again, as revision 2"


def test_an_analysis_is_cancelled_whichever_worker_it_runs_in(
    tmp_path: Path, pacs: Pacs
) -> None:
    """Two workers share a server; one alone carries out orders, and either may analyse."""
    with running_postgres() as server:
        parts = []
        for name, role in (("desk", "receive"), ("a", "work"), ("b", "work")):
            node = {
                "database": server.url,
                "name": name,
                "port": free_port() if role == "receive" else PORT_OF_NONE,
            }
            config = small_config(tmp_path, pacs.port, node=node)
            parts.append(Part.start(tmp_path, name, config, "--role", role, "--slow", "600"))
        try:
            desk, *workers = parts
            for worker in workers:
                wait_until(lambda w=worker: w.events("engine.started"), PATIENCE_S, "it works")
            peer = Peer("node", "MSKNODE", "127.0.0.1", desk.config.node.port, "CT1")
            send(peer, save(source_datasets(), tmp_path / "series"))
            wait_until(
                lambda: any(each.events("analysis.progress") for each in workers),
                PATIENCE_S,
                "an analysis runs",
            )
            one = [(SERIES_UID, 1)]
            assert place(desk.config, OrderKind.CANCEL, one, by="jane") == 1
            wait_until(
                lambda: any(each.events("series.cancelled") for each in workers),
                PATIENCE_S,
                "its worker has ended it",
            )
            assert states(desk.config) == [SeriesState.CANCELLED]
            assert not pacs.received
        finally:
            for part in parts:
                part.signal(signal.SIGKILL)
                part.process.wait()
