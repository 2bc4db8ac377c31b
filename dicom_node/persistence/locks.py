"""A lock that says who works here, and ends with its holder however that one ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dicom_node.errors import EngineBusyError


def hold_lock(path: Path, what: str) -> int:
    """Hold the lock file until the descriptor is closed or the process ends.

    Child processes do not inherit it: one that outlives us must not keep it.

    Args:
        path: the lock file; made if need be, never deleted.
        what: what it protects, for the message.

    Raises:
        EngineBusyError: another process holds it.
    """
    descriptor = try_lock(path)
    if descriptor is None:
        holder = path.read_text(encoding="ascii", errors="replace").strip()
        raise EngineBusyError(
            f"another node (process {holder or 'unknown'}) uses {what}; "
            "stop it first, or give this one its own"
        )
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock file, or None while another process does.

    The lock lasts until every copy of the descriptor is closed: handed to a child process
    (`run_child`), it lasts as long as the child, whatever becomes of us.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
