"""Result objects and the files they are kept in: encoded once, and never under a used name."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.durable_files import sync, sync_folder
from dicom_node.results.kinds import ResultKind


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One object, complete with file meta information, ready to be encoded."""

    kind: ResultKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    dataset: Dataset = field(repr=False)


def write_results(objects: Iterable[ResultObject], folder: Path) -> tuple[Path, ...]:
    """Encode objects into a folder, each once, and return their paths in the same order.

    A file appears under its name only when all its bytes are on disk. One that is already
    there stays as it is: one UID must never name two contents. Of two processes that write
    the same object at once, the one that is ready first has written it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_write_once(result, folder) for result in objects)


def _write_once(result: ResultObject, folder: Path) -> Path:
    path = folder / f"{result.kind.value.lower()}-{result.sop_instance_uid}.dcm"
    if path.exists():
        return path
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.part")
    result.dataset.save_as(temporary, enforce_file_format=True)
    sync(temporary)
    _name_once(temporary, path)
    # Ours, and what a crash left: of this version, or of one that had no numbers.
    for part in (*folder.glob(f"{path.stem}.*.part"), path.with_suffix(".part")):
        part.unlink(missing_ok=True)
    sync_folder(folder)
    return path


NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def _name_once(temporary: Path, path: Path) -> None:
    """Give a file its name, unless another process has written it meanwhile."""
    try:
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):
        if not path.exists():
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        temporary.rename(path)
