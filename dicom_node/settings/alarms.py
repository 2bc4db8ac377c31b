"""The tables of alarms: when they are raised, and who is told, by e-mail or webhook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from dicom_node.settings.values import Hours, Port, Seconds, Section, is_here


def _mail_address(text: str) -> str:
    """An address that can stand in a header, and in nothing else."""
    local, at, domain = text.rpartition("@")
    if (
        not (local and at and domain)
        or not text.isascii()
        or any(c in text for c in " \r\n,<>")
    ):
        raise ValueError("must be one address, as alarms@hospital.example")
    return text


def _hook_url(text: str) -> str:
    """The address that alarms are posted to."""
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not named:
        raise ValueError("must be https://... with a host")
    if parts.scheme == "http" and not is_here(parts.hostname or ""):
        raise ValueError("must be https: what goes to another machine goes encrypted")
    if "@" in parts.netloc:
        raise ValueError("a token belongs into token_file or token_variable, not into the URL")
    return text


MailAddress = Annotated[str, AfterValidator(_mail_address)]
HookUrl = Annotated[str, AfterValidator(_hook_url)]


class AlarmMail(Section):
    """The e-mail that tells of alarms."""

    host: str = Field(min_length=1)
    """The mail server."""
    port: Port = 587
    """Its TCP port."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted: STARTTLS, TLS from the start (port 465), or not at
    all, which only a server on this machine may do with a password."""
    ca: Path | None = None
    """The file of authorities that its certificate is checked against; without it, the
    system's."""
    sender: MailAddress
    """The address that it comes from."""
    recipients: tuple[MailAddress, ...] = Field(min_length=1)
    """The addresses that it goes to."""
    user: str | None = Field(default=None, min_length=1)
    """The user at the mail server; without it, nobody logs in."""
    password_file: Path | None = None
    """The file whose first line is the user's password."""
    password_variable: str | None = Field(default=None, min_length=1)
    """The environment variable that holds the user's password."""
    timeout_s: Seconds = 20.0
    """How long to wait for the server's answer."""

    @model_validator(mode="after")
    def _logs_in_safely(self) -> Self:
        """A user with one password, which never goes in the clear over a network."""
        passwords = [self.password_file, self.password_variable]
        if sum(each is not None for each in passwords) != (self.user is not None):
            raise ValueError("user and a password, in a file or in a variable, belong together")
        if self.user is not None and self.tls == "none" and not is_here(self.host):
            raise ValueError("the password would go in the clear; tls must be starttls or tls")
        return self


class AlarmWebhook(Section):
    """The address that alarms are posted to, as JSON."""

    url: HookUrl
    """Where to: https, or http on this machine."""
    ca: Path | None = None
    """The file of authorities that its certificate is checked against; without it, the
    usual ones."""
    token_file: Path | None = None
    """The file whose first line is a bearer token for it (RFC 6750)."""
    token_variable: str | None = Field(default=None, min_length=1)
    """The environment variable that holds such a token."""
    attempts: int = Field(default=3, ge=1, le=10)
    """How often it is tried before it is left for the next minute."""
    timeout_s: Seconds = 10.0
    """How long to wait for its answer."""

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        """One secret, from one place."""
        if self.token_file is not None and self.token_variable is not None:
            raise ValueError("give the token in a file or in a variable, not in both")
        return self


class Alarms(Section):
    """When something is an alarm, and who is told."""

    stuck_s: Seconds = 60.0
    """How long a part of a process may be without a sign of life before that is an alarm."""
    queue_h: Hours = 4.0
    """How long a complete series may wait for its answer, or a delivery that is due for its
    attempt."""
    failures: int = Field(default=5, ge=1, le=1000)
    """How many analyses after one another may fail; the last of so many is an alarm. As many
    failures in a row of an archive that is asked are one, too."""
    down_s: Seconds = 600.0
    """How long a destination may have taken nothing of what is sent to it."""
    rejected_h: Hours = 1.0
    """For how long after a sender was turned away that is an alarm."""
    expires_d: float = Field(default=30.0, ge=0, le=3660)
    """How many days before a certificate expires that is an alarm."""
    severity: Literal["warning", "critical"] = "warning"
    """The least severe alarms that e-mail and webhook tell of."""
    name_series: bool = False
    """Whether they may name series by their Series Instance UID; without it, they tell
    numbers and codes only."""
    mail: AlarmMail | None = None
    """Who is told by e-mail."""
    webhook: AlarmWebhook | None = None
    """Where alarms are posted to."""
