"""Claims about how an acceptance calls a node whose port speaks TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.certificates import make_authority
from support.tls_peers import make_pki

from dicom_node.errors import PeerUnreachableError
from dicom_node.node.acceptance.sending import own_peer
from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig


def listening(folder: Path, own: dict[str, Any], **acceptance: Any) -> NodeConfig:
    """Settings of a node with TLS on any port."""
    table = {
        "node": {"port": 0, "spool": "spool"},
        "receive": {"tls": own, "free_reserve_mb": 0},
        "acceptance": acceptance,
    }
    return parse_config(table, source="test", folder=folder)


def call(config: NodeConfig) -> None:
    """Call the node as an acceptance does."""
    with Receiver(ReceiverSettings.of(config)) as receiver:
        node = config.node.model_copy(update={"port": receiver.port})
        echo(own_peer(config.model_copy(update={"node": node})))


def test_the_node_is_known_by_its_own_certificate_and_shows_it_as_a_sender(
    tmp_path: Path,
) -> None:
    pki = make_pki(tmp_path / "pki")
    own = {"certificate": str(pki.node.path), "key": str(pki.node.key)}

    call(listening(tmp_path, {**own, "client_ca": str(pki.hospital.path)}))


def test_a_certificate_of_its_own_is_shown_where_the_settings_name_one(tmp_path: Path) -> None:
    pki = make_pki(tmp_path / "pki")
    own = {"certificate": str(pki.node.path), "key": str(pki.node.key)}
    shown = {
        "ca": str(pki.hospital.path),
        "certificate": str(pki.node.path),
        "key": str(pki.node.key),
    }

    call(listening(tmp_path, {**own, "client_ca": str(pki.hospital.path)}, tls=shown))


def test_a_sender_that_nobody_vouches_for_is_not_let_in(tmp_path: Path) -> None:
    pki = make_pki(tmp_path / "pki")
    other = make_authority(tmp_path / "other")
    own = {"certificate": str(pki.node.path), "key": str(pki.node.key)}

    with pytest.raises(PeerUnreachableError):
        call(listening(tmp_path, {**own, "client_ca": str(other.path)}))
