"""Checks of what the settings point to, before the start: folders, bundle, certificates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import ConfigurationError
from dicom_node.node import tls_checks
from dicom_node.peers.credentials import credential_problems
from dicom_node.settings.node import NodeConfig
from inference.errors import InferenceError
from inference.models.bundle import load_bundle


def check_surroundings(config: NodeConfig) -> None:
    """Check bundle, folders, files of TLS and credentials; make folders that are missing.

    Raises:
        ConfigurationError: with every problem, one a line.
    """
    problems = [each for bundle in config.bundles for each in _bundle_problems(bundle)]
    problems += tls_checks.problems(config, datetime.now(UTC))
    problems += credential_problems(config)
    for key in ("spool", "work", "results"):
        problems += _folder_problems(f"node.{key}", getattr(config.node, key))
    if config.node.database_path is not None:
        problems += _folder_problems("node.database", config.node.database_path.parent)
    if problems:
        raise ConfigurationError("\n".join(problems))


def _bundle_problems(bundle: str) -> Iterator[str]:
    """The reason why the bundle cannot be used, if it cannot."""
    try:
        load_bundle(bundle)
    except InferenceError as error:
        yield f"analysis.bundle: {error}"


def _folder_problems(key: str, folder: Path) -> Iterator[str]:
    """The reason why a folder cannot be used, if it cannot."""
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield f"{key}: {folder} cannot be written: {error.strerror}"
