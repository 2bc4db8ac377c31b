"""What every request passes before anything looks at it, and every answer on its way out.

The host's name has to be one of ours (a page elsewhere cannot give its own name our address),
the body has an end, the answer comes in time, and the headers tell the browser what a page of
ours never does.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

import structlog
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.settings.web import Web
from dicom_node.web.accounts.callers import caller_of, may_call

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 1 << 20
ANSWER_WITHIN_S: Final = 60.0
STATIC_PATH: Final = "/static/"
YEAR_S: Final = 365 * 24 * 3600

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none, browsers hide our own forms' origin too
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), usb=()",
}


class _TooLargeError(HTTPException):
    """A body that is larger than any of ours; of the kind that the framework passes on."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, headers={"connection": "close"})


class Doorway:
    """The application with that around it."""

    def __init__(self, app: ASGIApp, settings: Web) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it here."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        peer = scope["client"][0] if scope["client"] else ""
        caller = caller_of(peer, scope["scheme"], headers, self._settings)
        scope.setdefault("state", {})["caller"] = caller
        out = _with_headers(send, scope["path"], is_https=caller.is_https)
        problem = self._problem(peer, headers)
        if problem is None:
            await _answer(self._app, scope, _bounded(receive), out)
        else:
            await _refuse(problem, scope, receive, out)

    def _problem(self, peer: str, headers: Headers) -> HTTPStatus | None:
        """Why a request is not even looked at."""
        if not may_call(peer, self._settings):
            return HTTPStatus.FORBIDDEN
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _bare(hosts[0]) not in self._settings.site_names:
            return HTTPStatus.MISDIRECTED_REQUEST
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None


async def _answer(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the application answer; what goes wrong there is answered too, without its words."""
    begun = False

    async def watched(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start":
            begun = True
            limit.reschedule(None)
        await send(message)

    try:
        async with asyncio.timeout(ANSWER_WITHIN_S) as limit:
            await app(scope, receive, watched)
    except TimeoutError:
        log.warning("web.slow", seconds=ANSWER_WITHIN_S)
        problem = HTTPStatus.SERVICE_UNAVAILABLE
    except Exception:
        log.exception("web.failed")
        problem = HTTPStatus.INTERNAL_SERVER_ERROR
    else:
        return
    if not begun:
        await _refuse(problem, scope, receive, send)


async def _refuse(status: HTTPStatus, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without a page, and hang up: what is left of the body is not read."""
    response = PlainTextResponse(status.phrase, status, headers={"connection": "close"})
    await response(scope, receive, send)


def _bounded(receive: Receive) -> Receive:
    """What comes in, up to the largest body there is."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise _TooLargeError
        return message

    return counted


def _with_headers(send: Send, path: str, *, is_https: bool) -> Send:
    """What goes out, with the headers of every answer."""

    async def headed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if not path.startswith(STATIC_PATH):
                headers["cache-control"] = "no-store"
            if is_https:
                headers["strict-transport-security"] = f"max-age={YEAR_S}"
        await send(message)

    return headed


def _bare(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
