"""Volumes, attenuation and composition, worked by hand on a handful of voxels."""

from __future__ import annotations

import numpy as np
import pytest

from inference.geometry import Geometry
from inference.measurement.measure import measure
from inference.results import Measurement
from inference.structures import BY_KEY, SEGMENTS
from inference.volume import Patient, Volume

GMED_L = BY_KEY["GMED_L"]


def measured(
    hu: list[float],
    *,
    extents_mm: tuple[float, ...] | None = None,
    uncertainty: float = 0.0,
    patient: Patient | None = None,
) -> Measurement:
    """Measure a structure of one voxel per slice, 1 mm x 2 mm in plane."""
    slices = len(hu)
    extents = np.array(extents_mm or (1.0,) * slices)
    positions = np.zeros((slices, 3))
    positions[:, 2] = np.cumsum(extents)
    geometry = Geometry(
        positions_mm=positions,
        extents_mm=extents,
        row_axis=np.array([0.0, 1.0, 0.0]),
        column_axis=np.array([1.0, 0.0, 0.0]),
        spacing_mm=(1.0, 2.0),
        rows=2,
        columns=2,
    )
    values = np.full(geometry.shape, 999.0, dtype=np.float32)
    values[:, 0, 1] = hu
    segments = np.zeros(geometry.shape, dtype=np.uint8)
    segments[:, 0, 1] = GMED_L.number
    unsure = np.full(geometry.shape, uncertainty, dtype=np.float32)
    results = measure(Volume(values, geometry), segments, unsure, patient or Patient())
    return results[GMED_L.number - 1]


def test_a_volume_is_voxels_times_voxel_size():
    """3 voxels of 1 mm x 1 mm x 2 mm are 6 mm3 = 0.006 cm3."""
    result = measured([50.0, 50.0, 50.0])

    assert result.voxel_count == 3
    assert result.volume_cm3 == pytest.approx(0.006)


def test_slices_of_different_extent_count_with_their_own():
    """2 mm2 of 2, 6 and 1 mm are 18 mm3; HU (2 * 10 + 6 * 40 + 1 * 100) / 9 = 40."""
    result = measured([10.0, 40.0, 100.0], extents_mm=(2.0, 6.0, 1.0))

    assert result.volume_cm3 == pytest.approx(0.018)
    assert result.mean_hu == pytest.approx(40.0)


def test_normalised_volume_is_volume_over_height_squared():
    """0.006 cm3 at 2 m: 0.0015 cm3/m2."""
    result = measured([50.0] * 3, patient=Patient(height_m=2.0))

    assert result.normalised_volume_cm3_per_m2 == pytest.approx(0.0015)


def test_without_a_height_there_is_no_normalised_volume():
    assert measured([50.0]).normalised_volume_cm3_per_m2 is None


def test_composition_counts_the_limits_as_mixed():
    """-31 is fat; -30, 0 and 30 are mixed; 31 is lean."""
    composition = measured([-31.0, -30.0, 0.0, 30.0, 31.0]).composition

    assert composition is not None
    assert (composition.fat, composition.mixed, composition.lean) == pytest.approx(
        (0.2, 0.6, 0.2)
    )


def test_uncertainty_is_its_mean_inside_the_label():
    assert measured([1.0, 2.0], uncertainty=4e-4).uncertainty == pytest.approx(4e-4)


def test_a_structure_that_is_not_there_has_no_numbers():
    geometry = Geometry.regular((2, 2, 2), (1.0, 1.0, 1.0))
    empty = np.zeros(geometry.shape, dtype=np.float32)
    results = measure(
        Volume(empty, geometry), np.zeros(geometry.shape, dtype=np.uint8), empty, Patient()
    )

    assert results == tuple(Measurement(segment, 0) for segment in SEGMENTS)
