"""Claims about how the node proves itself to a DICOMweb service, and what it believes."""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.certificates import Authority, Certificate, make_authority
from support.web_archive import WebArchive
from typer.testing import CliRunner

from dicom_node.commands import cli
from dicom_node.errors import ConfigurationError, PeerUnreachableError
from dicom_node.node.preflight import check_surroundings
from dicom_node.peers.dicomweb import WebService
from dicom_node.peers.transports import WebTransport
from dicom_node.settings.description import describe
from dicom_node.settings.destinations import Credentials
from dicom_node.settings.loading import load_config
from dicom_node.settings.tls import DestinationTls

SECRET = "a-token.of_secret~digits123"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.issue("archive")


@pytest.fixture
def archive() -> Iterator[WebArchive]:
    with WebArchive().running() as archive:
        yield archive


def listening(certificate: Certificate, ca: Authority | None = None) -> ssl.SSLContext:
    """A server's context; with an authority, it wants a certificate of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    if ca is not None:
        context.load_verify_locations(ca.path)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def ask(archive: WebArchive, **values: object) -> None:
    WebTransport(replace(WebService("pacs", archive.url), **values)).verify()  # type: ignore[arg-type]


def test_a_token_of_a_file_is_shown_and_read_anew_each_time(
    archive: WebArchive, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    credentials = Credentials(bearer_token_file=token)
    token.write_text(f"{SECRET}\nanything else\n")
    ask(archive, credentials=credentials)
    token.write_text("renewed")
    ask(archive, credentials=credentials)

    shown = [each["Authorization"] for each in archive.headers]
    assert shown == [f"Bearer {SECRET}", "Bearer renewed"]


def test_a_user_and_a_password_of_the_environment_are_shown(
    archive: WebArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 7617: `user:password` in base64."""
    monkeypatch.setenv("MSK_TEST_PASSWORD", "pässword")
    ask(archive, credentials=Credentials(user="msk", password_variable="MSK_TEST_PASSWORD"))

    kind, _, pair = archive.headers[0]["Authorization"].partition(" ")
    assert (kind, base64.b64decode(pair).decode()) == ("Basic", "msk:pässword")


def test_the_request_names_host_and_port_and_nothing_of_the_environment_is_asked(
    archive: WebArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that nobody named, and `~/.netrc`."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    ask(archive)

    assert archive.headers[0]["Host"] == f"127.0.0.1:{archive.port}"
    assert "Authorization" not in archive.headers[0]


@pytest.mark.parametrize("content", ["", "two words", "tök", None])
def test_a_secret_that_cannot_be_used_is_said_to_be_so_without_showing_it(
    archive: WebArchive, tmp_path: Path, content: str | None
) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    with pytest.raises(PeerUnreachableError, match="cannot be called") as caught:
        ask(archive, credentials=Credentials(bearer_token_file=token))

    assert not content or content not in str(caught.value)
    assert archive.headers == []


def settings_of(folder: Path, url: str) -> Path:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "token").write_text(SECRET)
    settings = folder / "node.toml"
    settings.write_text(
        f'[[destinations]]\nname = "cloud"\nurl = "{url}"\n'
        '[destinations.credentials]\nbearer_token_file = "secrets/token"\n'
    )
    return settings


def test_no_log_line_command_or_message_shows_the_token(
    archive: WebArchive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path, archive.url)
    config = load_config(settings)
    with caplog.at_level(logging.DEBUG):
        done = CliRunner().invoke(cli.app, ["echo", "cloud", "-c", str(settings)])
    status = CliRunner().invoke(cli.app, ["status", "-c", str(settings)])

    assert done.exit_code == status.exit_code == 0
    assert "answers" in done.output
    shown = [done.output, status.output, caplog.text, repr(config), *describe(config)]
    assert archive.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert not any(SECRET in each for each in shown)
    assert any(f"the bearer token of {tmp_path}/secrets/token" in line for line in shown)


def test_the_check_says_that_a_secret_is_missing(archive: WebArchive, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, archive.url)
    (tmp_path / "secrets" / "token").unlink()
    with pytest.raises(ConfigurationError, match=r"destinations\[0\].credentials: .*cannot be"):
        check_surroundings(load_config(settings))


def test_a_service_is_believed_by_the_authority_that_the_settings_name(
    authority: Authority, server: Certificate
) -> None:
    with WebArchive().running(listening(server)) as archive:
        ask(archive, tls=DestinationTls(ca=authority.path))

        assert len(archive.queries) == 1


def test_a_service_that_nobody_vouches_for_gets_neither_results_nor_token(
    server: Certificate, tmp_path: Path
) -> None:
    """Without a table of TLS, the system's authorities count; with one, its own only."""
    other = make_authority(tmp_path / "other", "Other CA")
    (tmp_path / "token").write_text(SECRET)
    credentials = Credentials(bearer_token_file=tmp_path / "token")
    with WebArchive().running(listening(server)) as archive:
        for tls in (None, DestinationTls(ca=other.path)):
            with pytest.raises(PeerUnreachableError, match=r"by TLS: .*issuer certificate"):
                ask(archive, tls=tls, credentials=credentials)

        assert archive.headers == []


def test_a_certificate_must_bear_the_name_of_the_service_or_the_one_that_is_given(
    authority: Authority,
) -> None:
    named = authority.issue("named", names="DNS:archive.hospital.example")
    with WebArchive().running(listening(named)) as archive:
        with pytest.raises(PeerUnreachableError, match="by TLS"):
            ask(archive, tls=DestinationTls(ca=authority.path))
        name = "archive.hospital.example"
        ask(archive, tls=DestinationTls(ca=authority.path, server_name=name))

        assert len(archive.queries) == 1


def test_the_node_shows_its_own_certificate_where_one_is_wanted(
    authority: Authority, server: Certificate
) -> None:
    node = authority.issue("node", passphrase="open sesame")
    secret = authority.folder / "passphrase"
    secret.write_text("open sesame\n")
    with WebArchive().running(listening(server, authority)) as archive:
        with pytest.raises(PeerUnreachableError):
            ask(archive, tls=DestinationTls(ca=authority.path))
        tls = DestinationTls(
            ca=authority.path,
            certificate=node.path,
            key=node.key,
            key_passphrase_file=secret,
        )
        ask(archive, tls=tls)

        assert len(archive.queries) == 1
