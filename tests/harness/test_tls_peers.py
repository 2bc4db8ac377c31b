"""DICOM TLS with Orthanc and DCMTK, in both directions, with certificates on both sides."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.certificates import RSA, Authority, Certificate, make_authority
from support.ct import SERIES_UID, ct_stack, save
from support.namespace import Namespace, make_namespace
from support.orthanc import DICOM_PORT, NODE_AE, NODE_PORT, PACS_AE, Orthanc, start_orthanc
from support.pacs import dataset_bytes
from support.waiting import wait_until

from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.tls import DestinationTls, ReceiveTls

STORESCP_PORT = 4246


@dataclass(frozen=True)
class Pki:
    """An authority of the hospital, and a certificate for each side."""

    hospital: Authority
    node: Certificate
    peer: Certificate


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    hospital = make_authority(tmp_path_factory.mktemp("pki") / "hospital")
    return Pki(
        hospital, hospital.issue("node", algorithm=RSA), hospital.issue("peer", algorithm=RSA)
    )


@pytest.fixture(scope="module")
def apart(harness_programs: None) -> Iterator[Namespace]:
    """A namespace of these tests' own, where the ports of the run's Orthanc are free."""
    namespace = make_namespace(f"msk-tls-{os.getpid()}")
    yield namespace
    namespace.remove()


@pytest.fixture(autouse=True)
def _apart(apart: Namespace, _inside: None) -> Iterator[None]:
    with apart.inside():
        yield


@pytest.fixture
def receiver(pki: Pki, tmp_path: Path) -> Iterator[Receiver]:
    """Our receiver, which wants a certificate."""
    rule = ReceiveTls(certificate=pki.node.path, key=pki.node.key, client_ca=pki.hospital.path)
    settings = ReceiverSettings(
        NODE_AE, tmp_path / "spool", port=NODE_PORT, free_reserve_bytes=0, tls=rule
    )
    with Receiver(settings) as running:
        yield running


def kept(receiver: Receiver) -> list[bytes]:
    return sorted(dataset_bytes(entry.path) for entry in receiver.spool.entries(SERIES_UID))


def peer_of(pki: Pki, ae_title: str, port: int, **rule: Any) -> Peer:
    own = {"ca": pki.hospital.path, "certificate": pki.node.path, "key": pki.node.key}
    tls = DestinationTls.model_validate(own | rule)
    return Peer("peer", ae_title, "127.0.0.1", port, NODE_AE, 10.0, 30.0, tls)


# --- DCMTK


def storescu(paths: list[Path], *tls: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/storescu", "-v", "-aet", "CT1", "-aec", NODE_AE, *tls,
         "127.0.0.1", str(NODE_PORT), *map(str, paths)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@contextmanager
def storescp(pki: Pki, folder: Path) -> Iterator[Path]:
    """DCMTK's storescp, which wants a certificate; the folder it stores into."""
    store = folder / "store"
    store.mkdir()
    with (folder / "storescp.log").open("wb") as log:
        process = subprocess.Popen(
            ["/usr/bin/storescp", "-v", "+tls", str(pki.peer.key), str(pki.peer.path),
             "+cf", str(pki.hospital.path), "-rc", "--output-directory", str(store),
             str(STORESCP_PORT)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_until(lambda: is_open(STORESCP_PORT), words="storescp listens")
        yield store
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_dcmtk_sends_to_the_node(receiver: Receiver, pki: Pki, tmp_path: Path) -> None:
    paths = save(ct_stack(shape=(128, 128)), tmp_path / "sent")

    result = storescu(
        paths, "+tls", str(pki.peer.key), str(pki.peer.path), "+cf", str(pki.hospital.path)
    )

    assert result.returncode == 0, result.stderr
    assert kept(receiver) == sorted(map(dataset_bytes, paths))


@pytest.mark.parametrize("how", ["plain", "anonymous"])
def test_dcmtk_without_a_certificate_gets_nothing_in(
    how: str, receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    paths = save(ct_stack(range(1), shape=(16, 16)), tmp_path / "sent")
    options = {"plain": (), "anonymous": ("+tla", "+cf", str(pki.hospital.path))}

    result = storescu(paths, *options[how])

    assert result.returncode != 0
    assert kept(receiver) == []


def test_the_node_sends_to_dcmtk(pki: Pki, tmp_path: Path) -> None:
    paths = save(ct_stack(shape=(128, 128)), tmp_path / "sent")

    with storescp(pki, tmp_path) as store:
        outcomes = send(peer_of(pki, "STORESCP", STORESCP_PORT), paths)
        found = [dataset_bytes(path) for path in store.iterdir()]

    assert all(outcome.status == 0 for outcome in outcomes)
    assert len(found) == len(paths)


def test_dcmtk_is_known_by_its_fingerprint_and_by_no_other(pki: Pki, tmp_path: Path) -> None:
    with storescp(pki, tmp_path):
        by_pin = peer_of(
            pki, "STORESCP", STORESCP_PORT, ca=None, fingerprints=(pki.peer.fingerprint,)
        )
        echo(by_pin)
        wrong = peer_of(
            pki, "STORESCP", STORESCP_PORT, ca=None, fingerprints=(pki.node.fingerprint,)
        )
        with pytest.raises(PeerUnreachableError, match="another certificate than expected"):
            echo(wrong)


# --- Orthanc


@pytest.fixture(scope="module")
def pacs(
    apart: Namespace, pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    """An Orthanc that speaks DICOM TLS only, and wants a certificate."""
    running = start_orthanc(
        apart,
        tmp_path_factory.mktemp("orthanc-tls"),
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(pki.peer.path),
        DicomTlsPrivateKey=str(pki.peer.key),
        DicomTlsTrustedCertificates=str(pki.hospital.path),
        DicomTlsRemoteCertificateRequired=True,
        DicomModalities={
            "node": {
                "AET": NODE_AE, "Host": "127.0.0.1", "Port": NODE_PORT, "UseDicomTls": True
            }
        },
    )  # fmt: skip
    try:
        yield running
    finally:
        running.stop()


def test_the_node_sends_to_orthanc(pacs: Orthanc, pki: Pki, tmp_path: Path) -> None:
    paths = save(ct_stack(shape=(128, 128), SeriesInstanceUID="1.2.3"), tmp_path / "sent")

    outcomes = send(peer_of(pki, PACS_AE, DICOM_PORT), paths)

    assert all(outcome.status == 0 for outcome in outcomes)
    assert len(pacs.get("/instances")) == len(paths)
    pacs.empty()


def test_orthanc_takes_nothing_from_a_node_without_a_certificate(
    pacs: Orthanc, pki: Pki
) -> None:
    with pytest.raises(PeerUnreachableError, match="by TLS: it"):
        echo(peer_of(pki, PACS_AE, DICOM_PORT, certificate=None, key=None))


def test_orthanc_sends_to_the_node(
    pacs: Orthanc, receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    paths = save(ct_stack(shape=(128, 128)), tmp_path / "sent")
    pacs.upload(paths)
    resources = pacs.get("/instances")

    answer = pacs.post("/modalities/node/store", {"Resources": resources, "Synchronous": True})

    assert answer["FailedInstancesCount"] == 0
    assert len(kept(receiver)) == len(paths)
    pacs.empty()
