"""Claims about signals that administrators, terminals and service managers send to a node."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cases import source_datasets
from support.ct import save
from support.installed_node import PATIENCE_S, InstalledNode, free_port, install
from support.pacs import Pacs
from support.small_node import result_pacs, write_small_bundle
from support.waiting import wait_until

from dicom_node.node.status import node_status
from dicom_node.peers.store import send
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.settings.loading import load_config

MSK_NODE = str(Path(sys.executable).parent / "msk-node")
IGNORED = (
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGIO,
    signal.SIGRTMIN,
    signal.SIGRTMAX,
)
"""What would end a process that does not take it."""


@dataclass(slots=True)
class Scene:
    """A node in the middle of an analysis, and the archive that its results go to."""

    node: InstalledNode
    pacs: Pacs

    def processes(self) -> dict[str, int]:
        """Every process of the node, by what it does."""
        assert self.node.process is not None
        child = self.node.child()
        assert child is not None
        roles = {name: self.node.role(name) for name in ("receive", "work")}
        return {"supervise": self.node.process.pid, **roles, "analyse": child}

    def events(self, name: str) -> list[dict[str, Any]]:
        """What its log says under one name."""
        return [event for event in self.node.events() if event["event"] == name]

    def taken(self, name: str) -> set[tuple[str, str]]:
        """Which process has said what of which signal."""
        return {(event["role"], event["signal"]) for event in self.events(name)}

    def is_done(self) -> bool:
        """Whether the series was reported, and both results were sent."""
        status = node_status(self.node.config)
        sent = status.deliveries[DeliveryState.SENT]
        return status.series[SeriesState.REPORTED] == 1 and sent == 2


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with result_pacs().running() as pacs:
        bundle = write_small_bundle(tmp_path / "bundle")
        node = install(tmp_path, pacs.port, bundle, {"completion": {"quiet_s": 1.5}})
        (peer,) = node.config.destinations
        peer = peer.model_copy(update={"confirm": "no"})
        node.config = node.config.model_copy(update={"destinations": (peer,)})
        node.options = ("--slow", "6")
        scene = Scene(node, pacs)
        node.start()
        send(node.peer, save(source_datasets(), tmp_path / "series"))
        wait_until(lambda: scene.events("analysis.progress"), PATIENCE_S, "it is analysed")
        yield scene
        node.kill()


def test_a_signal_that_means_nothing_changes_nothing_in_any_process_and_is_told(
    scene: Scene,
) -> None:
    """SIGHUP ended the node within a tenth of a second, without a line.

    To its first process it means something now: without a file, that there is none to read.
    """
    processes = scene.processes()
    for pid in processes.values():
        for number in IGNORED:
            os.kill(pid, number)
    names = [signal.Signals(number).name for number in IGNORED]
    expected = {(role, name) for role in processes for name in names}
    expected -= {("supervise", "SIGHUP")}
    wait_until(
        lambda: scene.taken("signal.ignored") >= expected, PATIENCE_S, "each says of each"
    )
    wait_until(scene.is_done, PATIENCE_S, "the results were sent")

    assert scene.taken("signal.reloads") == {("supervise", "SIGHUP")}
    assert len(scene.events("settings.refused")) == 1
    assert scene.events("role.lost") == []
    assert scene.events("analysis.lost") == []
    assert scene.node.answers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_the_whole_group_is_an_orderly_end_that_uses_up_no_attempt(
    number: signal.Signals, scene: Scene
) -> None:
    """As a terminal sends INT and QUIT, and a service manager SIGTERM."""
    pids = scene.processes().values()
    assert scene.node.process is not None
    os.killpg(scene.node.process.pid, number)

    assert scene.node.process.wait(timeout=PATIENCE_S) == 0
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), PATIENCE_S, "all end"
    )
    assert ("supervise", number.name) in scene.taken("signal.ends")
    assert {event["role"] for event in scene.events("role.ended")} == {"receive", "work"}
    assert scene.events("analysis.lost") == []

    scene.node.options = ()
    scene.node.start()
    wait_until(scene.is_done, PATIENCE_S, "the results were sent")
    assert scene.events("analysis.lost") == []


def test_a_second_signal_does_not_disturb_the_orderly_end(scene: Scene) -> None:
    assert scene.node.process is not None
    for _ in range(2):
        scene.node.process.send_signal(signal.SIGINT)
        wait_until(lambda: scene.events("signal.ends"), PATIENCE_S, "the first was taken")

    assert scene.node.process.wait(timeout=PATIENCE_S) == 0
    assert {event["role"] for event in scene.events("role.ended")} == {"receive", "work"}


def test_a_role_that_is_told_to_end_does_so_in_order_and_is_started_again(
    scene: Scene,
) -> None:
    first = scene.node.role("receive")
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: scene.node.role("receive") != first, PATIENCE_S, "it is started again")
    wait_until(scene.node.answers, PATIENCE_S, "it answers")

    assert scene.taken("signal.ends") == {("receive", "SIGTERM")}
    assert [event["role"] for event in scene.events("role.ended")] == ["receive"]
    assert [event["exit_code"] for event in scene.events("role.lost")] == [0]


def test_an_analysis_that_is_told_to_end_does_so_and_is_tried_again(scene: Scene) -> None:
    scene.node.options = ()
    os.kill(scene.processes()["analyse"], signal.SIGTERM)
    wait_until(lambda: scene.events("analysis.lost"), PATIENCE_S, "the worker notices")

    assert [event["reason"] for event in scene.events("analysis.lost")] == [
        "it was told to end (SIGTERM)"
    ]
    wait_until(scene.is_done, PATIENCE_S, "the results were sent")


def test_a_terminal_that_is_closed_leaves_the_node_running(tmp_path: Path) -> None:
    """It gets SIGHUP, and its log an error for every line."""
    port = free_port()
    settings = tmp_path / "node.toml"
    settings.write_text(f"[node]\nport = {port}\n[receive]\nfree_reserve_mb = 0\n")
    terminal, end = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [MSK_NODE, "serve", "--config", str(settings)],
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - no other thread runs
    )
    os.close(end)
    node = InstalledNode(tmp_path, load_config(settings))
    node.process = process
    try:
        said = b""
        while b"receiver.started" not in said:
            said += os.read(terminal, 4096)
        os.close(terminal)
        wait_until(node.answers, PATIENCE_S, "it answers")
        process.send_signal(signal.SIGUSR1)
        for _ in range(3):
            assert node.answers()
        process.terminate()

        assert process.wait(timeout=PATIENCE_S) == 0
    finally:
        node.kill()


def test_signals_that_come_while_the_node_is_loading_are_taken_later(tmp_path: Path) -> None:
    """Ten times a second from its first command on, to all of its processes."""
    port = free_port()
    settings = tmp_path / "node.toml"
    settings.write_text(f"[node]\nport = {port}\n[receive]\nfree_reserve_mb = 0\n")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [MSK_NODE, "serve", "--config", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    node = InstalledNode(tmp_path, load_config(settings))
    node.process = process
    held = Path(f"/proc/{process.pid}/status")
    try:
        wait_until(lambda: _holds_back(held), PATIENCE_S, "the command has begun")

        def answers_while_it_is_signalled() -> bool:
            os.killpg(process.pid, signal.SIGHUP)
            return node.answers()

        wait_until(answers_while_it_is_signalled, PATIENCE_S, "it answers", every_s=0.1)
        text = (tmp_path / "log").read_text()
        process.terminate()

        assert process.wait(timeout=PATIENCE_S) == 0
        assert "signal.ignored" in text
        assert "role.lost" not in text
    finally:
        node.kill()


def _holds_back(status: Path) -> bool:
    """Whether a process holds SIGHUP back, or takes it."""
    masks = dict(line.split(":\t") for line in status.read_text().splitlines())
    return bool((int(masks["SigBlk"], 16) | int(masks["SigCgt"], 16)) & 1)
