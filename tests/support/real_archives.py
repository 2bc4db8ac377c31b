"""Archives of four makers, started in a namespace: Orthanc, dcmqrscp, qrscp and tiny_pacs.

All of them send to `NODE_AE` at `NODE_PORT` of 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from dicom_node.errors import PeerError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from support.namespace import Namespace
from support.orthanc import NODE_AE, NODE_PORT, PLUGIN
from support.waiting import wait_until

TITLE = "ARCHIVE"


@dataclass(slots=True)
class RealArchive:
    """A running archive; call from inside its namespace.

    name: its maker's name for it.
    release: its version.
    url: its DICOMweb service, where it has one.
    """

    name: str
    release: str
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path
    url: str = ""

    @property
    def peer(self) -> Peer:
        """How it is called."""
        return Peer(self.name, TITLE, "127.0.0.1", self.port, NODE_AE, 5.0, 30.0)

    def is_up(self) -> bool:
        """Whether it answers C-ECHO; an error if it has ended."""
        if self.process.poll() is not None:
            words = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended at its start:\n{words}")
        try:
            echo(self.peer)
        except PeerError:
            return False
        return True

    def stop(self) -> None:
        """End it, and the processes it has started for its associations."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def running(
    start: Callable[[Namespace, Path], RealArchive], namespace: Namespace, folder: Path
) -> Iterator[RealArchive]:
    """An archive, one of `STARTS` say, empty, until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = start(namespace, folder)
    try:
        with namespace.inside():
            words = f"{archive.name} answers ({folder})"
            wait_until(archive.is_up, within_s=30, words=words)
        yield archive
    finally:
        archive.stop()


def _started(
    namespace: Namespace, folder: Path, command: Sequence[str]
) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            namespace.argv(*command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    return process, log


def _orthanc(namespace: Namespace, folder: Path, **settings: object) -> RealArchive:
    port, http = 4260, 8060
    configuration = folder / "orthanc.json"
    table = {
        "Name": "ARCHIVE",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": TITLE,
        "DicomPort": port,
        "DicomModalities": {"node": [NODE_AE, "127.0.0.1", NODE_PORT]},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    configuration.write_text(json.dumps(table | settings))
    process, log = _started(namespace, folder, ["Orthanc", str(configuration)])
    release = _said(["Orthanc", "--version"]).split()[1].partition("+")[0]
    url = f"http://127.0.0.1:{http}/dicom-web"
    return RealArchive("Orthanc", release, port, process, log, url)


def capping_orthanc(namespace: Namespace, folder: Path) -> RealArchive:
    """One that answers to a query twice at most."""
    return _orthanc(namespace, folder, LimitFindResults=2, LimitFindInstances=2)


def _dcmqrscp(namespace: Namespace, folder: Path) -> RealArchive:
    port = 4261
    store = folder / "store"
    store.mkdir()
    settings = folder / "dcmqrscp.cfg"
    settings.write_text(
        f"NetworkTCPPort = {port}\n"
        "MaxPDUSize = 65536\n"
        "MaxAssociations = 16\n"
        "HostTable BEGIN\n"
        f"{NODE_AE} = ({NODE_AE}, 127.0.0.1, {NODE_PORT})\n"
        "HostTable END\n"
        "VendorTable BEGIN\n"
        "VendorTable END\n"
        "AETable BEGIN\n"
        f"{TITLE} {store} RW (100, 1024mb) ANY\n"
        "AETable END\n"
    )
    command = ["/usr/bin/dcmqrscp", "--config", str(settings)]
    process, log = _started(namespace, folder, command)
    release = _said(["/usr/bin/dcmqrscp", "--version"]).split("v")[1].split()[0]
    return RealArchive("dcmqrscp", release, port, process, log)


def _qrscp(namespace: Namespace, folder: Path) -> RealArchive:
    port = 4262
    settings = folder / "qrscp.ini"
    settings.write_text(
        "[DEFAULT]\n"
        f"ae_title: {TITLE}\nport: {port}\nmax_pdu: 16382\n"
        "acse_timeout: 30\ndimse_timeout: 30\nnetwork_timeout: 30\n"
        "bind_address: 127.0.0.1\n"
        "instance_location: instances\ndatabase_location: instances.sqlite\n"
        "log_identifier: False\n"
        f"[{NODE_AE}]\naddress: 127.0.0.1\nport: {NODE_PORT}\n"
    )
    command = [sys.executable, "-m", "pynetdicom", "qrscp", "-c", str(settings)]
    process, log = _started(namespace, folder, command)
    return RealArchive("qrscp", version("pynetdicom"), port, process, log)


def _tiny_pacs(namespace: Namespace, folder: Path) -> RealArchive:
    port = 4263
    settings = folder / "tiny.json"
    device = {"aet": NODE_AE, "address": "127.0.0.1", "port": NODE_PORT}
    table = {
        "ae": {"ae_title": [TITLE], "port": port},
        "components": {"Devices": {"on": True, "devices": {NODE_AE: device}}},
    }
    settings.write_text(json.dumps(table))
    command = [sys.executable, "-m", "tiny_pacs", "run", "-c", str(settings)]
    process, log = _started(namespace, folder, command)
    return RealArchive("tiny_pacs", version("tiny-pacs"), port, process, log)


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


STARTS: dict[str, Callable[[Namespace, Path], RealArchive]] = {
    "Orthanc": _orthanc,
    "dcmqrscp": _dcmqrscp,
    "qrscp": _qrscp,
    "tiny_pacs": _tiny_pacs,
}
