"""The process of the web pages: `python -m dicom_node.web.process`.

It has the ledger and the spool as any command beside the node has them, and orders what it
wants done: nothing that it does, or that is done to it, keeps the node from receiving and
working.
"""

from __future__ import annotations

import os
import sys
import threading

from dicom_node.node.roles import RoleSettings, run_role


def web(settings: RoleSettings, stop: threading.Event) -> None:
    """Serve pages and API until told to stop."""
    from dicom_node.web.server import serve_web  # noqa: PLC0415 - after the signals are taken

    serve_web(settings.config, stop)


if __name__ == "__main__":
    code = run_role("web", web)
    sys.stdout.flush()
    os._exit(code)
