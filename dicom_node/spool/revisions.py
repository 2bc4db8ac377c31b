"""Revisions of a series, as the marker file in its folder keeps them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dicom_node.durable_files import sync_folder, temporary_file

MARKER: Final = "handed-over.json"


@dataclass(frozen=True, slots=True)
class Revision:
    """One handing-over, as the marker file keeps it.

    done: whether the engine has taken it; if not, it is offered again.
    rule: what closed it (`completeness.Rule`).
    """

    revision: int
    files: tuple[str, ...]
    reason: str
    done: bool = False
    rule: str = ""


def gone_from(revisions: Sequence[Revision], names: Collection[str]) -> int:
    """The number of files of the last revision that are there no more (`retention.py`)."""
    return len(set(revisions[-1].files) - set(names)) if revisions else 0


def read_marker(folder: Path) -> tuple[Revision, ...]:
    """The revisions of a series so far; none where nothing was handed over."""
    try:
        table = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(
        Revision(**(item | {"files": tuple(item["files"])})) for item in table["revisions"]
    )


def write_marker(folder: Path, revisions: Sequence[Revision]) -> None:
    """Write the revisions durably: temporary file, sync, rename, sync."""
    table = {"revisions": [asdict(revision) for revision in revisions]}
    data = json.dumps(table, indent=1).encode()
    with temporary_file(folder.parent, [data]) as temporary:
        temporary.rename(folder / MARKER)
    sync_folder(folder)
