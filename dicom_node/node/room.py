"""Room: what is free on the disks that the node writes to, against what a step needs.

One reserve (`receive.free_reserve_mb`) is kept on each file system that holds spool, work,
results or database. What is received stops at it (`spool/capacity.py`); an analysis begins
where it and its results would leave all of the reserve; a publication, which makes room when
it is done, where a quarter would be left. The rest is for the database, and so for deliveries,
which nothing stops. On a file system other than the spool's no more than a quarter of its size
is kept.

A step that has no room waits, in its own job: to put it again later would write to the
database each time. It is tried anew where the disk ran full all the same, whoever filled it,
and that uses up no attempt.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import described_voxels
from dicom_node.spool.capacity import promise, promised

log = structlog.get_logger()

NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
LOOK_EVERY_S: Final = 5.0
FEWEST_INODES: Final = 256
FLOOR_BYTES: Final = 1 << 20
"""Less than this, and the database's next record may not fit."""

WORK_BYTES: Final = 8
"""Of a voxel in the case: its value, its uncertainty, its segments."""
RESULTS_BYTES: Final = 2
"""Of a voxel in SEG, SR and pictures: 250 MB of 500 slices."""
FOR_EACH_EXTRA: Final[Mapping[str, int]] = {"density_slices": 3, "uncertainty_map": 4}
"""Of a voxel, by the switch of a profile."""


@dataclass(frozen=True, slots=True)
class Need:
    """The bytes that a step is going to write."""

    work: int = 0
    results: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, and what of it is free.

    folders: which of the node's are on it: "spool", "work", "results", "database".
    reserve: bytes that are kept free.
    inodes: files that it still takes, or None where it does not count them.
    """

    folders: tuple[str, ...]
    free: int
    reserve: int
    inodes: int | None = None

    @property
    def below_reserve(self) -> str:
        """How much less is free than is kept, as text; empty where there is enough."""
        short = -(-(self.reserve - self.free) >> 20)
        if self.inodes is not None and self.inodes < FEWEST_INODES:
            return f"{', '.join(self.folders)}: it takes {self.inodes} more files only"
        return (
            f"{', '.join(self.folders)}: {short} MB less than is kept free" if short > 0 else ""
        )

    def missing(self, need: Need, share: float = 1.0) -> int:
        """Bytes that must become free before so much can be written, and a share be left.

        A disk that nothing is written to may be as full as it is; every step writes to the
        database.
        """
        wanted = sum(getattr(need, name, 0) for name in self.folders)
        if not wanted and "database" not in self.folders:
            return 0
        if self.inodes is not None and self.inodes < FEWEST_INODES:
            return max(wanted, FLOOR_BYTES)
        left = max(int(self.reserve * share), FLOOR_BYTES)
        return max(wanted + left - self.free, 0)


@dataclass(frozen=True, slots=True)
class Shortage:
    """A disk that a step waits for, and the bytes that must become free on it."""

    folders: tuple[str, ...]
    missing: int

    @property
    def words(self) -> str:
        """The shortage as text."""
        megabytes = -(-self.missing >> 20)
        return f"{max(megabytes, 1)} MB more must be free for {', '.join(self.folders)}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step that writes: its name, what of a case's need is its own, what it leaves.

    share: of the reserve.
    """

    name: str
    writes_work: bool
    share: float

    def shortages(self, found: Sequence[Disk], need: Need) -> tuple[Shortage, ...]:
        """The disks that have no room for what this step writes of a case."""
        own = need if self.writes_work else replace(need, work=0)
        missing = ((disk, disk.missing(own, self.share)) for disk in found)
        return tuple(Shortage(disk.folders, size) for disk, size in missing if size > 0)


ANALYSIS: Final = Step("analysis", writes_work=True, share=1.0)
PUBLICATION: Final = Step("publication", writes_work=False, share=0.25)
"""It makes room when it is done."""
RECORD: Final = Step("record", writes_work=False, share=0.0)
"""Of the database."""


def need_of_case(paths: Sequence[Path], config: NodeConfig) -> Need:
    """What analysis and results of a series are going to write, estimated generously."""
    profiles = [each.profile for each in config.destinations] or [config.profile]
    per_voxel = RESULTS_BYTES + sum(
        size
        for switch, size in FOR_EACH_EXTRA.items()
        if any(getattr(profile, switch) for profile in profiles)
    )
    voxels = described_voxels(paths)
    return Need(WORK_BYTES * voxels + FLOOR_BYTES, per_voxel * voxels + FLOOR_BYTES)


def disks(config: NodeConfig) -> tuple[Disk, ...]:
    """The file systems that the node writes to."""
    by_device: dict[int, list[tuple[str, Path]]] = {}
    for name, folder in _folders(config):
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        by_device.setdefault(there.stat().st_dev, []).append((name, there))
    return tuple(_disk(config, found) for found in by_device.values())


def wait_for_room(
    config: NodeConfig,
    step: Step,
    need: Need,
    ending: threading.Event,
    about: Mapping[str, object],
) -> bool:
    """Wait until there is room; False where we were told to end before.

    Args:
        config: says where the node writes, and what is kept.
        step: what waits.
        need: of the case that it is about.
        ending: set when this process is to end.
        about: what waits, for the log.
    """
    told = ""
    while short := step.shortages(disks(config), need):
        words = "; ".join(each.words for each in short)
        folders = "; ".join(",".join(each.folders) for each in short)
        if folders != told:
            log.warning("room.short", reason=words, **about)
            told = folders
        if ending.wait(LOOK_EVERY_S):
            return False
    if told:
        log.info("room.back", **about)
    return True


def keep_for_next(config: NodeConfig, need: Need) -> None:
    """Have the receiver leave room for the largest case that waits; for none, without need.

    Else it would fill the disk to the reserve, and what it took could never be analysed.
    """
    disk = next(each for each in disks(config) if "spool" in each.folders)
    size = sum(getattr(need, name, 0) for name in disk.folders)
    promise(config.node.spool, max(size, promised(config.node.spool)) if size else 0)


def _disk(config: NodeConfig, found: Sequence[tuple[str, Path]]) -> Disk:
    """One file system."""
    names = tuple(name for name, _ in found)
    seen = os.statvfs(found[0][1])
    reserve = config.receive.free_reserve_mb << 20
    if "spool" not in names:
        reserve = min(reserve, seen.f_blocks * seen.f_frsize // 4)
    inodes = seen.f_favail if seen.f_files else None
    return Disk(names, seen.f_bavail * seen.f_frsize, reserve, inodes)


def _folders(config: NodeConfig) -> Iterator[tuple[str, Path]]:
    """Where the node writes."""
    for name in ("spool", "work", "results"):
        yield name, getattr(config.node, name)
    if config.node.database_path is not None:
        yield "database", config.node.database_path.parent
