"""Claims about an update from the version before, and about the way back, with cases under way.

The node before is the code of an earlier commit, run in processes of its own.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.installed_node import InstalledNode, free_port
from support.previous_node import LAST_BEFORE_OPERATION, PreviousNode, previous_node
from support.small_node import result_pacs, write_small_bundle
from support.under_way import (
    ANALYSED,
    ANALYSING,
    ARRIVING,
    LOOK_S,
    NODE_TOML,
    PATIENCE_S,
    QUEUED,
    Site,
    bring_under_way,
    deliveries,
    held,
    installed,
    is_done,
    series_images,
)
from support.waiting import wait_until

from dicom_node.peers.store import send
from dicom_node.persistence.rows import SeriesState

ROOT = Path(__file__).parents[2]
BACK = ROOT / "deploy" / "ledger" / "0005-to-0004.sql"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> PreviousNode:
    return previous_node(tmp_path_factory.mktemp("before"), LAST_BEFORE_OPERATION)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    write_small_bundle(tmp_path / "bundle")
    strict = result_pacs(statuses=[0x0122] * 1000)
    with result_pacs().running() as pacs, strict.running():
        ports = {"port": free_port(), "away": free_port(), "pacs": pacs.port}
        text = NODE_TOML.format(strict=strict.port, database="node.sqlite", **ports)
        (tmp_path / "node.toml").write_text(text)
        site = Site(installed(tmp_path), pacs, strict, series_images())
        yield site
        site.node.kill()


def start_before(node: InstalledNode, before: PreviousNode) -> None:
    """Start the earlier version on the same folders, and wait until it answers."""
    settings = node.folder / "before.json"
    settings.write_text(before.settings(node.folder / "node.toml"))
    gates, config = node.folder / "gates", node.config.node
    with node.log.open("a") as log:
        node.process = subprocess.Popen(
            [sys.executable, before.serve, str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=node.folder,
            env=before.environment(gates, config.work, config.results),
        )
    wait_until(node.answers, PATIENCE_S, f"the earlier version answers ({node.log})")


def ledger_version(node: InstalledNode) -> str:
    """The version that the database says it has."""
    path = node.config.node.database_path
    assert path is not None
    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("SELECT version_num FROM ledger_version").fetchone()[0])


def open_gates(node: InstalledNode) -> None:
    """Let go of what is held at a moment."""
    for gate in (node.folder / "gates").glob("hold-*"):
        gate.unlink()


def test_cases_under_way_end_once_through_an_update_the_way_back_and_an_update_again(
    site: Site, before: PreviousNode
) -> None:
    """0004, killed; 0005, killed likewise; back to 0004; on to 0005, which ends all."""
    node = site.node
    start_before(node, before)
    bring_under_way(site)
    assert ledger_version(node) == "0004"
    node.kill()

    node.start()
    wait_until(node.works, PATIENCE_S, "the new version works", LOOK_S)
    assert ledger_version(node) == "0005"
    wait_until(lambda: held(site) >= 2, PATIENCE_S, "what was held is held again", LOOK_S)
    assert site.states()[ANALYSED] is SeriesState.SEGMENTED
    node.kill()

    start_before_is_refused(node, before)
    path = node.config.node.database_path
    assert path is not None
    with closing(sqlite3.connect(path)) as database:
        database.executescript(BACK.read_text())
    start_before(node, before)
    wait_until(
        lambda: site.states()[QUEUED] is SeriesState.RECEIVED, PATIENCE_S, "it goes on", LOOK_S
    )
    node.kill()

    open_gates(node)
    away = result_pacs(port=node.config.destinations[1].port)
    with away.running():
        node.start()
        assert all(each.stored for each in send(node.peer, site.images[ARRIVING][3:-3]))
        wait_until(lambda: is_done(node), PATIENCE_S, f"all is done ({node.log})", LOOK_S)
    node.kill()
    assert ledger_version(node) == "0005"
    assert site.states()[ANALYSING] is SeriesState.REPORTED
    wanted = deliveries(node)
    assert sorted(uid for uid, _, _ in site.pacs.received) == sorted(wanted["pacs"])
    contents = {uid: data for uid, _, data in site.pacs.received}
    assert contents == {uid: data for uid, _, data in away.received}


def start_before_is_refused(node: InstalledNode, before: PreviousNode) -> None:
    """The earlier version does not touch a newer ledger, and says so."""
    settings = node.folder / "before.json"
    done = subprocess.run(
        [sys.executable, before.serve, str(settings)],
        check=False,
        capture_output=True,
        text=True,
        cwd=node.folder,
        env=before.environment(
            node.folder / "gates", node.config.node.work, node.config.node.results
        ),
        timeout=PATIENCE_S,
    )
    assert done.returncode == 3
    assert "made by a newer msk-node" in done.stdout
