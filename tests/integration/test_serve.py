"""Claims about the node as processes: started, asked to stop, killed, and started again.

The analysis is the fast one; receiver, inbox, engine, objects and delivery are real.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode
from support.cases import source_datasets
from support.ct import save
from support.installed_node import free_port
from support.pacs import Pacs
from support.small_node import result_pacs, small_config, write_small_bundle
from support.waiting import wait_until

from dicom_node.delivery.release import release
from dicom_node.errors import PeerError
from dicom_node.node.status import node_status
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.settings.node import NodeConfig

PATIENCE_S = 180.0
"""For machines that do much else; on an idle one each wait ends within seconds."""

SERVE = str(Path(__file__).parents[1] / "support" / "serve_small.py")


@dataclass(slots=True)
class Node:
    """One installation of a node, and the process that runs it at the moment."""

    folder: Path
    config: NodeConfig
    process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        self.process = self.spawn(*options, stdout=subprocess.DEVNULL)
        wait_until(self.answers, PATIENCE_S, f"the node answers ({self.folder}/log)")

    def spawn(self, *options: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start it; its log goes on in one file."""
        settings = self.folder / "node.json"
        settings.write_text(self.config.model_dump_json())
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, SERVE, str(settings), *options],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to the node and all its children at once, as a power cut would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=PATIENCE_S)

    @property
    def peer(self) -> Peer:
        """The node as a scanner sees it."""
        return Peer("node", "MSKNODE", "127.0.0.1", self.config.node.port, "CT1")

    def answers(self) -> bool:
        """Whether it answers C-ECHO."""
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            echo(self.peer)
        except PeerError:
            return False
        return True

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name in its log."""
        lines = (self.folder / "log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event["event"] == name]

    def is_done(self) -> bool:
        """Whether a series was reported and all its objects were sent."""
        status = node_status(self.config)
        sent = status.deliveries[DeliveryState.SENT]
        return status.series[SeriesState.REPORTED] == 1 and sent == 2


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture
def pacs(request: pytest.FixtureRequest) -> Iterator[Pacs]:
    """A peer; the parameter, if any, is what it answers to the first C-STOREs."""
    with result_pacs(statuses=getattr(request, "param", ())).running() as pacs:
        yield pacs


@pytest.fixture
def node(tmp_path: Path, pacs: Pacs, bundle: Path) -> Iterator[Node]:
    config = small_config(
        tmp_path,
        pacs.port,
        node={"port": free_port()},
        analysis={"bundle": str(bundle), "device": "cpu"},
    )
    node = Node(tmp_path, config)
    yield node
    if node.process is not None and node.process.poll() is None:
        node.kill()


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return save(source_datasets(), tmp_path / "series")


def assert_each_result_came_with_one_content(pacs: Pacs) -> None:
    """A repeated C-STORE of the same bytes changes nothing in an archive; other bytes would."""
    contents: dict[str, set[bytes]] = {}
    for uid, _, data in pacs.received:
        contents.setdefault(uid, set()).add(data)

    assert len(contents) == 2
    assert all(len(versions) == 1 for versions in contents.values())


def test_a_series_that_is_sent_comes_back_as_two_objects_and_the_node_ends_when_asked(
    node: Node, series: list[Path], pacs: Pacs
) -> None:
    node.start()
    assert all(outcome.stored for outcome in send(node.peer, series))
    wait_until(node.is_done, PATIENCE_S, "the results were sent")
    send(node.peer, series)
    children = [event["pid"] for event in node.events("role.started")]

    assert node.stop() == 0
    assert {event["role"] for event in node.events("role.ended")} == {"receive", "work"}
    assert len(pacs.received) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_node_with_a_table_of_grades_reports_them_and_one_with_another_opens_a_revision(
    node: Node, series: list[Path], pacs: Pacs, tmp_path: Path
) -> None:
    """The table is part of the settings that change results; the second has another grade."""
    table = tmp_path / "grades.csv"
    table.write_text("patient_id,side,grade,grader\nMSK0001,R,2,reader A\n")
    analysis = node.config.analysis.model_copy(update={"grader": str(table)})
    node.config = node.config.model_copy(update={"analysis": analysis})
    node.start()
    send(node.peer, series)
    wait_until(lambda: len(pacs.received) == 2, PATIENCE_S, "the results were sent")
    node.stop()
    table.write_text("patient_id,side,grade,grader\nMSK0001,R,3,reader A\n")
    node.start()
    send(node.peer, series)
    wait_until(lambda: len(pacs.received) == 4, PATIENCE_S, "a revision was sent")

    said = [grade_texts(data) for _, _, data in pacs.received]
    assert [words for words in said if words] == [
        f"Disease grade of the hips: right {grade}; left not graded (the table of grades has "
        "no row for this side). Graded by reader A."
        for grade in (2, 3)
    ]


def grade_texts(data: bytes) -> str:
    """What a report says of grades; nothing of another object."""
    dataset = decode(BytesIO(data), is_implicit_vr=False, is_little_endian=True)
    return next((one for one in _texts(dataset) if "of the hips" in one), "")


def _texts(item: Dataset) -> Iterator[str]:
    for child in item.get("ContentSequence", ()):
        yield str(child.get("TextValue", ""))
        yield from _texts(child)


def test_a_node_killed_while_receiving_takes_the_rest_and_answers_once(
    node: Node, series: list[Path], pacs: Pacs
) -> None:
    node.start()
    send(node.peer, series[:5])
    node.kill()
    node.start()
    send(node.peer, series)
    wait_until(node.is_done, PATIENCE_S, "the results were sent")

    assert_each_result_came_with_one_content(pacs)


def test_a_node_killed_while_segmenting_segments_again_and_answers_once(
    node: Node, series: list[Path], pacs: Pacs
) -> None:
    node.start("--slow", "600")
    send(node.peer, series)
    wait_until(lambda: node.events("analysis.progress"), PATIENCE_S, "the analysis runs")
    node.kill()
    node.start()
    wait_until(node.is_done, PATIENCE_S, "the results were sent")

    assert_each_result_came_with_one_content(pacs)


def test_a_node_killed_while_delivering_sends_the_same_bytes_after_its_restart(
    node: Node, series: list[Path], pacs: Pacs
) -> None:
    pacs.stalled.set()
    node.start()
    send(node.peer, series)
    wait_until(lambda: pacs.associations, PATIENCE_S, "the delivery has begun")
    node.kill()
    pacs.stalled.clear()
    pacs.released.set()
    node.start()
    wait_until(node.is_done, PATIENCE_S, "the results were sent")

    assert_each_result_came_with_one_content(pacs)


def test_killing_the_supervisor_alone_ends_its_children_and_the_node_can_start_again(
    node: Node, series: list[Path], pacs: Pacs
) -> None:
    node.start("--slow", "600")
    send(node.peer, series)
    wait_until(lambda: node.events("analysis.progress"), PATIENCE_S, "the analysis runs")
    children = [event["pid"] for event in node.events("role.started")]
    assert node.process is not None
    node.process.kill()
    node.process.wait()
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in children),
        PATIENCE_S,
        "the children are gone",
    )
    node.start()
    wait_until(node.is_done, PATIENCE_S, "the results were sent")

    assert_each_result_came_with_one_content(pacs)


def test_a_worker_that_dies_is_started_again_and_loses_nothing(
    node: Node, series: list[Path], pacs: Pacs
) -> None:
    node.start("--slow", "2")
    send(node.peer, series)
    wait_until(lambda: node.events("analysis.progress"), PATIENCE_S, "the analysis runs")
    worker = next(e["pid"] for e in node.events("role.started") if e["key"] == "work")
    os.kill(worker, signal.SIGKILL)
    wait_until(node.is_done, PATIENCE_S, "the results were sent")

    assert [event["key"] for event in node.events("role.lost")] == ["work"]
    assert_each_result_came_with_one_content(pacs)


def test_a_second_node_on_the_same_database_is_refused(node: Node) -> None:
    node.start()
    assert node.process is not None
    second = node.spawn()
    words, _ = second.communicate(timeout=PATIENCE_S)

    assert second.returncode == 3
    assert words.startswith(f"EngineBusyError: another node (process {node.process.pid}) uses")


def test_a_port_that_is_taken_is_named(node: Node) -> None:
    with socket.create_server(("127.0.0.1", node.config.node.port)):
        process = node.spawn()
        words, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 3
    assert words.startswith("ConfigurationError: node.port: cannot listen on 127.0.0.1:")


def test_a_bundle_that_is_not_there_is_named(node: Node) -> None:
    missing = node.config.analysis.model_copy(update={"bundle": "/nowhere/bundle"})
    node.config = node.config.model_copy(update={"analysis": missing})
    process = node.spawn()
    words, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 3
    assert "/nowhere/bundle" in words


def test_the_log_carries_no_patient_data(node: Node, series: list[Path]) -> None:
    """The name, the identifier, the birth date and the accession number of the series."""
    node.start()
    send(node.peer, series)
    wait_until(node.is_done, PATIENCE_S, "the results were sent")
    node.stop()
    log = (node.folder / "log").read_text()

    assert "store.kept" in log
    for secret in ("Yamada", "MSK0001", "19510203", "A-4711", "Suzuki"):
        assert secret not in log
    assert not [line for line in log.splitlines() if not line.startswith("{")]
    assert '"dropped"' not in log


@pytest.mark.parametrize("pacs", [[0x0124]], indirect=True)
def test_a_node_asks_for_commitment_and_takes_the_report_and_a_release_while_it_runs(
    node: Node, series: list[Path], pacs: Pacs
) -> None:
    """The archive allows nothing at first; the node is killed between request and report."""
    pacs.report_port = node.config.node.port
    (peer,) = node.config.destinations
    node.config = node.config.model_copy(
        update={
            "destinations": (peer.model_copy(update={"confirm": "commitment"}),),
            "delivery": node.config.delivery.model_copy(update={"hold_after": 1}),
        }
    )
    node.start()
    send(node.peer, series)
    wait_until(lambda: deliveries(node)[DeliveryState.HELD] == 2, PATIENCE_S, "it is held")

    ledger = Ledger(node.config.node.database_url)
    assert release(ledger, datetime.now(UTC), destination="pacs") == 2
    ledger.close()
    wait_until(lambda: len(pacs.asked) == 1, PATIENCE_S, "commitment is asked for")
    wait_until(node.is_done, PATIENCE_S, "all is sent")
    node.kill()
    node.start()
    assert pacs.report(pacs.asked[0]) == 0x0000
    wait_until(
        lambda: deliveries(node)[DeliveryState.CONFIRMED] == 2, PATIENCE_S, "it is confirmed"
    )
    assert_each_result_came_with_one_content(pacs)


def deliveries(node: Node) -> Mapping[DeliveryState, int]:
    return node_status(node.config).deliveries
