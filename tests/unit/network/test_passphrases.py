"""Passphrases of keys: from a file or the environment, and shown nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.certificates import Authority, Certificate, make_authority
from support.tls_settings import found, parse, refused, shown

from dicom_node.network import tls_contexts
from dicom_node.settings.description import describe

SESAME = "open sesame"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def node(authority: Authority) -> Certificate:
    return authority.issue("node")


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
