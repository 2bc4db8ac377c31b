"""A node as processes on a disk of its own, which faults can be done to.

The disk is a tmpfs of 24 MB that holds spool, work, results and database: it can be filled
and taken away without touching anything else. Settings, log and gates lie beside it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicom_node.errors import PeerError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.settings.node import NodeConfig
from support.small_node import small_config
from support.waiting import wait_until

PATIENCE_S: Final = 180.0
"""For machines that do much else; on an idle one each wait ends within seconds."""
QUIET_S: Final = 4.0
"""Longer than a machine that does much else keeps a sender from sending its next image."""
DISK_MB: Final = 24
NEVER_GIVEN: Final = range(20_000, 32_000)
"""Ports below those that Linux gives to connections (ip_local_port_range)."""
SERVE: Final = str(Path(__file__).parent / "serve_small.py")
PAUSING: Final = str(Path(__file__).parent / "pausing")


@dataclass(slots=True)
class InstalledNode:
    """One installation, and the process that runs it at the moment.

    environment: what its processes find in theirs, beside the test's own.
    options: of its analysis (`fast_analysis.py`).
    """

    folder: Path
    config: NodeConfig
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    options: tuple[str, ...] = ()

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = self.folder / "node.json"
        settings.write_text(self.config.model_dump_json())
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, SERVE, str(settings), *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        wait_until(self.answers, PATIENCE_S, f"the node answers ({self.log})")

    def kill(self) -> None:
        """SIGKILL to the node and all its children at once, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def log(self) -> Path:
        """Everything it has written to its output."""
        return self.folder / "log"

    @property
    def peer(self) -> Peer:
        """The node as a scanner sees it."""
        return Peer("node", "MSKNODE", "127.0.0.1", self.config.node.port, "CT1")

    def answers(self) -> bool:
        """Whether it answers C-ECHO."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            echo(self.peer)
        except PeerError:
            return False
        return True

    def events(self) -> list[dict[str, Any]]:
        """All that its log says, in order."""
        return [json.loads(line) for line in self._lines()]

    def role(self, name: str) -> int:
        """The process that plays a role now."""
        # A log of a thousand starts is long, and most of it is not about them.
        started = [json.loads(line) for line in self._lines() if '"role.started"' in line]
        return next(int(e["pid"]) for e in reversed(started) if e["key"] == name)

    def works(self) -> bool:
        """Whether the process that works now has begun to take work."""
        lines = self._lines()
        begun = [number for number, line in enumerate(lines) if '"engine.started"' in line]
        started = [
            number
            for number, line in enumerate(lines)
            if '"role.started"' in line and json.loads(line)["key"] == "work"
        ]
        return max(begun, default=-1) > max(started, default=0)

    def _lines(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith('{"')]

    def child(self) -> int | None:
        """The process that segments now, if one does."""
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes()
                parent = (entry.parent / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if b"fast_analysis.py" in words and int(parent) == self.role("work"):
                return int(entry.parent.name)
        return None


def install(
    folder: Path, pacs_port: int, bundle: Path, sections: Mapping[str, Mapping[str, Any]]
) -> InstalledNode:
    """A node that has never run; it asks its archive for storage commitment."""
    disk = folder / "disk"
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port}
    settings: dict[str, Any] = {
        "node": {
            "port": free_port(),
            **{name: f"disk/{name}" for name in ("spool", "work", "results")},
            "database": "disk/ledger/db",
        },
        "analysis": {"bundle": str(bundle), "device": "cpu"},
        "completion": {"quiet_s": QUIET_S, "give_up_s": 300.0},
        "destinations": [{**peer, "confirm": "commitment"}],
    }
    for name, section in sections.items():
        settings[name] = {**settings.get(name, {}), **section}
    config = small_config(folder, None, **settings)
    (disk / "ledger").mkdir(parents=True, exist_ok=True)
    gates = folder / "gates"
    gates.mkdir(exist_ok=True)
    environment = {
        "PYTHONPATH": os.pathsep.join([PAUSING, os.environ.get("PYTHONPATH", "")]).rstrip(":"),
        "MSK_TEST_GATES": str(gates),
        "MSK_TEST_WORK": str(config.node.work),
        "MSK_TEST_RESULTS": str(config.node.results),
    }
    return InstalledNode(folder, config, environment)


@contextmanager
def mounted_disk(folder: Path) -> Iterator[bool]:
    """A small disk of its own at `folder`; False where we may not, and it is a mere folder."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder):
        yield False
        return
    try:
        yield True
    finally:
        unmount(folder)


def mount(*words: str | Path) -> bool:
    """Mount; whether we may."""
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    """Take a mount away, though files on it are open still."""
    subprocess.run(["umount", "--lazy", folder], check=True)


def free_port() -> int:
    """A port that nobody listens on, and that no connection is given for its calling end.

    One that the system gives away may be gone when it is bound, or bound again after a kill.
    Whoever calls it meanwhile may even be given that very port, and reach himself (RFC 9293
    3.5, simultaneous open).
    """
    with socket.socket() as probe:
        for port in random.sample(NEVER_GIVEN, k=100):
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError(f"no port is free in {NEVER_GIVEN}")
