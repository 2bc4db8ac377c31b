"""Common parts of both fuzzers: the seeds, and what must hold of any bytes that are read.

Bytes stand for one file. They are read twice: alone, which leads deepest into one file, and
between two sound slices, where they must fit a stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.errors import SeriesError
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from support.ct import ct_stack, enhanced_ct, file_meta

SYNTAXES: Final = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)
SHAPE: Final = (32, 32)
READ: Final = "read"


class Reading:
    """Reads bytes as a file, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "1.dcm"
        self._neighbours = [folder / "0.dcm", folder / "2.dcm"]
        stack = seed_slices()
        for path, dataset in zip(self._neighbours, (stack[0], stack[2]), strict=True):
            path.write_bytes(written(dataset, ExplicitVRLittleEndian))

    def ends(self, data: bytes) -> tuple[str, ...]:
        """How the bytes end, alone and in a stack: read, or the code of a refusal.

        Whatever else comes out of it is what the fuzzers look for. What is refused alone
        comes to no stack: it is not read there.
        """
        self._path.write_bytes(data)
        alone = _end_of([self._path], min_slices=1)
        if alone != READ:
            return (alone,)
        return (alone, _end_of([*self._neighbours, self._path], min_slices=3))


def _end_of(paths: list[Path], min_slices: int) -> str:
    try:
        series = read_series(paths, min_slices=min_slices)
    except SeriesError as error:
        words, code = str(error), error.code
    else:
        _check(series)
        return READ
    assert len(words) < 2000, "words that would fill a log"
    return code


def _check(series: CtSeries) -> None:
    """A volume that was read is one."""
    hu = series.volume.hu
    assert hu.shape == series.volume.geometry.shape
    assert len(series.slices) == len(hu)
    assert np.isfinite(hu).all()
    assert np.isfinite(series.volume.geometry.positions_mm).all()


def seed_slices() -> list[Dataset]:
    """Three slices that make a series; the same every time."""
    stack = ct_stack([0.0, 2.0, 4.0], shape=SHAPE)
    for number, dataset in enumerate(stack):
        dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.9.{number + 1}"
    return stack


def written(dataset: Dataset, syntax: UID) -> bytes:
    """A file in this transfer syntax."""
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta = file_meta(dataset, syntax)
    stream = DicomBytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    """Sound files: the middle slice in every syntax, and the series as one file."""
    found = {syntax.keyword: written(seed_slices()[1], syntax) for syntax in SYNTAXES}
    found["Enhanced"] = written(enhanced_ct(seed_slices()), ExplicitVRLittleEndian)
    return found
