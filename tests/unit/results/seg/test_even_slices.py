"""The segmentation on even slices: what readers that know no other make of it."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from support.cases import CONTEXT, UNEVEN, small_case, small_series
from support.dcmqi_readers import read_segments
from support.truth import KnownCase, known_case

from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results
from inference.geometry import Geometry
from inference.phantom.spec import PhantomSpec, Zone
from inference.structures import BY_KEY

THREE_ZONES = PhantomSpec(
    lower_mm=300.0,
    zones=(Zone(6.0, 420.0), Zone(2.0, 460.0), Zone(1.0, 480.0)),
    pixel_mm=3.2,
    rows=128,
    columns=128,
)
"""20 slices of 6, 20 of 2 and 20 of 1 mm: 180 slices of 1 mm."""


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> KnownCase:
    return known_case(tmp_path_factory.mktemp("ct"), THREE_ZONES)


@pytest.fixture(scope="module")
def even_seg(uneven: KnownCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    objects = publish_case(uneven.series, uneven.case, CONTEXT, {ResultKind.SEG_EVEN})
    (path,) = write_results(objects, tmp_path_factory.mktemp("seg"))
    return path


def test_highdicom_reads_every_structure_with_its_volume(uneven: KnownCase, even_seg: Path):
    """All extents are whole millimetres, so not a cubic millimetre is lost or won."""
    segmentation = hd.seg.segread(even_seg)
    read = segmentation.get_volume(combine_segments=True)
    voxel_mm3 = np.prod(read.spacing)

    assert read.spacing == pytest.approx((1.0, 3.2, 3.2))
    for number in segmentation.segment_numbers:
        item = segmentation.get_segment_description(number)
        known = uneven.case.segments == BY_KEY[item.SegmentDescription].number
        known_mm3 = uneven.case.geometry.voxel_volumes_mm3 @ known.sum(axis=(1, 2))
        assert (read.array == number).sum() * voxel_mm3 == pytest.approx(known_mm3), item


def test_dcmqi_reads_every_voxel_in_its_place(
    uneven: KnownCase, even_seg: Path, tmp_path: Path
):
    """Its answer, laid on 180 slices of 1 mm, against the labels of the slices around them."""
    source = uneven.case.geometry
    fine = Geometry.regular(
        (180, *source.shape[1:]),
        (1.0, *source.spacing_mm),
        (*source.positions_mm[0, :2], 300.5),
    )
    read = read_segments(even_seg, fine, tmp_path)

    expected = np.repeat(uneven.case.segments, source.extents_mm.astype(int), axis=0)
    np.testing.assert_array_equal(read, expected)


def test_a_frame_refers_to_the_image_that_it_shows_and_says_that_it_was_moved(
    uneven: KnownCase, even_seg: Path
):
    dataset = pydicom.dcmread(even_seg)
    planes = {each.sop_instance_uid: each.plane for each in uneven.series.slices}

    for frame in dataset.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        plane = planes[source.ReferencedSOPInstanceUID]
        height = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        assert abs(height - float(plane.position[2])) <= float(plane.thickness or 0) / 2
        assert source.SpatialLocationsPreserved == "NO"


def test_segments_are_tracked_as_in_the_other_forms(uneven: KnownCase, tmp_path: Path):
    wanted = {ResultKind.SEG, ResultKind.SEG_EVEN}
    objects = publish_case(uneven.series, uneven.case, CONTEXT, wanted)
    (plain, even) = (pydicom.dcmread(path) for path in write_results(objects, tmp_path))

    assert plain.SOPInstanceUID != even.SOPInstanceUID
    assert [s.TrackingUID for s in plain.SegmentSequence] == [
        s.TrackingUID for s in even.SegmentSequence
    ]


def test_an_evenly_spaced_series_has_no_second_segmentation(tmp_path: Path):
    known = known_case(tmp_path / "ct", PhantomSpec(zones=(Zone(10.0, 100.0),)))

    assert not publish_case(known.series, known.case, CONTEXT, {ResultKind.SEG_EVEN})


def test_a_prone_series_keeps_its_own_rows_and_columns(tmp_path: Path):
    """Rows run to the right and columns to the front, as the source's; slices 6 to 1 mm."""
    series = small_series(
        tmp_path / "ct",
        orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
        origin_mm=(128.0, 128.0, 0.0),
        **UNEVEN,
    )
    case = small_case(series.volume.geometry)
    objects = publish_case(series, case, CONTEXT, {ResultKind.SEG_EVEN})
    (path,) = write_results(objects, tmp_path / "out")
    read = hd.seg.segread(path).get_volume(combine_segments=True)

    assert read.direction[:, 2] == pytest.approx((-1.0, 0.0, 0.0))
    assert read.direction[:, 1] == pytest.approx((0.0, -1.0, 0.0))
    corner = read.map_indices_to_reference(np.array([[0, 0, 0]]))[0]
    assert corner[:2] == pytest.approx((128.0, 128.0))
