"""Claims about telling alarms, to a real mail server and a real HTTP server."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority, make_authority
from support.hook_server import hook_server
from support.hostile_values import HOSTILE
from support.installed_node import free_port
from support.mail_server import MailServer, mail_server

from dicom_node.monitoring import notify as module
from dicom_node.monitoring.alarm_memory import Changes
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.monitoring.notify import (
    Mail,
    NotToldError,
    Webhook,
    channels_of,
    secret_problems,
)
from dicom_node.settings.alarms import AlarmMail, Alarms, AlarmWebhook

SINCE = datetime(2026, 11, 30, 3, 4, tzinfo=UTC)
UID = "1.2.826.0.1.3680043.8.498.1234567890"
DOWN = Alarm(
    AlarmKind.DESTINATION_DOWN,
    Severity.CRITICAL,
    "pacs",
    f"takes nothing, 3 objects wait: 10.1.2.3 refused {UID}",
    SINCE,
    (UID,),
)
HELD = Alarm(AlarmKind.DELIVERY_HELD, Severity.WARNING, "pacs", "2 objects held", SINCE)
CHANGES = Changes(began=(DOWN,), ended=(HELD,))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca") / "own")


def mail_to(server: MailServer, **more: Any) -> Mail:
    settings = {
        "host": "127.0.0.1",
        "port": server.port,
        "tls": "none",
        "sender": "node@hospital.example",
        "recipients": ["a@hospital.example", "b@hospital.example"],
        "timeout_s": 5.0,
        **more,
    }
    return Mail(AlarmMail.model_validate(settings), "MSKNODE ct-host")


def hook_to(url: str, **more: Any) -> Webhook:
    settings = {"url": url, "timeout_s": 5.0, **more}
    return Webhook(AlarmWebhook.model_validate(settings), "MSKNODE ct-host")


@pytest.mark.parametrize("name_series", [False, True])
def test_no_value_adds_a_header_or_a_line_to_a_mail_or_a_key_to_a_webhook(
    name_series: bool,
) -> None:
    """Words of peers, names of files and titles stand in subjects and reasons."""
    hostile = [*HOSTILE.values(), "x\r\nBcc: evil@example.com\r\n\r\n<b>", "x\nSubject: y\x85z"]
    alarms = tuple(
        Alarm(AlarmKind.DESTINATION_DOWN, Severity.CRITICAL, each, each, SINCE, (each,))
        for each in hostile
    )
    with mail_server() as server, hook_server() as hook:
        for changes in (Changes(began=alarms), *(Changes(ended=(each,)) for each in alarms)):
            replace(mail_to(server), name_series=name_series).tell(changes)
            replace(hook_to(hook.url), name_series=name_series).tell(changes)
        messages = list(server.messages)

    names = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"}
    names |= {"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
    told = {name for each in messages for name in each if not name.startswith("X-")}
    assert len(messages) == len(hook.posts) == len(alarms) + 1
    assert told <= names
    assert all(each["To"] == messages[0]["To"] for each in messages)
    assert all(each["Subject"].isprintable() for each in messages)
    assert str(messages[0].get_payload(decode=True), "ascii").count("began: ") == len(alarms)
    for post in hook.posts:
        assert set(post) == {"schema", "node", "text", "began", "ended"}
        for each in (*post["began"], *post["ended"]):
            assert each["subject"].isascii()
            assert each["subject"].isprintable()
            assert each["reason"].isprintable()
            assert each.get("series", []) == []


def test_a_mail_says_what_began_and_what_ended_to_all_recipients() -> None:
    with mail_server() as server:
        mail_to(server).tell(CHANGES)
        text = server.text()
        message = server.messages[0]

    assert message["Subject"] == (
        "[MSKNODE ct-host] ALARM: destination-down (pacs); ended: delivery-held (pacs)"
    )
    assert message["To"] == "a@hospital.example, b@hospital.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "began: destination-down (critical) pacs, since 2026-11-30T03:04:00+00:00" in text
    assert "ended: delivery-held (warning) pacs" in text
    assert "docs/operating.md" in text


def test_nothing_names_a_series_unless_the_settings_say_so() -> None:
    with mail_server() as server:
        mail_to(server).tell(CHANGES)
        unnamed = server.text()
    with mail_server() as server:
        replace(mail_to(server), name_series=True).tell(CHANGES)
        named = server.text()
    with hook_server() as hook:
        hook_to(hook.url).tell(CHANGES)
        replace(hook_to(hook.url), name_series=True).tell(CHANGES)

    assert UID not in unnamed
    assert "10.1.2.3 refused (UID)" in unnamed
    assert named.count(UID) == 2
    assert UID not in json.dumps(hook.posts[0])
    assert hook.posts[1]["began"][0]["series"] == [UID]


def test_a_password_goes_over_starttls_from_a_file(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("correct horse\nnot this\n")
    with mail_server(authority.issue("mail"), user="node", password="correct horse") as server:
        mail = mail_to(
            server,
            tls="starttls",
            ca=authority.path,
            user="node",
            password_file=tmp_path / "password",
        )
        mail.tell(CHANGES)

    assert (server.encrypted, server.logins) == ([True], ["node"])


def test_a_password_comes_from_a_variable_and_tls_from_the_start_is_spoken(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "from the environment")
    certificate = authority.issue("smtps")
    with mail_server(
        certificate, user="node", password="from the environment", tls_from_start=True
    ) as server:
        mail_to(
            server,
            tls="tls",
            ca=authority.path,
            user="node",
            password_variable="MAIL_PASSWORD",
        ).tell(CHANGES)

    assert (len(server.messages), server.logins) == (1, ["node"])


def test_a_wrong_password_is_told_by_the_servers_code_and_nothing_secret(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("wrong secret")
    with (
        mail_server(authority.issue("mail2"), user="node", password="right") as server,
        pytest.raises(NotToldError, match="answered 535") as failed,
    ):
        mail_to(
            server,
            tls="starttls",
            ca=authority.path,
            user="node",
            password_file=tmp_path / "password",
        ).tell(CHANGES)

    assert "wrong secret" not in str(failed.value)
    assert server.messages == []


def test_a_mail_server_whose_certificate_nobody_vouches_for_gets_nothing(
    authority: Authority,
) -> None:
    with (
        mail_server(authority.issue("mail3")) as server,
        pytest.raises(NotToldError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        mail_to(server, tls="starttls").tell(CHANGES)

    assert server.messages == []


def test_a_server_without_starttls_gets_nothing_in_the_clear() -> None:
    with mail_server() as server, pytest.raises(NotToldError):
        mail_to(server, tls="starttls").tell(CHANGES)

    assert server.messages == []


def test_a_mail_server_that_is_away_or_refuses_is_told_so() -> None:
    with mail_server() as server:
        server.refuses = "452 no room"
        with pytest.raises(NotToldError, match="answered 452"):
            mail_to(server).tell(CHANGES)
    with pytest.raises(NotToldError, match="ConnectionRefusedError"):
        mail_to(MailServer(port=free_port())).tell(CHANGES)


def test_words_of_peers_make_no_header_and_no_second_line() -> None:
    evil = replace(DOWN, subject="x\r\nBcc: a@b.c", reason="bad\r\n\r\nFrom: mallory\x1b[31m")
    with mail_server() as server:
        mail_to(server).tell(Changes(began=(evil,)))
        (message,), text = server.messages, server.text()

    assert message["Bcc"] is None
    assert "\x1b" not in text
    assert not any(line.startswith("From: mallory") for line in text.splitlines())


def test_a_webhook_is_posted_json_with_its_token_over_https(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    with hook_server(authority.issue("hook")) as hook:
        hook_to(hook.url, ca=authority.path, token_file=tmp_path / "token").tell(CHANGES)

    (post,) = hook.posts
    assert hook.headers[0]["Authorization"] == "Bearer t0ken"
    assert (post["schema"], post["node"]) == (1, "MSKNODE ct-host")
    assert post["began"] == [
        {
            "kind": "destination-down",
            "severity": "critical",
            "subject": "pacs",
            "reason": "takes nothing, 3 objects wait: 10.1.2.3 refused (UID)",
            "since": SINCE.isoformat(),
        }
    ]
    assert [each["kind"] for each in post["ended"]] == ["delivery-held"]
    assert "ALARM: destination-down (pacs)" in post["text"]


def test_a_webhook_that_nobody_vouches_for_gets_nothing(authority: Authority) -> None:
    with hook_server(authority.issue("hook2")) as hook:
        with pytest.raises(NotToldError, match="SSLError"):
            hook_to(hook.url, attempts=1).tell(CHANGES)

        assert hook.posts == []


def test_a_busy_webhook_is_tried_again_and_one_that_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BETWEEN_ATTEMPTS_S", 0.0)
    with hook_server(answers=[503, 502]) as hook:
        hook_to(hook.url).tell(CHANGES)
        assert (len(hook.posts), len(hook.headers)) == (1, 3)
    for status in (400, 403, 302):
        with hook_server(answers=[status]) as hook:
            with pytest.raises(NotToldError, match=f"answered {status}"):
                hook_to(hook.url).tell(CHANGES)
            assert len(hook.headers) == 1
    with pytest.raises(NotToldError, match="cannot be reached"):
        hook_to(f"http://127.0.0.1:{free_port()}/").tell(CHANGES)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"mail": {"sender": "a b@c", "host": "h", "recipients": ["a@b"]}}, "one address"),
        ({"mail": {"sender": "a@c", "host": "h", "recipients": ["a@b\nBcc: c@d"]}}, "one addr"),
        ({"mail": {"sender": "a@c", "host": "h", "recipients": []}}, "recipients"),
        (
            {"mail": {"sender": "a@c", "host": "h", "recipients": ["a@b"], "user": "u"}},
            "belong",
        ),
        (
            {
                "mail": {
                    "sender": "a@c",
                    "host": "mail.example",
                    "recipients": ["a@b"],
                    "user": "u",
                    "password_variable": "P",
                    "tls": "none",
                }
            },
            "in the clear",
        ),
        ({"webhook": {"url": "http://chat.example/x"}}, "must be https"),
        ({"webhook": {"url": "https://user:secret@chat.example/x"}}, "into token_file"),
        ({"webhook": {"url": "ftp://chat.example"}}, "must be https"),
        (
            {"webhook": {"url": "https://c.example", "token_file": "a", "token_variable": "b"}},
            "not in both",
        ),
    ],
)
def test_settings_that_would_leak_or_cannot_work_are_refused(
    table: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Alarms.model_validate(table)


def test_a_secret_that_is_not_there_is_found_before_the_start(tmp_path: Path) -> None:
    mail = {"sender": "a@c", "host": "h", "recipients": ["a@b"], "user": "u"}
    alarms = Alarms.model_validate(
        {
            "mail": {**mail, "password_file": tmp_path / "none"},
            "webhook": {"url": "https://c.example", "token_variable": "MSK_NO_SUCH_TOKEN"},
        }
    )

    assert [each.partition(":")[0] for each in secret_problems(alarms)] == [
        "alarms.mail",
        "alarms.webhook",
    ]
    assert [each.name for each in channels_of(alarms, "node")] == ["mail", "webhook"]
    assert list(secret_problems(Alarms())) == []


@pytest.mark.parametrize(("table", "model"), [("mail", AlarmMail), ("webhook", AlarmWebhook)])
def test_every_setting_of_telling_is_documented(
    table: str, model: type[AlarmMail | AlarmWebhook]
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "node.toml").read_text(encoding="utf-8")
    part = text.partition(f"# [alarms.{table}]\n")[2].partition("\n\n")[0]

    assert set(re.findall(r"^# (\w+) = ", part, re.MULTILINE)) == set(model.model_fields)
