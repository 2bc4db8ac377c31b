"""The node as the process it is in a hospital: started, killed and asked from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.node.status import node_status
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.settings.loading import load_config
from support.namespace import Namespace
from support.orthanc import DICOM_PORT, NODE_AE, NODE_PORT, PACS_AE
from support.shares import WORKER
from support.waiting import wait_until

MSK_NODE = str(Path(sys.executable).parent / "msk-node")
THREADS = 1 if WORKER else int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
"""All cores, unless another worker has its tests there, or somebody wants it otherwise."""


def node_toml(
    *, partial: str = "report", samples: int = 2, qc_image: str = "on_failure"
) -> str:
    """Settings of a node whose one destination is the harness's Orthanc."""
    return f"""\
[node]
ae_title = "{NODE_AE}"
port = {NODE_PORT}
spool = "spool"
work = "work"
results = "results"
database = "node.sqlite"

[completion]
quiet_s = 2

[analysis]
samples = {samples}
partial = "{partial}"

[profile]
qc_image = "{qc_image}"

[delivery]
first_wait_s = 1
max_wait_s = 5
timeout_s = 20

[logging]
format = "json"
level = "debug"

[[destinations]]
name = "pacs"
ae_title = "{PACS_AE}"
host = "127.0.0.1"
port = {DICOM_PORT}
"""


@dataclass(slots=True)
class NodeProcess:
    """One installation of the node in `folder`; survives its processes, as a disk does.

    command: what to start in place of `msk-node serve`.
    """

    namespace: Namespace
    folder: Path
    command: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it answers C-ECHO."""
        command = self.command or (MSK_NODE, "serve", "--config", str(self.settings))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.namespace.argv(*command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
            )
        wait_until(
            self._answers, within_s=300, words=f"the node answers ({self.log})", every_s=0.3
        )

    def kill(self) -> None:
        """SIGKILL to the node and all its children at once, as a power cut would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask the node to end; kill what is left of it."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def settings(self) -> Path:
        """Its `node.toml`."""
        return self.folder / "node.toml"

    @property
    def log(self) -> Path:
        """Everything it has written to its output."""
        return self.folder / "node.log"

    def is_segmenting(self) -> bool:
        """Whether the child process has its first slices behind it."""
        return "analysis.progress" in self.log.read_text(errors="replace")

    def is_idle(self) -> bool:
        """Whether the ledger shows no series and no delivery under way."""
        status = node_status(load_config(self.settings))
        return not (
            status.series[SeriesState.RECEIVED]
            or status.series[SeriesState.SEGMENTED]
            or status.deliveries[DeliveryState.WAITING]
        )

    def spooled_files(self) -> int:
        """How many images the spool holds."""
        return sum(1 for _ in (self.folder / "spool").glob("*/*.dcm"))

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the node ended at its start:\n{self.log.read_text()[-3000:]}")
        echo = self.namespace.argv(
            "/usr/bin/echoscu", "--call", NODE_AE, "127.0.0.1", str(NODE_PORT)
        )
        return subprocess.run(echo, check=False, capture_output=True).returncode == 0


def install_node(namespace: Namespace, folder: Path, settings: str) -> NodeProcess:
    """A node that has never run, with these settings."""
    folder.mkdir(parents=True, exist_ok=True)
    node = NodeProcess(namespace, folder)
    node.settings.write_text(settings, encoding="utf-8")
    return node
