"""What the settings point to, checked before the node starts: folders, bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.config import NodeConfig
from dicom_node.errors import ConfigurationError
from inference.bundle import load_bundle
from inference.errors import InferenceError


def check_surroundings(config: NodeConfig) -> None:
    """Check that the bundle loads and the folders can be written; make missing folders.

    Raises:
        ConfigurationError: with every problem, one a line.
    """
    problems = [*_bundle_problems(config.analysis.bundle)]
    for key in ("spool", "work", "results"):
        problems += _folder_problems(f"node.{key}", getattr(config.node, key))
    if config.node.database_path is not None:
        problems += _folder_problems("node.database", config.node.database_path.parent)
    if problems:
        raise ConfigurationError("\n".join(problems))


def _bundle_problems(bundle: str) -> Iterator[str]:
    """Why the bundle cannot be used, if it cannot."""
    try:
        load_bundle(bundle)
    except InferenceError as error:
        yield f"analysis.bundle: {error}"


def _folder_problems(key: str, folder: Path) -> Iterator[str]:
    """Why a folder cannot be used, if it cannot."""
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield f"{key}: {folder} cannot be written: {error.strerror}"
