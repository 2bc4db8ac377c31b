"""DICOM TLS with DCMTK, in both directions, with certificates on both sides."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.ct import ct_stack, save
from support.namespace import Namespace, make_namespace
from support.orthanc import NODE_AE, NODE_PORT
from support.pacs import dataset_bytes
from support.tls_peers import Pki, kept, make_pki, peer_of, wanting_certificates
from support.waiting import wait_until

from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver

STORESCP_PORT = 4246


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
