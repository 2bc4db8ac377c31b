"""Done to the node's processes by tests; Python reads this as it starts.

Nothing of the node is replaced. An audit hook sees which file is opened for writing: the
first one below `<work>` in the child that segments is its result, the first one below
`<results>` in the worker is an object being published. While `<gates>/hold-<moment>` exists,
that thread waits there, and `<gates>/at-<moment>` says so.

`<gates>/clock`, if it was there at the start, holds seconds by which `time.time` and
`datetime.now` are wrong; the steady clock, and the times of files, are the system's.
"""

from __future__ import annotations

import contextlib
import datetime  # noqa: ICN001 - the module itself is what is changed
import os
import sys
import time
from pathlib import Path
from typing import Any

GATES = Path(os.environ.get("MSK_TEST_GATES", ""))
WHERE = {
    "segmenting": ("fast_analysis.py", os.environ.get("MSK_TEST_WORK", "")),
    "publishing": ("dicom_node.node.roles", os.environ.get("MSK_TEST_RESULTS", "")),
}
MINE = {
    moment: folder + os.sep
    for moment, (program, folder) in WHERE.items()
    if any(program in word for word in sys.orig_argv)
}


def hold(event: str, arguments: tuple[Any, ...]) -> None:
    """Wait at the gate of the moment that this opening of a file begins."""
    if event != "open" or not isinstance(arguments[2], int):
        return
    path, writes = str(arguments[0]), arguments[2] & (os.O_WRONLY | os.O_RDWR)
    for moment, folder in MINE.items():
        gate = GATES / f"hold-{moment}"
        if writes and path.startswith(folder) and gate.exists():
            with contextlib.suppress(OSError):
                (GATES / f"at-{moment}").touch()
            while gate.exists():
                time.sleep(0.01)


def set_clock(file: Path) -> None:
    """Let this process tell the time as the file says, from the next call on."""
    true_ns, true_type = time.time_ns, datetime.datetime

    def wrong_ns() -> int:
        return true_ns() + int(file.read_text()) * 1_000_000_000

    class Kind(type):
        """Takes every true datetime for one of ours."""

        def __instancecheck__(cls, value: object) -> bool:
            if cls is Wrong:
                return isinstance(value, true_type)
            return super().__instancecheck__(value)

    class Wrong(true_type, metaclass=Kind):
        """A datetime whose `now` is wrong."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return true_type.fromtimestamp(wrong_ns() / 1e9, tz)

    time.time_ns = wrong_ns
    time.time = lambda: wrong_ns() / 1e9
    datetime.datetime = Wrong  # type: ignore[misc]


if "MSK_TEST_GATES" in os.environ:
    sys.addaudithook(hold)
    if (GATES / "clock").exists():
        set_clock(GATES / "clock")
