"""File descriptors: how many associations they are enough for, and what is done without any.

An association takes a connection and what wakes it, the marks of its series, and the file that
is arriving; what the process itself needs comes on top. Where the system allows fewer than
the associations that the settings allow would need, fewer are taken, and the others are
rejected (PS3.8 Table 9-21: local limit exceeded). A connection needs one before anybody can
say so: one is kept in reserve.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Final

from dicom_node.spool.open_associations import MAX_MARKS

OWN_DESCRIPTORS: Final = 24
PER_ASSOCIATION: Final = 3 + MAX_MARKS


def descriptors_for(associations: int) -> int:
    """The number of descriptors with which so many associations are served."""
    return OWN_DESCRIPTORS + PER_ASSOCIATION * associations


def associations_within(descriptors: int) -> int:
    """The number of associations that so many descriptors are enough for; at least one."""
    return max((descriptors - OWN_DESCRIPTORS) // PER_ASSOCIATION, 1)


def claim_descriptors(wanted: int) -> int:
    """Have the system allow so many to this process, or what it may have; answers how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return soft


class SpareDescriptor:
    """One descriptor that is given up for a moment, to take a connection and say no."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self.keep()

    def keep(self) -> None:
        """Have one again, as soon as there is one."""
        if self._descriptor is None:
            with contextlib.suppress(OSError):
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def give_up(self) -> bool:
        """Let it go; False where there was none."""
        if self._descriptor is None:
            return False
        os.close(self._descriptor)
        self._descriptor = None
        return True
