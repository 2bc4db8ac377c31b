"""A receiver in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SERVER = """
import sys, threading
from pathlib import Path
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
settings = ReceiverSettings("MSKNODE", Path(sys.argv[1]), port=0, free_reserve_bytes=0)
receiver = Receiver(settings)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def server(spool: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A receiver in a process of its own, and its port; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline().strip()).isdigit():
            pass
        try:
            yield process, int(line)
        finally:
            process.kill()


def incoming(spool: Path) -> list[Path]:
    return list((spool / ".incoming").iterdir())
