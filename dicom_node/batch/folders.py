"""The folder of a case: never half old and half new, whenever it is looked at.

A case without a marker is not done, whatever else lies in its folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dicom_node.batch.cases import cut
from dicom_node.batch.markers import Marker, marker_bytes
from dicom_node.case_files.result_names import MARKER_FILE, REPORT_FILE, clear_results
from dicom_node.durable_files import PART, sync_folder, write_durably
from dicom_node.errors import ConfigurationError

LOCK_FILE: Final = ".lock"

LAST_FILES: Final = (REPORT_FILE, MARKER_FILE)
"""Each of them says that all before it are there."""

LONGEST_IN_PART_BYTES: Final = 100
"""So much of a case's name is in that of the folder in which its results are written."""


@contextlib.contextmanager
def case_folder(folder: Path) -> Iterator[Path]:
    """A folder under another name whose files come to `folder` when all are written.

    Where nothing is yet, all come at once. Else the results that are there go first, the
    marker before the others, and the new marker comes last; files of others are left alone.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = cut(folder.name, LONGEST_IN_PART_BYTES)
    part = Path(tempfile.mkdtemp(prefix=f"{PART}{name}-", dir=folder.parent))
    try:
        yield part
        part.chmod(0o777 & ~_umask())
        try:
            part.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            put_over(part, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def put_over(part: Path, folder: Path) -> None:
    """New results of a case in the place of its old ones; report and marker come last.

    So a report is there only with all of its files, also where a kill left it no marker.
    """
    clear_results(folder)
    for path in part.iterdir():
        if path.name not in LAST_FILES:
            path.replace(folder / path.name)
    sync_folder(folder)
    for path in (part / name for name in LAST_FILES):
        if path.exists():
            path.replace(folder / path.name)
    sync_folder(folder)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def has_results_of_one(out: Path) -> bool:
    """True if a single run has left its results in a folder: its report is one of ours."""
    try:
        report = json.loads((out / REPORT_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(report, dict) and "report_version" in report


def write_failed(folder: Path, marker: Marker) -> None:
    """The folder of a case that failed: its marker, and nothing of earlier results."""
    folder.mkdir(parents=True, exist_ok=True)
    clear_results(folder)
    write_durably(folder / MARKER_FILE, marker_bytes(marker))


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """The only batch that writes into a folder; what a killed one left half-written goes.

    Raises:
        ConfigurationError: another one works there.
        OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            words = "another `msk-node segment` writes its results there"
            raise ConfigurationError(f"{out}: {words}") from error
        for path in out.glob(f"{PART}*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)
