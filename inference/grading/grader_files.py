"""A grader's files and their hash, known without loading what a network needs.

A grader is a bundle (a folder with grader.toml) or a table (a file whose name ends in .csv).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from inference.errors import BundleError
from inference.models.bundle_files import (
    WEIGHTS_FILE,
    checked_sha256,
    file_sha256,
    read_file,
    read_table,
)

GRADER_FORMAT: Final = 1
GRADER_FILE: Final = "grader.toml"
TABLE_SUFFIX: Final = ".csv"


def is_table(path: Path) -> bool:
    """True for a table of grades, by its name."""
    return path.suffix.lower() == TABLE_SUFFIX


def grader_sha256(path: str | Path) -> str:
    """A hash that stands for all of a grader that can change a grade.

    Raises:
        BundleError: there is no grader, or its weights are not those that it declares.
    """
    path = Path(path)
    if is_table(path):
        return file_sha256(path)
    text = declaration_of(path)
    hashes = read_table(path / GRADER_FILE, text, GRADER_FORMAT).get("sha256")
    if not isinstance(hashes, dict):
        raise BundleError(f"{path / GRADER_FILE}: no table of sha256")
    checked_sha256(path, WEIGHTS_FILE, hashes, GRADER_FILE)
    return hashlib.sha256(text).hexdigest()


def declaration_of(folder: Path) -> bytes:
    """The bytes of a grader's declaration."""
    if not folder.is_dir():
        raise BundleError(f"{folder}: neither a folder with {GRADER_FILE} nor a .csv file")
    return read_file(folder / GRADER_FILE)
