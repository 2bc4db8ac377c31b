"""Claims about the settings of TLS and the files they name."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.certificates import RSA, WEAK_RSA, Authority, Certificate, make_authority

from dicom_node.errors import ConfigurationError
from dicom_node.network import tls_contexts
from dicom_node.network.certificates import validity
from dicom_node.node import tls_checks
from dicom_node.settings.description import describe
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.tls import DestinationTls, ReceiveTls
from dicom_node.settings.values import Section

EXAMPLE = Path(__file__).parents[3] / "docs" / "node.toml"


def now() -> datetime:
    """The time, which in a long run is not that of the collection of tests."""
    return datetime.now(UTC)


PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 2762}
SESAME = "open sesame"
PIN = "5A:1F:" + ":".join(["0B"] * 30)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def node(authority: Authority) -> Certificate:
    return authority.issue("node")


def parse(
    receive: dict[str, Any] | None = None, destination: dict[str, Any] | None = None
) -> NodeConfig:
    table: dict[str, Any] = {}
    if receive is not None:
        table["receive"] = {"tls": receive}
    if destination is not None:
        table["destinations"] = [{**PACS, "tls": destination}]
    return parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def refused(**tables: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(**tables)
    return str(caught.value).splitlines()


def shown(certificate: Certificate, **more: str) -> dict[str, str]:
    return {"certificate": str(certificate.path), "key": str(certificate.key), **more}


def found(config: NodeConfig) -> list[str]:
    return list(tls_checks.problems(config, now()))


# --- settings


def test_a_listener_needs_a_certificate() -> None:
    assert refused(receive={"client_ca": "ca.pem"}) == [
        "node.toml: receive.tls: certificate and key must be given"
    ]


def test_senders_without_certificates_are_let_in_only_by_saying_so() -> None:
    own = {"certificate": "a.pem", "key": "a.key"}

    assert "client_ca must be given" in refused(receive=own)[0]
    parse(receive={**own, "require_client_certificate": False})


def test_the_plain_port_is_another_than_that_of_tls() -> None:
    own = {"certificate": "a.pem", "key": "a.key", "client_ca": "ca.pem"}

    assert refused(receive={**own, "plain_port": 11112}) == [
        "node.toml: file: receive.tls.plain_port is node.port; it needs one of its own"
    ]


def test_a_certificate_that_is_never_asked_for_lets_nobody_in() -> None:
    table = {"senders": [{"ae_title": "CT1", "fingerprints": [PIN]}]}
    config = parse_config(table, source="node.toml", folder=Path("/etc/msk"))

    assert found(config) == ["senders[0].fingerprints: needs receive.tls.client_ca"]


def test_a_destination_that_nobody_vouches_for_is_refused() -> None:
    """There is no key that turns verification off, and leaving all out does not either."""
    expected = "node.toml: destinations[0].tls: give ca or fingerprints: nobody is believed"

    assert refused(destination={})[0].startswith(expected)
    assert refused(destination={"fingerprints": []})[0].startswith(expected)
    assert "unknown key" in refused(destination={"ca": "x", "verify": False})[0]


@pytest.mark.parametrize("text", ["", "abc", "0" * 63, "zz" * 32, "0" * 40])
def test_a_fingerprint_of_another_kind_is_refused(text: str) -> None:
    assert "64 hexadecimal" in refused(destination={"fingerprints": [text]})[0]


def test_a_fingerprint_is_taken_as_openssl_prints_it() -> None:
    rule = parse(destination={"fingerprints": [PIN]}).destinations[0].tls

    assert rule is not None
    assert rule.fingerprints == ("5a1f" + "0b" * 30,)


def test_a_certificate_without_its_key_is_refused() -> None:
    found = refused(destination={"ca": "ca.pem", "certificate": "a.pem"})

    assert "certificate and key belong together" in found[0]


def test_files_are_relative_to_the_file_that_names_them() -> None:
    config = parse(
        receive={"certificate": "a.pem", "key": "/k", "client_ca": "ca.pem"},
        destination={"ca": "tls/ca.pem"},
    )

    assert config.receive.tls is not None
    assert config.receive.tls.certificate == Path("/etc/msk/a.pem")
    assert config.receive.tls.key == Path("/k")
    assert config.destinations[0].tls == DestinationTls(ca=Path("/etc/msk/tls/ca.pem"))


def test_the_check_says_who_is_believed_and_what_is_open() -> None:
    lines = describe(
        parse(
            receive={
                "certificate": "a.pem", "key": "a.key", "client_ca": "c.pem", "plain_port": 104
            },
            destination={"fingerprints": [PIN]},
        )
    )  # fmt: skip

    assert "that port speaks TLS only; senders must show a certificate" in lines
    assert "listens on port 104 without TLS, to anyone who may send" in lines
    assert any("shows the certificate 5a1f0b0b0b0b0b0b..." in line for line in lines)
    assert any("we show no certificate" in line for line in lines)


def test_settings_survive_the_way_to_a_child_process() -> None:
    config = parse(
        receive={"certificate": "a.pem", "key": "a.key", "client_ca": "ca.pem"},
        destination={"fingerprints": [PIN], "server_name": "pacs"},
    )

    assert NodeConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("section", "model"), [("receive.tls", ReceiveTls), ("destinations.tls", DestinationTls)]
)
def test_every_setting_is_documented(section: str, model: type[Section]) -> None:
    text = EXAMPLE.read_text().partition(f"[{section}]\n")[2].partition("\n\n")[0]

    assert set(re.findall(r"^# (\w+) = ", text, flags=re.MULTILINE)) == set(model.model_fields)


# --- files


def test_good_files_are_no_problem(authority: Authority, node: Certificate) -> None:
    config = parse(
        receive=shown(node, client_ca=str(authority.path)),
        destination=shown(node, ca=str(authority.path)),
    )

    assert found(config) == []
    assert list(tls_checks.concerns(config, now())) == []


def test_a_certificate_file_without_one_is_named(node: Certificate, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    config = parse(destination={**shown(node, ca=str(node.path)), "certificate": str(empty)})

    assert found(config) == [f"destinations[0].tls: {empty}: holds no certificate"]


def test_every_file_that_is_missing_is_named(node: Certificate) -> None:
    config = parse(
        receive=shown(node, client_ca="none.pem"), destination={"ca": "/nowhere/ca.pem"}
    )

    assert found(config) == [
        "receive.tls: /etc/msk/none.pem: cannot be read: No such file or directory",
        "destinations[0].tls: /nowhere/ca.pem: cannot be read: No such file or directory",
    ]


def test_a_key_of_another_certificate_is_named(authority: Authority, node: Certificate) -> None:
    other = authority.issue("other")
    config = parse(
        receive={**shown(node, client_ca=str(authority.path)), "key": str(other.key)}
    )

    assert found(config) == [f"receive.tls: {other.key}: does not belong to the certificate"]


def test_a_key_that_is_too_short_is_named(authority: Authority) -> None:
    weak = authority.issue("weak", algorithm=WEAK_RSA)

    assert found(parse(destination=shown(weak, ca=str(authority.path)))) == [
        f"destinations[0].tls: {weak.key}: has too short a key"
    ]


@pytest.mark.parametrize(
    "content", ["", "no certificate at all", "-----BEGIN CERTIFICATE-----"]
)
def test_a_file_that_is_no_certificate_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(content)

    (problem,) = found(parse(destination={"ca": str(path)}))

    assert problem.startswith(f"destinations[0].tls: {path}: ")


def test_an_expired_certificate_is_named_with_its_day(authority: Authority) -> None:
    old = authority.issue("old", days=(-20, -10))
    config = parse(destination=shown(old, ca=str(authority.path)))

    assert found(config) == [
        f"destinations[0].tls: {old.path}: expired on {now() - timedelta(days=10):%Y-%m-%d}"
    ]


def test_a_certificate_that_expires_soon_is_a_concern(authority: Authority) -> None:
    soon = authority.issue("soon", days=(-20, 5.5))
    config = parse(destination=shown(soon, ca=str(authority.path)))

    assert found(config) == []
    assert list(tls_checks.concerns(config, now())) == [
        f"destinations[0].tls: {soon.path}: expires in 5 days"
    ]


def test_of_those_who_vouch_one_may_have_expired(authority: Authority, tmp_path: Path) -> None:
    """A CA is replaced by adding the new one; the old one may stay until somebody tidies up."""
    old = authority.issue("old_ca", days=(-20, -10))
    both = tmp_path / "both.pem"
    both.write_text(old.path.read_text() + authority.path.read_text())

    assert found(parse(destination={"ca": str(both)})) == []


def test_a_key_that_everyone_may_read_is_a_concern(authority: Authority) -> None:
    open_key = authority.issue("open")
    open_key.key.chmod(0o644)
    config = parse(destination=shown(open_key, ca=str(authority.path)))

    assert list(tls_checks.concerns(config, now())) == [
        f"destinations[0].tls: {open_key.key}: every user of this machine can get at this key"
    ]


@pytest.mark.parametrize("days", [(-20, 300), (-20, 36500)])
def test_validity_is_read_as_openssl_wrote_it(
    days: tuple[float, float], authority: Authority
) -> None:
    """Up to 2049 as UTCTime, from 2050 on as GeneralizedTime."""
    issued = authority.issue("long", days=days, algorithm=RSA)

    begin, end = validity(ssl.PEM_cert_to_DER_cert(issued.path.read_text()))

    for day, time in zip(days, (begin, end), strict=True):
        assert abs(time - now() - timedelta(days=day)) < timedelta(minutes=5)


# --- passphrases


def from_file(folder: Path, monkeypatch: pytest.MonkeyPatch, secret: str) -> dict[str, str]:
    (folder / "passphrase").write_text(f"{secret}\n")
    return {"key_passphrase_file": str(folder / "passphrase")}


def from_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> dict[str, str]:
    monkeypatch.setenv("MSK_TEST_PASSPHRASE", secret)
    return {"key_passphrase_variable": "MSK_TEST_PASSPHRASE"}


@pytest.mark.parametrize("source", [from_file, from_environment])
def test_a_passphrase_opens_the_key_and_shows_up_nowhere(
    source: Callable[..., dict[str, str]],
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    locked = authority.issue("locked", passphrase=SESAME)
    right = source(tmp_path, monkeypatch, SESAME)
    config = parse(destination=shown(locked, ca=str(authority.path), **right))

    rule = config.destinations[0].tls

    assert rule is not None
    assert found(config) == []
    assert "sesame" not in config.model_dump_json() + repr(config) + str(describe(config))
    assert "sesame" not in repr(tls_contexts.Call(rule))

    source(tmp_path, monkeypatch, "open barley")
    assert found(config) == [
        f"destinations[0].tls: {locked.key}: no key, or not one that the passphrase opens"
    ]


def test_a_locked_key_without_passphrase_does_not_ask_at_the_terminal(
    authority: Authority,
) -> None:
    locked = authority.issue("locked", passphrase=SESAME)

    (problem,) = found(parse(destination=shown(locked, ca=str(authority.path))))

    assert f"{locked.key}: " in problem


def test_a_variable_that_is_not_set_is_named(authority: Authority, node: Certificate) -> None:
    config = parse(
        destination={
            **shown(node, ca=str(authority.path)),
            "key_passphrase_variable": "MSK_UNSET",
        }
    )

    assert found(config) == [
        "destinations[0].tls: the environment variable MSK_UNSET is not set"
    ]


def test_a_passphrase_in_the_settings_themselves_is_refused() -> None:
    found = refused(destination={"ca": "x", "key_passphrase": "open sesame"})

    assert found == ["node.toml: destinations[0].tls.key_passphrase: unknown key"]


# --- the profile


def test_only_suites_of_the_profile_are_offered(authority: Authority) -> None:
    """BCP 195 (RFC 9325 4.2): ephemeral elliptic curves with AES-GCM, or those of TLS 1.3."""
    context = tls_contexts.client_context(DestinationTls(ca=authority.path))
    names = {each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"}

    assert names == set(tls_contexts.CIPHERS)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
