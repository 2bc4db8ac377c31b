"""A Linux network namespace that holds nothing but a loopback interface.

Orthanc and DCMTK's servers listen on every address and cannot be told otherwise; inside such
a namespace "every address" is 127.0.0.1. Their clients have to be inside too: processes by
`argv`, a thread of the test itself by `inside`.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000  # <sched.h>; os.setns came with Python 3.12
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace by its name; removed by `remove`."""

    name: str

    def argv(self, *command: str) -> list[str]:
        """The command line that runs `command` inside."""
        return ["ip", "netns", "exec", self.name, *command]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread inside: sockets, threads and processes it makes follow."""
        outside = Path(f"/proc/self/task/{threading.get_native_id()}/ns/net")
        before = os.open(outside, os.O_RDONLY)
        try:
            _enter(Path("/run/netns") / self.name)
            try:
                yield
            finally:
                _set(before)
        finally:
            os.close(before)

    def remove(self) -> None:
        """Remove the name; the kernel keeps the rest until its last process has ended."""
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def make_namespace(name: str) -> Namespace:
    """Make a namespace with its loopback up, and make sure that it has nothing else."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    namespace = Namespace(name)
    subprocess.run(namespace.argv("ip", "link", "set", "lo", "up"), check=True)
    links = subprocess.run(
        namespace.argv("ip", "-json", "link"), check=True, capture_output=True
    )
    names = [link["ifname"] for link in json.loads(links.stdout)]
    if names != ["lo"]:
        namespace.remove()
        raise RuntimeError(f"namespace {name} has interfaces beside loopback: {names}")
    return namespace


def open_listeners(pids: Sequence[int]) -> list[str]:
    """Non-loopback TCP listeners of these processes in the calling thread's namespace."""
    lines = subprocess.run(
        ["ss", "-ltnpH"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [
        line
        for line in lines
        if any(f"pid={pid}," in line for pid in pids)
        and not line.split()[3].startswith(("127.", "[::1]"))
    ]


def _enter(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _set(descriptor)
    finally:
        os.close(descriptor)


def _set(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")
