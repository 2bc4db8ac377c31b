"""The audit trail's file: a chain of lines, written by several processes, none ever changed.

Each line is JSON and says the SHA-256 of the line before it, so that a line which is changed,
put in or taken out breaks the chain. Beside the file lies its head (`NAME.head`): number and
digest of the last line, by which a cut end is noticed, and the lock of whoever writes. From a
size on the file is put aside under the number of its first line, to be read only; the chain
goes on in the next one. Whoever may write all these files can write another chain: the copy
on a syslog server is what shows that.

Each batch of messages is one write with O_APPEND, and synced before the next; a disk that is
full takes none of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from dicom_node.durable_files import sync_folder

HEAD_BYTES: Final = 160
"""The head's one line, filled up with spaces: it is always overwritten whole."""
TAIL_BYTES: Final = 1 << 18
"""Far longer than any line."""
LAST_LINES: Final = 3
NUMBER_DIGITS: Final = 12
MODE: Final = 0o640
PUT_ASIDE: Final = 0o440


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a trail: its number, and its SHA-256; 0 and empty before the first.

    begins: the number of the first line of the file that is written to.
    """

    number: int = 0
    sha256: str = ""
    begins: int = 1


@dataclass(frozen=True, slots=True)
class AuditFile:
    """A trail's files."""

    path: Path
    rotate_bytes: int = 64 << 20

    def append(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Append messages, each as a line that is chained to the one before; synced.

        Raises:
            OSError: the disk is full or fails; then none of them is there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as lock:
            head = self._last(lock)
            descriptor = _open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                lines, last = _chained(messages, head)
                _write_whole(descriptor, self._mended(descriptor) + lines)
                size_bytes = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            _write_head(lock, last)
            if size_bytes >= self.rotate_bytes:
                self._put_aside()
                _write_head(lock, replace(last, begins=last.number + 1))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the trail, against other threads and processes; its head's descriptor."""
        descriptor = _open(self.head_path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @property
    def head_path(self) -> Path:
        """The file of its head, which is also its lock."""
        return self.path.with_name(f"{self.path.name}.head")

    def _last(self, lock: int) -> Head:
        """The last line: as the head says, or the file where a crash came in between."""
        told = _parse_head(os.pread(lock, HEAD_BYTES, 0))
        lines = last_lines(self.path)
        if not lines:
            return told
        # A write that a power cut broke off stays, and the next line is chained to it.
        whole = next((each for each in map(_number, reversed(lines)) if each is not None), 0)
        return replace(told, number=max(whole, told.number), sha256=_sha256(lines[-1]))

    def _mended(self, descriptor: int) -> bytes:
        """What a line that a power cut broke off lacks: its end."""
        size_bytes = os.fstat(descriptor).st_size
        with self.path.open("rb") as file:
            file.seek(max(size_bytes - 1, 0))
            return b"\n" if size_bytes and file.read(1) != b"\n" else b""

    def _put_aside(self) -> None:
        """Put the file aside under the number of its first line."""
        with self.path.open("rb") as file:
            first = _number(file.readline()) or 0
        aside = self.path.with_name(
            f"{self.path.stem}.{first:0{NUMBER_DIGITS}d}{self.path.suffix}"
        )
        self.path.chmod(PUT_ASIDE)
        self.path.rename(aside)
        sync_folder(self.path.parent)

    def paths(self) -> tuple[Path, ...]:
        """Its files that are there, the oldest first, the one that is written to last."""
        stem, suffix = re.escape(self.path.stem), re.escape(self.path.suffix)
        form = re.compile(rf"{stem}\.\d{{{NUMBER_DIGITS}}}{suffix}")
        folder = self.path.parent
        names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
        aside = [folder / name for name in names if form.fullmatch(name)]
        return (*aside, self.path) if self.path.exists() else tuple(aside)

    def head(self) -> Head:
        """Its head as it is told."""
        with contextlib.suppress(OSError), self.head_path.open("rb") as file:
            return _parse_head(file.read(HEAD_BYTES))
        return Head()

    def lines(self, after: int = 0) -> Iterator[tuple[Path, bytes]]:
        """Its lines that may come after a number, without their ends, with their files."""
        paths = self.paths()
        for path, following in zip_longest(paths, paths[1:]):
            if following is not None and _first_number(following, self) <= after:
                continue
            with path.open("rb") as file:
                for line in file:
                    yield path, line.rstrip(b"\n")


def _open(path: Path, flags: int) -> int:
    """Open a file of the trail, made if need be: for the node's user, also where root is it."""
    is_new = not path.exists()
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, MODE)
    if is_new and os.geteuid() == 0:
        folder = path.parent.stat()
        with contextlib.suppress(OSError):
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at a whole trail found.

    count: lines, in so many files.
    first, last: their numbers.
    problems: what is not as it was written, in words; empty where all is.
    notes: what is no sign of that, and worth knowing.
    """

    count: int = 0
    files: int = 0
    first: int = 0
    last: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


MOST_PROBLEMS: Final = 20


def verify(trail: AuditFile) -> Verified:
    """Go through a whole trail: is each line chained to the one before, and is the end there?

    Raises:
        OSError: a file cannot be read.
    """
    problems: list[str] = []
    notes: list[str] = []
    count = first = 0
    last = Head()
    head = trail.head()
    for path, line in trail.lines():
        count += 1
        message = _parsed(line)
        where = f"{path.name}: the line after message {last.number}"
        if message is None:
            if last.sha256 == "" and count == 1:
                problems.append(f"{path.name}: the first line is no message")
            notes.append(f"{where} is not whole, as a write that a power cut broke off")
            last = Head(last.number, _sha256(line))
            continue
        number, before = message["n"], message["before"]
        if count == 1:
            first = number
            if number != 1:
                words = f"begins with message {number}; what was before is not here"
                was_cut = path == trail.path and number > head.begins
                (problems if was_cut else notes).append(words)
        elif number != last.number + 1:
            problems.append(f"{where} is message {number}, not {last.number + 1}")
        elif before != last.sha256:
            problems.append(f"{where} was chained to another line than the one before it")
        if count == 1 and number == 1 and before:
            problems.append(f"{where} names a line before it")
        last = Head(number, _sha256(line))
        if len(problems) >= MOST_PROBLEMS:
            break
    else:
        problems += _end_problems(head, last)
    return Verified(
        count, len(trail.paths()), first, last.number, tuple(problems), tuple(notes)
    )


def _end_problems(head: Head, last: Head) -> Iterator[str]:
    """What is wrong with a trail's end, as its head has it."""
    if head.number > last.number:
        yield f"ends with message {last.number}; there were {head.number}"
    elif head.number == last.number and head.sha256 != last.sha256 and head.sha256:
        yield f"message {last.number}, the last one, is not what was written"


def last_lines(path: Path) -> list[bytes]:
    """The last lines of a file, without their ends; none where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL_BYTES, 0))
            return file.read().splitlines()[-LAST_LINES:]
    except FileNotFoundError:
        return []


def _chained(messages: Sequence[Mapping[str, Any]], head: Head) -> tuple[bytes, Head]:
    """Messages as lines, each chained to the one before; and the new head."""
    lines = []
    for message in messages:
        table = {"n": head.number + 1, **message, "before": head.sha256}
        line = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
        lines.append(line + b"\n")
        head = replace(head, number=head.number + 1, sha256=_sha256(line))
    return b"".join(lines), head


def _write_whole(descriptor: int, content: bytes) -> None:
    """Write all of it and sync, or leave the file as it was.

    Raises:
        OSError: the disk is full or fails.
    """
    before = os.fstat(descriptor).st_size
    left = memoryview(content)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
        os.fdatasync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _write_head(descriptor: int, head: Head) -> None:
    text = json.dumps({"n": head.number, "sha256": head.sha256, "begins": head.begins})
    os.pwrite(descriptor, text.ljust(HEAD_BYTES - 1).encode() + b"\n", 0)


def _parse_head(content: bytes) -> Head:
    try:
        table = json.loads(content)
        return Head(int(table["n"]), str(table["sha256"]), int(table["begins"]))
    except (ValueError, KeyError, TypeError):
        return Head()


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line as the message that it is; None where it is not whole."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    is_message = isinstance(message, dict) and isinstance(message.get("n"), int)
    return message if is_message and isinstance(message.get("before"), str) else None


def _number(line: bytes) -> int | None:
    message = _parsed(line)
    return message["n"] if message is not None else None


def _first_number(path: Path, trail: AuditFile) -> int:
    """The number of a file's first line: in its name, or in its first line."""
    if path != trail.path:
        return int(path.name.removesuffix(path.suffix).rpartition(".")[2])
    with path.open("rb") as file:
        return _number(file.readline().rstrip(b"\n")) or 0


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
