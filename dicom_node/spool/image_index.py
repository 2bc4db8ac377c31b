"""Which series has an image: a file by which its SOP Instance UID is looked up.

Without it every record in the spool had to be opened. A line is a series that was handed
over: its UID, how many revisions it has, and four letters for each of its images, which are 24
bits of a digest. So a line may only *have* the image, and whoever looks reads the record to
know. Nothing here is synced, and nothing rests on it: what a power cut took is written again
when the watcher next walks through the spool, and a series without a line is looked into.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicom_node.spool.revisions import Revision, instance_of, known_names

NAME: Final = ".image-index"
DIGEST_BYTES: Final = 3
"""Four letters; of 100,000 series with 500 images some dozen share them with any image."""
END: Final = b" .\n"
"""Of a line that is whole."""


@dataclass(slots=True)
class ImageIndex:
    """The index of a spool, to be written by the one watcher that looks at a time."""

    spool: Path
    _noted: dict[str, int] | None = field(default=None, init=False)
    """The number of revisions of each series that has a line; read when it is first needed."""

    def note(self, series_instance_uid: str, revisions: Sequence[Revision]) -> None:
        """Have the images of a series found, if they are not yet; a full disk keeps nobody."""
        if self._noted is None:
            self._noted = dict(_read(self.spool, b"").noted)
        if not revisions or self._noted.get(series_instance_uid) == len(revisions):
            return
        images = sorted({instance_of(name) for name in known_names(revisions)})
        letters = b"".join(map(_letters, images))
        # What a power cut left of a line before it ends here.
        head = f"\n{series_instance_uid} {len(revisions)} ".encode()
        with contextlib.suppress(OSError):
            _append(self.spool / NAME, head + letters + END)
            self._noted[series_instance_uid] = len(revisions)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the index says of an image.

    noted: the series that it knows, with the number of their revisions.
    candidates: those of them that may have the image.
    """

    noted: dict[str, int]
    candidates: tuple[str, ...]


def look_up(spool: Path, sop_instance_uid: str) -> Lookup:
    """Look an image up; where there is no index, no series is known."""
    return _read(spool, _letters(sop_instance_uid))


def _read(spool: Path, letters: bytes) -> Lookup:
    """Go through the index once."""
    noted: dict[str, int] = {}
    candidates: dict[str, None] = {}
    with contextlib.suppress(OSError), (spool / NAME).open("rb") as file:
        for line in file:
            if not line.endswith(END):
                continue
            words = line[:96].split(b" ", 2)
            with contextlib.suppress(ValueError, IndexError):
                uid, count = words[0].decode("ascii"), int(words[1])
                noted[uid] = count
                if letters and letters in line:
                    candidates[uid] = None
    return Lookup(noted, tuple(candidates))


def _letters(sop_instance_uid: str) -> bytes:
    digest = hashlib.sha256(sop_instance_uid.encode(errors="replace")).digest()
    return base64.b64encode(digest[:DIGEST_BYTES])


def _append(path: Path, line: bytes) -> None:
    """Append a line in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
