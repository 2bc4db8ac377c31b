"""Checks of what the settings point to, before the start: folders, models, certificates."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.notify import secret_problems
from dicom_node.node import tls_checks
from dicom_node.node.limits import limit_concerns, system_limits
from dicom_node.node.room import disks
from dicom_node.peers.credentials import credential_problems
from dicom_node.settings.node import NodeConfig
from inference.errors import InferenceError
from inference.grading.grades import open_grader
from inference.models.bundle import load_bundle


def check_surroundings(config: NodeConfig) -> None:
    """Check bundle, grader, folders, files of TLS and credentials; nothing is made or changed.

    Raises:
        ConfigurationError: with every problem, one a line.
    """
    problems = [each for bundle in config.bundles for each in _bundle_problems(bundle)]
    problems += _grader_problems(config.analysis.grader)
    problems += tls_checks.problems(config, datetime.now(UTC))
    problems += credential_problems(config)
    problems += secret_problems(config.alarms)
    for key, folder in _folders(config):
        problems += _folder_problems(key, folder)
    if problems:
        raise ConfigurationError("\n".join(problems))


def _bundle_problems(bundle: str) -> Iterator[str]:
    """The reason why the bundle cannot be used, if it cannot."""
    try:
        load_bundle(bundle)
    except InferenceError as error:
        yield f"analysis.bundle: {error}"
    except OSError as error:
        yield f"analysis.bundle: {error.filename}: {error.strerror}"


def _grader_problems(grader: str | None) -> Iterator[str]:
    """The reason why the grader cannot be used, if there is one and it cannot."""
    try:
        if grader is not None:
            open_grader(grader)
    except InferenceError as error:
        yield f"analysis.grader: {error}"
    except OSError as error:
        yield f"analysis.grader: {error.filename}: {error.strerror}"


def concerns(config: NodeConfig) -> tuple[str, ...]:
    """What need not keep the node from running, and should be looked at, a sentence each."""
    short = (each.below_reserve for each in disks(config) if each.below_reserve)
    return (*_owners(config), *short, *limit_concerns(config, system_limits()))


def _owners(config: NodeConfig) -> Iterator[str]:
    """The folders that are another user's: the node runs as that one, or not at all."""
    for key, folder in _folders(config):
        if folder.is_dir() and not _may_write(folder) and _is_anothers(folder):
            owner, me = _user(folder.stat().st_uid), _user(os.geteuid())
            yield f"{key}: {folder} belongs to {owner}, and {me} cannot write there"


def _folders(config: NodeConfig) -> Iterator[tuple[str, Path]]:
    """The folders that a node writes to, by the key that names them."""
    for key in ("spool", "work", "results"):
        yield f"node.{key}", getattr(config.node, key)
    if config.node.database_path is not None:
        yield "node.database", config.node.database_path.parent
    if config.audit is not None:
        yield "audit.file", config.audit.file.parent


def _folder_problems(key: str, folder: Path) -> Iterator[str]:
    """The reason why a folder cannot be made or used, if it cannot."""
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    except PermissionError as error:
        yield f"{key}: {folder} cannot be looked at: {error.strerror}"
        return
    if not there.is_dir():
        yield f"{key}: {folder} cannot be written: Not a directory"
    elif os.statvfs(there).f_flag & os.ST_RDONLY:
        yield f"{key}: {folder} cannot be written: Read-only file system"
    elif not _may_write(there) and not (there == folder and _is_anothers(folder)):
        yield f"{key}: {folder} cannot be written: Permission denied"


def _may_write(folder: Path) -> bool:
    """True if we may make files in a folder; none is made to find out."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _is_anothers(folder: Path) -> bool:
    """True if a folder belongs to another user, who may write there."""
    found = folder.stat()
    owner_may = found.st_mode & (stat.S_IWUSR | stat.S_IXUSR) == stat.S_IWUSR | stat.S_IXUSR
    return found.st_uid != os.geteuid() and owner_may


def _user(number: int) -> str:
    """The name of a user."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


if __name__ == "__main__":
    # For a supervisor, which must not load what models need: settings in, problems out.
    try:
        check_surroundings(NodeConfig.model_validate_json(sys.stdin.read()))
    except ConfigurationError as error:
        print(error)  # noqa: T201 - for the supervisor
        sys.exit(3)
