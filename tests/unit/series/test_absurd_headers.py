"""Missing or absurd headers and pixels: each refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    RLELossless,
)
from support.ct import (
    ct_stack,
    save,
)
from support.read_series import read

from dicom_node.errors import (
    GeometryError,
    PixelDataError,
    SeriesError,
)
from dicom_node.series.reading import read_series


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("ImagePositionPatient", None),
        ("ImageOrientationPatient", None),
        ("PixelSpacing", None),
        ("RescaleSlope", None),
        ("RescaleIntercept", None),
        ("Rows", 0),
        ("Columns", 0),
        ("RescaleSlope", 0),
        ("PixelSpacing", [0, 0]),
        ("PixelSpacing", [1000, 1000]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImagePositionPatient", [0, 0, 1e9]),
    ],
)
def test_missing_or_absurd_geometry_is_refused_by_name(
    element: str, value: Any, tmp_path: Path
) -> None:
    datasets = ct_stack()
    if value is None:
        delattr(datasets[1], element)
    else:
        setattr(datasets[1], element, value)

    with pytest.raises(GeometryError, match=element):
        read(datasets, tmp_path)


@pytest.mark.parametrize("value", [b"nan\\nan ", b"1\\1\\1 ", b"a\\b ", b"inf\\1 "])
def test_numbers_that_are_none_are_refused(value: bytes, tmp_path: Path) -> None:
    paths = save(ct_stack(), tmp_path)
    raw = paths[1].read_bytes()
    good = b"\x28\x00\x30\x00DS\x08\x001.0\\0.5 "
    assert good in raw
    bad = b"\x28\x00\x30\x00DS" + len(value).to_bytes(2, "little") + value
    paths[1].write_bytes(raw.replace(good, bad))

    with pytest.raises(GeometryError, match="PixelSpacing"):
        read_series(paths)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(keep: float, tmp_path: Path) -> None:
    paths = save(ct_stack(shape=(64, 64)), tmp_path)
    raw = paths[2].read_bytes()
    paths[2].write_bytes(raw[: int(len(raw) * keep)])

    with pytest.raises(SeriesError) as refused:
        read_series(paths)

    assert refused.value.code in {"pixel-data", "geometry"}
    assert keep == 0.1 or isinstance(refused.value, PixelDataError)


def test_missing_pixels_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    del datasets[1].PixelData

    with pytest.raises(PixelDataError):
        read(datasets, tmp_path)


def test_pixels_that_cannot_be_decoded_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[1].compress(RLELossless)
    datasets[1].PixelData = datasets[1].PixelData[:40] + b"\x00" * 8

    with pytest.raises(PixelDataError, match="instance"):
        read(datasets, tmp_path)
