"""A receiver in a process of its own that is spoken to byte by byte, and must not be harmed."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.corpus.sound import PATIENT
from support.raw_wire import (
    ECHO,
    NO_DATASET,
    Line,
    command,
    data,
    pdu,
)
from support.waiting import wait_until

IDLE_S = 1.5
OBJECT_BYTES = 4 << 20
MEGABYTES = 96
"""What one connection may cost the process, at any moment."""
SERVER = """
import sys, threading
from pathlib import Path
from dicom_node.settings.node import Logging
from dicom_node.monitoring.logs import configure_logging
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
configure_logging(Logging(format="json"))
settings = ReceiverSettings(
    "MSKNODE", Path(sys.argv[1]), port=0, free_reserve_bytes=0,
    idle_timeout_s=float(sys.argv[2]), acse_timeout_s=float(sys.argv[2]),
    max_object_bytes=int(sys.argv[3]),
)
receiver = Receiver(settings)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


@dataclass
class Node:
    """A receiver in a process of its own."""

    pid: int
    port: int
    spool: Path
    log: Path

    def line(self, patience_s: float = 8.0) -> Line:
        """A new connection."""
        return Line(socket.create_connection(("127.0.0.1", self.port), timeout=patience_s))

    def answers_an_echo(self) -> bool:
        """Whether an association, a C-ECHO and a release work."""
        line = self.line()
        with line.connection:
            if line.associate() != "accepted":
                return False
            request = {
                0x0002: ECHO.encode() + b"\0",
                0x0100: struct.pack("<H", 0x0030),
                0x0110: struct.pack("<H", 1),
                0x0800: struct.pack("<H", NO_DATASET),
            }
            line.say(data(3, 0x03, command(request)))
            said = line.hear()
            line.say(pdu(0x05, b"\0" * 4))
            return said == "status 0x0000" and line.hear() == "released"

    def status_of(self, name: str) -> int:
        """A number of /proc/PID/status."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))

    def forget_peak(self) -> None:
        """Let VmHWM start anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def files(self) -> list[str]:
        """What lies in the spool, without what the node writes for itself."""
        kept = [path for path in self.spool.rglob("*") if path.is_file()]
        return sorted(path.name for path in kept if not path.name.startswith("."))


@contextmanager
def running_node(folder: Path) -> Iterator[Node]:
    """A receiver that is alive, and at rest, at the end of what is done to it."""
    arguments = [folder / "spool", str(IDLE_S), str(OBJECT_BYTES)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            node = Node(process.pid, port, folder / "spool", folder / "log")
            yield node
            assert process.poll() is None
            wait_until(lambda: node.status_of("Threads") <= 3, 10.0, "it is at rest")
        finally:
            process.kill()


@contextmanager
def unharmed(node: Node) -> Iterator[None]:
    """After every case: alive, no thread or file left, little memory used, no patient told."""
    told = len(node.log.read_text(encoding="utf-8"))
    held = node.status_of("VmRSS")
    files = node.files()
    node.forget_peak()
    yield
    assert node.answers_an_echo()
    wait_until(lambda: node.status_of("Threads") <= 16, 15.0, "threads end")
    assert node.status_of("VmHWM") - held < MEGABYTES * 1024
    assert list((node.spool / ".incoming").iterdir()) == []
    assert node.files() == files
    log = node.log.read_text(encoding="utf-8")[told:]
    assert PATIENT not in log
    assert "Traceback" not in log


def trickles(line: Line, said: bytes) -> None:
    started = time.monotonic()
    with line.connection:
        line.connection.settimeout(0.3)
        for byte in said:
            line.say(bytes([byte]))
            if (heard := line.hear()) != "silent":
                break

        assert heard in {"closed", "aborted"}
        assert time.monotonic() - started < 4 * IDLE_S
