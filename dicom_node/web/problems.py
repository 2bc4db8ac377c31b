"""What goes wrong, as a page or as JSON (RFC 9457), by where it was asked."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from dicom_node.errors import ConfigurationError, NodeError, UnknownNameError
from dicom_node.monitoring.logs import describe
from dicom_node.persistence.database import DATABASE_AWAY
from dicom_node.web.access import FOR_TOKENS, SAFE, LoginNeededError, RefusedError
from dicom_node.web.templating import page

log = structlog.get_logger()

PROBLEM_JSON: Final = "application/problem+json"


def tell_problems(app: FastAPI) -> None:
    """Let an application answer with words where something is wrong."""
    app.exception_handler(LoginNeededError)(_login_needed)
    app.exception_handler(RefusedError)(_refused)
    app.exception_handler(RequestValidationError)(_not_valid)
    app.exception_handler(StarletteHTTPException)(_http)
    app.exception_handler(NodeError)(_of_the_node)
    app.exception_handler(DATABASE_AWAY)(_of_the_database)


def problem(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """The answer to what is wrong."""
    title = HTTPStatus(status).phrase
    if request.url.path.startswith(FOR_TOKENS):
        content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(content, status, headers, media_type=PROBLEM_JSON)
    answer = page(request, "problem.html", status_code=status, title=title, detail=detail)
    answer.headers.update(headers or {})
    return answer


def _login_needed(request: Request, _: Exception) -> Response:
    """To the login, from a page; a program is told."""
    if request.url.path.startswith(FOR_TOKENS):
        headers = {"www-authenticate": "Bearer"}
        return problem(request, 401, "a token or a login is needed", headers)
    if request.method not in SAFE:
        return problem(request, 401, "a login is needed: it may have ended")
    query = f"?{request.url.query}" if request.url.query else ""
    target = quote(f"{request.url.path}{query}", safe="/")
    return RedirectResponse(f"/login?next_path={target}", status_code=303)


def _refused(request: Request, error: Exception) -> Response:
    return problem(request, 403, str(error))


def _http(request: Request, error: Exception) -> Response:
    """What the framework refuses, or a route: no such page, no such method."""
    if not isinstance(error, StarletteHTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer error="invalid_token"'
    return problem(request, error.status_code, str(error.detail), headers)


def _not_valid(request: Request, error: Exception) -> Response:
    """What a request says that it cannot: where, and why, without its value."""
    if not isinstance(error, RequestValidationError):
        raise error
    words = (
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
        for each in error.errors()
    )
    return problem(request, 422, "; ".join(words))


def _of_the_node(request: Request, error: Exception) -> Response:
    """What the node cannot do: words of our own, which hold no patient data."""
    match error:
        case UnknownNameError():
            status = HTTPStatus.NOT_FOUND
        case ConfigurationError():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            status = HTTPStatus.CONFLICT
    return problem(request, status, str(error))


def _of_the_database(request: Request, error: Exception) -> Response:
    """A database that is locked, full or away: it passes."""
    log.error("web.failed", **describe(error))
    words = "the database cannot be used just now; try again in a moment"
    if request.method not in SAFE:
        words += ": what was taken of this already is not done twice"
    return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, words)
