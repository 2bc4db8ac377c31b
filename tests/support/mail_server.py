"""A real mail server on loopback, which keeps what it takes; with STARTTLS and a login."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from support.certificates import Certificate
from support.installed_node import free_port


@dataclass(slots=True)
class MailServer:
    """What it took, and how it was called.

    refuses: the answer that it gives to a message instead of taking it.
    """

    user: str = ""
    password: str = ""
    refuses: str = ""
    port: int = 0
    messages: list[Message] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message."""
        if self.refuses:
            return self.refuses
        assert isinstance(envelope.content, bytes)
        self.messages.append(message_from_bytes(envelope.content))
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def authenticate(
        self, _server: SMTP, session: Session, _envelope: Envelope, _how: str, shown: Any
    ) -> AuthResult:
        """Let in who knows the password."""
        assert isinstance(shown, LoginPassword)
        self.logins.append(shown.login.decode())
        known = (self.user.encode(), self.password.encode())
        return AuthResult(success=(shown.login, shown.password) == known, handled=False)

    def text(self) -> str:
        """The text of the one message it took."""
        (message,) = self.messages
        body = message.get_payload(decode=True)
        assert isinstance(body, bytes)
        return body.decode()


@contextmanager
def mail_server(
    certificate: Certificate | None = None,
    *,
    user: str = "",
    password: str = "",
    tls_from_start: bool = False,
) -> Iterator[MailServer]:
    """Serve until the end of the block.

    Args:
        certificate: with it, TLS is asked for before anything else.
        user: who may send; anyone without it.
        password: theirs.
        tls_from_start: speak TLS without STARTTLS.
    """
    taken = MailServer(user, password)
    options: dict[str, Any] = {}
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path, certificate.key)
        key = "ssl_context" if tls_from_start else "tls_context"
        options = {key: context, "require_starttls": not tls_from_start}
    if user:
        options |= {
            "authenticator": taken.authenticate,
            "auth_required": not tls_from_start,
            "auth_require_tls": not tls_from_start,
        }
    taken.port = free_port()
    controller = Controller(taken, hostname="127.0.0.1", port=taken.port, **options)
    controller.start()
    try:
        yield taken
    finally:
        controller.stop()
