"""Revisions of a series, as the marker file in its folder keeps them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from dicom_node.durable_files import sync_folder, temporary_file

log = structlog.get_logger()

MARKER: Final = "handed-over.json"
UNREADABLE: Final = "handed-over.unreadable"
"""A marker that a disk has spoiled, set aside."""

MORE: Final = ("notes", "left", "lost", "identity", "distinction")
"""Fields that the version before knows nothing of, and reads past."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One handing-over, as the marker file keeps it.

    files: which were handed over: the newest copy of every image.
    done: whether the engine has taken it; if not, it is offered again.
    rule: what closed it (`completeness.Rule`).
    notes: what a reader of its results must know, in words without patient data.
    left: files that were there and were not handed over: older copies, damaged ones.
    lost: how many images were missing then because the node had not kept them.
    identity: digests of whose images they are (`copies.py`), empty where they contradict each
        other; None where it was not kept, by a version before.
    distinction: what tells it from an earlier revision of the same files; mostly empty.
    """

    revision: int
    files: tuple[str, ...]
    reason: str
    done: bool = False
    rule: str = ""
    notes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    lost: int = 0
    identity: Mapping[str, str] | None = None
    distinction: str = ""


def instance_of(name: str) -> str:
    """The SOP Instance UID in a file's name, of whichever copy."""
    return name.removesuffix(".dcm").split("~", 1)[0]


def gone_from(revisions: Sequence[Revision], names: Collection[str]) -> int:
    """The number of images of the last revision that are there no more (`retention.py`)."""
    if not revisions:
        return 0
    return len(set(map(instance_of, revisions[-1].files)) - set(map(instance_of, names)))


def known_names(revisions: Sequence[Revision]) -> frozenset[str]:
    """The names of all files that were there when a revision was handed over."""
    return frozenset(name for each in revisions for name in (*each.files, *each.left))


def read_marker(folder: Path) -> tuple[Revision, ...]:
    """The revisions of a series so far; none where nothing was handed over.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        table = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    try:
        more = table.get("more", {})
        items = table["revisions"]
        return tuple(_revision(item | more.get(str(item["revision"]), {})) for item in items)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{MARKER} is damaged") from error


def set_aside_marker(folder: Path) -> None:
    """Put a damaged marker beside its name: what it said is decided again.

    The ledger knows which images were answered, so that nothing is answered twice.
    """
    (folder / MARKER).replace(folder / UNREADABLE)
    sync_folder(folder)
    log.error("series.record_damaged", series_instance_uid=folder.name, path=UNREADABLE)


def write_marker(folder: Path, revisions: Sequence[Revision]) -> None:
    """Write the revisions durably: temporary file, sync, rename, sync."""
    items = [asdict(revision) for revision in revisions]
    # Beside the revisions: the version before takes each for all of its fields.
    more = {str(item["revision"]): {name: item.pop(name) for name in MORE} for item in items}
    data = json.dumps({"revisions": items, "more": more}, indent=1).encode()
    with temporary_file(folder.parent, [data]) as temporary:
        temporary.rename(folder / MARKER)
    sync_folder(folder)


def _revision(item: Mapping[str, Any]) -> Revision:
    known = {name: item[name] for name in Revision.__dataclass_fields__ if name in item}
    lists = {name: tuple(known.get(name, ())) for name in ("files", "notes", "left")}
    if not all(isinstance(name, str) for names in lists.values() for name in names):
        raise TypeError("a name that is no text")
    return Revision(**{**known, **lists})
