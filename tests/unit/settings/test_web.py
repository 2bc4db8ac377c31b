"""Claims about the table of the web: what would be open by accident is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.settings.loading import parse_config
from dicom_node.settings.web import Web

TLS = {"certificate": "web.pem", "key": "web.key"}
EVERY = ["0.0.0.0", "::"]  # noqa: S104 - nothing listens here
PROXY = {"addresses": ["10.1.2.3"]}


def parse(**web: Any) -> Web:
    found = parse_config({"web": web}, source="node.toml", folder=Path("/etc/msk")).web
    assert found is not None
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.53"])
def test_on_this_machine_alone_nothing_more_is_asked(host: str) -> None:
    assert host in parse(host=host).site_names


@pytest.mark.parametrize("host", ["10.0.0.5", "msk.hospital.example", *EVERY])
def test_a_port_for_other_machines_needs_tls_a_proxy_or_a_plain_word(host: str) -> None:
    names = ["msk.hospital.example"]
    with pytest.raises(ConfigurationError, match="plain = true"):
        parse(host=host, allowed_hosts=names)
    for given in ({"tls": TLS}, {"proxy": PROXY}, {"plain": True}):
        assert names[0] in parse(host=host, allowed_hosts=names, **given).site_names


@pytest.mark.parametrize("host", EVERY)
def test_every_address_needs_names(host: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed_hosts"):
        parse(host=host, tls=TLS)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ({"addresses": []}, "addresses"),
        ({"addresses": ["everybody"]}, "neither an address nor a network"),
        (PROXY | {"user_header": "X-User"}, "user_header needs groups_header"),
        (PROXY | {"viewer_groups": ["a"]}, "groups mean nothing"),
        (
            PROXY | {"user_header": "X User", "groups_header": "G"},
            "letters, digits",
        ),
    ],
)
def test_a_proxy_that_would_let_in_anybody_is_refused(
    proxy: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse(proxy=proxy)


def test_files_lie_beside_the_settings() -> None:
    assert parse().users == Path("/etc/msk/users.toml")
    assert parse(tls=TLS).tls.certificate == Path("/etc/msk/web.pem")  # type: ignore[union-attr]
