"""Claims about the limits on what a peer may send, in every process that talks to one.

The limits are changes to pynetdicom. Each claim starts a process of its own, where nothing
else can have made them: a peer that announces a PDU of a gigabyte is hung up on (A-ABORT)
once its six bytes of header are read, and nothing of the PDU is.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import save
from support.installed_node import InstalledNode, install
from support.node_process import MSK_NODE
from support.raw_wire import Line, pdu
from support.small_node import write_small_bundle
from support.waiting import wait_until

from dicom_node.peers.store import send

PATIENCE_S = 120.0
GIGABYTE = 1 << 30
A_ASSOCIATE_AC = 0x02
INVALID_PDU = bytes.fromhex("07 00 00000004 0000 02 06")
"""A-ABORT of the service provider: invalid PDU parameter value (PS3.8 9.3.8)."""


class HostilePeer:
    """Answers every association request with the header of a PDU of a gigabyte.

    heard: what each caller said to that: `aborted`, `closed` or `silent`.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5.0)
                line = Line(connection)
                if line.read(10):
                    line.say(pdu(A_ASSOCIATE_AC, b"", length=GIGABYTE))
                    self.heard.append(self._answer(line))

    @staticmethod
    def _answer(line: Line) -> str:
        """What follows the rest of the request; an A-ABORT is its last ten bytes."""
        try:
            said = line.read(1 << 16)
        except TimeoutError:
            return "silent"
        return "aborted" if said.endswith(INVALID_PDU) else "closed"

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


@pytest.fixture
def hostile() -> Iterator[HostilePeer]:
    peer = HostilePeer()
    yield peer
    peer.close()


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return save(source_datasets(), tmp_path / "series")


@pytest.fixture
def node(tmp_path: Path, hostile: HostilePeer) -> Iterator[InstalledNode]:
    """A node that delivers to the hostile peer, and asks it for storage commitment."""
    bundle = write_small_bundle(tmp_path / "bundle")
    node = install(tmp_path, hostile.port, bundle, {"completion": {"quiet_s": 1.5}})
    node.start()
    yield node
    node.kill()


@pytest.mark.parametrize("command", ["echo", "send"])
def test_a_command_hangs_up_on_a_peer_that_announces_a_gigabyte(
    command: str, hostile: HostilePeer, series: list[Path]
):
    files = [str(series[0])] if command == "send" else []

    done = subprocess.run(
        [MSK_NODE, command, f"HOSTILE@127.0.0.1:{hostile.port}", *files],
        check=False,
        capture_output=True,
        timeout=PATIENCE_S,
    )

    wait_until(lambda: bool(hostile.heard), PATIENCE_S, "the peer was called")
    assert hostile.heard == ["aborted"]
    assert done.returncode == 5  # the peer cannot be reached


def test_the_roles_of_a_node_hang_up_on_a_peer_that_announces_a_gigabyte(
    node: InstalledNode, hostile: HostilePeer, series: list[Path]
):
    """`receive` is called by such a peer, `work` calls one: to deliver, then to see it back."""
    with socket.create_connection(("127.0.0.1", node.config.node.port)) as connection:
        connection.settimeout(PATIENCE_S)
        caller = Line(connection)
        caller.say(pdu(0x01, b"", length=GIGABYTE))
        assert caller.hear() == "aborted"

    assert all(outcome.stored for outcome in send(node.peer, series))
    wait_until(lambda: len(hostile.heard) >= 2, PATIENCE_S, "the worker has called twice")
    assert set(hostile.heard) == {"aborted"}
