"""The settings of TLS: what is refused, and what is said of those that are taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.tls_settings import found, parse, refused

from dicom_node.settings.description import describe
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.tls import DestinationTls, ReceiveTls
from dicom_node.settings.values import Section

EXAMPLE = Path(__file__).parents[3] / "docs" / "node.toml"
PIN = "5A:1F:" + ":".join(["0B"] * 30)


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
