"""Connections that cannot be used to keep others out: few for one caller, and none for long.

uvicorn ends a connection that is silent between two requests; one that sends a byte a minute,
or takes none of an answer, it keeps for ever. Here a request has to be whole in time, and an
answer has to be taken.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any, Final

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_node.errors import ConfigurationError
from dicom_node.network.tls_contexts import identity_context, load_certificate
from dicom_node.settings.tls import Identity
from dicom_node.settings.web import Web
from dicom_node.web.accounts.callers import is_among

log = structlog.get_logger()

WHOLE_WITHIN_S: Final = 15.0
"""A request has to be there, with its body, so long after its first byte."""
TAKEN_WITHIN_S: Final = 30.0
"""What was sent has to be taken, so far that more can be sent."""
SILENT_S: Final = 15
"""A connection may be silent between two requests for so long."""
MOST_CONNECTIONS: Final = 200
MOST_OF_ONE: Final = 40
"""Connections of one address; our proxy may have them all."""
MAX_HEADERS_BYTES: Final = 32 * 1024
CHECK_EVERY_S: Final = 60.0

AWAITED: Final = (h11.IDLE, h11.SEND_BODY)
"""States of a caller that still owes us something of a request."""


class _Protocol(H11Protocol):
    """A connection with these limits."""

    unlimited: tuple[str, ...] = ()
    """The addresses that may have more than others."""
    _owed: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, if the caller has not too many; from now on a request is awaited."""
        super().connection_made(transport)
        peer = self.client[0] if self.client else ""
        theirs = sum(each.client is not None and each.client[0] == peer for each in self._all())
        if theirs > MOST_OF_ONE and not is_among(peer, self.unlimited):
            log.warning("web.crowded", host=peer, count=theirs)
            transport.abort()
        else:
            self._owed = self.loop.call_later(WHOLE_WITHIN_S, self._hang_up)

    def data_received(self, data: bytes) -> None:
        """Take what came; the clock runs until the request is whole."""
        super().data_received(data)
        if self.conn.their_state in AWAITED:
            if self._owed is None:
                self._owed = self.loop.call_later(WHOLE_WITHIN_S, self._hang_up)
        elif self._owed is not None:
            self._owed.cancel()
            self._owed = None

    def pause_writing(self) -> None:
        """The caller does not take what we send; the clock runs until they do."""
        super().pause_writing()
        self._untaken = self.loop.call_later(TAKEN_WITHIN_S, self._hang_up)

    def resume_writing(self) -> None:
        """The caller does."""
        super().resume_writing()
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        for clock in (self._owed, self._untaken):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        """End a connection that keeps us waiting."""
        log.info("web.kept-waiting", host=self.client[0] if self.client else "")
        self.transport.abort()

    def _all(self) -> list[Any]:
        """Every connection there is."""
        return list(self.connections)


def server_settings(app: ASGIApp, settings: Web) -> uvicorn.Config:
    """How uvicorn serves an application of ours.

    Raises:
        ConfigurationError: the certificate cannot be used.
    """
    trusted = settings.proxy.addresses if settings.proxy is not None else ()
    protocol = type("Protocol", (_Protocol,), {"unlimited": trusted})
    served = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `accounts/callers.py` decides whom to believe
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=SILENT_S,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=MAX_HEADERS_BYTES,
    )
    if settings.tls is not None:
        context = web_context(settings.tls)
        served.ssl_context_factory = lambda _config, _default: context
    return served


def web_context(tls: Identity) -> ssl.SSLContext:
    """The rules of TLS on the web's port: the profile that DICOM has here.

    Raises:
        ConfigurationError: the certificate cannot be used.
    """
    try:
        context = identity_context(tls)
    except ConfigurationError as error:
        raise ConfigurationError(f"web.tls: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def renew_certificate(served: uvicorn.Config, tls: Identity, stop: threading.Event) -> None:
    """Take a renewed certificate for new connections, until told to stop."""
    seen = _looks(tls)
    while not stop.wait(CHECK_EVERY_S):
        found = _looks(tls)
        if found == seen or served.ssl is None:
            continue
        seen = found
        try:
            load_certificate(served.ssl, tls)
            log.info("web.certificate-renewed", path=str(tls.certificate))
        except ConfigurationError as error:
            log.warning("tls.concern", reason=f"web.tls: {error}")


def _looks(tls: Identity) -> tuple[object, ...]:
    """What tells one state of the files from another."""
    paths = [path for path in (tls.certificate, tls.key) if path is not None and path.exists()]
    return tuple((each.stat().st_mtime_ns, each.stat().st_ino) for each in paths)
