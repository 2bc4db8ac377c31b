"""Claims about the reserve: what work, results and database leave free, and what waits for it.

The disks are real ones (a small tmpfs; root), and so are the processes.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.cases import source_datasets
from support.ct import save
from support.installed_node import PATIENCE_S, InstalledNode, install, mounted_disk
from support.pacs import Pacs
from support.small_node import result_pacs, write_small_bundle
from support.stopping import stop
from support.waiting import wait_until

from dicom_node.commands.status_tables import render
from dicom_node.node.status import node_status
from dicom_node.peers.store import send
from dicom_node.persistence.rows import DeliveryState, SeriesState

RESERVE_MB = 8


@dataclass(slots=True)
class Scene:
    """A node on a small disk, its archive, and what else lies on its disks."""

    node: InstalledNode
    pacs: Pacs
    folder: Path

    def send(self) -> None:
        """A series, every image of it taken."""
        outcomes = send(self.node.peer, save(source_datasets(), self.folder / "series"))
        assert all(each.stored for each in outcomes)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What its log says under one name."""
        return [event for event in self.node.events() if event["event"] == name]

    def status(self) -> str:
        """What `msk-node status` prints, on one line."""
        out = StringIO()
        Console(file=out, width=240).print(render(node_status(self.node.config)))
        return " ".join(re.sub("[│┃]", " ", out.getvalue()).split())

    def is_in(self, state: SeriesState) -> bool:
        """Whether the series has come so far."""
        return node_status(self.node.config).series[state] == 1

    def is_sent(self) -> bool:
        """Whether both results are where they belong."""
        return node_status(self.node.config).deliveries[DeliveryState.SENT] == 2


def leave_free(folder: Path, megabytes: float) -> Path:
    """Put so much on a disk that no more than this is free; the file to be deleted again."""
    ballast = folder / "ballast"
    seen = os.statvfs(folder)
    size = seen.f_bavail * seen.f_frsize - int(megabytes * 2**20)
    assert size > 0
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with mounted_disk(tmp_path / "disk") as is_disk, result_pacs().running() as pacs:
        if not is_disk:
            stop("not root: no disk can be mounted")
        bundle = write_small_bundle(tmp_path / "bundle")
        sections = {"receive": {"free_reserve_mb": RESERVE_MB}}
        node = install(tmp_path, pacs.port, bundle, sections)
        (peer,) = node.config.destinations
        peer = peer.model_copy(update={"confirm": "no"})
        node.config = node.config.model_copy(update={"destinations": (peer,)})
        yield Scene(node, pacs, tmp_path)
        node.kill()


def test_an_analysis_waits_for_room_and_no_try_is_used_up(scene: Scene) -> None:
    """What is kept free was filled by the case, and the worker died five times."""
    scene.node.start()
    scene.send()
    ballast = leave_free(scene.folder / "disk", RESERVE_MB - 1)
    wait_until(lambda: scene.events("room.short"), PATIENCE_S, "the analysis waits")
    wait_until(lambda: "Series without room" in scene.status(), PATIENCE_S, "status says so")

    assert "MB more must be free for spool, work, results, database" in scene.status()
    assert "short of room spool, work, results, database" in scene.status()
    assert scene.events("analysis.ended") == []
    ballast.unlink()
    wait_until(scene.is_sent, PATIENCE_S, "the results were sent")

    for event in ("role.lost", "analysis.lost", "job.failed"):
        assert scene.events(event) == []
    assert "short of room" not in scene.status()


def test_deliveries_go_on_while_analyses_wait(scene: Scene) -> None:
    scene.pacs.stalled.set()
    scene.node.start()
    scene.send()
    wait_until(lambda: scene.is_in(SeriesState.REPORTED), PATIENCE_S, "it was answered")
    leave_free(scene.folder / "disk", 2)
    scene.pacs.stalled.clear()
    scene.pacs.released.set()

    wait_until(scene.is_sent, PATIENCE_S, "the results were sent")
    assert "short of room" in scene.status()


def test_a_disk_of_work_alone_is_named_and_nothing_received_is_turned_away_for_it(
    scene: Scene,
) -> None:
    with mounted_disk(scene.folder / "disk" / "work") as is_disk:
        assert is_disk
        scene.node.start()
        ballast = leave_free(scene.folder / "disk" / "work", 1)
        scene.send()
        wait_until(lambda: "Series without room" in scene.status(), PATIENCE_S, "it waits")

        assert "MB more must be free for work" in scene.status()
        ballast.unlink()
        wait_until(scene.is_sent, PATIENCE_S, "the results were sent")


def test_a_worker_without_room_for_its_first_record_waits_instead_of_ending_again_and_again(
    scene: Scene,
) -> None:
    scene.node.start()
    scene.send()
    ballast = leave_free(scene.folder / "disk", 0)
    os.kill(scene.node.role("work"), signal.SIGKILL)
    wait_until(lambda: scene.events("role.lost"), PATIENCE_S, "it is missed")
    wait_until(lambda: scene.events("room.short"), PATIENCE_S, "it waits")
    ballast.unlink()
    wait_until(scene.is_sent, PATIENCE_S, "the results were sent")

    assert len(scene.events("role.lost")) == 1
