"""DICOM TLS between the node and programs of other makers, certificates on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.peers.association import Peer
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.tls import DestinationTls, ReceiveTls
from support.certificates import RSA, Authority, Certificate, make_authority
from support.ct import SERIES_UID
from support.orthanc import NODE_AE, NODE_PORT
from support.pacs import dataset_bytes


@dataclass(frozen=True)
class Pki:
    """An authority of the hospital, and a certificate for each side."""

    hospital: Authority
    node: Certificate
    peer: Certificate


def make_pki(folder: Path) -> Pki:
    hospital = make_authority(folder / "hospital")
    return Pki(
        hospital, hospital.issue("node", algorithm=RSA), hospital.issue("peer", algorithm=RSA)
    )


def wanting_certificates(pki: Pki, folder: Path) -> ReceiverSettings:
    """Of our receiver, which lets nobody in without one."""
    rule = ReceiveTls(certificate=pki.node.path, key=pki.node.key, client_ca=pki.hospital.path)
    return ReceiverSettings(
        NODE_AE, folder / "spool", port=NODE_PORT, free_reserve_bytes=0, tls=rule
    )


def kept(receiver: Receiver) -> list[bytes]:
    return sorted(dataset_bytes(entry.path) for entry in receiver.spool.entries(SERIES_UID))


def peer_of(pki: Pki, ae_title: str, port: int, **rule: Any) -> Peer:
    own = {"ca": pki.hospital.path, "certificate": pki.node.path, "key": pki.node.key}
    tls = DestinationTls.model_validate(own | rule)
    return Peer("peer", ae_title, "127.0.0.1", port, NODE_AE, 10.0, 30.0, tls)
