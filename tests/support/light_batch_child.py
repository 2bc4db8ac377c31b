"""A process of a batch whose work is light: what becomes of a case is said by its file's name.

crash    the network's process crashes, every time
once     likewise, but only the first time
error    an unexpected error while it is read
memory   memory ends while it is written
hang     the network takes for ever
refused  it is refused
named    likewise, with the name that a table of grades may call it
full     the disk is full when it is written
(others) it is analysed
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dicom_node.batch.child import Made, Tell, Work, main
from dicom_node.batch.folders import case_folder
from dicom_node.batch.markers import marker_bytes, marker_of
from dicom_node.batch.messages import Answer, Kind, Settings, Step
from dicom_node.batch.parcels import unpacked
from dicom_node.case_files.result_names import MARKER_FILE

COMMAND = (sys.executable, str(Path(__file__)))


def reading(_settings: Settings) -> Work:
    def read(parcels: Sequence[int], _tell: Tell) -> Made:
        task = unpacked(parcels[0])
        (path,) = task.files
        if path.name == "error":
            raise ValueError("of a patient")
        if path.name == "refused":
            return Answer(Kind.REFUSED, "no-images", ("nothing there",)), None
        if path.name == "named":
            return Answer(Kind.REFUSED, "no-images", (f"called {task.name}",)), None
        return Answer(Kind.DONE), path

    return read


def segmenting(_settings: Settings) -> Work:
    def segment(parcels: Sequence[int], _tell: Tell) -> Made:
        path = unpacked(parcels[0])
        tried = path.with_name(".tried")
        if path.name == "crash" or (path.name == "once" and not tried.exists()):
            tried.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        if path.name == "hang":
            time.sleep(600)
        return Answer(Kind.DONE), path.name

    return segment


def writing(_settings: Settings) -> Work:
    def write(parcels: Sequence[int], _tell: Tell) -> Made:
        task = unpacked(parcels[0])
        name = None if task.refusal else unpacked(parcels[2])
        if name == "memory":
            raise MemoryError
        if name == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        with case_folder(task.folder) as part:
            marker = marker_of(task.marker)
            if task.refusal is not None:
                words = (task.refusal.words,)
                verdict = "refused (no-images)"
                marker = replace(marker, outcome="refused", verdict=verdict, words=words)
            (part / MARKER_FILE).write_bytes(marker_bytes(marker))
        return Answer(Kind.DONE), None

    return write


if __name__ == "__main__":
    works = {Step.READ: reading, Step.SEGMENT: segmenting, Step.WRITE: writing}
    main(sys.argv[1:], works)
