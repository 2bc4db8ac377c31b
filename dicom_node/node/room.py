"""Room: what is free on the disks that the node writes to, against what a step needs.

One reserve (`receive.free_reserve_mb`) is kept on each file system that holds spool, work,
results or database. What is received stops at it (`spool/capacity.py`); an analysis begins
where it and its results would leave all of the reserve; a publication, which makes room when
it is done, where a quarter would be left. The rest is for the database, and so for deliveries,
which nothing stops. On a file system other than the spool's no more than a quarter of its size
is kept.

A step that has no room waits, in its own job: to put it again later would write to the
database each time. Only where another case has room is the one that waits put again later, so
that it keeps nobody waiting. It is tried anew where the disk ran full all the same, whoever
filled it, and that uses up no attempt; where no disk of the node's is short, it does. What no
disk would have room for if it were empty is not waited for: it is tried.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import structlog

from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import MAX_VOXELS, MOST_VOXELS_OF_A_BYTE, described_voxels
from dicom_node.spool.capacity import promise, promising

log = structlog.get_logger()

NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
LOOK_EVERY_S: Final = 5.0
KEPT_WITHOUT_ROOM_S: Final = 3600.0
"""For so long nothing is received for the sake of a case that has no room as it is."""
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
    size: bytes that it has in all; None where that is not known.
    """

    folders: tuple[str, ...]
    free: int
    reserve: int
    inodes: int | None = None
    size: int | None = None

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
        database. Of what it could not hold if it were empty, nothing is waited for.
        """
        wanted = self.wanted(need, share)
        is_written_to = "database" in self.folders or self._stated(need) > 0
        if not is_written_to:
            return 0
        if self.inodes is not None and self.inodes < FEWEST_INODES:
            return max(wanted, FLOOR_BYTES)
        return max(wanted + self._left(share) - self.free, 0)

    def wanted(self, need: Need, share: float = 1.0) -> int:
        """The bytes of a need that are for this disk; none, if it can never hold them."""
        wanted = self._stated(need)
        return 0 if self._can_never_hold(wanted, share) else wanted

    def is_too_small(self, need: Need, share: float = 1.0) -> bool:
        """True if the need would not fit if nothing else were on the disk."""
        return self._can_never_hold(self._stated(need), share)

    def _stated(self, need: Need) -> int:
        return sum(getattr(need, name, 0) for name in self.folders)

    def _can_never_hold(self, wanted: int, share: float) -> bool:
        # A reserve larger than its disk is a setting to be mended, no case that is too large.
        return self.size is not None and 0 < self.size - self._left(share) < wanted

    def _left(self, share: float) -> int:
        return max(int(self.reserve * share), FLOOR_BYTES)


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
        missing = ((disk, disk.missing(self.own(need), self.share)) for disk in found)
        return tuple(Shortage(disk.folders, size) for disk, size in missing if size > 0)

    def too_small(self, found: Sequence[Disk], need: Need) -> tuple[str, ...]:
        """The folders on disks that could not hold what this step writes if they were empty."""
        own = self.own(need)
        return tuple(
            name
            for disk in found
            if disk.is_too_small(own, self.share)
            for name in disk.folders
        )

    def own(self, need: Need) -> Need:
        """What of a case's need this step is going to write."""
        return need if self.writes_work else replace(need, work=0)


ANALYSIS: Final = Step("analysis", writes_work=True, share=1.0)
PUBLICATION: Final = Step("publication", writes_work=False, share=0.25)
"""It makes room when it is done."""
RECORD: Final = Step("record", writes_work=False, share=0.0)
"""Of the database."""
STEPS: Final = {SeriesState.RECEIVED: ANALYSIS, SeriesState.SEGMENTED: PUBLICATION}
"""The next step of a series that is not answered."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A case that is not answered: what it is still going to write, and since when it waits."""

    need: Need
    waited_s: float


class Ending(Protocol):
    """An event, or what else says that nothing is waited for any longer."""

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds, or until it is so; whether it is."""
        ...


@dataclass(frozen=True, slots=True)
class GivingWay:
    """An ending also where another has room, and is kept waiting."""

    ending: Ending
    is_in_the_way: Callable[[], bool]

    def wait(self, timeout: float) -> bool:
        """Look at the others first: they need not wait."""
        return self.is_in_the_way() or self.ending.wait(timeout)


def need_of_case(paths: Sequence[Path], config: NodeConfig) -> Need:
    """What analysis and results of a series are going to write, estimated generously."""
    return need_of_voxels(voxels_of_case(paths), config)


def need_of_voxels(voxels: int, config: NodeConfig) -> Need:
    """What analysis and results of so many voxels are going to write."""
    profiles = [each.profile for each in config.destinations] or [config.profile]
    per_voxel = RESULTS_BYTES + sum(
        size
        for switch, size in FOR_EACH_EXTRA.items()
        if any(getattr(profile, switch) for profile in profiles)
    )
    return Need(WORK_BYTES * voxels + FLOOR_BYTES, per_voxel * voxels + FLOOR_BYTES)


def voxels_of_case(paths: Sequence[Path]) -> int:
    """The voxels of a series that anything is going to be written of.

    None, where the headers state more than the reader takes, or than the files can hold: such
    a series is refused before anything is written.
    """
    voxels = described_voxels(paths)
    possible = min(MAX_VOXELS, MOST_VOXELS_OF_A_BYTE * _size_bytes(paths))
    return voxels if voxels < possible else 0


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
    ending: Ending,
    about: Mapping[str, object],
) -> bool:
    """Wait until there is room; False where we are to wait no longer.

    Args:
        config: says where the node writes, and what is kept.
        step: what waits.
        need: of the case that it is about.
        ending: waits so many seconds; true when this process is to end, or to give way.
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


def keep_for_next(config: NodeConfig, waiting: Callable[[], Sequence[Waiting]]) -> None:
    """Have the receiver leave room for the cases that wait, whatever was left before.

    Else it would fill the disk to the reserve, and what it took could never be analysed.

    Args:
        config: says where the node writes, and what is kept.
        waiting: reads the cases that are not answered; called while nobody else promises.
    """
    with promising(config.node.spool):
        cases = waiting()
        disk = next(each for each in disks(config) if "spool" in each.folders)
        promise(config.node.spool, room_to_keep(cases, disk))


def room_to_keep(cases: Sequence[Waiting], disk: Disk) -> int:
    """The bytes beside the reserve that are left on the spool's disk for cases that wait.

    As many as the largest of those needs that have room as it is. Where none has, as many as
    the smallest needs, and for a while only: to keep room that is not there turns everybody
    away.
    """
    sizes = [(disk.wanted(each.need), each.waited_s) for each in cases]
    fitting = [size for size, _ in sizes if size + disk.reserve <= disk.free]
    if any(fitting):
        return max(fitting)
    return min(
        (size for size, waited_s in sizes if size and waited_s < KEPT_WITHOUT_ROOM_S), default=0
    )


def _size_bytes(paths: Sequence[Path]) -> int:
    """The bytes of those files that are there."""
    size_bytes = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size_bytes += path.stat().st_size
    return size_bytes


def _disk(config: NodeConfig, found: Sequence[tuple[str, Path]]) -> Disk:
    """One file system."""
    names = tuple(name for name, _ in found)
    seen = os.statvfs(found[0][1])
    reserve = config.receive.free_reserve_mb << 20
    if "spool" not in names:
        reserve = min(reserve, seen.f_blocks * seen.f_frsize // 4)
    inodes = seen.f_favail if seen.f_files else None
    size = (seen.f_blocks - seen.f_bfree + seen.f_bavail) * seen.f_frsize
    return Disk(names, seen.f_bavail * seen.f_frsize, reserve, inodes, size)


def _folders(config: NodeConfig) -> Iterator[tuple[str, Path]]:
    """Where the node writes."""
    for name in ("spool", "work", "results"):
        yield name, getattr(config.node, name)
    if config.node.database_path is not None:
        yield "database", config.node.database_path.parent
