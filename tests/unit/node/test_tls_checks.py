"""The files that the settings of TLS name: each fault found before anything listens."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from support.certificates import RSA, WEAK_RSA, Authority, Certificate, make_authority
from support.tls_settings import found, now, parse, shown

from dicom_node.network.certificates import validity
from dicom_node.node import tls_checks


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def node(authority: Authority) -> Certificate:
    return authority.issue("node")


def test_good_files_are_no_problem(authority: Authority, node: Certificate) -> None:
    config = parse(
        receive=shown(node, client_ca=str(authority.path)),
        destination=shown(node, ca=str(authority.path)),
    )

    assert found(config) == []
    assert list(tls_checks.warnings(config, now())) == []


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
    assert list(tls_checks.warnings(config, now())) == [
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

    assert list(tls_checks.warnings(config, now())) == [
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
