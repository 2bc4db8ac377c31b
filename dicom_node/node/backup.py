"""A backup of a node, made beside it while it works: `msk-node backup`.

In the order of `backup_contents.py`; what is in it, and that it is whole, says its manifest.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from dicom_node.errors import ConfigurationError
from dicom_node.node.backup_contents import (
    DATABASES,
    ROOTS,
    Item,
    answered_series,
    images,
    kept,
    named_results,
    notes,
    parts_of,
    settings_files,
)
from dicom_node.node.backup_files import (
    FORMAT,
    MANIFEST,
    Entry,
    Manifest,
    Writer,
    backup_members,
    copied,
    manifest_bytes,
    new_backup,
    read_manifest,
)
from dicom_node.persistence.snapshots import check_snapshot, is_server, take_snapshot
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import NodeConfig

NODE_TOML: Final = "node.toml"
FILES: Final = "files"
"""The folder of what the settings name."""


@dataclass(slots=True)
class _Making:
    """A backup that is being made: the files in it so far, and those that went meanwhile."""

    writer: Writer
    entries: list[Entry] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def add(self, items: Iterable[Item]) -> None:
        """Put files into the backup, each as it is at this moment."""
        for item in items:
            try:
                self.put(item)
            except FileNotFoundError:  # taken up, published or purged meanwhile
                self.gone.append(item.name)

    def put(self, item: Item) -> None:
        """Put a file into the backup, as long as it is now: some are being written on."""
        with item.path.open("rb") as source:
            found = os.fstat(source.fileno())
            mode, time_s = found.st_mode & 0o777, found.st_mtime
            sha256 = self.writer.put(item.name, source, found.st_size, mode, time_s)
        self.entries.append(Entry(item.name, found.st_size, sha256, mode, time_s))


def make_backup(
    path: Path | None, out: Path, *, everything: bool = False, more: Iterable[Path] = ()
) -> Manifest:
    """Back up a node, which may be running.

    Args:
        path: its `node.toml`; without one, the defaults.
        out: a file (`.tar.zst`) or a folder, which must not be there.
        everything: the images of answered series too.
        more: other files that belong to it, as keys of pseudonyms.

    Raises:
        ConfigurationError: the settings, the database or `out` cannot be used.
        OSError: a file cannot be read, or the disk is full.
    """
    config = load_config(path)
    _check_outside(out, config)
    with (
        tempfile.TemporaryDirectory(prefix="msk-node-", dir=_scratch(out)) as scratch,
        new_backup(out) as writer,
    ):
        making, begun_s = _Making(writer), time.time()
        named = _put_settings(making, path, config, more)
        making.add(notes(config.node.spool))
        database, snapshot = _put_database(making, config, Path(scratch))
        answered = frozenset() if everything else _answered(config, database, snapshot)
        for root in ("results", "work"):
            making.add(kept(root, getattr(config.node, root)))
        making.add(images(config.node.spool, answered, begun_s))
        manifest = Manifest(
            format=FORMAT,
            made_at=datetime.now(UTC),
            versions=_versions(database, snapshot),
            roots=_roots(config),
            settings=named,
            database=database,
            images=everything,
            left_out=_left_out(config, making),
            files=tuple(making.entries),
            gone=tuple(making.gone),
        )
        _put_manifest(making, manifest, Path(scratch))
    return manifest


def _check_outside(out: Path, config: NodeConfig) -> None:
    """Raise where a backup would lie in what it is a backup of."""
    for root in ROOTS:
        folder = getattr(config.node, root).resolve()
        if out.resolve().is_relative_to(folder):
            raise ConfigurationError(f"{out} is inside node.{root}; a backup lies elsewhere")


def _scratch(out: Path) -> Path:
    """Where the snapshot of the database lies until it is in the backup: on the same disk."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.parent


def _put_settings(
    making: _Making, path: Path | None, config: NodeConfig, more: Iterable[Path]
) -> dict[str, str]:
    """Put `node.toml` and all that it names; the names in the backup, by key."""
    if path is not None:
        making.put(Item(path, NODE_TOML))
    named = {}
    for key, found in settings_files(config):
        named[key] = f"{FILES}/{key}/{found.name}"
        if found.is_dir():
            making.add(kept(named[key], found))
        else:
            parts = parts_of(key, found)
            making.add(Item(part, f"{FILES}/{key}/{part.name}") for part in parts)
    for number, each in enumerate(more):
        making.put(Item(each, f"{FILES}/more/{number}/{each.name}"))
    return named


def _put_database(making: _Making, config: NodeConfig, scratch: Path) -> tuple[str, Path]:
    """Put the database as it is now; its kind, and its snapshot."""
    url, path = config.node.database_url, config.node.database_path
    kind = "postgresql" if is_server(url) else "sqlite"
    snapshot = scratch / DATABASES[kind]
    if path is not None and not path.exists():
        return "none", snapshot
    take_snapshot(url, snapshot)
    making.put(Item(snapshot, DATABASES[kind]))
    return kind, snapshot


def _answered(config: NodeConfig, database: str, snapshot: Path) -> frozenset[str]:
    """The series that were answered when the database was taken, or a moment later."""
    if database == "none":
        return frozenset()
    if database == "sqlite":
        return answered_series(f"sqlite:///{snapshot}")
    return answered_series(config.node.database_url)


def _left_out(config: NodeConfig, making: _Making) -> int:
    """How many images of the spool are not in the backup."""
    inside = {each.name for each in making.entries}
    found = images(config.node.spool)
    return sum(item.name not in inside for item in found)


def _versions(database: str, snapshot: Path) -> dict[str, str]:
    ledger = check_snapshot(snapshot) if database == "sqlite" else ""
    return {
        "msk-node": version("msk-node"),
        "python": platform.python_version(),
        "ledger": ledger,
    }


def _roots(config: NodeConfig) -> dict[str, str]:
    """Where everything was, as the database's rows begin."""
    roots = {root: str(getattr(config.node, root)) for root in ROOTS}
    path = config.node.database_path
    return roots | ({} if path is None else {"database": str(path)})


def _put_manifest(making: _Making, manifest: Manifest, scratch: Path) -> None:
    """The last file: of a backup that was cut off, it is missing."""
    path = scratch / MANIFEST
    path.write_bytes(manifest_bytes(manifest))
    making.put(Item(path, MANIFEST))


def verify_backup(backup: Path) -> Manifest:
    """See that a backup is whole: every file of its manifest, byte for byte, and its database.

    Raises:
        ConfigurationError: what is missing, differs, or is too much.
        OSError: it cannot be read.
    """
    if not backup.exists():
        raise ConfigurationError(f"{backup}: there is no such backup")
    found: dict[str, tuple[int, str]] = {}
    manifest_text = b""
    with tempfile.TemporaryDirectory(
        prefix="msk-node-", dir=backup.absolute().parent
    ) as folder:
        snapshot = Path(folder) / DATABASES["sqlite"]
        for name, stream in backup_members(backup):
            if name == MANIFEST:
                manifest_text = stream.read()
            else:
                found[name] = copied(stream, snapshot if name == snapshot.name else None)
        if not manifest_text:
            raise ConfigurationError(f"{backup}: no {MANIFEST}: no backup, or not whole")
        manifest = read_manifest(manifest_text, backup)
        _check_files(backup, manifest, found)
        if manifest.database == "sqlite":
            check_snapshot(snapshot)
            _check_results(backup, manifest, snapshot)
    return manifest


def _check_files(backup: Path, manifest: Manifest, found: dict[str, tuple[int, str]]) -> None:
    """Raise where a backup has other files than its manifest."""
    wanted = {each.name: (each.size, each.sha256) for each in manifest.files}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"{name} is too much" for name in sorted(found.keys() - wanted.keys())]
    both = sorted(wanted.keys() & found.keys())
    problems += [f"{name} has been changed" for name in both if wanted[name] != found[name]]
    if problems:
        raise ConfigurationError("\n".join(f"{backup}: {each}" for each in problems))


def _check_results(backup: Path, manifest: Manifest, snapshot: Path) -> None:
    """Raise where a result that is in the backup is not the one that the database names."""
    root = manifest.roots["results"]
    kept_files = {each.name: each.sha256 for each in manifest.files}
    for path, sha256 in named_results(f"sqlite:///{snapshot}").items():
        name = path.replace(root, "results", 1)
        if kept_files.get(name, sha256) != sha256:
            raise ConfigurationError(f"{backup}: {name} is not what the database names")
