"""The faults of the matrix: each is done to a scene at its start and undone at its end.

Disk and mounts are real ones (a small tmpfs; root). The clock is set for the node's processes
alone, inside Python (`pausing`); times of files stay those of the system, so that what
arrives after a jump looks as far away as what came before.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_node.delivery.release import release
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from support.fault_scenes import MOMENTS, Scene, lock_database
from support.installed_node import PATIENCE_S, mount, unmount
from support.waiting import wait_until

TWO_DAYS_S: Final = 172_800
SHORT_S, LONG_S = 4.0, 45.0
"""How long a fault lasts that nothing notices; SQLite waits 30 s for a lock."""


@contextmanager
def kill_of_the_node(scene: Scene) -> Iterator[None]:
    """SIGKILL to every process, as a power cut does; started again afterwards."""
    scene.node.kill()
    yield
    scene.node.start()


@contextmanager
def kill_of_the_child(scene: Scene) -> Iterator[None]:
    """SIGKILL to the process that segments: what the system does for want of memory."""
    child = scene.node.child()
    assert child is not None
    os.kill(child, signal.SIGKILL)
    yield


@contextmanager
def full_disk(scene: Scene) -> Iterator[None]:
    """Not a byte is free on the disk of spool, results and database."""
    ballast = _disk(scene) / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    ballast.unlink()


@contextmanager
def read_only_spool(scene: Scene) -> Iterator[None]:
    """The spool is mounted once more on top of itself, read-only."""
    spool = scene.node.config.node.spool
    assert mount("--bind", spool, spool)
    assert mount("-o", "remount,bind,ro", spool)
    yield
    unmount(spool)


@contextmanager
def locked_database(scene: Scene) -> Iterator[None]:
    """Another program holds the write lock for longer than the node waits for it."""
    connection = lock_database(scene.node)
    yield
    connection.close()


@contextmanager
def missing_database(scene: Scene) -> Iterator[None]:
    """Its folder is empty and read-only, and the worker that had it open has ended."""
    path = scene.node.config.node.database_path
    assert path is not None
    assert mount("-t", "tmpfs", "-o", "ro", "tmpfs", path.parent)
    os.kill(scene.node.role("work"), signal.SIGKILL)
    yield
    unmount(path.parent)


@contextmanager
def archive_down(scene: Scene) -> Iterator[None]:
    """Nobody listens at the archive's port."""
    scene.archive_down()
    yield
    scene.archive_up()


@contextmanager
def slow_archive(scene: Scene) -> Iterator[None]:
    """The archive takes what it is sent, and answers long after the node gave up."""
    scene.pacs.released.clear()
    scene.pacs.stalled.set()
    scene.slow = True
    yield
    scene.slow = False
    scene.let_go()


@contextmanager
def refusing_archive(scene: Scene) -> Iterator[None]:
    """Status 0xA700 or 0x0110 to everything, until that is an alarm."""
    scene.refusal = 0xA700
    scene.pacs.action_status = 0x0110
    yield
    scene.refusal, scene.pacs.action_status = 0, 0


@contextmanager
def dropping_archive(scene: Scene) -> Iterator[None]:
    """The connection is closed in the middle of what is sent."""
    scene.pacs.break_off_after = 600
    yield
    scene.pacs.break_off_after = None


@contextmanager
def late_commitment(scene: Scene) -> Iterator[None]:
    """The report on the first request comes when the node has asked a second time."""
    yield
    wait_until(lambda: len(scene.pacs.asked) > 1, PATIENCE_S, "the node asks again")


@contextmanager
def no_commitment(scene: Scene) -> Iterator[None]:
    """No report ever comes: an alarm, and never taken for confirmed."""
    yield


def clock_set(by_s: int) -> Callable[[Scene], AbstractContextManager[None]]:
    """The clock jumps, and stays so."""

    @contextmanager
    def jump(scene: Scene) -> Iterator[None]:
        _set_clock(scene, by_s)
        yield

    return jump


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the matrix.

    name: what the table calls it.
    strike: does it, and undoes it at the end of the block.
    instead: the moments at which it cannot occur or makes no difference, and why.
    lasts_s: how long it lasts at most, where nothing says that it was noticed.
    settings: sections of `node.toml` that go with it.
    told: what `msk-node status` prints of it before it ends, by moment; elsewhere nothing
        need be printed, for the series goes on by itself.
    for_ever: whether it does not end, and the reason that is printed is the end.
    needs: "disk" (root, for mounts) or "clock" (one that can be set).
    """

    name: str
    strike: Callable[[Scene], AbstractContextManager[None]]
    instead: Mapping[str, str] = field(default_factory=dict)
    lasts_s: float = SHORT_S
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    for_ever: bool = False
    needs: str = ""

    @property
    def moments(self) -> tuple[str, ...]:
        """When it strikes."""
        return tuple(moment for moment in MOMENTS if moment not in self.instead)


def _only(*moments: str, why: str) -> Mapping[str, str]:
    return dict.fromkeys((each for each in MOMENTS if each not in moments), why)


_NO_CHILD: Final = _only("segmenting", why="no child runs at any other moment")
_NOT_ASKED: Final = _only(
    "delivering", "confirming", why="the archive is not spoken to before the first delivery"
)
_NOT_YET: Final = _only("confirming", why="commitment is asked for when all was sent")
_IMPATIENT: Final = {"delivery": {"timeout_s": 2.0}, "confirmation": {"ask_again_s": 2.0}}
_HOLDS: Final = {
    "delivery": {"timeout_s": PATIENCE_S, "hold_after": 2, "slow_wait_s": 2.0},
    "confirmation": {"ask_again_s": 2.0},
}
_REFUSED: Final = {
    "delivering": ("ALARM: not taken for long", "0xA700"),
    "confirming": ("Sent, not confirmed yet", "0x0110"),
}
_ALARMS: Final = {"confirmation": {"ask_again_s": 2.0, "alarm_after_h": 1e-4}}

FAULTS: Final = (
    Fault("kill -9 of the node", kill_of_the_node, lasts_s=0.0),
    Fault("kill -9 of the child that segments", kill_of_the_child, _NO_CHILD),
    Fault("disk full", full_disk, needs="disk"),
    Fault("spool read-only", read_only_spool, needs="disk"),
    Fault("database locked", locked_database, lasts_s=LONG_S),
    Fault("database gone", missing_database, needs="disk"),
    Fault("archive down", archive_down, _NOT_ASKED, settings=_IMPATIENT),
    Fault("archive slow", slow_archive, _NOT_ASKED, settings=_IMPATIENT),
    Fault("archive refusing", refusing_archive, _NOT_ASKED, settings=_HOLDS, told=_REFUSED),
    Fault("archive dropping mid-object", dropping_archive, _NOT_ASKED, settings=_IMPATIENT),
    Fault("commitment late", late_commitment, _NOT_YET, settings=_IMPATIENT),
    Fault(
        "commitment never",
        no_commitment,
        _NOT_YET,
        settings=_ALARMS,
        told={"confirming": ("ALARM: sent, and not confirmed in time",)},
        for_ever=True,
    ),
    Fault("clock two days ahead", clock_set(TWO_DAYS_S), needs="clock"),
    Fault("clock two days back", clock_set(-TWO_DAYS_S), needs="clock"),
)


def prepare(scene: Scene, fault: Fault) -> None:
    """What has to be there before the node starts."""
    if fault.needs == "clock":
        _set_clock(scene, 0)


def release_by_hand(scene: Scene) -> int:
    """`msk-node release`."""
    ledger = Ledger(scene.node.config.node.database_url)
    try:
        return release(ledger, datetime.now(UTC))
    finally:
        ledger.close()


def is_held(scene: Scene) -> bool:
    """Whether a delivery is held."""
    return any(row.state is DeliveryState.HELD for row in scene.deliveries())


def refusals(scene: Scene) -> Iterator[int | Dataset]:
    """What the archive answers to one C-STORE after the other."""
    while True:
        yield scene.refusal


def _disk(scene: Scene) -> Path:
    return scene.node.config.node.spool.parent


def _set_clock(scene: Scene, wrong_by_s: int) -> None:
    """At once for every process (`pausing`)."""
    clock = scene.node.folder / "gates" / "clock"
    new = clock.with_suffix(".new")
    new.write_text(str(wrong_by_s))
    new.rename(clock)
