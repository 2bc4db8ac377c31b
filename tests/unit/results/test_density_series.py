"""The density slices show every muscle voxel in the colour of its HU, where its source lies."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import CREATED, SHAPE, small_case, small_series

from dicom_node.errors import ResultError
from dicom_node.results.density_series import build_density_series
from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.kinds import ResultKind
from dicom_node.series.ct_series import CtSeries
from inference.geometry import Geometry
from inference.pictures.density import BONE_RGB
from inference.pictures.density_slices import density_slice, segmented_slices
from inference.structures import BY_KEY
from inference.volume import Volume

FEMUR, MUSCLE = BY_KEY["FEMUR_R"].number, BY_KEY["RF_R"].number


def tile(hu: float, label: int) -> np.ndarray:
    """The colour in the middle of a slice that is all of one attenuation and one label."""
    geometry = Geometry(
        positions_mm=np.zeros((1, 3)),
        extents_mm=np.ones(1),
        row_axis=np.array([0.0, 1.0, 0.0]),
        column_axis=np.array([1.0, 0.0, 0.0]),
        spacing_mm=(1.0, 1.0),
        rows=3,
        columns=3,
    )
    volume = Volume(np.full((1, 3, 3), hu, np.float32), geometry)
    return density_slice(volume, np.full((1, 3, 3), label, np.uint8), 0)[1, 1]


def density_series(series: CtSeries, segments: np.ndarray) -> Dataset:
    """The object, written and read again."""
    case = small_case(series.volume.geometry, segments=segments)
    identity = Identity(ResultKind.SC_DENSITY_SLICES, "2.25.1", "2.25.2", revision=1)
    object_header = ObjectHeader(
        series.header, identity, Equipment(CREATED, "2.25.3", ("0.1.0",))
    )
    built = build_density_series(series.volume, case, series.grid, object_header)
    buffer = io.BytesIO()
    built.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


def test_fat_is_yellow_lean_is_red_and_bone_is_pale():
    """Ends of the scale: (255, 240, 120) below -60 HU, (150, 16, 34) above 60 HU."""
    assert tile(-100, MUSCLE).tolist() == [255, 240, 120]
    assert tile(80, MUSCLE).tolist() == [150, 16, 34]
    assert tile(1500, FEMUR).tolist() == [int(value) for value in BONE_RGB]


def test_what_is_no_structure_stays_grey_and_metal_does_not_wrap_around():
    """40 HU is the middle of the window from -160 to 240: half of 255, rounded to even."""
    assert tile(40, 0).tolist() == [128, 128, 128]
    assert tile(30000, 0).tolist() == [255, 255, 255]
    assert tile(-30000, 0).tolist() == [0, 0, 0]


def test_frames_reach_from_the_first_to_the_last_slice_with_a_segment():
    segments = np.zeros((9, 2, 2), np.uint8)
    segments[[3, 5]] = 1

    assert segmented_slices(segments) == (3, 4, 5)
    assert segmented_slices(np.zeros((9, 2, 2), np.uint8)) == ()


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, -1, 0)])
def test_every_frame_lies_where_its_source_slice_lies(
    tmp_path: Path, orientation: tuple[float, ...]
):
    series = small_series(tmp_path, orientation=orientation)
    segments = np.zeros(SHAPE, np.uint8)
    segments[2:5, 2:7, 3:8] = MUSCLE

    dataset = density_series(series, segments)

    sources = {one.sop_instance_uid: one for one in series.slices[2:5]}
    groups = dataset.PerFrameFunctionalGroupsSequence
    assert dataset.NumberOfFrames == len(groups) == 3
    for frame, group in zip(dataset.pixel_array, groups, strict=True):
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        header = dcmread(sources[reference.ReferencedSOPInstanceUID].path)
        plane = group.PlanePositionSequence[0]
        assert plane.ImagePositionPatient == header.ImagePositionPatient
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        grey = (frame[..., 0] == frame[..., 1]) & (frame[..., 1] == frame[..., 2])
        expected = np.clip(np.rint((hu + 160) / 400 * 255), 0, 255)
        assert (~grey).sum() <= 25
        assert (frame[grey][:, 0] == expected[grey]).all()


def test_without_a_segment_there_is_nothing_to_colour(tmp_path: Path):
    with pytest.raises(ResultError, match="no voxel is segmented"):
        density_series(small_series(tmp_path), np.zeros(SHAPE, np.uint8))
