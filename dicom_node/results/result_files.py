"""Result objects and the files they are kept in: encoded once, and never under a used name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_node.results.renderings import Rendering


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One object, complete with file meta information, ready to be encoded."""

    rendering: Rendering
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    dataset: Dataset = field(repr=False)


def write_results(objects: Iterable[ResultObject], folder: Path) -> tuple[Path, ...]:
    """Encode objects into a folder, each once, and return their paths in the same order.

    A file appears under its name only when all its bytes are on disk. One that is already
    there stays as it is: one UID must never name two contents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_write_once(result, folder) for result in objects)


def _write_once(result: ResultObject, folder: Path) -> Path:
    path = folder / f"{result.rendering.value.lower()}-{result.sop_instance_uid}.dcm"
    if path.exists():
        return path
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        result.dataset.save_as(file, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _sync_folder(folder)
    return path


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
