"""The demonstration: the whole way of a series on one machine, in one command.

A node with the embedded defaults (but free ports, and a QC image in any case) runs as the
process it is in a hospital; the phantom is sent to it by C-STORE as a scanner would; a Storage
SCP in the part of the PACS takes what comes back. The table at the end is read from the
report that came back, and set against what the phantom is known to contain.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from PIL import Image
from pydicom.uid import (
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.case_files.report_reader import ReportedStructure, reported_structures
from dicom_node.commands.console import stdout, titled
from dicom_node.errors import PeerError, PeerUnreachableError
from dicom_node.network.pynetdicom_patches import install
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.series.bounded_files import read_whole
from dicom_node.settings.values import OWN_AE_TITLE
from inference.phantom.render import known_answers
from inference.phantom.spec import DEFAULT_PHANTOM, PhantomSpec
from inference.phantom.truth import KnownStructure

NODE_AE: Final = OWN_AE_TITLE
PACS_AE: Final = "DEMOPACS"
SCANNER_AE: Final = "DEMOCT"
START_TIMEOUT_S: Final = 300.0
RESULT_TIMEOUT_S: Final = 1800.0
AFTER_REFUSAL_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0

EXPECTED: Final = frozenset({"SEG", "SR", "SC"})
"""Kinds of object that an analysed series is answered with when a QC image is asked for."""

KINDS: Final[Mapping[str, str]] = {
    SegmentationStorage: "SEG",
    Comprehensive3DSRStorage: "SR",
    SecondaryCaptureImageStorage: "SC",
    MultiFrameTrueColorSecondaryCaptureImageStorage: "SC",
    KeyObjectSelectionDocumentStorage: "KO",
}


def run_demo(
    out: Path,
    *,
    spec: PhantomSpec = DEFAULT_PHANTOM,
    samples: int | None = None,
    timeout_s: float = RESULT_TIMEOUT_S,
    console: Console | None = None,
) -> int:
    """Show the main job on the phantom, and return the exit code.

    Args:
        out: Folder for the series, what came back and the node's log.
        spec: Which phantom.
        samples: Monte Carlo samples; the bundle's number without it.
        timeout_s: How long to wait for the results after the series was sent.
        console: Where to print; standard output without it.
    """
    console = console or stdout
    out.mkdir(parents=True, exist_ok=True)
    with _step(console, "making the phantom"):
        series = write_phantom_series(_emptied(out / "series"), spec)
    with _pacs(_emptied(out / "received")) as pacs, _node(out, pacs.port, samples) as node:
        with _step(console, "starting the node"):
            node.wait_until_it_answers()
        _send(console, node.peer, series)
        with _step(console, "waiting for SEG and SR (the node segments now)"):
            complaint = _wait(pacs, node, timeout_s)
    if complaint:
        console.print(titled("no result", "bold red", complaint))
        console.print(f"the node's log: {node.log}", highlight=False)
        return 1
    report = read_whole(pacs.path("SR"))
    console.print(table(known_answers(spec), reported_structures(report)))
    picture = _picture(pacs.path("SC"), out / "qc.png")
    _name_files(
        console,
        {
            "CT series sent": series[0].parent,
            "segmentation (SEG)": pacs.path("SEG"),
            "report (SR)": pacs.path("SR"),
            "QC image (SC)": pacs.path("SC"),
            "the same as a picture": picture,
            "the node's log": node.log,
        },
    )
    return 0


@dataclass(slots=True)
class _Pacs:
    """The objects that the Storage SCP has taken so far: one file a kind of object."""

    folder: Path
    port: int = 0
    _paths: dict[str, Path] = field(default_factory=dict)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def keep(self, event: evt.Event) -> int:
        """Write one instance as it came, and answer its C-STORE."""
        kind = KINDS.get(str(event.request.AffectedSOPClassUID), "other")
        path = self.folder / f"{kind}.dcm"
        path.write_bytes(event.encoded_dataset())
        with self._arrived:
            self._paths[kind] = path
            self._arrived.notify_all()
        return 0x0000

    def path(self, kind: str) -> Path:
        """The file of that kind."""
        return self._paths[kind]

    def kinds(self, wait_s: float) -> frozenset[str]:
        """The kinds that are there, at once when something arrives or after `wait_s`."""
        with self._arrived:
            self._arrived.wait(wait_s)
            return frozenset(self._paths)


@contextmanager
def _pacs(folder: Path) -> Iterator[_Pacs]:
    """A Storage SCP on a free loopback port that keeps result objects in `folder`."""
    install()
    pacs = _Pacs(folder)
    ae = AE(PACS_AE)
    for sop_class_uid in KINDS:
        ae.add_supported_context(sop_class_uid)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, pacs.keep)]
    )
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        server.shutdown()


@dataclass(frozen=True, slots=True)
class _Node:
    """The running node."""

    process: subprocess.Popen[bytes]
    peer: Peer
    log: Path

    def has_ended(self) -> bool:
        """True if the process is gone."""
        return self.process.poll() is not None

    def wait_until_it_answers(self) -> None:
        """Return once the node answers C-ECHO.

        Raises:
            PeerUnreachableError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.has_ended() and time.monotonic() < deadline:
            try:
                echo(self.peer)
            except PeerError:
                time.sleep(0.2)
            else:
                return
        raise PeerUnreachableError(f"the node did not start; its log: {self.log}")

    def stop(self) -> None:
        """Ask the node to end, and make sure that it and its children do."""
        if not self.has_ended():
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


@contextmanager
def _node(out: Path, pacs_port: int, samples: int | None) -> Iterator[_Node]:
    """A node of its own session of processes, with spool and database of this run alone.

    A database kept from an earlier run would know the phantom already, and rightly send
    nothing new.
    """
    port = _free_port()
    log = out / "node.log"
    with tempfile.TemporaryDirectory(prefix="msk-node-demo-") as folder:
        settings = Path(folder) / "node.toml"
        settings.write_text(node_settings(port, pacs_port, samples), encoding="utf-8")
        with log.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-c", "from dicom_node.commands.cli import main; main()",
                 "serve", "--config", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,  # a Ctrl-C ends the demo, which then ends the node
            )  # fmt: skip
        peer = Peer(
            name="node",
            ae_title=NODE_AE,
            host="127.0.0.1",
            port=port,
            calling_ae_title=SCANNER_AE,
        )
        node = _Node(process, peer, log)
        try:
            yield node
        finally:
            node.stop()


def node_settings(port: int, pacs_port: int, samples: int | None) -> str:
    """The few settings in which the demo's node differs from the embedded defaults."""
    analysis = "" if samples is None else f"[analysis]\nsamples = {samples}\n"
    return f"""\
[node]
ae_title = "{NODE_AE}"
port = {port}

[completion]
quiet_s = 3

[profile]
qc_image = "always"

[[destinations]]
name = "demo"
ae_title = "{PACS_AE}"
host = "127.0.0.1"
port = {pacs_port}

{analysis}"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _send(console: Console, peer: Peer, series: list[Path]) -> None:
    """Send the series with a bar; a slice that is not stored is an error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("sending by C-STORE", total=len(series))
        outcomes = send(
            peer,
            series,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    refused = [outcome for outcome in outcomes if not outcome.stored]
    if refused:
        raise PeerError(f"{len(refused)} slices not stored, first: {refused[0].reason}")


def _wait(pacs: _Pacs, node: _Node, timeout_s: float) -> str | None:
    """Wait for the results; why there are none, or None when they are there."""
    deadline = time.monotonic() + timeout_s
    while not (kinds := pacs.kinds(wait_s=0.5)) >= EXPECTED:
        if node.has_ended():
            return f"the node ended with code {node.process.returncode}"
        if "KO" in kinds:
            # A refusal is a QC image and a key object; give a report the time to follow.
            deadline = min(deadline, time.monotonic() + AFTER_REFUSAL_S)
        if time.monotonic() > deadline:
            got = ", ".join(sorted(kinds)) or "nothing"
            missing = ", ".join(sorted(EXPECTED - kinds))
            return f"{missing} not received within {timeout_s:g} s; received: {got}"
    return None


@contextmanager
def _step(console: Console, words: str) -> Iterator[None]:
    """Show that something takes long, and how long it took."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(words, total=None)
        yield
        bar.update(task, total=1, completed=1)


def table(truth: Iterable[KnownStructure], reported: Iterable[ReportedStructure]) -> Table:
    """Measured against known, one row for each of the 43 segments."""
    found = {one.segment.number: one for one in reported}
    rows = [_Row(known, found.get(known.segment.number)) for known in truth]
    table = Table(
        title="measured (as the report says) against the phantom's truth",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # so narrow that it fits into 80 columns
    )
    table.add_column("\nstructure", no_wrap=True)
    for heading in ("cm³\nknown", "\nfound", "\ndiffers", "HU\nknown", "\nfound", "\ndiffers"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("\nverdict", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells())
    volumes = [abs(row.volume_percent) for row in rows if row.volume_percent is not None]
    attenuations = [abs(row.hu_difference) for row in rows if row.hu_difference is not None]
    if volumes and attenuations:
        table.caption = (
            f"median difference: volume {median(volumes):.1f} %, "
            f"attenuation {median(attenuations):.1f} HU"
        )
    return table


@dataclass(frozen=True, slots=True)
class _Row:
    """One segment: the phantom's answer and the node's."""

    known: KnownStructure
    reported: ReportedStructure | None

    @property
    def volume_cm3(self) -> float | None:
        """The measured volume."""
        return self.reported.volume_cm3 if self.reported else None

    @property
    def mean_hu(self) -> float | None:
        """The measured attenuation."""
        return self.reported.mean_hu if self.reported else None

    @property
    def volume_percent(self) -> float | None:
        """By how much the measured volume is too large."""
        measured = self.volume_cm3
        if measured is None or not self.known.volume_cm3:
            return None
        return 100 * (measured / self.known.volume_cm3 - 1)

    @property
    def hu_difference(self) -> float | None:
        """By how much the measured attenuation is too high."""
        measured = self.mean_hu
        if measured is None or not self.known.volume_cm3:
            return None
        return measured - self.known.mean_hu

    def cells(self) -> tuple[str, ...]:
        """The row as texts."""
        one = self.reported
        return (
            self.known.segment.key,
            f"{self.known.volume_cm3:.1f}",
            _number(self.volume_cm3, ".1f"),
            _number(self.volume_percent, "+.1f", " %"),
            f"{self.known.mean_hu:.1f}",
            _number(self.mean_hu, ".1f"),
            _number(self.hu_difference, "+.1f"),
            one.verdict.value if one and one.verdict else "not reported",
        )


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _picture(secondary_capture: Path, target: Path) -> Path:
    """The (first frame of the) QC image as a PNG file."""
    pixels = read_whole(secondary_capture).pixel_array
    frame = pixels if pixels.ndim == 3 else pixels[0]
    Image.fromarray(np.ascontiguousarray(frame)).save(target)
    return target


def _name_files(console: Console, files: Mapping[str, Path]) -> None:
    for words, path in files.items():
        console.print(f"{words:<24} {path}", highlight=False, soft_wrap=True)


def _emptied(folder: Path) -> Path:
    """A folder without the DICOM files of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.dcm"):
        path.unlink()
    return folder
