"""DCMTK's dcmqrscp: an archive of a second maker, asked with DCMTK's own tools."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from support.namespace import Namespace
from support.waiting import wait_until

AE_TITLE = "SECOND"
PORT = 4243
ASKING = "HARNESS"
ASKING_PORT = 4244


@dataclass(slots=True)
class Dcmqrscp:
    """A running dcmqrscp; call from inside its namespace."""

    folder: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def is_up(self) -> bool:
        """Whether it answers C-ECHO; an error if it has ended."""
        if self.process.poll() is not None:
            log = (self.folder / "dcmqrscp.log").read_text(errors="replace")
            raise RuntimeError(f"dcmqrscp ended at its start:\n{log[-2000:]}")
        return _ask("echoscu").returncode == 0

    def finds(self, study: str, series: str, instance: str) -> bool:
        """Whether a C-FIND at the instance level lists exactly this instance."""
        answer = _ask("findscu", "-S", *_keys(study, series, instance))
        found = re.findall(r"\(0008,0018\) UI \[([\d.]+)", answer.stdout + answer.stderr)
        # The first is the question itself, as findscu -v repeats it.
        return found[1:] == [instance]

    def fetch(self, study: str, series: str, instance: str, folder: Path) -> Path | None:
        """Have an instance sent into a folder by C-MOVE, with its bytes as they are stored.

        None where it is not sent: of some SOP classes it takes instances and never gives
        them back, because it does not offer them as a sender.
        """
        folder.mkdir(parents=True, exist_ok=True)
        here = ("-aem", ASKING, "--port", str(ASKING_PORT))
        keys = _keys(study, series, instance)
        # With --bit-preserving it leaves --output-directory out of account.
        answer = _ask("movescu", "-S", *here, "--bit-preserving", *keys, folder=folder)
        if "OutOfResourcesSubOperations" in answer.stderr:
            return None
        (path,) = folder.iterdir()
        return path

    def stop(self) -> None:
        """End it, and the processes it has forked for its associations."""
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)


def start_dcmqrscp(namespace: Namespace, folder: Path) -> Dcmqrscp:
    """Start it with an empty store in `folder` and wait until it answers."""
    store = folder / "store"
    store.mkdir(parents=True)
    settings = folder / "dcmqrscp.cfg"
    settings.write_text(
        f"NetworkTCPPort = {PORT}\n"
        "MaxPDUSize = 65536\n"
        "MaxAssociations = 16\n"
        "HostTable BEGIN\n"
        f"{ASKING} = ({ASKING}, 127.0.0.1, {ASKING_PORT})\n"
        "HostTable END\n"
        "VendorTable BEGIN\n"
        "VendorTable END\n"
        "AETable BEGIN\n"
        f"{AE_TITLE} {store} RW (100, 1024mb) ANY\n"
        "AETable END\n"
    )
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen(
            namespace.argv("/usr/bin/dcmqrscp", "--config", str(settings)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    archive = Dcmqrscp(folder, process)
    try:
        with namespace.inside():
            wait_until(archive.is_up, within_s=30, words=f"dcmqrscp answers ({folder})")
    except BaseException:
        archive.stop()
        raise
    return archive


def _keys(study: str, series: str, instance: str) -> tuple[str, ...]:
    return (
        *("-k", "QueryRetrieveLevel=IMAGE"),
        *("-k", f"StudyInstanceUID={study}"),
        *("-k", f"SeriesInstanceUID={series}"),
        *("-k", f"SOPInstanceUID={instance}"),
    )


def _ask(
    program: str, *options: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A tool of DCMTK; by its path, for pynetdicom brings others of the same name."""
    return subprocess.run(
        [f"/usr/bin/{program}", "-v", "-aet", ASKING, "-aec", AE_TITLE, *options,
         "127.0.0.1", str(PORT)],
        check=False, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
