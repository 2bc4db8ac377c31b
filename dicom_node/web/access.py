"""Who is let in: every route asks, and what a route forgets to ask is asked for it.

`guard` is a dependency of the whole application: without a user only the login and `/health`
answer, whatever else is added; a change needs an operator and a form's token. A route says
besides what it needs, by `Depends(require_viewer)` or `Depends(require_operator)`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request

from dicom_node.web.accounts.callers import Caller
from dicom_node.web.accounts.registry import NotLetInError, Registry, Seat, UnknownTokenError
from dicom_node.web.accounts.roles import User
from dicom_node.web.behind import config_of
from dicom_node.web.scraping import METRICS_PATH, is_scraper

OPEN: Final = frozenset({"/login", "/health"})
"""What answers without a user, besides the files under /static."""
FOR_EVERY_USER: Final = frozenset({"/login", "/logout", "/appearance", "/find", "/api/v1/find"})
"""What a viewer may send: a login, what their browser shows, and what they look for."""
FOR_TOKENS: Final = ("/api/", "/metrics")
"""Where a token is looked at."""
SAFE: Final = frozenset({"GET", "HEAD"})
FORM_FIELD: Final = "csrf_token"
FORM_HEADER: Final = "x-csrf-token"
SAME_SITE: Final = frozenset({"same-origin", "none"})
FORM_KINDS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class LoginNeededError(Exception):
    """Nobody is logged in, and somebody has to be."""


class RefusedError(Exception):
    """Somebody is known, and may not do this."""


def registry(request: Request) -> Registry:
    """Users, tokens and sessions."""
    found: Registry = request.app.state.registry
    return found


def caller(request: Request) -> Caller:
    """From where a request comes, as the doorway found."""
    found: Caller = request.state.caller
    return found


async def guard(request: Request) -> None:
    """Let a request in, or not."""
    seat = _seat(request)
    request.state.user = seat.user if seat is not None else None
    bound_to = seat.bound_to if seat is not None else login_binding(request)
    tokens = registry(request).form_tokens
    request.state.csrf_token = tokens.token(bound_to) if bound_to else ""
    path = request.url.path
    if seat is None and path not in OPEN and not _may_scrape(request):
        raise LoginNeededError
    if request.method in SAFE:
        return
    if seat is not None and path not in FOR_EVERY_USER and not seat.user.may_order:
        raise RefusedError("an operator may do this")
    if seat is None or not seat.by_token:
        _refuse_other_sites(request)
        if not bound_to or not tokens.fits(await _shown_token(request), bound_to):
            raise RefusedError("the form is not ours, or too old: load the page again")


def _may_scrape(request: Request) -> bool:
    """True for a reader of metrics whom the settings let in without a token."""
    config = config_of(request)
    return request.url.path == METRICS_PATH and is_scraper(
        caller(request), request.headers, config.metrics
    )


def known_user(request: Request) -> User | None:
    """The user, if anybody is logged in."""
    found: User | None = getattr(request.state, "user", None)
    return found


def current_user(request: Request) -> User:
    """The user who is logged in.

    Raises:
        LoginNeededError: nobody is.
    """
    user = known_user(request)
    if user is None:
        raise LoginNeededError
    return user


CurrentUser = Annotated[User, Depends(current_user)]


def require_viewer(user: CurrentUser) -> User:
    """Somebody who may look: every user."""
    return user


def require_operator(user: CurrentUser) -> User:
    """Somebody who may order.

    Raises:
        RefusedError: this one may only look.
    """
    if not user.may_order:
        raise RefusedError("an operator may do this")
    return user


def csrf_token(request: Request) -> str:
    """The value of the form field `csrf_token` (or of the header `X-CSRF-Token`)."""
    found: str = getattr(request.state, "csrf_token", "")
    return found


def cookie(request: Request, what: str) -> str:
    """The name of a cookie: with TLS, one that no other site and no plain page can set."""
    return f"__Host-msk-{what}" if caller(request).is_https else f"msk-{what}"


def login_binding(request: Request) -> str:
    """What the login's form is bound to, before there is a session."""
    number = request.cookies.get(cookie(request, "login"), "")
    return f"login {number}" if number else ""


def _seat(request: Request) -> Seat | None:
    """Who makes a request; None for nobody yet."""
    known, now = registry(request), datetime.now(UTC)
    try:
        if request.url.path.startswith(FOR_TOKENS):
            seat = known.by_token(request.headers, now)
            if seat is not None:
                return seat
        seat = known.by_proxy(request.headers, caller(request))
    except UnknownTokenError as error:
        raise HTTPException(401, str(error)) from None
    except NotLetInError as error:
        raise RefusedError(str(error)) from None
    return seat or known.by_session(request.cookies.get(cookie(request, "session")), now)


def _refuse_other_sites(request: Request) -> None:
    """Refuse what a browser says that another site has sent."""
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "none") not in SAME_SITE or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise RefusedError("another site has sent this")


async def _shown_token(request: Request) -> str:
    """The token that came with a change: in a header, or in the form."""
    shown = request.headers.get(FORM_HEADER)
    if shown is not None:
        return shown
    if request.headers.get("content-type", "").startswith(FORM_KINDS):
        value = (await request.form()).get(FORM_FIELD)
        return value if isinstance(value, str) else ""
    return ""
