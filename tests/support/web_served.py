"""The application behind a real socket: as uvicorn serves it in the web's process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from dicom_node.settings.node import NodeConfig
from dicom_node.web.app import web_app
from dicom_node.web.connections import server_settings
from support.waiting import wait_until


@contextmanager
def served(config: NodeConfig, app: Any = None) -> Iterator[int]:
    """The port at which the pages and the API of a node are served meanwhile."""
    assert config.web is not None
    listening = socket.create_server(("127.0.0.1", 0))
    settings = server_settings(app or web_app(config), config.web)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, within_s=30, words="the web is served")
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()
