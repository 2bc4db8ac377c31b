"""DICOM TLS with Orthanc, in both directions, with certificates on both sides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ct import ct_stack, save
from support.namespace import Namespace, make_namespace
from support.orthanc import DICOM_PORT, NODE_AE, NODE_PORT, PACS_AE, Orthanc, start_orthanc
from support.tls_peers import Pki, kept, make_pki, peer_of, wanting_certificates

from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


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
    with Receiver(wanting_certificates(pki, tmp_path)) as running:
        yield running


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
