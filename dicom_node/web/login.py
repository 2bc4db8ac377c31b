"""The login and the logout."""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from dicom_node.monitoring.audit import AuditKind
from dicom_node.web.access import caller, cookie, known_user, registry
from dicom_node.web.accounts.registry import Registry
from dicom_node.web.accounts.users import is_password
from dicom_node.web.auditing import tell, tell_login
from dicom_node.web.templating import page

log = structlog.get_logger()
router: Final = APIRouter(include_in_schema=False)

NOT_RIGHT: Final = "User or password is not right."
LONGEST_FIELD: Final = 1024


@router.get("/login")
def login_page(request: Request, next_path: str = "/") -> Response:
    """The form."""
    return _form(request, next_path)


@router.post("/login")
async def log_in(
    request: Request,
    username: Annotated[str, Form(max_length=LONGEST_FIELD)] = "",
    password: Annotated[str, Form(max_length=LONGEST_FIELD)] = "",
    next_path: Annotated[str, Form(max_length=LONGEST_FIELD)] = "/",
) -> Response:
    """Log in, or say no: in the same words and the same time, whoever it is."""
    known, site = registry(request), caller(request).site
    wait_s = known.pauses.wait_s(username, site, time.monotonic())
    if wait_s > 0:
        log.warning("login.paused", host=caller(request).address, wait_s=round(wait_s, 1))
        tell_login(request, _told(known, username), reason="too many tries")
        words = f"Too many tries. Wait {wait_s:.0f} seconds."
        answer = _form(request, next_path, status_code=429, problem=words)
        answer.headers["retry-after"] = str(int(wait_s) + 1)
        return answer
    account = known.users.now().get(username)
    await asyncio.sleep(known.pauses.slow_s(username, time.monotonic()))
    if not await run_in_threadpool(is_password, account, password) or account is None:
        log.warning("login.refused", host=caller(request).address)
        tell_login(request, _told(known, username), reason="user or password is not right")
        return _form(request, next_path, status_code=403, problem=NOT_RIGHT)
    known.pauses.succeeded(username, site)
    old = request.cookies.get(cookie(request, "session"))
    if old:
        known.sessions.end(old)
    number = known.sessions.begin(username, account.stamp, datetime.now(UTC))
    tell_login(request, username)
    answer = RedirectResponse(inside(next_path), status_code=303)
    _set_cookie(request, answer, "session", number)
    return answer


@router.post("/logout")
def log_out(request: Request) -> Response:
    """End the session."""
    number = request.cookies.get(cookie(request, "session"))
    if number:
        registry(request).sessions.end(number)
    if known_user(request) is not None:
        tell(request, AuditKind.USER_LOGGED_OUT)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(
        cookie(request, "session"), secure=caller(request).is_https, httponly=True
    )
    answer.headers["clear-site-data"] = '"cache", "storage"'
    return answer


def _told(known: Registry, username: str) -> str:
    """The name that the trail gets: a stranger's may be a password in the wrong field."""
    return username if username in known.users.now() else "somebody unknown"


def inside(path: str) -> str:
    """A path of these pages; the front page for anything that could lead elsewhere."""
    is_ours = path.startswith("/") and not path.startswith("//")
    if not is_ours or "\\" in path or not path.isprintable() or path.startswith("/login"):
        return "/"
    return path


def _form(
    request: Request, next_path: str, *, status_code: int = 200, problem: str = ""
) -> Response:
    """The form, bound to a cookie of its own."""
    known = registry(request)
    number = request.cookies.get(cookie(request, "login")) or secrets.token_urlsafe(32)
    if known_user(request) is None:
        request.state.csrf_token = known.form_tokens.token(f"login {number}")
    answer = page(
        request,
        "login.html",
        status_code=status_code,
        next_path=inside(next_path),
        problem=problem,
        has_users=bool(known.users.now()),
    )
    _set_cookie(request, answer, "login", number)
    return answer


def _set_cookie(request: Request, answer: Response, what: str, value: str) -> None:
    """Set a cookie that no script reads and no other site's form brings.

    A link brings it: one in a mail about an alarm leads to the page, not to the login.
    """
    answer.set_cookie(
        cookie(request, what),
        value,
        path="/",
        secure=caller(request).is_https,
        httponly=True,
        samesite="lax",
    )
