"""Telling people of alarms: by e-mail (RFC 5321, STARTTLS or TLS) and by webhook (HTTPS).

A message says which alarms began and which ended, with numbers and codes: nothing of a patient,
and no UID unless the settings allow it. Passwords and tokens are read for each message.
"""

from __future__ import annotations

import re
import smtplib
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any, Final, Protocol

from dicom_node.errors import ConfigurationError, NodeError
from dicom_node.monitoring.alarm_memory import Changes, alarm_values
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.settings.alarms import AlarmMail, Alarms, AlarmWebhook
from dicom_node.settings.secrets import read_secret

UID_LIKE: Final = re.compile(r"\b\d+(?:\.\d+){4,}\b")
"""A UID in words; an address of four numbers is none."""
LINES: Final = SMTP.clone(max_line_length=998)
"""As long as RFC 5322 allows (2.1.1): a subject that is folded is misread by some."""
NOT_FOR_A_LINE: Final = re.compile(r"[^\x20-\x7e]")
BETWEEN_ATTEMPTS_S: Final = 1.0
BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of HTTP after which the same may be taken."""
MANUAL: Final = "docs/operating.md"


class NotToldError(NodeError):
    """An alarm could not be told; the reason names no secret."""


class Channel(Protocol):
    """A way to tell of alarms."""

    @property
    def name(self) -> str:
        """How it is called in settings, log and memory."""
        ...

    def tell(self, changes: Changes) -> None:
        """Tell it.

        Raises:
            NotToldError: it could not be told.
        """
        ...


@dataclass(frozen=True, slots=True)
class Mail:
    """Tells by e-mail.

    node: who tells.
    """

    settings: AlarmMail
    node: str
    name_series: bool = False
    name: str = "mail"

    def tell(self, changes: Changes) -> None:
        """Send one e-mail to all recipients.

        Raises:
            NotToldError: the server did not take it.
        """
        settings = self.settings
        try:
            with self._connection() as server:
                if settings.user is not None:
                    secret = read_secret(settings.password_file, settings.password_variable)
                    server.login(settings.user, secret)
                refused = server.send_message(self._message(changes))
        except ConfigurationError as error:
            raise NotToldError(f"alarms.mail: {error}") from None
        except smtplib.SMTPResponseException as error:
            raise NotToldError(
                f"{settings.host} answered {error.smtp_code} ({type(error).__name__})"
            ) from None
        except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
            words = getattr(error, "reason", None) or getattr(error, "strerror", None) or ""
            raise NotToldError(
                f"{settings.host}: {type(error).__name__} {words}".strip()
            ) from None
        if refused:
            raise NotToldError(f"{settings.host} refused {len(refused)} of the recipients")

    def _connection(self) -> smtplib.SMTP:
        """A connection to the server, encrypted as the settings say."""
        settings = self.settings
        context = ssl.create_default_context(
            cafile=str(settings.ca) if settings.ca is not None else None
        )
        if settings.tls == "tls":
            return smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=settings.timeout_s, context=context
            )
        server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
        if settings.tls == "starttls":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server

    def _message(self, changes: Changes) -> EmailMessage:
        message = EmailMessage(policy=LINES)
        message["From"] = self.settings.sender
        message["To"] = ", ".join(self.settings.recipients)
        message["Subject"] = f"[{self.node}] {headline(changes)}"
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=self.settings.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text_of(changes, self.node, name_series=self.name_series))
        return message


@dataclass(frozen=True, slots=True)
class Webhook:
    """Tells by a POST of JSON.

    node: who tells.
    """

    settings: AlarmWebhook
    node: str
    name_series: bool = False
    name: str = "webhook"

    def tell(self, changes: Changes) -> None:
        """Post it; tried again at once a few times where that may help.

        Raises:
            NotToldError: nobody took it.
        """
        reason = ""
        for attempt in range(self.settings.attempts):
            if attempt:
                time.sleep(BETWEEN_ATTEMPTS_S * attempt)
            status, reason = self._post(changes)
            if status is not None and 200 <= status < 300:
                return
            if status is not None and status not in BUSY:
                break
        raise NotToldError(reason)

    def _post(self, changes: Changes) -> tuple[int | None, str]:
        """The status of one attempt, and its words."""
        import requests  # noqa: PLC0415 - loaded by who has something to tell

        settings = self.settings
        try:
            answer = requests.post(
                settings.url,
                json=self._values(changes),
                headers=self._headers(),
                timeout=settings.timeout_s,
                verify=str(settings.ca) if settings.ca is not None else True,
                allow_redirects=False,
            )
        except ConfigurationError as error:
            raise NotToldError(f"alarms.webhook: {error}") from None
        except (requests.RequestException, OSError) as error:
            return None, f"the webhook cannot be reached: {type(error).__name__}"
        return answer.status_code, f"the webhook answered {answer.status_code}"

    def _headers(self) -> dict[str, str]:
        settings = self.settings
        if settings.token_file is None and settings.token_variable is None:
            return {}
        token = read_secret(settings.token_file, settings.token_variable)
        if not token.isascii() or any(character.isspace() for character in token):
            raise ConfigurationError("the token holds what no token may hold")
        return {"Authorization": f"Bearer {token}"}

    def _values(self, changes: Changes) -> dict[str, Any]:
        """The JSON; `text` is what chat services show."""
        named = self.name_series
        return {
            "schema": 1,
            "node": self.node,
            "text": f"{self.node}: {headline(changes)}\n"
            + "\n".join(_lines(changes, name_series=named)),
            "began": [_shown(each, name_series=named) for each in changes.began],
            "ended": [_shown(each, name_series=named) for each in changes.ended],
        }


def channels_of(settings: Alarms, node: str) -> tuple[Channel, ...]:
    """The ways to tell that the settings have."""
    found: list[Channel] = []
    if settings.mail is not None:
        found.append(Mail(settings.mail, node, settings.name_series))
    if settings.webhook is not None:
        found.append(Webhook(settings.webhook, node, settings.name_series))
    return tuple(found)


def secret_problems(settings: Alarms) -> Iterator[str]:
    """The reasons why the secrets for telling alarms cannot be used, each with its key."""
    mail, webhook = settings.mail, settings.webhook
    places: list[tuple[str, Path | None, str | None]] = []
    if mail is not None and mail.user is not None:
        places.append(("alarms.mail", mail.password_file, mail.password_variable))
    if webhook is not None and (webhook.token_file or webhook.token_variable):
        places.append(("alarms.webhook", webhook.token_file, webhook.token_variable))
    for key, file, variable in places:
        try:
            read_secret(file, variable)
        except ConfigurationError as error:
            yield f"{key}: {error}"


def test_changes() -> Changes:
    """An alarm that is none, to see whether it arrives."""
    words = "a test of how alarms are told; nothing is wrong"
    return Changes(began=(Alarm(AlarmKind.ALARM_UNTOLD, Severity.WARNING, "test", words),))


def headline(changes: Changes) -> str:
    """What changed, as one line that can be a subject."""
    said = []
    for verb, alarms in (("ALARM", changes.began), ("ended", changes.ended)):
        if len(alarms) == 1:
            said.append(f"{verb}: {alarms[0].kind.value} ({alarms[0].subject})")
        elif alarms:
            kinds = ", ".join(dict.fromkeys(each.kind.value for each in alarms))
            said.append(f"{verb}: {len(alarms)} of {kinds}")
    return _line("; ".join(said))[:200]


def text_of(changes: Changes, node: str, *, name_series: bool) -> str:
    """What changed, as the text of an e-mail."""
    lines = [f"msk-node at {node}:", "", *_lines(changes, name_series=name_series), ""]
    lines.append(f"What each means and what to do: {MANUAL}, under its name.")
    lines.append("What is the matter now: msk-node health --config node.toml")
    return "\n".join(lines) + "\n"


def _lines(changes: Changes, *, name_series: bool) -> Iterator[str]:
    for verb, alarms in (("began", changes.began), ("ended", changes.ended)):
        for each in alarms:
            shown = _shown(each, name_series=name_series)
            since = f", since {each.since.isoformat(timespec='seconds')}" if each.since else ""
            yield (
                f"{verb}: {shown['kind']} ({shown['severity']}) {shown['subject']}"
                f"{since}: {shown['reason']}"
            )
            if series := shown.get("series"):
                yield f"  series: {', '.join(series)}"


def _shown(alarm: Alarm, *, name_series: bool) -> dict[str, Any]:
    """An alarm as it may leave the machine."""
    values: dict[str, Any] = {
        key: _line(value) if value is not None else None
        for key, value in alarm_values(alarm).items()
    }
    if name_series:
        return values | {"series": list(_uids(alarm.series))}
    for key in ("subject", "reason"):
        values[key] = UID_LIKE.sub("(UID)", values[key])
    return values


def _uids(series: Sequence[str]) -> Iterator[str]:
    return (each for each in series if UID_LIKE.fullmatch(each))


def _line(text: str) -> str:
    """Text in one line of printable ASCII: words of peers end up in alarms."""
    return NOT_FOR_A_LINE.sub("?", text.replace("\n", "; "))
