"""Who is behind a request: by a token, by our proxy's header, or by a session's cookie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from starlette.datastructures import Headers

from dicom_node.settings.node import NodeConfig
from dicom_node.settings.web import Web, WebProxy
from dicom_node.web.accounts.callers import Caller
from dicom_node.web.accounts.form_tokens import FormTokens, web_key
from dicom_node.web.accounts.login_pauses import LoginPauses
from dicom_node.web.accounts.records import NAME, Watched
from dicom_node.web.accounts.roles import Role, User
from dicom_node.web.accounts.sessions import Sessions
from dicom_node.web.accounts.tokens import Token, digest_of, read_tokens
from dicom_node.web.accounts.users import Account, read_users

BEARER: Final = "bearer "


class NotLetInError(Exception):
    """What a request shows says who it is, and is not believed."""


class UnknownTokenError(NotLetInError):
    """It shows a token that is none of ours, or has ended."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Who makes a request.

    bound_to: what form tokens of this one are bound to.
    by_token: a program's; no browser sends that by itself.
    """

    user: User
    bound_to: str
    by_token: bool = False


class Registry:
    """Users, tokens and sessions of a node, as they are now."""

    def __init__(self, config: NodeConfig, settings: Web) -> None:
        self.settings = settings
        self.users = Watched[Mapping[str, Account]](settings.users, read_users, {})
        self.tokens = Watched[Mapping[str, Token]](settings.tokens, read_tokens, {})
        idle, longest = timedelta(hours=settings.idle_h), timedelta(hours=settings.session_h)
        self.sessions = Sessions(config.node.spool, idle, longest)
        self.form_tokens = FormTokens(web_key(config.node.spool), longest.total_seconds())
        self.pauses = LoginPauses()

    def by_token(self, headers: Headers, now: datetime) -> Seat | None:
        """Who comes with a token; None where there is none.

        Raises:
            UnknownTokenError: it is none of ours, or has ended.
        """
        shown = headers.get("authorization")
        if shown is None:
            return None
        secret = shown[len(BEARER) :].strip()
        token = self.tokens.now().get(digest_of(secret))
        user = token.user(self.users.now(), now) if token is not None else None
        if not shown.lower().startswith(BEARER) or user is None:
            raise UnknownTokenError("this token is not known, or has ended")
        return Seat(user, "", by_token=True)

    def by_proxy(self, headers: Headers, caller: Caller) -> Seat | None:
        """Who comes by the proxy's header; None where there is none.

        Raises:
            NotLetInError: it is not the proxy's, or the proxy names nobody who may look.
        """
        proxy = self.settings.proxy
        if proxy is None or proxy.user_header is None or proxy.user_header not in headers:
            return None
        if not caller.is_proxied:
            raise NotLetInError(f"{proxy.user_header} is believed from the proxy alone")
        names = headers.getlist(proxy.user_header)
        role = _role(proxy, headers)
        if len(names) != 1 or not NAME.fullmatch(names[0]) or role is None:
            raise NotLetInError("the proxy names nobody of the groups that may look")
        return Seat(User(names[0], role), f"proxy {names[0]}")

    def by_session(self, number: str | None, now: datetime) -> Seat | None:
        """Who comes with a session's cookie; None where it is none that lasts."""
        session = self.sessions.find(number, now) if number else None
        if session is None:
            return None
        account = self.users.now().get(session.user)
        if account is None or account.stamp != session.stamp:
            return None
        return Seat(account.user, f"session {session.key}")


def _role(proxy: WebProxy, headers: Headers) -> Role | None:
    """The role of the groups that the proxy names."""
    named = headers.getlist(proxy.groups_header or "")
    groups = {each.strip() for each in ",".join(named).split(",")}
    if groups.intersection(proxy.operator_groups):
        return Role.OPERATOR
    return Role.VIEWER if groups.intersection(proxy.viewer_groups) else None
