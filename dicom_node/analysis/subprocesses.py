"""Running a child process that may hang, crash or run out of memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Final

from dicom_node.monitoring.signals import held_back

EXIT_KILLED: Final = -signal.SIGKILL
EXIT_NO_ROOM: Final = 5
ASK_EVERY_S: Final = 1.0
"""So often it is asked whether a child's work is still wanted."""
EXIT_TOLD_TO_END: Final = 128 + signal.SIGTERM
"""As a shell counts it: a process that takes the signal ends so, others end by it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a child: its exit code, negative for a signal, and whether we killed it."""

    exit_code: int
    timed_out: bool = False

    @property
    def by_signal(self) -> bool:
        """True if a signal of somebody else's ended it."""
        return not self.timed_out and (self.exit_code < 0 or self.exit_code == EXIT_TOLD_TO_END)

    @property
    def words(self) -> str:
        """The end in a reader's words."""
        if self.timed_out:
            return "it took too long and was stopped"
        if self.exit_code in (EXIT_TOLD_TO_END, -signal.SIGTERM):
            return "it was told to end (SIGTERM)"
        if self.exit_code == EXIT_KILLED:
            return "it was killed, most likely for want of memory"
        if self.exit_code < 0:
            return f"it crashed ({signal.Signals(-self.exit_code).name})"
        return f"it ended with exit code {self.exit_code}"


def run_child(
    command: Sequence[str],
    timeout_s: float,
    on_progress: Callable[[int, int], None],
    lock: int | None = None,
    is_unwanted: Callable[[], bool] | None = None,
) -> Ended:
    """Run a child to its end, or kill it when its time is up or nobody wants it any more.

    The child's standard input stays open for as long as this process lives: a child that
    watches it ends with us, also when we are killed. Of its standard output, JSON lines
    with `done` and `total` are progress; the rest is passed over.

    A lock's descriptor is closed here once the child has it: it is held for as long as the
    child lives, also when we are killed or frozen.
    """
    held = () if lock is None else (lock,)
    try:
        with held_back():
            child = subprocess.Popen(  # noqa: S603 - our own command line
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=held
            )
    finally:
        for descriptor in held:
            os.close(descriptor)
    timed_out = threading.Event()

    def kill() -> None:
        timed_out.set()
        child.kill()

    timer = threading.Timer(timeout_s, kill)
    timer.daemon = True
    timer.start()
    ended = threading.Event()
    if is_unwanted is not None:
        threading.Thread(
            target=_kill_unwanted, args=(child, is_unwanted, ended), daemon=True
        ).start()
    try:
        for line in child.stdout or ():
            _tell(line, on_progress)
        return Ended(child.wait(), timed_out.is_set())
    finally:
        timer.cancel()
        ended.set()
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _kill_unwanted(
    child: subprocess.Popen[str], is_unwanted: Callable[[], bool], ended: threading.Event
) -> None:
    """Kill a child as soon as nobody wants what it does."""
    while not ended.wait(ASK_EVERY_S):
        if is_unwanted():
            child.kill()
            return


def _tell(line: str, on_progress: Callable[[int, int], None]) -> None:
    """Pass on a line of progress."""
    try:
        progress = json.loads(line)
        done, total = int(progress["done"]), int(progress["total"])
    except (ValueError, TypeError, KeyError):
        return
    on_progress(done, total)


def end_with_standard_input(on_line: Callable[[bytes], None] = lambda _line: None) -> None:
    """End this process at once when its standard input closes: its parent is gone.

    A parent that is killed cannot tell its children; the pipe it held does. What a parent says
    before that is given to `on_line`, a whole line at a time, on the thread that watches.
    """

    def wait() -> None:
        said = b""
        while part := os.read(sys.stdin.fileno(), 1 << 16):
            *lines, said = (said + part).split(b"\n")
            for line in lines:
                on_line(line)
        os._exit(1)

    # In a copy of this context: the log's lines say which process they are of.
    begin = copy_context().run
    threading.Thread(target=begin, args=(wait,), name="parent-watch", daemon=True).start()
