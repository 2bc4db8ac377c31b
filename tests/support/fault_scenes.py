"""A series on its way through a node and into an archive, held at one moment for a fault.

receiving    half of its images are there, from both ends; the sender goes on
waiting      all are there, and it is about to be handed over
segmenting   the child writes its result
publishing   the worker writes the first object
delivering   the archive has the first object and has not answered
confirming   the archive took all, was asked to commit, and has not reported
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console

from dicom_node.commands.status_tables import render
from dicom_node.errors import PeerError
from dicom_node.node.status import node_status
from dicom_node.peers.store import send
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryRow, DeliveryState, SeriesRow, SeriesState
from support.installed_node import PATIENCE_S, InstalledNode
from support.pacs import Pacs
from support.waiting import wait_until

MOMENTS: Final = (
    "receiving",
    "waiting",
    "segmenting",
    "publishing",
    "delivering",
    "confirming",
)
OBJECTS: Final = 2
"""What the archive gets of an accepted case: SEG and SR."""
LEVELS: Final = ("error", "critical")
NOTICED: Final = frozenset({"delivery.failed", "delivery.unanswered"})
"""What else says that a fault was met; every error does."""
NO_REPORT_YET: Final = "no commitment report yet"
"""That goes with every delivery."""


@dataclass(slots=True)
class Scene:
    """One series, the node, and the archive; `sender` has the images.

    listening: holds the archive's port; closed and opened again by a fault.
    slow: whether the archive answers nothing.
    refusal: the status that the archive answers to a C-STORE.
    noticed: whether anything was said of the fault, by the node's log or to the others.
    """

    node: InstalledNode
    pacs: Pacs
    sender: Sequence[Path]
    listening: ExitStack = field(default_factory=ExitStack)
    slow: bool = False
    refusal: int = 0
    noticed: bool = False
    _said: int = field(default=0, init=False)

    def reach(self, moment: str) -> None:
        """Bring the series to a moment, and hold it there."""
        if moment in {"segmenting", "publishing"}:
            self.gate(moment).touch()
        if moment == "delivering":
            self.pacs.stalled.set()
        if moment == "confirming":
            self.pacs.reports = "never"
        self.node.start()
        wait_until(self.node.works, PATIENCE_S, "the worker works")
        self.pacs.report_port = self.node.config.node.port
        images = self._ends() if moment == "receiving" else self.sender
        assert all(outcome.stored for outcome in send(self.node.peer, images))
        wait_until(lambda: self._is_at(moment), PATIENCE_S, f"the series is {moment}")
        self._said = len(self.node.events())

    def go_on(self, moment: str, *, reports: bool) -> None:
        """Let things take their course, while the fault lasts."""
        self.open_gates()
        if moment == "receiving":
            self.send_all()
        if moment == "delivering":
            self.let_go()
        if moment == "confirming" and reports:
            self.report()

    def finish(self, moment: str) -> None:
        """What the others do once all is well: a sender sends again, an archive reports."""
        self.open_gates()
        self.let_go()
        self.pacs.reports = "same"
        if moment == "receiving":
            wait_until(self.send_all, PATIENCE_S, "the sender gets rid of its images", 0.5)
        if moment == "confirming":
            wait_until(self.report, PATIENCE_S, "the archive gets rid of its report", 0.5)

    def send_all(self) -> bool:
        """Send every image once; whether the node took them all."""
        try:
            outcomes = send(self.node.peer, self.sender)
        except PeerError:
            self.noticed = True
            return False
        taken = all(outcome.stored for outcome in outcomes)
        self.noticed = self.noticed or not taken
        return taken

    def report(self) -> bool:
        """Report on the first request to commit; whether the node took it."""
        if not self.pacs.asked:
            return False
        try:
            taken = self.pacs.report(self.pacs.asked[0]) == 0x0000
        except (AssertionError, AttributeError, RuntimeError):
            taken = False
        self.noticed = self.noticed or not taken
        return taken

    def archive_up(self) -> None:
        """Listen, at the same port as ever."""
        self.listening.enter_context(self.pacs.running())

    def archive_down(self) -> None:
        """Close the archive's port and all its connections."""
        self.listening.close()

    def let_go(self) -> None:
        """Answer what the archive has kept waiting, unless it is slow."""
        if self.slow:
            return
        self.pacs.stalled.clear()
        self.pacs.released.set()

    def wait_until_noticed(self, within_s: float) -> None:
        """Give the fault time to be met; some moments have nothing to do with it."""
        deadline = time.monotonic() + within_s
        while not self._is_noticed() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.noticed = self.noticed or self._is_noticed()

    def gate(self, moment: str) -> Path:
        """The file that holds the node's processes at a moment (`pausing`)."""
        return self.node.folder / "gates" / f"hold-{moment}"

    def open_gates(self) -> None:
        """Hold no process any more."""
        for moment in MOMENTS:
            self.gate(moment).unlink(missing_ok=True)

    def series(self) -> tuple[SeriesRow, ...]:
        """What the ledger says of every series."""
        return self._read()[0]

    def deliveries(self) -> tuple[DeliveryRow, ...]:
        """What the ledger says of every delivery."""
        return self._read()[1]

    def is_confirmed(self) -> bool:
        """Whether the series was answered and the archive has confirmed every object."""
        states = [row.state for row in self.deliveries()]
        return states == [DeliveryState.CONFIRMED] * OBJECTS

    def assert_ended_once(self) -> None:
        """One revision, reported; every object in the archive, under one content each."""
        self.wait_until(self.is_confirmed, "all is confirmed")
        contents: dict[str, set[bytes]] = {}
        for uid, _, data in self.pacs.received:
            contents.setdefault(uid, set()).add(data)

        assert [row.state for row in self.series()] == [SeriesState.REPORTED]
        assert set(contents) == {row.sop_instance_uid for row in self.deliveries()}
        assert all(len(versions) == 1 for versions in contents.values())

    def wait_until(self, condition: Callable[[], object], words: str) -> None:
        """Wait for what the node is to come to; where it does not, say what its status is."""
        try:
            wait_until(condition, PATIENCE_S, words, every_s=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status:\n{self.status()}") from None

    def status(self) -> str:
        """What `msk-node status` prints."""
        out = StringIO()
        Console(file=out, width=240).print(render(node_status(self.node.config)))
        return out.getvalue()

    def tells(self, words: Sequence[str]) -> bool:
        """Whether `msk-node status` prints all these words."""
        status = self.status()
        return all(each in status for each in words)

    def _read(self) -> tuple[tuple[SeriesRow, ...], tuple[DeliveryRow, ...]]:
        path = self.node.config.node.database_path
        if path is None or not path.exists():
            return (), ()
        ledger = Ledger(self.node.config.node.database_url)
        try:
            return ledger.all_series(), ledger.deliveries()
        finally:
            ledger.close()

    def _ends(self) -> list[Path]:
        """Half of the images. With its gap, the node waits for the rest, however late."""
        quarter = len(self.sender) // 4
        return [*self.sender[:quarter], *self.sender[-quarter:]]

    def _is_at(self, moment: str) -> bool:
        match moment:
            case "segmenting" | "publishing":
                return (self.node.folder / "gates" / f"at-{moment}").exists()
            case "delivering":
                return self.pacs.keeps.is_set()
            case "confirming":
                return bool(self.pacs.asked)
            case _:
                return True

    def _is_noticed(self) -> bool:
        new = self.node.events()[self._said :]
        return any(
            each["level"] in LEVELS
            or (each["event"] in NOTICED and each.get("reason") != NO_REPORT_YET)
            for each in new
        )


def lock_database(node: InstalledNode) -> sqlite3.Connection:
    """Hold the database as another program's long transaction does; ends when it closes."""
    path = node.config.node.database_path
    assert path is not None
    connection = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection
