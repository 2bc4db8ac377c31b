"""Serving the application with uvicorn, in a process that is told to stop by an event."""

from __future__ import annotations

import socket
import threading

import structlog
import uvicorn

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.heartbeats import Heart
from dicom_node.node.roles import wait_noting
from dicom_node.settings.node import NodeConfig
from dicom_node.web.app import web_app
from dicom_node.web.connections import renew_certificate, server_settings

log = structlog.get_logger()


def serve_web(config: NodeConfig, stop: threading.Event, heart: Heart) -> None:
    """Serve the pages and the API until told to stop.

    Raises:
        ConfigurationError: there is no `[web]` table, or the port cannot be used.
    """
    if config.web is None:
        raise ConfigurationError("web: there is no such table, so there is nothing to serve")
    listening = _listen(config.web.host, config.web.port)
    settings = server_settings(web_app(config), config.web)
    server = _Server(settings, heart)
    thread = threading.Thread(target=server.run, args=([listening],), name="web", daemon=True)
    thread.start()
    if config.web.tls is not None:
        renewing = (settings, config.web.tls, stop)
        threading.Thread(target=renew_certificate, args=renewing, daemon=True).start()
    log.info("web.started", host=config.web.host, port=listening.getsockname()[1])
    wait_noting(stop, heart)
    server.should_exit = True
    thread.join(timeout=10.0)


class _Server(uvicorn.Server):
    """Notes that its loop moves, which answers every request."""

    def __init__(self, settings: uvicorn.Config, heart: Heart) -> None:
        super().__init__(settings)
        self._heart = heart

    async def on_tick(self, counter: int) -> bool:
        """Note it; uvicorn calls this ten times a second."""
        self._heart.note("requests", 1.0)
        return await super().on_tick(counter)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"web.port: cannot listen on {host}:{port}: {error.strerror}"
        ) from None
