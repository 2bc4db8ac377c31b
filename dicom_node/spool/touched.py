"""Notes of which series something came of, so that nobody has to look at all of them.

A spool may hold 100,000 series, of which a few change in a day; to look at each folder once a
second is more than a disk on a network gives. So whoever puts something into a series leaves a
note with the series' name, and the watcher looks at the series that have one:

```
spool/.touched/<Series Instance UID>      something came since the watcher last took the note
               <Series Instance UID>~     taken; the watcher is not done with the series
               .looked-through            a watcher has been through the whole spool once
```

A note is left when what it tells of is in its place, and before that is answered. The watcher
takes it (a rename) before it looks: what came before that is there to be seen, and what comes
later leaves a note anew. A taken note goes when there is nothing left to decide about its
series, so that it outlives a watcher that is killed.

Notes are no more than that: what is in the folders is the truth. One that a power cut lost, or
that was never left (an older receiver, a person with a file manager), is made up for by the
watcher's walk through the whole spool (`watcher.py`), which only takes longer.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from dicom_node.uids import is_uid

TOUCHED: Final = ".touched"
TAKEN: Final = "~"
LOOKED_THROUGH: Final = ".looked-through"


def touch(spool: Path, series_instance_uid: str) -> None:
    """Leave a note that something came of a series.

    A disk that takes none keeps nobody from anything: the walk finds what came.
    """
    note = spool / TOUCHED / series_instance_uid
    with contextlib.suppress(OSError):
        try:
            os.utime(note)
        except FileNotFoundError:
            _make(note)


def take_notes(spool: Path) -> frozenset[str]:
    """Take every note; the series that have one, or one that was taken and not forgotten."""
    found = set()
    with contextlib.suppress(OSError), os.scandir(spool / TOUCHED) as names:
        for item in names:
            uid = item.name.removesuffix(TAKEN)
            if not is_uid(uid):
                continue
            found.add(uid)
            if uid == item.name:
                with contextlib.suppress(FileNotFoundError):
                    Path(item.path).rename(f"{item.path}{TAKEN}")
    return frozenset(found)


def keep_note(spool: Path, series_instance_uid: str) -> None:
    """Have a series looked at again, by whichever watcher is the next."""
    note = _taken(spool, series_instance_uid)
    with contextlib.suppress(OSError):
        if not note.exists():
            _make(note)


def forget_note(spool: Path, series_instance_uid: str) -> None:
    """Be done with a series, until something comes of it again."""
    with contextlib.suppress(OSError):
        _taken(spool, series_instance_uid).unlink(missing_ok=True)


def was_looked_through(spool: Path) -> bool:
    """True if all that came before there were notes has been seen."""
    return (spool / TOUCHED / LOOKED_THROUGH).exists()


def note_looked_through(spool: Path) -> None:
    """Say that a watcher has been through the whole spool."""
    with contextlib.suppress(OSError):
        _make(spool / TOUCHED / LOOKED_THROUGH)


def _taken(spool: Path, series_instance_uid: str) -> Path:
    return spool / TOUCHED / f"{series_instance_uid}{TAKEN}"


def _make(note: Path) -> None:
    """Make an empty file. Nobody waits until its name is durable: see above."""
    note.parent.mkdir(exist_ok=True)
    note.touch()
