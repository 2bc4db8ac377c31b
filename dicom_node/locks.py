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
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise EngineBusyError(
            f"another node (process {holder or 'unknown'}) uses {what}; "
            "stop it first, or give this one its own"
        ) from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
