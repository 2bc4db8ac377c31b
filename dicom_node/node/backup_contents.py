"""What a backup of a node holds, and in which order, so that its parts fit each other.

1. **Settings**: `node.toml`, and every file that it names (certificates, secrets, users, the
   audit trail, bundles and graders that are folders of the site).
2. **Notes of the spool**: what was handed over, what was refused, the secret for digests.
3. **The database**, at one moment.
4. **Results, analyses and images.**

A series that is handed over is in the queue before its note says so, and a result is on disk
before the ledger names it. So notes are taken before the database, and files after it: a
series that came in between is offered to the queue again, which knows it by its key; a file
that came in between is one that nobody asks for yet.

Of a series that is answered the images may be left out: it is then as one whose images were
purged by age. Those of any other are always in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from dicom_node.durable_files import INCOMING, PART
from dicom_node.persistence.ledger import existing_ledger
from dicom_node.persistence.rows import UNANSWERED
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.image_index import NAME as IMAGE_INDEX
from dicom_node.spool.revisions import MARKER, known_names, read_marker
from dicom_node.spool.touched import LOOKED_THROUGH
from dicom_node.uids import is_uid

PASSING: Final = (
    INCOMING,
    PART,
    ".lock",
    ".watching",
    ".promised",
    ".waiting.json",
    ".heartbeats",
    ".metrics",
    ".reload",
    ".web-sessions",
    IMAGE_INDEX,
    LOOKED_THROUGH,
)
"""How the names begin of what only a running node needs, or finds again by itself; and of
logins, which must not be valid in another place."""
ROOTS: Final = ("spool", "work", "results")
DATABASES: Final = {"sqlite": "node.sqlite", "postgresql": "database.dump"}


@dataclass(frozen=True, slots=True)
class Item:
    """A file for the backup: where it lies, and its name there."""

    path: Path
    name: str


def settings_files(config: NodeConfig) -> Iterator[tuple[str, Path]]:
    """Every file or folder that the settings name, with its key; only what is there.

    Not the folders that the node itself fills, nor bundles that are shipped with it.
    """
    for key, value in _values(config.model_dump(mode="python")):
        path = _as_path(key, value)
        if path is not None and path.exists():
            yield key, path


PATHS_AS_TEXT: Final = ("bundle", "grader")
"""Keys whose value is a path where it has a slash, and else the name of something shipped."""


def _as_path(key: str, value: Any) -> Path | None:
    """The path in a value, if it is one that the site has set."""
    last = key.rpartition(".")[2]
    if key in {f"node.{root}" for root in ROOTS}:
        return None
    if isinstance(value, Path):
        return value
    if last in PATHS_AS_TEXT and isinstance(value, str) and "/" in value:
        return Path(value)
    return None


def _values(table: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the settings with its key, as `destinations[0].tls.ca`."""
    match table:
        case dict():
            for name, value in table.items():
                yield from _values(value, f"{key}.{name}" if key else str(name))
        case list() | tuple():
            for index, value in enumerate(table):
                yield from _values(value, f"{key}[{index}]")
        case BaseModel():
            yield from _values(table.model_dump(mode="python"), key)
        case _:
            yield key, table


def parts_of(key: str, path: Path) -> tuple[Path, ...]:
    """The files that a setting stands for: the audit trail is several, its head first."""
    if key != AUDIT_FILE:
        return (path,)
    found = [each for each in path.parent.glob(f"{path.stem}*") if each.is_file()]
    return tuple(sorted(found, key=lambda each: (each.suffix != ".head", each.name)))


AUDIT_FILE: Final = "audit.file"


def notes(spool: Path) -> Iterator[Item]:
    """What the spool remembers beside images, for before the database."""
    for path in _files(spool):
        if path.suffix != ".dcm" or not is_uid(path.relative_to(spool).parts[0]):
            yield _item("spool", spool, path)


def images(
    spool: Path, answered: frozenset[str] = frozenset(), before_s: float = 0.0
) -> Iterator[Item]:
    """The images that go into the backup, for after the database.

    answered: series that had been when the database was taken, and whose images may be left
        out; not those of a series of which something was handed over since `before_s`, when
        the notes were taken: of that, neither the notes nor the database know.
    """
    if not spool.is_dir():
        return
    for folder in sorted(spool.iterdir()):
        if not is_uid(folder.name) or not folder.is_dir():
            continue
        paths = [path for path in _files(folder) if path.suffix == ".dcm"]
        if folder.name not in answered or not _all_known(folder, paths, before_s):
            yield from (_item("spool", spool, path) for path in paths)


def _all_known(folder: Path, paths: list[Path], before_s: float) -> bool:
    """True if every image had been handed over before a time."""
    try:
        if (folder / MARKER).stat().st_mtime >= before_s:
            return False
        revisions = read_marker(folder)
    except (OSError, ValueError):
        return False
    taken = all(each.done for each in revisions)
    return taken and {path.name for path in paths} <= known_names(revisions)


def kept(root: str, folder: Path) -> Iterator[Item]:
    """The files of results or of analyses."""
    yield from (_item(root, folder, path) for path in _files(folder))


def answered_series(database_url: str) -> frozenset[str]:
    """The series of which no revision waits for an answer, as a database has them."""
    ledger = existing_ledger(database_url, only_read=True)
    if ledger is None:
        return frozenset()
    try:
        states: dict[str, bool] = {}
        for row in ledger.all_series():
            uid = row.series_instance_uid
            states[uid] = states.get(uid, True) and row.state not in UNANSWERED
        return frozenset(uid for uid, is_answered in states.items() if is_answered)
    finally:
        ledger.close()


def named_results(database_url: str) -> Mapping[str, str]:
    """The files of results that a database names, by path, each with its SHA-256."""
    ledger = existing_ledger(database_url, only_read=True)
    if ledger is None:
        return {}
    try:
        return {row.path: row.sha256 for row in ledger.all_results()}
    finally:
        ledger.close()


def _item(root: str, folder: Path, path: Path) -> Item:
    return Item(path, f"{root}/{path.relative_to(folder).as_posix()}")


def _files(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder that is to be kept, in the order of the names."""
    try:
        found = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in found:
        if path.name.startswith(PASSING) or path.suffix == ".part" or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path
