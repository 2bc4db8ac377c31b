"""Labelled cases for training: found and read here, because `inference` reads no DICOM."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.case_files.labelled_cases import ListedCase, listed_cases, read_case
from dicom_node.errors import SeriesError
from inference.errors import LabelTableError, TrainingError
from inference.training.labelled.preparation import Case
from inference.training.synthesis.stream import labels_of
from inference.volume import Volume


def training_cases(source: Path, table: Path | None = None) -> Sequence[Case]:
    """The cases of a listing or folder, not read yet.

    Args:
        source: see `labelled_cases.listed_cases`.
        table: likewise.

    Raises:
        ConfigurationError: the listing cannot be used; the message says where and why.
        LabelTableError: the label table cannot be used.
    """
    return tuple(
        Case(one.name, one.patient, fingerprint(one), partial(_read, one))
        for one in listed_cases(source, table)
    )


def fingerprint(listed: ListedCase) -> str:
    """A hash of the names, sizes and times of a case's files, and of what its labels mean."""
    table = listed.table.meanings if listed.table else {}
    said = [repr(sorted(table.items(), key=lambda entry: entry[0]))]
    for path in (listed.image, listed.labels):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            facts = file.stat()
            said.append(f"{file.name} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _read(listed: ListedCase) -> tuple[Volume, NDArray[np.uint8]]:
    try:
        case = read_case(listed)
    except (SeriesError, LabelTableError) as error:
        raise TrainingError(str(error)) from error
    return case.volume, labels_of(case.truth)
