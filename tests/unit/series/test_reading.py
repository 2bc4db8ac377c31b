"""Folders of files to volumes: grouped by series, real scans, and never a warning."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    generate_uid,
)
from support.ct import (
    ct_slice,
    ct_stack,
    save,
)

from dicom_node.errors import (
    GantryTiltError,
    MixedSeriesError,
)
from dicom_node.series.reading import group_by_series, read_series


def test_files_are_grouped_by_series(tmp_path: Path) -> None:
    other = generate_uid()
    paths = save([*ct_stack([0, 1, 2]), ct_slice(SeriesInstanceUID=other)], tmp_path)

    groups = group_by_series(paths)

    assert sorted(len(members) for members in groups.values()) == [1, 3]
    assert groups[other] == (paths[3],)


@pytest.mark.shared
def test_the_real_knee_series_reads_although_its_slices_are_thinner_than_its_steps(
    shared_data: Path,
) -> None:
    series = read_series((shared_data / "ct" / "vhf_knee_5mm").iterdir())

    assert series.volume.hu.shape == (70, 512, 512)
    assert series.volume.hu.dtype == np.int16
    np.testing.assert_allclose(series.volume.geometry.extents_mm, 5.0)


@pytest.mark.shared
def test_the_real_pelvis_slab_reads(shared_data: Path) -> None:
    series = read_series((shared_data / "ct" / "vhf_pelvis_slab").iterdir())

    assert series.volume.hu.shape == (5, 512, 512)


@pytest.mark.shared
def test_the_real_tilted_head_is_refused(shared_data: Path) -> None:
    with pytest.raises(GantryTiltError, match=r"18\.5 degrees"):
        read_series((shared_data / "ct" / "gantry_tilt").iterdir())


def test_reading_never_warns(tmp_path: Path) -> None:
    """Odd headers are noted, not spilled on the terminal."""
    datasets = ct_stack()
    paths = save(datasets, tmp_path)
    raw = paths[0].read_bytes()
    paths[0].write_bytes(raw.replace(b"B30f", b"\xff\xfe0f"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MixedSeriesError):
            read_series(paths)
