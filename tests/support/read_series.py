"""Reading datasets as the node reads files, and what every voxel of the result has to be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from inference.geometry import Geometry
from support.ct import (
    field_hu,
    save,
)


def read(datasets: Sequence[Dataset], folder: Path) -> CtSeries:
    return read_series(save(datasets, folder))


def expected_hu(geometry: Geometry) -> np.ndarray[Any, Any]:
    """What `field_hu` says at every voxel of a grid."""
    index = np.indices(geometry.shape).reshape(3, -1).T.astype(float)
    return field_hu(geometry.to_patient_mm(index)).reshape(geometry.shape)


def assert_every_voxel_lies_where_it_belongs(series: CtSeries) -> None:
    geometry = series.volume.geometry
    np.testing.assert_allclose(series.volume.hu, expected_hu(geometry), atol=0.51)
    assert (np.diff(geometry.slice_offsets_mm) > 0).all()
    assert geometry.normal[2] > 0.9
    assert geometry.row_axis[1] > 0.9
    assert geometry.column_axis[0] > 0.9
