"""Limits that the system sets to a node: what is allowed, and whether that is enough.

    system_limits      what this process, and those it starts, may have
    limit_concerns     what of it is less than the settings need, a sentence each
    raise_limits       have what the account may have, where less is set

A limit that is met later is met in silence by whoever waits for an answer; so it is said
before, by `msk-node check` and in the log of a node that starts.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicom_node.receiving.descriptors import (
    associations_within,
    claim_descriptors,
    descriptors_for,
)
from dicom_node.settings.node import NodeConfig

OWN_THREADS: Final = 64
"""Of all the node's processes, beside one for each association and those of the network."""
ANALYSIS_MB: Final = 4096
"""Memory for the analysis of 600 slices of 512 x 512 (docs/benchmarks.md)."""
ANALYSIS_ADDRESSES_MB: Final = 8192
"""Addresses for the same: libraries are mapped that are never read."""
LONGEST_NAME: Final = 128
LONGEST_PATH: Final = 320
"""The longest names below one of the node's folders; a UID has up to 64 characters."""
WAITING_CONNECTIONS: Final = 128


@dataclass(frozen=True, slots=True)
class SystemLimits:
    """What the system allows; None: no limit, or none that is known.

    descriptors: of one process, the most that it may ask for.
    threads: of the user, or of the container or service.
    memory_mb: of the container or service.
    addresses_mb: of one process (`ulimit -v`).
    file_mb: of one file (`ulimit -f`).
    processor_s: processor time of one process (`ulimit -t`).
    waiting_connections: on a listening socket.
    """

    descriptors: int | None = None
    threads: int | None = None
    memory_mb: int | None = None
    addresses_mb: int | None = None
    file_mb: int | None = None
    processor_s: int | None = None
    waiting_connections: int | None = None


def system_limits() -> SystemLimits:
    """The limits of this process."""
    threads = [_group_limit("pids.max")]
    if os.geteuid() != 0:  # root is not counted
        threads.append(_hard(resource.RLIMIT_NPROC))
    return SystemLimits(
        descriptors=_hard(resource.RLIMIT_NOFILE),
        threads=min((each for each in threads if each is not None), default=None),
        memory_mb=_in_mb(_group_limit("memory.max")),
        addresses_mb=_in_mb(_soft(resource.RLIMIT_AS)),
        file_mb=_in_mb(_soft(resource.RLIMIT_FSIZE)),
        processor_s=_soft(resource.RLIMIT_CPU),
        waiting_connections=_number_in(Path("/proc/sys/net/core/somaxconn")),
    )


def limit_concerns(config: NodeConfig, limits: SystemLimits) -> Iterator[str]:
    """What is less than a node with these settings needs, a sentence each."""
    most = config.receive.max_associations
    taken = associations_within(limits.descriptors or 0)
    for needed, allowed, words in (
        (
            descriptors_for(most),
            limits.descriptors,
            f"file descriptors (ulimit -Hn): {taken} associations are taken, not {most}",
        ),
        (
            most + OWN_THREADS + 2 * (os.cpu_count() or 1),
            limits.threads,
            "threads (ulimit -Hu, pids.max): some associations will be rejected",
        ),
        (ANALYSIS_MB, limits.memory_mb, "MB of memory (memory.max): an analysis may be killed"),
        (
            ANALYSIS_ADDRESSES_MB,
            limits.addresses_mb,
            "MB of addresses (ulimit -v): an analysis may fail",
        ),
        (
            config.receive.max_object_mb,
            limits.file_mb,
            "MB in one file (ulimit -f): a larger object is refused (0xA700)",
        ),
        (
            WAITING_CONNECTIONS,
            limits.waiting_connections,
            "waiting connections (net.core.somaxconn): a burst of senders may have to wait",
        ),
    ):
        if allowed is not None and allowed < needed:
            yield f"{needed} needed, {allowed} allowed {words}"
    if limits.processor_s is not None:
        yield f"a process ends after {limits.processor_s} s of processor time (ulimit -t)"
    yield from _name_concerns(config)


def raise_limits(config: NodeConfig) -> None:
    """Have file descriptors and threads as needed, also for processes that are started."""
    claim_descriptors(descriptors_for(config.receive.max_associations))
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))


def _name_concerns(config: NodeConfig) -> Iterator[str]:
    """The folders below which names do not fit."""
    for key in ("spool", "work", "results"):
        folder: Path = getattr(config.node, key)
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        longest = os.pathconf(there, "PC_NAME_MAX")
        if longest < LONGEST_NAME:
            words = f"{longest} characters; {LONGEST_NAME} are needed"
            yield f"node.{key}: its file system takes names of {words}"
        if len(os.fsencode(folder)) + LONGEST_PATH > os.pathconf(there, "PC_PATH_MAX"):
            yield f"node.{key}: its path is so long that those of its files do not fit"


def _soft(which: int) -> int | None:
    """A limit as it is now."""
    return _finite(resource.getrlimit(which)[0])


def _hard(which: int) -> int | None:
    """A limit as it may be at most."""
    return _finite(resource.getrlimit(which)[1])


def _finite(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def _in_mb(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes >> 20


def _group_limit(name: str) -> int | None:
    """A limit of the control group of this process (cgroup v2), or the least above it."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), "/")
        folder = Path("/sys/fs/cgroup") / own.lstrip("/")
        for each in (folder, *folder.parents):
            if each == Path("/sys/fs"):
                break
            found.append(_number_in(each / name))
    return min((each for each in found if each is not None), default=None)


def _number_in(file: Path) -> int | None:
    """The number in a file of the system's; None where there is none, or "max"."""
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text(encoding="ascii"))
    return None
