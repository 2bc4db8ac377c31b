"""Random kills while series keep arriving: `make kills KILLS=1000`.

A scanner sends one series after the other, and each again until the node has taken it all.
Meanwhile, at random moments, SIGKILL goes to the node with all its processes, to one of its
roles, or to the child that segments. At the end everything is left to come to rest, and the
archive is counted: nothing lost, nothing doubled. Ends with 1 if anything was.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from support.cases import source_datasets  # noqa: E402
from support.ct import save  # noqa: E402
from support.fault_scenes import OBJECTS  # noqa: E402
from support.installed_node import PATIENCE_S, QUIET_S, InstalledNode, free_port, install  # noqa: E402
from support.pacs import Pacs  # noqa: E402
from support.small_node import result_pacs, write_small_bundle  # noqa: E402
from support.waiting import wait_until  # noqa: E402

from dicom_node.errors import PeerError  # noqa: E402
from dicom_node.peers.store import send  # noqa: E402
from dicom_node.persistence.ledger import Ledger  # noqa: E402
from dicom_node.persistence.rows import DeliveryRow, DeliveryState, SeriesRow, SeriesState  # noqa: E402

REST_S: Final = 900.0
"""How long the node may take to come to rest after the last kill."""
_LOG: Final = logging.getLogger(__name__)
ROOT: Final = "1.2.826.0.1.3680043.8.498.11"
VICTIMS: Final = {"node": 4, "work": 3, "receive": 2, "child": 3}
"""Who is killed how often, relative to each other."""
PAUSE_S: Final = (0.05, 4.0)
AT_WORK: Final = 0.5
"""How often the node may come to work first; most kills else meet the start of a busy one."""
CHILD_S: Final = 5.0
"""How long a child is waited for that is to be killed."""
CHILD_LIVES_S: Final = (0.0, 2.0)
SERIES_EVERY_S: Final = 4.0
SAID_EVERY: Final = 50
"""After how many kills it says how far it is: a thousand take hours."""
MOST_UNANSWERED: Final = 5
"""Series that may wait for their answer; behind a queue of them the kills meet nothing else."""
SETTINGS: Final = {
    "analysis": {"attempts": 100},
    "delivery": {"first_wait_s": 0.2, "max_wait_s": 1.0, "timeout_s": 5.0},
    "confirmation": {"ask_again_s": 5.0},
    "completion": {"quiet_s": QUIET_S, "resend_s": 300.0, "give_up_s": 300.0},
}


@dataclass(slots=True)
class Tally:
    """What was done, and what came of it; `wrong` is empty where all is well."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    seconds: float = 0.0
    stores: int = 0
    wrong: list[str] = field(default_factory=list)

    def words(self) -> str:
        """One line."""
        victims = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({victims}), {self.sent} series, {self.stores} stores "
            f"in {self.seconds:.0f} s, seed {self.seed}: "
            f"{'; '.join(self.wrong) or 'nothing lost, nothing doubled'}"
        )


def kill_at_random(folder: Path, kills: int, seed: int) -> Tally:
    """Do it: so many kills to a node in `folder`; what came of it."""
    tally, started = Tally(seed), time.monotonic()
    with result_pacs(reports="same", port=free_port()).running() as pacs:
        bundle = write_small_bundle(folder / "bundle")
        node = install(folder, pacs.port, bundle, SETTINGS)
        pacs.report_port = node.config.node.port
        node.start()
        try:
            with _scanner(node, folder / "images", tally):
                _kill(node, kills, random.Random(seed), tally)  # noqa: S311 - no secret
            with suppress(AssertionError):
                wait_until(lambda: _is_at_rest(node, tally.sent), REST_S, every_s=0.5)
        finally:
            node.kill()
        tally.wrong += _wrong(node, pacs, tally.sent)
        tally.stores = len(pacs.received)
    tally.seconds = time.monotonic() - started
    return tally


def _kill(node: InstalledNode, kills: int, dice: random.Random, tally: Tally) -> None:
    """Kill, and start again what does not by itself."""
    names, weights = zip(*VICTIMS.items(), strict=True)
    while tally.kills.total() < kills:
        if dice.random() < AT_WORK:
            with suppress(AssertionError):
                wait_until(node.works, PATIENCE_S, every_s=0.1)
        time.sleep(dice.uniform(*PAUSE_S))
        (victim,) = dice.choices(names, weights)
        if victim == "node":
            node.kill()
            node.start()
        else:
            pid = _child(node, dice) if victim == "child" else node.role(victim)
            if pid is None or not _killed(pid):
                continue
        tally.kills[victim] += 1
        if tally.kills.total() % SAID_EVERY == 0:
            _LOG.info("%d kills, %d series sent", tally.kills.total(), tally.sent)


def _child(node: InstalledNode, dice: random.Random) -> int | None:
    """The child that segments next, at some moment of its life; None where none comes."""
    deadline = time.monotonic() + CHILD_S
    while node.child() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(dice.uniform(*CHILD_LIVES_S))
    return node.child()


def _killed(pid: int) -> bool:
    """Kill a process; whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _scanner(node: InstalledNode, folder: Path, tally: Tally) -> Iterator[None]:
    """Send series until the end of the block, and the last one to its end."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(SERIES_EVERY_S):
            with suppress(SQLAlchemyError):  # a database in the middle of its recovery
                if _unanswered(node) >= MOST_UNANSWERED:
                    continue
            paths = _series(folder / str(tally.sent), tally.sent)
            while not _sent(node, paths):
                time.sleep(0.2)
            tally.sent += 1

    thread = threading.Thread(target=work, name="scanner")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _series(folder: Path, number: int) -> list[Path]:
    """One more series of the same images, under UIDs of its own."""
    datasets = source_datasets()
    for index, dataset in enumerate(datasets):
        dataset.SeriesInstanceUID = f"{ROOT}.{number + 1}"
        dataset.StudyInstanceUID = f"{ROOT}.{number + 1}.1"
        dataset.FrameOfReferenceUID = f"{ROOT}.{number + 1}.2"
        dataset.SOPInstanceUID = f"{ROOT}.{number + 1}.3.{index + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return save(datasets, folder)


def _sent(node: InstalledNode, paths: list[Path]) -> bool:
    """Send all images once; whether the node took every one."""
    try:
        return all(outcome.stored for outcome in send(node.peer, paths))
    except PeerError:
        return False


def _rows(node: InstalledNode) -> tuple[tuple[SeriesRow, ...], tuple[DeliveryRow, ...]]:
    """What the ledger says; nothing, before there is one."""
    path = node.config.node.database_path
    if path is None or not path.exists():
        return (), ()
    ledger = Ledger(node.config.node.database_url)
    try:
        return ledger.all_series(), ledger.deliveries()
    finally:
        ledger.close()


def _unanswered(node: InstalledNode) -> int:
    """How many series the node has accepted and not answered."""
    return sum(row.state is not SeriesState.REPORTED for row in _rows(node)[0])


def _is_at_rest(node: InstalledNode, sent: int) -> bool:
    """Whether as many series as were sent were answered, and all was confirmed."""
    series, deliveries = _rows(node)
    answered = {row.series_instance_uid for row in series if row.state is SeriesState.REPORTED}
    confirmed = sum(row.state is DeliveryState.CONFIRMED for row in deliveries)
    return len(answered) >= sent and confirmed == len(deliveries)


def _wrong(node: InstalledNode, pacs: Pacs, sent: int) -> list[str]:
    """Whatever is not as it should be, in words."""
    series, deliveries = _rows(node)
    contents: dict[str, set[bytes]] = {}
    for uid, _, data in pacs.received:
        contents.setdefault(uid, set()).add(data)
    claims = {
        f"{sent} series were sent, {len(series)} revisions answered": len(series) == sent,
        "not every revision was reported": all(r.state is SeriesState.REPORTED for r in series),
        f"{len(deliveries)} deliveries": len(deliveries) == OBJECTS * sent,
        "not all was confirmed": all(r.state is DeliveryState.CONFIRMED for r in deliveries),
        f"{len(contents)} objects in the archive": len(contents) == OBJECTS * sent,
        "one UID with two contents": all(len(each) == 1 for each in contents.values()),
        "others than were delivered": set(contents) == {r.sop_instance_uid for r in deliveries},
    }
    return [words for words, holds in claims.items() if not holds]


def main(kills: int) -> int:
    """Kill so often, and say what came of it."""
    _LOG.addHandler(logging.StreamHandler())
    _LOG.setLevel(logging.INFO)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    tally = kill_at_random(folder, kills, seed=int(time.time()))
    sys.stdout.write(f"{tally.words()}\n")
    if tally.wrong:
        sys.stdout.write(f"kept: {folder}\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
