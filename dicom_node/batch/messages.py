"""What the processes of a batch say to each other.

A task and its answer are one message each on a socket that keeps messages apart
(SOCK_SEQPACKET): a line of JSON, with parcels (`parcels`) as descriptors beside it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

LONGEST_MESSAGE_BYTES: Final = 1 << 16
MOST_PARCELS: Final = 4
LONGEST_WORDS: Final = 4000


class Step(StrEnum):
    """What is done with a case, by a process of its own kind."""

    READ = "read"
    SEGMENT = "segment"
    WRITE = "write"


class Kind(StrEnum):
    """What an answer says.

    READY       the process has started and can be given a task
    PROGRESS    so many slices of so many are done
    DONE        the step is done; what it made is in the parcel
    REFUSED     the scan cannot be analysed; the words are the reason
    FAILED      something unexpected with this case; the process ends, to be started anew
    NO_MEMORY   likewise, for want of memory
    NO_ROOM     the disk of the results is full, or cannot be written: no fault of the case
    UNUSABLE    the bundle or the device cannot be used at all
    """

    READY = "ready"
    PROGRESS = "progress"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    NO_MEMORY = "no-memory"
    NO_ROOM = "no-room"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class Settings:
    """What all processes of a batch are started with.

    bundle_sha256, grader_sha256: what bundle and grader must be; empty: whatever is there.
    """

    bundle: str
    device: str
    samples: int | None
    grader: str | None = None
    bundle_sha256: str = ""
    grader_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A message of a process at work.

    code, words: of a refusal, a failure, or a case's result.
    seconds: that the step took.
    """

    kind: Kind
    code: str = ""
    words: tuple[str, ...] = ()
    seconds: float = 0.0
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A scan to read.

    name: of its case, which a table of grades may call it.
    unreadable: why it cannot be read at all; empty where nothing is known.
    """

    files: tuple[Path, ...]
    is_image: bool
    height_m: float | None
    name: str = ""
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is written of a scan that cannot be analysed.

    dicom: the files of its series, which say whose it is; none of an image file.
    """

    code: str
    words: str
    dicom: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteTask:
    """Results to write: where, and what the marker says that only the parent knows.

    marker: a marker with the seconds so far, to be completed.
    refusal: instead of results.
    """

    folder: Path
    marker: bytes
    refusal: Refusal | None = None


SETTINGS: Final = TypeAdapter(Settings)
_ANSWER: Final = TypeAdapter(Answer)


def send_parcels(to: socket.socket, parcels: Sequence[int]) -> None:
    """Hand over a task: its parcels, which stay ours too."""
    socket.send_fds(to, [b"task"], parcels)


def receive_parcels(by: socket.socket) -> list[int]:
    """The parcels of the next task; none when there will be no more."""
    message, parcels, _, _ = socket.recv_fds(by, LONGEST_MESSAGE_BYTES, MOST_PARCELS)
    return list(parcels) if message else []


def send_answer(to: socket.socket, answer: Answer, parcel: int | None = None) -> None:
    """Tell the parent; a parcel is handed over and closed here."""
    words = tuple(line[:LONGEST_WORDS] for line in answer.words)
    message = _ANSWER.dump_json(replace(answer, words=words))
    if parcel is None:
        to.send(message)
        return
    try:
        socket.send_fds(to, [message], [parcel])
    finally:
        os.close(parcel)


def receive_answer(by: socket.socket) -> tuple[Answer, int | None] | None:
    """The next answer and its parcel; None when the process has gone."""
    try:
        message, parcels, _, _ = socket.recv_fds(by, LONGEST_MESSAGE_BYTES, MOST_PARCELS)
    except ConnectionError:
        return None
    if not message:
        return None
    return _ANSWER.validate_json(message), (parcels[0] if parcels else None)
