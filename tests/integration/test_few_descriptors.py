"""Claims about a node whose account may have less of the system than its settings need."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ct import ct_stack, save
from support.installed_node import PATIENCE_S, InstalledNode, free_port
from support.raw_wire import association_request
from support.waiting import wait_until

from dicom_node.peers.store import send
from dicom_node.settings.loading import load_config

MSK_NODE = str(Path(sys.executable).parent / "msk-node")
DESCRIPTORS = 64
TAKEN = 5
REJECTED = bytes.fromhex("03 00 00000004 00 02 03 02")
"""Transient, by the service provider, local limit exceeded (PS3.8 Table 9-21)."""


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def soft_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InstalledNode]:
    """`msk-node serve` under a limit (the parameter), with the default of 64 associations."""
    settings = tmp_path / "node.toml"
    settings.write_text(
        f"[node]\nport = {free_port()}\n[receive]\nfree_reserve_mb = 0\n"
        '[logging]\nformat = "json"\n'
    )
    node = InstalledNode(tmp_path, load_config(settings))
    with node.log.open("wb") as log:
        node.process = subprocess.Popen(
            [MSK_NODE, "serve", "--config", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=request.param,  # noqa: PLW1509 - no other thread runs
        )
    wait_until(node.answers, PATIENCE_S, "it answers")
    yield node
    node.kill()


def ask(port: int, open_ones: contextlib.ExitStack) -> bytes:
    """The answer to a request for an association, which stays open."""
    line = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), 10.0))
    line.sendall(association_request())
    head = line.recv(6, socket.MSG_WAITALL)
    return head + line.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)


def reasons(node: InstalledNode, event: str) -> list[str]:
    return [each["reason"] for each in node.events() if each["event"] == event]


def titles(node: InstalledNode) -> list[str]:
    """The titles of those who were turned away, empty where they did not say."""
    events = node.events()
    return [each["calling_ae"] for each in events if each["event"] == "caller.turned_away"]


@pytest.mark.parametrize("node", [few_descriptors], indirect=True)
def test_more_associations_than_there_are_descriptors_for_are_rejected_at_once_and_told(
    node: InstalledNode, tmp_path: Path
) -> None:
    """The 31st waited for a minute, and nothing said why."""
    concern = f"file descriptors (ulimit -Hn): {TAKEN} associations are taken, not 64"
    assert any(concern in each for each in reasons(node, "limit.concern"))
    assert len(reasons(node, "receiver.limited")) == 1
    with contextlib.ExitStack() as open_ones:
        started = time.monotonic()
        answers = [ask(node.config.node.port, open_ones) for _ in range(64)]

        assert time.monotonic() - started < 20
        assert [answer[0] for answer in answers[:TAKEN]] == [2] * TAKEN
        assert answers[TAKEN:] == [REJECTED] * (64 - TAKEN)
    told = ["too many associations"] * (64 - TAKEN)
    wait_until(lambda: reasons(node, "caller.turned_away") == told, PATIENCE_S, "each is told")
    wait_until(node.answers, PATIENCE_S, "one is accepted again")
    series = save(ct_stack(), tmp_path / "series")
    assert all(each.stored for each in send(node.peer, series))


@pytest.mark.parametrize("node", [few_descriptors], indirect=True)
def test_a_caller_for_whom_no_descriptor_is_left_is_rejected_too(node: InstalledNode) -> None:
    """Connections that say nothing hold theirs until their time is up."""
    port = node.config.node.port
    with contextlib.ExitStack() as open_ones:
        for _ in range(DESCRIPTORS):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port), 10.0))

        assert ask(port, open_ones) == REJECTED
    wait_until(lambda: any(titles(node)), PATIENCE_S, "it says who was turned away")
    assert set(reasons(node, "caller.turned_away")) == {"too many associations"}
    wait_until(node.answers, PATIENCE_S, "it answers again")


@pytest.mark.parametrize("node", [soft_limit], indirect=True)
def test_a_limit_that_may_be_raised_is_raised(node: InstalledNode) -> None:
    with contextlib.ExitStack() as open_ones:
        answers = [ask(node.config.node.port, open_ones)[0] for _ in range(64)]

    assert answers == [2] * 64
    assert not any("file descriptors" in each for each in reasons(node, "limit.concern"))


def test_check_says_what_is_needed_and_what_is_allowed(tmp_path: Path) -> None:
    done = subprocess.run(
        [MSK_NODE, "check"],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=few_descriptors,
    )

    assert "472 needed, 64 allowed file descriptors" in " ".join(done.stderr.split())
