"""A node put back from a backup into a new folder: `msk-node restore`.

Everything comes to lie in that folder, and every path is written anew: in `node.toml`, in the
ledger and in the payloads of the queue. `node.toml` is written last, so that a restore that was
cut short is no node yet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tomlkit

from dicom_node.durable_files import write_durably
from dicom_node.errors import ConfigurationError, EngineBusyError
from dicom_node.node.backup import NODE_TOML, verify_backup
from dicom_node.node.backup_contents import DATABASES, ROOTS
from dicom_node.node.backup_files import (
    MANIFEST,
    OWN_FOLDER,
    Entry,
    Manifest,
    backup_members,
    copied,
    make_own_folders,
)
from dicom_node.persistence.database import retry_until_available
from dicom_node.persistence.locks import try_lock
from dicom_node.persistence.snapshots import load_snapshot, move_paths
from dicom_node.settings.loading import load_config

PRIVATE: Final = 0o600
PART: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
"""A step on the way to a key: `destinations[0].tls.ca`."""


def restore_backup(backup: Path, into: Path, *, database_url: str = "") -> Manifest:
    """Put a node back from a backup, into a folder that is empty or not there.

    Args:
        backup: the file or folder.
        into: where everything comes to lie.
        database_url: of a backup of PostgreSQL: an empty database to fill.

    Raises:
        ConfigurationError: the backup is not whole, the folder is not empty, or the database
            cannot be filled.
        EngineBusyError: the node that this is a backup of is running here.
        OSError: the disk is full or fails.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise ConfigurationError(f"{into} is not empty; restore into a folder of its own")
    manifest = verify_backup(backup)
    _check_database(manifest, database_url)
    _check_stopped(manifest)
    into.mkdir(parents=True, exist_ok=True, mode=OWN_FOLDER)
    settings = _extract(backup, into, {each.name: each for each in manifest.files})
    for root in ROOTS:
        (into / root).mkdir(exist_ok=True, mode=OWN_FOLDER)
    _put_database(manifest, into, database_url)
    text = _moved_settings(settings, manifest, database_url)
    write_durably(into / NODE_TOML, text.encode(), mode=PRIVATE)
    _give_to_owner(into)
    load_config(into / NODE_TOML)
    return manifest


def _check_database(manifest: Manifest, database_url: str) -> None:
    """Raise where a database is missing to restore into, or is not wanted."""
    if manifest.database == "postgresql" and not database_url:
        raise ConfigurationError("this is a backup of PostgreSQL: give it a database to fill")
    if manifest.database != "postgresql" and database_url:
        raise ConfigurationError("this backup has its own SQLite file, and fills no database")


def _check_stopped(manifest: Manifest) -> None:
    """Raise where the node is still running: two of them would answer the same series."""
    locks = list(Path(manifest.roots["spool"]).glob(".lock.*"))
    if "database" in manifest.roots:
        locks += [Path(f"{manifest.roots['database']}.lock")]
    for lock in locks:
        if not lock.exists():
            continue
        try:
            descriptor = try_lock(lock)
        except OSError:  # another user's: then it cannot be told
            continue
        if descriptor is None:
            raise EngineBusyError(
                f"the node that this is a backup of is running ({lock}); stop it first: "
                "two of them would answer the same series"
            )
        os.close(descriptor)


def _extract(backup: Path, into: Path, entries: Mapping[str, Entry]) -> bytes:
    """Write every file but `node.toml`, with its permissions and its time; answers that one."""
    settings = b""
    for name, stream in backup_members(backup):
        if name == MANIFEST:
            continue
        if name == NODE_TOML:
            settings = stream.read()
            continue
        entry, path = entries[name], into / name
        make_own_folders(path.parent, into)
        if copied(stream, path) != (entry.size, entry.sha256):
            raise ConfigurationError(f"{backup}: {name} has changed since it was looked at")
        path.chmod(entry.mode)
        os.utime(path, (entry.modified_s, entry.modified_s))
    return settings


def _put_database(manifest: Manifest, into: Path, database_url: str) -> None:
    """Fill the database where it is a server's, and write its paths anew."""
    moves = {manifest.roots[root]: str(into.absolute() / root) for root in ROOTS}
    if manifest.database == "sqlite":
        move_paths(f"sqlite:///{into.absolute() / DATABASES['sqlite']}", moves)
    if manifest.database == "postgresql":
        load_snapshot(into / DATABASES["postgresql"], database_url)
        retry_until_available(lambda: move_paths(database_url, moves))


def _moved_settings(text: bytes, manifest: Manifest, database_url: str) -> str:
    """`node.toml` with its paths as they are now, and all else as it was, comments included."""
    document = tomlkit.parse(text.decode())
    values = {f"node.{root}": root for root in ROOTS}
    values["node.database"] = database_url or DATABASES["sqlite"]
    values |= {key: f"./{name}" for key, name in manifest.settings.items()}
    for key, value in values.items():
        _set(document, key, value)
    return tomlkit.dumps(document)


def _set(document: Any, key: str, value: str) -> None:
    """Set a key of a TOML document; tables on its way are made."""
    steps: list[str | int] = [
        int(number) if number else name for number, name in PART.findall(key)
    ]
    table = document
    for step in steps[:-1]:
        if isinstance(step, str) and step not in table:
            table[step] = tomlkit.table()
        table = table[step]
    table[steps[-1]] = value


def _give_to_owner(into: Path) -> None:
    """Give all to the folder's owner: root restores for the account that the node runs as."""
    owner = into.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path in into.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
