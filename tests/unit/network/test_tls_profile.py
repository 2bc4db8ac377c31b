"""The profile of TLS: which suites are offered."""

from __future__ import annotations

import ssl

import pytest
from support.certificates import Authority, make_authority

from dicom_node.network import tls_contexts
from dicom_node.settings.tls import DestinationTls


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki") / "ours")


def test_only_suites_of_the_profile_are_offered(authority: Authority) -> None:
    """BCP 195 (RFC 9325 4.2): ephemeral elliptic curves with AES-GCM, or those of TLS 1.3."""
    context = tls_contexts.client_context(DestinationTls(ca=authority.path))
    names = {each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"}

    assert names == set(tls_contexts.CIPHERS)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
