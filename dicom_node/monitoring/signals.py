"""Signals: what each means to the processes of a node, so that none ends one without a word.

    SIGTERM                      an orderly end, in every process
    SIGINT, SIGQUIT, SIGPWR      an orderly end of the node: its supervisor takes them; its
                                 other processes, which a terminal sends them to as well,
                                 wait for the SIGTERM that follows
    SIGXCPU                      an orderly end of the process whose processor time is used up
    SIGHUP                       to the supervisor: the settings are read again
                                 (`node/reload.py`); elsewhere, as all others
    all others that would        SIGUSR1, SIGUSR2, SIGALRM, the real-time ones ...:
    end a process                a line in the log, and nothing else

Those that say that the process is broken (SIGSEGV, SIGABRT ...) and those of a shell's job
control stay as the system has them; a pipe that breaks is an error of a write.

Python runs a handler in the main thread, between two of its instructions. It would be late
where that thread computes, and could wait for ever for a lock that the thread it interrupted
holds: the log's, for one. So the handlers here do nothing, and a thread that waits for the
number of a signal acts.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from types import FrameType
from typing import Final

import structlog

log = structlog.get_logger()

ENDS_A_NODE: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGXCPU}
)
ENDS_A_PART: Final = frozenset({signal.SIGTERM, signal.SIGXCPU})

_LEFT_ALONE: Final = frozenset(
    {
        # never delivered to anyone
        signal.SIGKILL, signal.SIGSTOP,
        # nothing happens by them, or a shell puts a job aside
        signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,
        signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
        # Python has them come as errors of a write
        signal.SIGPIPE, signal.SIGXFSZ,
        # the process is broken
        signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
        signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP,
    }
)  # fmt: skip
TAKEN: Final = frozenset(signal.valid_signals()) - _LEFT_ALONE
"""Every signal that would end a process which is sound."""


@contextmanager
def signals_taken(
    stop: Callable[[], None],
    ends: Collection[int],
    reload: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Take every signal that would end this process; called in the main thread.

    Args:
        stop: begins an orderly end; called on a thread of its own.
        ends: the signals that call it; what is held back (`held_back`) comes now.
        reload: has the settings read again; called so for SIGHUP. Without it, that means
            nothing.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    former = {number: signal.signal(number, _nothing) for number in TAKEN}
    for number in TAKEN:
        # Libraries in C do not all expect that a call of theirs is interrupted.
        signal.siginterrupt(number, False)  # noqa: FBT003 - its one way
    former_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # In a copy of this context: the log's lines say which process they are of.
    act = partial(copy_context().run, _act, reader, stop, frozenset(ends), reload)
    thread = threading.Thread(target=act, name="signals", daemon=True)
    thread.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)
    try:
        yield
    finally:
        signal.set_wakeup_fd(former_writer)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(writer)
        thread.join()
        os.close(reader)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold signals back in this thread, and in a process that it starts meanwhile.

    They come when that process takes them; before, they would end it. SIGTERM is not held
    back: what has not begun to work may end at once.
    """
    held = TAKEN - {signal.SIGTERM}
    former = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def name_of(number: int) -> str:
    """The name of a signal; the real-time ones, but for two, have none of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler must be there for the number to be written."""


def _act(
    reader: int,
    stop: Callable[[], None],
    ends: Collection[int],
    reload: Callable[[], None] | None,
) -> None:
    """Do what each signal means, until nobody writes any more."""
    stopping = False
    while numbers := os.read(reader, 64):
        for number in numbers:
            if number == signal.SIGHUP and reload is not None and not stopping:
                log.info("signal.reloads", signal=name_of(number))
                reload()
            elif number not in ends:
                words = "it changes nothing here; SIGTERM to the node's first process ends it"
                log.warning("signal.ignored", signal=name_of(number), reason=words)
            elif stopping:
                log.info("signal.ignored", signal=name_of(number), reason="ending already")
            else:
                stopping = True
                log.info("signal.ends", signal=name_of(number))
                stop()
