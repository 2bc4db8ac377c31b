"""Division of one run among the worker processes of pytest-xdist: by file, long ones first.

A share is what one worker runs, in its order, from beginning to end. A file is one, so that
what its module fixtures cost is paid once; these are not:

- What the harness's programs say is collected in one process and compared at its end. That
  Orthanc runs in a namespace named after its process, so the rest of the harness may have
  another, on another worker.
"""

from __future__ import annotations

import os
from typing import Final

WORKER: Final = os.environ.get("PYTEST_XDIST_WORKER", "")
"""This process's name among the workers; empty in a run of one process."""

CONFORMANCE: Final = "tests/harness: conformance"
TOGETHER: Final = dict.fromkeys(
    (
        "tests/harness/test_conformance.py",
        "tests/harness/test_viewer.py",
        "tests/harness/test_conformance_table.py",
    ),
    CONFORMANCE,
)

LONG_FIRST: Final = (
    CONFORMANCE,
    "tests/harness/",
    "tests/integration/test_serve.py",
    "tests/faults/",
    "tests/integration/",
    "tests/trials/",
)
"""Shares by how they begin. xdist hands them out in this order, what is not named last: the
workers then end together, for what is left to the end is short."""


def share_of(path: str) -> str:
    """The share that a test file belongs to, by its path in the repository."""
    return TOGETHER.get(path, path)


def turn_of(share: str) -> int:
    """When a share is handed out: lower is earlier."""
    return next(
        (turn for turn, begins in enumerate(LONG_FIRST) if share.startswith(begins)),
        len(LONG_FIRST),
    )
