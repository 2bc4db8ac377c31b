"""Old results of a case, replaced or removed, with a kill at each step: `... FOLDER`.

For every way (`HOW`) and every step there is a folder `HOW/STEP`: a process that changes the
results there kills itself before that one of its changes to the file system. The last folder
has seen no kill.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.batch.folders import case_folder, write_failed
from dicom_node.batch.markers import MadeOf, Marker
from dicom_node.case_files.result_names import ALL_FILES, MARKER_FILE, clear_results

OLD, NEW = "old", "new"
MARKER = Marker(
    1, "c", "/c", MadeOf(1, "", "", 1, None), "failed", "", (), 0, datetime.now(UTC), "test"
)


def write_all(folder: Path, words: str) -> None:
    """Every file that results may have."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*ALL_FILES, MARKER_FILE):
        (folder / name).write_text(words)


def replace_results(folder: Path) -> None:
    """As a batch does a case again."""
    with case_folder(folder) as part:
        write_all(part, NEW)


def fail(folder: Path) -> None:
    """As a batch leaves a case that failed."""
    write_failed(folder, MARKER)


HOW: dict[str, Callable[[Path], None]] = {
    "replace": replace_results,
    "fail": fail,
    "clear": clear_results,
}
"""The last one as a single run begins."""


def killing(left: int) -> None:
    """Kill this process before one of its changes to the file system."""

    def on(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in {"os.remove", "os.rename"} or (event == "open" and _writes(arguments)):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(on)


def _writes(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))


def kill_at_each_step(folder: Path, how: str) -> None:
    """One kill after the other, until there is nothing left to be killed."""
    os.fsync = lambda _: None  # what a killed process has written is there without
    for step in range(100):
        case = folder / str(step) / "case"
        write_all(case, OLD)
        child = os.fork()
        if child == 0:
            killing(step)
            HOW[how](case)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return


if __name__ == "__main__":
    for way in HOW:
        kill_at_each_step(Path(sys.argv[1]) / way, way)
