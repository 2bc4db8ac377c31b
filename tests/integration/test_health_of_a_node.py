"""Claims about a node that runs: what `health` says of it, and what it tells by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.hook_server import HookServer, hook_server
from support.installed_node import InstalledNode, free_port
from support.small_node import small_config
from support.waiting import wait_until

from dicom_node.monitoring.alarms import Alarm
from dicom_node.node.health import Health, node_health

HANGING = str(Path(__file__).parents[1] / "support" / "hanging")
MSK_NODE = str(Path(sys.executable).parent / "msk-node")
WITHIN_S = 120.0
STUCK_S = 10.0
"""Long enough for a machine that does much else, short enough for a test."""


@dataclass
class Watched:
    """A node that runs, and where it posts its alarms to."""

    node: InstalledNode
    hook: HookServer
    gate: Path

    def health(self) -> Health:
        """Its health, as any program beside it sees it."""
        return node_health(self.node.config, datetime.now(UTC))

    def alarm(self, subject: str) -> Alarm | None:
        """The alarm about a process."""
        return next((each for each in self.health().alarms if each.subject == subject), None)

    def wait_for(self, subject: str) -> Alarm:
        """The alarm about a process, once it is there."""
        wait_until(lambda: self.alarm(subject), WITHIN_S, f"an alarm about {subject}", 0.3)
        found = self.alarm(subject)
        assert found is not None
        return found

    def is_well(self) -> bool:
        """Whether all moves again, and the worker has begun to work."""
        found = self.health()
        roles = {each.role for each in found.processes if each.words == "moves"}
        return found.is_healthy and roles == {"supervise", "receive", "work"}

    def said(self, *options: str) -> tuple[int, dict[str, Any]]:
        """What the command says, and its exit code."""
        settings = self.node.folder / "node.toml"
        command = [MSK_NODE, "health", "--json", "--config", str(settings), *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    gate = folder / "hang"
    with hook_server() as hook:
        config = small_config(
            folder,
            None,
            node={"port": free_port()},
            alarms={"stuck_s": STUCK_S, "webhook": {"url": hook.url}},
        )
        names = ("spool", "work", "results")
        table = [f"{name} = '{getattr(config.node, name)}'" for name in names]
        (folder / "node.toml").write_text(
            "\n".join(["[node]", *table, f"database = '{config.node.database}'"])
            + f"\n[receive]\nfree_reserve_mb = 0\n[alarms]\nstuck_s = {STUCK_S}\n"
        )
        environment = {"PYTHONPATH": HANGING, "MSK_TEST_HANG": str(gate)}
        node = InstalledNode(folder, config, environment)
        node.start()
        found = Watched(node, hook, gate)
        try:
            yield found
        finally:
            gate.unlink(missing_ok=True)
            node.kill()


@pytest.fixture(autouse=True)
def well(watched: Watched) -> None:
    """Each claim begins with a node that is well."""
    assert watched.node.process is not None
    if watched.node.process.poll() is not None:
        watched.node.start()
    wait_until(watched.is_well, WITHIN_S, "the node is well", 0.3)


def test_a_node_that_works_is_healthy_and_has_told_nobody_anything(watched: Watched) -> None:
    loops = {"watcher", "poll", "purge", "main thread", "queue gpu", "queue deliver"}

    def noted() -> set[str]:
        work = next(each for each in watched.health().processes if each.role == "work")
        return set(work.loops)

    # A loop is there once it has begun, which need not be before its process's first beat.
    wait_until(lambda: loops <= noted(), WITHIN_S, "every loop has begun", 0.3)
    code, said = watched.said()

    assert (code, said["is_healthy"], said["alarms"]) == (0, True, [])
    assert watched.hook.posts == []


def test_a_frozen_worker_is_found_and_told_while_c_echo_answers(watched: Watched) -> None:
    worker = watched.node.role("work")
    os.kill(worker, signal.SIGSTOP)
    try:
        alarm = watched.wait_for("node work")
        code, said = watched.said()
        is_answered = watched.node.answers()
        # The worker cannot say so itself: its supervisor does.
        wait_until(lambda: "process-stuck" in watched.hook.kinds(), WITHIN_S, "it is told", 0.3)
    finally:
        os.kill(worker, signal.SIGCONT)

    assert is_answered
    assert "frozen" in alarm.reason
    assert (code, said["is_running"]) == (7, True)
    assert [each["kind"] for each in said["alarms"]] == ["process-stuck"]
    assert watched.hook.posts[0]["began"][0]["subject"] == "node work"


def test_a_frozen_receiver_is_found(watched: Watched) -> None:
    receiver = watched.node.role("receive")
    os.kill(receiver, signal.SIGSTOP)
    try:
        alarm = watched.wait_for("node receive")
    finally:
        os.kill(receiver, signal.SIGCONT)

    assert alarm.kind == "process-stuck"


def test_a_loop_that_hangs_in_a_process_that_lives_is_found_and_named(
    watched: Watched,
) -> None:
    watched.gate.touch()
    try:
        alarm = watched.wait_for("node work")
        work = next(each for each in watched.health().processes if each.role == "work")
    finally:
        watched.gate.unlink()

    assert alarm.reason.startswith("watcher: not moved since")
    assert work.is_alive
    assert (datetime.now(UTC) - work.beat_at).total_seconds() < STUCK_S


def test_a_worker_that_is_killed_comes_back_and_nobody_is_woken_for_it(
    watched: Watched,
) -> None:
    told = len(watched.hook.posts)
    worker = watched.node.role("work")
    os.kill(worker, signal.SIGKILL)

    wait_until(lambda: watched.node.role("work") != worker, WITHIN_S, "it is started anew")
    wait_until(watched.is_well, WITHIN_S, "the node is well again", 0.3)
    began = [each for post in watched.hook.posts[told:] for each in post["began"]]
    assert "process-gone" not in [each["kind"] for each in began]


def test_a_killed_node_is_told_from_one_that_ended_in_order(watched: Watched) -> None:
    watched.node.kill()
    code, said = watched.said()
    assert code == 8
    assert "killed or crashed" in said["words"]
    assert [each["kind"] for each in said["alarms"]] == ["process-gone"]

    watched.node.start()
    wait_until(watched.is_well, WITHIN_S, "the node is well again", 0.3)
    assert watched.node.process is not None
    watched.node.process.terminate()
    assert watched.node.process.wait(WITHIN_S) == 0

    code, said = watched.said()
    assert (code, said["alarms"]) == (8, [])
    assert "ended in order" in said["words"]
