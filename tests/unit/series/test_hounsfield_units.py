"""Pixels to Hounsfield units: rescaling, widths, overlays, padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.ct import (
    ct_slice,
    ct_stack,
)
from support.read_series import expected_hu, read


def test_units_are_exact_in_int16(tmp_path: Path) -> None:
    series = read(ct_stack(), tmp_path)

    assert series.volume.hu.dtype == np.int16


def test_each_slice_is_rescaled_by_its_own_values(tmp_path: Path) -> None:
    datasets = [
        ct_slice((-4, -3, 2.0 * n), slope=slope, intercept=intercept)
        for n, (slope, intercept) in enumerate([(1, -1024), (2, -2000), (1, -1000), (1, -3024)])
    ]

    series = read(datasets, tmp_path)

    np.testing.assert_allclose(series.volume.hu, expected_hu(series.volume.geometry), atol=1.01)


def test_a_fractional_slope_gives_float32(tmp_path: Path) -> None:
    series = read(ct_stack(slope=0.25, intercept=-1000.5), tmp_path)

    assert series.volume.hu.dtype == np.float32
    np.testing.assert_allclose(series.volume.hu, expected_hu(series.volume.geometry), atol=0.7)


def test_values_beyond_int16_are_kept_in_float32(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[3] = ct_slice(datasets[3].ImagePositionPatient, hu=np.full((6, 8), 40000))

    series = read(datasets, tmp_path)

    assert series.volume.hu.dtype == np.float32
    assert series.volume.hu[3].min() == 40000
    np.testing.assert_allclose(series.volume.hu[2], np.round(series.volume.hu[2]))


def test_twelve_signed_bits_with_an_overlay_above_them(tmp_path: Path) -> None:
    hu = np.arange(-24, 24).reshape(6, 8)
    datasets = ct_stack(hu=hu, dtype="int16", intercept=0.0, bits_stored=12)
    for dataset in datasets:
        stored = np.frombuffer(dataset.PixelData, dtype=np.uint16) & 0x0FFF
        dataset.PixelData = (stored | 0x3000).astype(np.uint16).tobytes()

    series = read(datasets, tmp_path)

    np.testing.assert_array_equal(series.volume.hu[0], hu)


@pytest.mark.parametrize(
    ("dtype", "intercept", "padding"), [("int16", 0.0, -2000), ("uint16", -1024.0, 63536)]
)
def test_padding_becomes_air(
    dtype: str, intercept: float, padding: int, tmp_path: Path
) -> None:
    datasets = ct_stack(hu=np.full((6, 8), 50), dtype=dtype, intercept=intercept)
    for dataset in datasets:
        stored = np.frombuffer(dataset.PixelData, dtype=dtype).reshape(6, 8).copy()
        stored[0, :3] = padding
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS" if dtype == "int16" else "US", padding)

    hu = read(datasets, tmp_path).volume.hu

    assert (hu[:, 0, :3] == -1000).all()
    assert (hu[:, 1:] == 50).all()
    assert hu.dtype == np.int16


def test_padding_among_tissue_values_punches_no_holes(tmp_path: Path) -> None:
    """Some writers fill the element with 0 HU: water would turn into air."""
    hu = np.arange(-24, 24).reshape(6, 8)
    datasets = ct_stack(hu=hu, dtype="int16", intercept=0.0)
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", "SS", 0)

    series = read(datasets, tmp_path)

    np.testing.assert_array_equal(series.volume.hu[0], hu)
    assert any("padding" in note for note in series.notes)
