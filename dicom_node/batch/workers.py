"""The parent's side of a process of a batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from dicom_node.analysis.subprocesses import Ended
from dicom_node.batch.messages import (
    SETTINGS,
    Answer,
    Settings,
    Step,
    receive_answer,
    send_parcels,
)

COMMAND: Final = (sys.executable, "-m", "dicom_node.batch.child")


ENDING_S: Final = 20.0
"""A process that has closed its socket has ended by then, or is killed."""


class Worker:
    """A process that does one step of one case after the other.

    ready: whether it has started. deadline_s: by when it has to answer, on the clock of
    whoever set it; None while it does nothing.
    """

    def __init__(
        self, step: Step, settings: Settings, command: Sequence[str] = COMMAND
    ) -> None:
        self.step = step
        self.ready = False
        self.deadline_s: float | None = None
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = dict(os.environ)
        if step is not Step.SEGMENT:  # the cores are the network's
            environment["OMP_NUM_THREADS"] = "1"
        with theirs:
            words = SETTINGS.dump_json(settings).decode()
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [*command, step.value, str(theirs.fileno()), words],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is the parent's affair
            )

    def give(self, parcels: Sequence[int]) -> None:
        """Hand over a task; one that has just died is found out when it is listened to."""
        try:
            send_parcels(self.line, parcels)
        except (BrokenPipeError, ConnectionError):
            return

    def answer(self) -> tuple[Answer, int | None] | None:
        """What it says; None when it has gone."""
        return receive_answer(self.line)

    def ended(self, *, timed_out: bool = False) -> Ended:
        """End it, if it has not ended, and say how."""
        if timed_out:
            self._process.kill()
        self.line.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            code = self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return Ended(code, timed_out)

    def kill(self) -> None:
        """End it at once; its case is left as it is."""
        self._process.kill()
        self.ended()
