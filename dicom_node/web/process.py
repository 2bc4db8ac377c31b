"""The process of the web pages: `python -m dicom_node.web.process`.

It has the ledger and the spool as any command beside the node has them, and orders what it
wants done: nothing that it does, or that is done to it, keeps the node from receiving and
working.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Final

from dicom_node.monitoring.heartbeats import Heart
from dicom_node.node.roles import RoleSettings, run_role
from dicom_node.persistence.database import reads_beside_writes

LESS_URGENT: Final = 5
FIRST_TO_GO: Final = "500"
"""The kernel ends this process before the receiver and the worker (proc(5))."""


def web(settings: RoleSettings, stop: threading.Event, heart: Heart) -> None:
    """Serve pages and API until told to stop."""
    from dicom_node.web.server import serve_web  # noqa: PLC0415 - after the signals are taken

    _stand_back()
    reads_beside_writes()  # pages read while an order is written
    serve_web(settings.config, stop, heart)


def _stand_back() -> None:
    """Let the other processes go first, for the processor and when memory runs out."""
    os.nice(LESS_URGENT)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")


if __name__ == "__main__":
    code = run_role("web", web)
    sys.stdout.flush()
    os._exit(code)
