"""Claims about a node that is stopped with work under way, and goes on as this version.

The node before is the code of an earlier commit, run in processes of its own. Its analysis
is the fast one; receiver, watcher, engine, objects and delivery of both are real.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import save
from support.installed_node import SERVE, free_port
from support.pacs import Pacs
from support.previous_node import PreviousNode, previous_node
from support.small_node import result_pacs, write_small_bundle
from support.waiting import wait_until

from dicom_node.errors import ConfigurationError, PeerError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import DeliveryRow, DeliveryState, SeriesRow, SeriesState
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import NodeConfig

PATIENCE_S = 240.0
"""For machines that do much else; on an idle one each wait ends within seconds."""
NODE_TOML = """
[node]
port = {port}
spool = "spool"
work = "work"
results = "results"
database = "db"

[receive]
free_reserve_mb = 0

[completion]
quiet_s = 4
give_up_s = 600

[analysis]
bundle = "{bundle}"
device = "cpu"

[delivery]
first_wait_s = 0.2
max_wait_s = 1
timeout_s = 5

[logging]
format = "json"
level = "debug"

[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs}
confirm = "commitment"

[[destinations]]
name = "second"
ae_title = "PACS"
host = "127.0.0.1"
port = {second}
"""
ARRIVING, QUEUED, ANALYSING, ANALYSED, SENT, LATE = (f"1.2.840.99999.11.{n}" for n in range(6))
"""Series, by what the node has done about them when it is stopped. LATE has been answered,
and one more image of it has come since."""


@dataclass(slots=True)
class Site:
    """One installation, and the process that runs it at the moment, of whatever version."""

    folder: Path
    before: PreviousNode
    config: NodeConfig
    process: subprocess.Popen[bytes] | None = None

    def start_before(self) -> None:
        """Start the earlier version, and see that it is."""
        settings = self.folder / "before.json"
        settings.write_text(self.before.settings(self.folder / "node.toml"))
        node = self.config.node
        environment = self.before.environment(self.gates, node.work, node.results)
        self._start(self.before.serve, settings, environment)
        wait_until(lambda: self._plays(b"dicom_node.roles"), PATIENCE_S, "its roles play")

    def start_now(self) -> None:
        """Start this version."""
        settings = self.folder / "now.json"
        settings.write_text(self.config.model_dump_json())
        self._start(SERVE, settings, dict(os.environ))
        wait_until(lambda: self._plays(b"dicom_node.node.roles"), PATIENCE_S, "its roles play")

    def stop(self) -> None:
        """Ask it to end."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout=PATIENCE_S) == 0

    def kill(self) -> None:
        """SIGKILL to the node and all its children at once, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def gates(self) -> Path:
        """Files that hold the earlier version's processes; see `pausing`."""
        return self.folder / "gates"

    @property
    def log(self) -> Path:
        """Everything that both have written to their output."""
        return self.folder / "log"

    def send(self, images: Sequence[Path]) -> None:
        """Send images as a scanner does."""
        assert all(outcome.stored for outcome in send(self._peer, images))

    def handed_over(self, uid: str, revision: int) -> bool:
        """Whether a revision of a series has been taken by the queue."""
        marker = self.config.node.spool / uid / "handed-over.json"
        if not marker.exists():
            return False
        revisions = json.loads(marker.read_text())["revisions"]
        return any(each["revision"] == revision and each["done"] for each in revisions)

    def series(self) -> dict[tuple[str, int], SeriesState]:
        """How far every revision of every series has come."""
        rows = self._read()[0]
        return {(row.series_instance_uid, row.revision): row.state for row in rows}

    def deliveries(self, destination: str) -> tuple[DeliveryRow, ...]:
        """All that is on its way to a destination, or was."""
        return tuple(row for row in self._read()[1] if row.destination == destination)

    def _read(self) -> tuple[tuple[SeriesRow, ...], tuple[DeliveryRow, ...]]:
        try:
            ledger = existing_ledger(self.config.node.database_url)
        except ConfigurationError:
            ledger = self._copy_of_this_version()
        if ledger is None:
            return (), ()
        try:
            return ledger.all_series(), ledger.deliveries()
        finally:
            ledger.close()

    def _copy_of_this_version(self) -> Ledger:
        """The ledger of the earlier version, brought up apart from it."""
        assert self.config.node.database_path is not None
        copy = self.folder / "copy"
        copy.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(self.config.node.database_path)) as database,
            closing(sqlite3.connect(copy)) as target,
        ):
            database.backup(target)
        return Ledger(f"sqlite:///{copy}")

    def _start(self, serve: str, settings: Path, environment: dict[str, str]) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, serve, str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,  # not the checkout: `python -m` looks there first
                env=environment,
            )
        wait_until(self._answers, PATIENCE_S, f"the node answers ({self.log})")

    @property
    def _peer(self) -> Peer:
        return Peer("node", "MSKNODE", "127.0.0.1", self.config.node.port, "CT1")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            echo(self._peer)
        except PeerError:
            return False
        return True

    def _plays(self, module: bytes) -> bool:
        """Whether the node's two roles are processes of this module."""
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = task.read_text().split()
        words = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children]
        return len(words) == 2 and all(module in each for each in words)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> PreviousNode:
    return previous_node(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Every series' images in the order of their places."""
    found = {}
    for uid in (ARRIVING, QUEUED, ANALYSING, ANALYSED, SENT, LATE):
        datasets = source_datasets(SeriesInstanceUID=uid, StudyInstanceUID=f"{uid}.1")
        if uid == LATE:  # the fast analysis knows twelve places; this one is there twice
            datasets.append(deepcopy(datasets[-1]))
        for number, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = f"{uid}.2.{number}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        found[uid] = save(datasets, tmp_path_factory.mktemp("series"))
    return found


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """Takes everything and commits to it, but reports on nothing by itself."""
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def site(tmp_path: Path, before: PreviousNode, bundle: Path, pacs: Pacs) -> Iterator[Site]:
    ports = {"port": free_port(), "pacs": pacs.port, "second": free_port()}
    settings = tmp_path / "node.toml"
    settings.write_text(NODE_TOML.format(bundle=bundle, **ports))
    site = Site(tmp_path, before, load_config(settings))
    site.gates.mkdir()
    pacs.report_port = ports["port"]
    yield site
    site.kill()


def bring_under_way(site: Site, images: dict[str, list[Path]], pacs: Pacs) -> None:
    """Let the earlier version work until a series is in each state."""
    site.start_before()
    site.send([*images[SENT], *images[LATE][:-1]])
    wait_until(lambda: len(pacs.asked) == 2, PATIENCE_S, "two series await commitment")
    (site.gates / "hold-publishing").touch()
    site.send(images[ANALYSED])
    wait_until((site.gates / "at-publishing").exists, PATIENCE_S, "one is being published")
    (site.gates / "hold-segmenting").touch()
    site.send(images[ANALYSING])
    wait_until((site.gates / "at-segmenting").exists, PATIENCE_S, "one is being analysed")
    site.send([*images[QUEUED], images[LATE][-1]])
    site.send([*images[ARRIVING][:3], *images[ARRIVING][-3:]])
    wait_until(lambda: site.handed_over(QUEUED, 1), PATIENCE_S, "one is queued")
    wait_until(lambda: site.handed_over(LATE, 2), PATIENCE_S, "the second revision is queued")


def assert_is_under_way(site: Site) -> None:
    """The states are those that the takeover is about."""
    assert site.series() == {
        (QUEUED, 1): SeriesState.RECEIVED,
        (ANALYSING, 1): SeriesState.RECEIVED,
        (ANALYSED, 1): SeriesState.SEGMENTED,
        (SENT, 1): SeriesState.REPORTED,
        (LATE, 1): SeriesState.REPORTED,
        (LATE, 2): SeriesState.RECEIVED,
    }
    assert not (site.config.node.spool / ARRIVING / "handed-over.json").exists()
    assert list((site.config.node.work / ANALYSED).glob("1/*/outcome.json"))
    assert not list((site.config.node.work / ANALYSING).glob("1/*/outcome.json"))
    assert all(row.is_unconfirmed for row in site.deliveries("pacs"))
    undelivered = {row.state for row in site.deliveries("second")}
    assert undelivered <= {DeliveryState.WAITING, DeliveryState.HELD}


def is_done(site: Site) -> bool:
    """Whether every series is answered, and every object where it should be."""
    states, sent, kept = site.series(), site.deliveries("second"), site.deliveries("pacs")
    return (
        len(states) == 7
        and set(states.values()) == {SeriesState.REPORTED}
        and {row.state for row in kept} == {DeliveryState.CONFIRMED}
        and {row.state for row in sent} == {DeliveryState.SENT}
        and {row.group[:2] for row in kept} == {row.group[:2] for row in sent} == set(states)
    )


@pytest.mark.parametrize("end", ["in order", "by a power cut"])
def test_what_an_earlier_version_left_under_way_ends_once(
    end: str, site: Site, images: dict[str, list[Path]], pacs: Pacs
) -> None:
    """Half received, queued, in analysis, analysed, half delivered, unconfirmed, revised."""
    bring_under_way(site, images, pacs)
    if end == "in order":
        site.stop()
    else:
        site.kill()
    assert_is_under_way(site)
    delivered_before = {uid for uid, _, _ in pacs.received}

    pacs.reports = "same"
    _, second = site.config.destinations
    with result_pacs(port=second.port).running() as archive:
        site.start_now()
        for request in pacs.asked[:2]:
            assert pacs.report(request) == 0x0000
        site.send(images[ARRIVING])
        wait_until(lambda: is_done(site), PATIENCE_S, f"all is done ({site.log})", 0.2)
        site.stop()

    assert '"event": "ledger.upgraded"' in site.log.read_text()
    assert [path.name for path in site.config.node.work.glob("[!.]*")] == []
    assert queue_states(site) <= {"SUCCESS", "DELAYED"}
    for peer, name in ((pacs, "pacs"), (archive, "second")):
        assert Counter(uid for uid, _, _ in peer.received) == Counter(
            row.sop_instance_uid for row in site.deliveries(name)
        )
    contents = {uid: data for uid, _, data in pacs.received}
    assert delivered_before < contents.keys()
    assert contents == {uid: data for uid, _, data in archive.received}


def queue_states(site: Site) -> set[str]:
    """DBOS's words for all jobs; one that waits to ask for a report that came is DELAYED."""
    assert site.config.node.database_path is not None
    with closing(sqlite3.connect(site.config.node.database_path)) as database:
        return {row[0] for row in database.execute("SELECT status FROM workflow_status")}
