"""Order and orientation: every voxel where it belongs in the patient, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation
from support.ct import (
    AXIAL,
    ct_stack,
    field_hu,
    pixel_points,
)
from support.read_series import assert_every_voxel_lies_where_it_belongs, read

from dicom_node.errors import (
    GantryTiltError,
    MixedSeriesError,
    NotAxialError,
)


def turned(orientation: Sequence[float], rotation: Rotation) -> list[float]:
    return [*rotation.apply(orientation[:3]), *rotation.apply(orientation[3:])]


def test_slices_are_ordered_by_position_never_by_instance_number(tmp_path: Path) -> None:
    datasets = ct_stack()
    for dataset, number in zip(datasets, [3, 1, 5, 2, 4], strict=True):
        dataset.InstanceNumber = number

    series = read([datasets[i] for i in (4, 0, 2, 1, 3)], tmp_path)

    assert [one.sop_instance_uid for one in series.slices] == [
        dataset.SOPInstanceUID for dataset in datasets
    ]
    assert_every_voxel_lies_where_it_belongs(series)


EIGHT_WAYS = {
    "head first supine": (1, 0, 0, 0, 1, 0),
    "head first prone": (-1, 0, 0, 0, -1, 0),
    "feet first supine, seen from the head": (-1, 0, 0, 0, 1, 0),
    "feet first prone, seen from the head": (1, 0, 0, 0, -1, 0),
    "head first, left side down": (0, 1, 0, -1, 0, 0),
    "head first, right side down": (0, -1, 0, 1, 0, 0),
    "feet first, left side down": (0, -1, 0, -1, 0, 0),
    "feet first, right side down": (0, 1, 0, 1, 0, 0),
}


@pytest.mark.parametrize("orientation", EIGHT_WAYS.values(), ids=EIGHT_WAYS.keys())
def test_a_patient_lying_any_way_is_turned_into_the_patient_frame(
    orientation: tuple[float, ...], tmp_path: Path
) -> None:
    series = read(ct_stack(orientation=orientation), tmp_path)

    assert_every_voxel_lies_where_it_belongs(series)


@pytest.mark.parametrize("orientation", EIGHT_WAYS.values(), ids=EIGHT_WAYS.keys())
def test_labels_can_be_put_back_on_the_source_slices(
    orientation: tuple[float, ...], tmp_path: Path
) -> None:
    series = read(ct_stack(orientation=orientation), tmp_path)

    for index, source in enumerate(series.slices):
        dataset = pydicom.dcmread(source.path)
        back = series.orientation.to_source(series.volume.hu[index])

        assert dataset.SOPInstanceUID == source.sop_instance_uid
        np.testing.assert_array_equal(back, np.round(field_hu(pixel_points(dataset))))


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [-14.5, 5.0, 14.5])
@pytest.mark.parametrize("way", ["head first supine", "feet first, left side down"])
def test_a_rigid_stack_slightly_oblique_keeps_its_true_directions(
    way: str, axis: str, degrees: float, tmp_path: Path
) -> None:
    orientation = turned(EIGHT_WAYS[way], Rotation.from_euler(axis, degrees, degrees=True))

    series = read(ct_stack(orientation=orientation), tmp_path)

    assert_every_voxel_lies_where_it_belongs(series)


@pytest.mark.parametrize(
    "orientation",
    [(0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), turned(AXIAL, Rotation.from_euler("z", 0.6))],
    ids=["sagittal", "coronal", "turned by 34 degrees"],
)
def test_slices_that_are_not_axial_are_refused(
    orientation: tuple[float, ...], tmp_path: Path
) -> None:
    with pytest.raises(NotAxialError, match="turned by"):
        read(ct_stack(orientation=orientation), tmp_path)


@pytest.mark.parametrize("degrees", [2.0, 18.5, -25.0])
def test_a_tilted_gantry_is_refused_by_its_angle(degrees: float, tmp_path: Path) -> None:
    orientation = turned(AXIAL, Rotation.from_euler("x", degrees, degrees=True))
    tilted = ct_stack(orientation=orientation, along=(0, 0, 1), GantryDetectorTilt=degrees)

    with pytest.raises(GantryTiltError, match=rf"sheared by {abs(degrees):.1f} degrees"):
        read(tilted, tmp_path)


def test_a_tilt_in_the_header_alone_is_noted(tmp_path: Path) -> None:
    series = read(ct_stack(GantryDetectorTilt=12.0), tmp_path)

    assert any("Gantry/Detector Tilt says 12" in note for note in series.notes)


def test_a_jump_in_the_middle_is_not_called_a_tilt(tmp_path: Path) -> None:
    datasets = ct_stack()
    for dataset in datasets[3:]:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 20, y, z]

    with pytest.raises(MixedSeriesError, match=r"by up to 20\.0 mm between 4\.0 and 6\.0 mm"):
        read(datasets, tmp_path)


def test_slices_shifted_sideways_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[2].ImagePositionPatient = [9.0, -3.0, 4.0]

    with pytest.raises(MixedSeriesError, match=r"sideways by up to 13\.0 mm"):
        read(datasets, tmp_path)
