"""Has a loop of the node's worker hang, for tests; Python reads this as it starts.

Nothing of the node is replaced. An audit hook sees that the watcher opens its lock for a look:
while `MSK_TEST_HANG` names a file that is there, that thread waits, and the process lives on.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

GATE = Path(os.environ.get("MSK_TEST_HANG", "/nowhere"))


def hold(event: str, arguments: tuple[Any, ...]) -> None:
    """Wait where the watcher is about to look."""
    if event == "open" and str(arguments[0]).endswith("/.watching"):
        while GATE.exists():
            time.sleep(0.05)


if "MSK_TEST_HANG" in os.environ:
    sys.addaudithook(hold)
