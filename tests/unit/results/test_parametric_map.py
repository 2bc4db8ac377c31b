"""The uncertainty map says the uncertainty back, voxel by voxel, where its sources lie."""

from __future__ import annotations

import io
import math
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import CREATED, SHAPE, small_case, small_series, source_datasets
from support.ct import enhanced_ct, save
from support.golden import check_golden, header_text

from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.kinds import ResultKind
from dicom_node.results.parametric_map import build_parametric_map
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from sr_templates.terms import SCHEME

FEET_FIRST_PRONE = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
UNEVEN_MM = (0.0, 6.0, 12.0, 18.0, 22.0, 24.0, 26.0, 28.0, 29.5, 30.5, 31.5, 32.5)


def ramp(highest: float) -> NDArray[np.float32]:
    """A value of its own for every voxel, from 0 to the highest."""
    values = np.linspace(0, highest, math.prod(SHAPE), dtype=np.float32)
    return values.reshape(SHAPE)


def parametric_map(
    series: CtSeries, uncertainty: NDArray[np.float32], **changes: object
) -> Dataset:
    """The object, written and read again."""
    case = small_case(series.volume.geometry, uncertainty=uncertainty, **changes)
    identity = Identity(ResultKind.PM, "2.25.1", "2.25.2", revision=1)
    equipment = Equipment(CREATED, "2.25.3", ("0.1.0",))
    object_header = ObjectHeader(series.header, identity, equipment)
    buffer = io.BytesIO()
    build_parametric_map(case, series.grid, object_header).save_as(
        buffer, enforce_file_format=True
    )
    buffer.seek(0)
    return dcmread(buffer)


def slope_of(dataset: Dataset) -> float:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    return float(shared.RealWorldValueMappingSequence[0].RealWorldValueSlope)


@pytest.mark.parametrize("highest", [2e-2, 3.4e-4, 1.1])
def test_every_voxel_comes_back_to_within_half_a_step(tmp_path: Path, highest: float):
    """And a hundredth of a step, for float32 has its own steps."""
    values = ramp(highest)
    dataset = parametric_map(small_series(tmp_path), values)
    slope = slope_of(dataset)

    assert dataset.pixel_array.shape == SHAPE
    assert np.abs(dataset.pixel_array * slope - values).max() <= 0.51 * slope


@pytest.mark.parametrize(
    ("highest", "slope"), [(2e-2, 1e-6), (6.5e-3, 1e-7), (6.6e-3, 1e-6), (0.0, 1e-9)]
)
def test_a_step_is_the_smallest_power_of_ten_that_16_bits_can_count(
    tmp_path: Path, highest: float, slope: float
):
    """6.5e-3 is 65 000 steps of 1e-7; 6.6e-3 would be 66 000, past 65 535."""
    assert slope_of(parametric_map(small_series(tmp_path), ramp(highest))) == slope


@pytest.mark.parametrize("orientation", [FEET_FIRST_PRONE, TURNED])
def test_values_lie_on_the_source_pixels_however_those_were_turned(
    tmp_path: Path, orientation: tuple[float, ...]
):
    series = small_series(tmp_path, orientation=orientation)
    values = ramp(0.02)
    dataset = parametric_map(series, values)

    np.testing.assert_allclose(
        series.orientation.to_patient(dataset.pixel_array) * slope_of(dataset),
        values,
        atol=0.51 * slope_of(dataset),
    )
    positions = [
        tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient))
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    sources = [dcmread(s.path, stop_before_pixels=True) for s in series.slices]
    assert positions == [tuple(map(float, s.ImagePositionPatient)) for s in sources]


def test_each_frame_names_the_image_it_lies_on(tmp_path: Path):
    series = small_series(tmp_path)
    dataset = parametric_map(series, ramp(0.02))
    named = [
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]

    assert named == [source.sop_instance_uid for source in series.slices]


def test_each_frame_names_the_frame_of_a_multi_frame_source(tmp_path: Path):
    series = read_series(save([enhanced_ct(source_datasets(PatientName="Doe^Jane"))], tmp_path))
    values = np.zeros(series.volume.geometry.shape, np.float32)
    dataset = parametric_map(series, values, segments=values.astype(np.uint8))
    named = [
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]

    assert named == [source.frame_number for source in series.slices]


def test_uneven_slices_have_each_its_own_thickness_and_no_common_spacing(tmp_path: Path):
    series = small_series(tmp_path, offsets_mm=UNEVEN_MM, SliceThickness=None)
    dataset = parametric_map(series, ramp(0.02))
    measures = [f.PixelMeasuresSequence[0] for f in dataset.PerFrameFunctionalGroupsSequence]

    assert [float(m.SliceThickness) for m in measures[:4]] == [6.0, 6.0, 6.0, 5.0]
    assert not any("SpacingBetweenSlices" in m for m in measures)
    assert "PixelMeasuresSequence" not in dataset.SharedFunctionalGroupsSequence[0]


def test_a_calibrated_map_opens_at_twice_the_failed_limit(tmp_path: Path):
    """Limits 6e-4 and 9e-4, highest value 0.02, steps of 1e-6: 1800 steps, middle 900."""
    dataset = parametric_map(small_series(tmp_path), ramp(0.02))
    window = dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]

    assert (window.WindowCenter, window.WindowWidth) == (900, 1800)


def test_another_reader_finds_the_same_values_in_the_same_places(tmp_path: Path):
    """Highdicom sorts the frames by position and applies the real world mapping by itself."""
    series, values = small_series(tmp_path), ramp(0.02)
    dataset = parametric_map(series, values)
    volume = hd.Image.from_dataset(dataset).get_volume(apply_real_world_transform=True)
    heads_first = volume.to_patient_orientation("HPL")  # slices to the head, rows to the back

    assert heads_first.spacing == (5.0, 4.0, 4.0)
    np.testing.assert_allclose(heads_first.array, values, atol=0.51e-6)


def test_the_quantity_is_named_in_a_declared_scheme(tmp_path: Path):
    dataset = parametric_map(small_series(tmp_path), ramp(0.02))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]

    assert quantity.CodingSchemeDesignator == SCHEME.designator
    assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeUID == SCHEME.uid
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"


def test_the_header_is_as_reviewed(tmp_path: Path, request: pytest.FixtureRequest):
    dataset = parametric_map(small_series(tmp_path), ramp(0.02))

    check_golden("parametric_map", header_text(dataset), request)
