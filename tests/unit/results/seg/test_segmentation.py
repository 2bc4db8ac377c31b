"""The segmentation object says the labels back, voxel by voxel, where their sources lie."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from support.cases import (
    BOXES,
    CONTEXT,
    OFFSETS_MM,
    RECORD,
    box_labels,
    of_kind,
    small_case,
    small_series,
    source_datasets,
)
from support.ct import enhanced_ct, save
from support.golden import check_golden, header_text

from dicom_node.results.builders import publish_case
from dicom_node.results.result_files import write_results
from dicom_node.results.seg.frames import Frame
from dicom_node.results.seg.items import cielab
from dicom_node.results.seg.pixels import packed_bits
from dicom_node.results.seg.segmentation import segment_numbers
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from inference.results import CaseResult
from inference.structures import BY_KEY, SEGMENTS

FEET_FIRST_PRONE = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
UNEVEN_MM = (0.0, 6.0, 12.0, 18.0, 22.0, 24.0, 26.0, 28.0, 29.5, 30.5, 31.5, 32.5)
UNEVEN_THICKNESS_MM = (6.0, 6.0, 6.0, 6.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0)


def segmentation(series: CtSeries, case: CaseResult | None = None) -> Dataset:
    """The segmentation of the boxes, or of another case, on a series."""
    case = case or small_case(series.volume.geometry)
    return of_kind(publish_case(series, case, CONTEXT, RECORD), "SEG")


def labels_by_position(dataset: Dataset) -> dict[tuple[float, ...], NDArray[np.uint8]]:
    """What the object says: for each position, source pixels with `Segment.number`.

    The reader trusts nothing but the object: numbers come from its segment descriptions.
    """
    numbers = {
        item.SegmentNumber: BY_KEY[item.SegmentDescription].number
        for item in dataset.SegmentSequence
    }
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    images: dict[tuple[float, ...], NDArray[np.uint8]] = {}
    for mask, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        where = tuple(map(float, groups.PlanePositionSequence[0].ImagePositionPatient))
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        image = images.setdefault(where, np.zeros(mask.shape, dtype=np.uint8))
        assert not image[mask > 0].any(), "segments overlap"
        image[mask > 0] = numbers[number]
    return images


def read_back(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The object after encoding."""
    path = tmp_path / "seg.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return dcmread(path)


@pytest.mark.parametrize(
    ("orientation", "origin_mm"),
    [
        ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (-128.0, -128.0, 0.0)),
        (FEET_FIRST_PRONE, (-128.0, 128.0, 60.0)),
        ((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (128.0, -128.0, 60.0)),
        (TURNED, (128.0, -128.0, 0.0)),
    ],
)
def test_every_voxel_comes_back_on_the_source_slice_it_belongs_to(
    tmp_path: Path,
    orientation: tuple[float, ...],
    origin_mm: tuple[float, float, float],
):
    """Labels are of the patient frame; the object is in the frame of the source pixels."""
    series = small_series(tmp_path, orientation=orientation, origin_mm=origin_mm)
    labels = box_labels()

    images = labels_by_position(read_back(segmentation(series), tmp_path))

    by_uid = {str(one.SOPInstanceUID): one for one in map(dcmread, tmp_path.glob("[0-9]*.dcm"))}
    for index, source in enumerate(series.slices):
        position = tuple(map(float, by_uid[source.sop_instance_uid].ImagePositionPatient))
        expected = series.orientation.to_source(labels[index])
        np.testing.assert_array_equal(images[position], expected)


def test_frames_lie_and_refer_where_their_source_lies(tmp_path: Path):
    series = small_series(tmp_path)
    sources = {str(one.SOPInstanceUID): one for one in map(dcmread, tmp_path.glob("*.dcm"))}

    dataset = segmentation(series)

    for groups in dataset.PerFrameFunctionalGroupsSequence:
        derivation = groups.DerivationImageSequence[0]
        reference = derivation.SourceImageSequence[0]
        source = sources[reference.ReferencedSOPInstanceUID]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == (
            source.ImagePositionPatient
        )
        assert derivation.DerivationCodeSequence[0].CodeValue == "113076"
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert "ReferencedFrameNumber" not in reference
    shared = dataset.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [4, 4]
    assert shared.PixelMeasuresSequence[0].SliceThickness == 5
    assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == 5


def test_the_source_series_is_referenced_instance_by_instance(tmp_path: Path):
    series = small_series(tmp_path)

    dataset = segmentation(series)

    (referenced,) = dataset.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.header.SeriesInstanceUID
    assert [
        item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence
    ] == [source.sop_instance_uid for source in series.slices]
    assert dataset.FrameOfReferenceUID == series.header.FrameOfReferenceUID


def test_frames_are_sparse_and_segments_count_from_one_without_a_gap(tmp_path: Path):
    """FEMUR_R spans slices 1 to 8, so it has 8 frames; absent structures have no segment."""
    series = small_series(tmp_path)

    dataset = segmentation(series)

    described = [item.SegmentDescription for item in dataset.SegmentSequence]
    assert described == sorted(BOXES, key=lambda key: BY_KEY[key].number)
    assert [item.SegmentNumber for item in dataset.SegmentSequence] == list(range(1, 10))
    spans = {key: box[0].stop - box[0].start for key, box in BOXES.items()}
    assert dataset.NumberOfFrames == sum(spans.values())
    assert dataset.SegmentsOverlap == "NO"
    assert dataset.SegmentationType == "BINARY"


def test_all_43_segments_keep_their_own_numbers(tmp_path: Path):
    series = small_series(tmp_path)
    labels = np.zeros(series.volume.geometry.shape, dtype=np.uint8)
    for segment in SEGMENTS:
        labels[3, segment.number, 10:20] = segment.number
    case = small_case(series.volume.geometry, segments=labels)

    dataset = segmentation(series, case)

    assert segment_numbers(case) == {number: number for number in range(1, 44)}
    assert [item.SegmentLabel for item in dataset.SegmentSequence] == [
        segment.title for segment in SEGMENTS
    ]
    codes = {
        (kind.CodeValue, modifier[0].CodeValue if modifier else None)
        for item in dataset.SegmentSequence
        for kind in item.SegmentedPropertyTypeCodeSequence
        for modifier in [kind.get("SegmentedPropertyTypeModifierCodeSequence")]
    }
    assert len(codes) == 43


def test_sides_are_modifiers_and_share_a_colour(tmp_path: Path):
    dataset = segmentation(small_series(tmp_path))
    items = {item.SegmentDescription: item for item in dataset.SegmentSequence}

    def side(key: str) -> str:
        (kind,) = items[key].SegmentedPropertyTypeCodeSequence
        return str(kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning)

    assert (side("GMED_R"), side("GMED_L")) == ("Right", "Left")
    (sacrum,) = items["SACRUM"].SegmentedPropertyTypeCodeSequence
    assert "SegmentedPropertyTypeModifierCodeSequence" not in sacrum
    colour = items["GMED_R"].RecommendedDisplayCIELabValue
    assert colour == items["GMED_L"].RecommendedDisplayCIELabValue
    assert colour != items["FEMUR_L"].RecommendedDisplayCIELabValue


def test_colours_are_written_in_pcs_values_of_cielab():
    """Pure white, L*a*b* (100, 0, 0), is 65535, 32896, 32896 (PS3.3 C.10.7.1.1)."""
    white = np.array(cielab((255, 255, 255)))

    assert np.abs(white - [65535, 32896, 32896]).max() <= 30


def test_every_segment_says_which_algorithm_made_it(tmp_path: Path):
    series = small_series(tmp_path)
    dataset = segmentation(series)

    for item in dataset.SegmentSequence:
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
        assert "seed=20211" in algorithm.AlgorithmParameters
        assert "5f5f" in algorithm.AlgorithmParameters
        assert UID(item.TrackingUID).is_valid


def test_unevenly_spaced_slices_each_say_their_own_thickness(tmp_path: Path):
    datasets = source_datasets(offsets_mm=UNEVEN_MM)
    for dataset, thickness in zip(datasets, UNEVEN_THICKNESS_MM, strict=True):
        dataset.SliceThickness = thickness
    series = read_series(save(datasets, tmp_path))

    result = segmentation(series)

    assert "PixelMeasuresSequence" not in result.SharedFunctionalGroupsSequence[0]
    thickness_of = dict(zip(UNEVEN_MM, UNEVEN_THICKNESS_MM, strict=True))
    for groups in result.PerFrameFunctionalGroupsSequence:
        z = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        (measures,) = groups.PixelMeasuresSequence
        assert measures.SliceThickness == thickness_of[z]
        assert "SpacingBetweenSlices" not in measures


def test_without_a_stated_thickness_a_slice_says_what_it_stands_for(tmp_path: Path):
    dataset = segmentation(small_series(tmp_path, SliceThickness=None))

    (measures,) = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == 5


def test_frames_of_an_enhanced_ct_are_referred_to_by_number(tmp_path: Path):
    source = enhanced_ct(source_datasets(PatientName="Yamada^Tarou"))
    series = read_series(save([source], tmp_path))

    dataset = segmentation(series)

    references = [
        groups.DerivationImageSequence[0].SourceImageSequence[0]
        for groups in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert {r.ReferencedSOPInstanceUID for r in references} == {source.SOPInstanceUID}
    for groups, reference in zip(
        dataset.PerFrameFunctionalGroupsSequence, references, strict=True
    ):
        index = OFFSETS_MM.index(float(groups.PlanePositionSequence[0].ImagePositionPatient[2]))
        assert reference.ReferencedFrameNumber == index + 1
    (referenced,) = dataset.ReferencedSeriesSequence
    assert len(referenced.ReferencedInstanceSequence) == 1
    images = labels_by_position(read_back(dataset, tmp_path))
    for index, offset in enumerate(OFFSETS_MM):
        np.testing.assert_array_equal(images[-128.0, -128.0, offset], box_labels()[index])


def test_a_source_without_frame_of_reference_gets_a_derived_one(tmp_path: Path):
    one = segmentation(small_series(tmp_path / "a", FrameOfReferenceUID=None))
    again = segmentation(small_series(tmp_path / "b", FrameOfReferenceUID=None))

    assert one.FrameOfReferenceUID.startswith("2.25.")
    assert one.FrameOfReferenceUID == again.FrameOfReferenceUID


def test_what_was_derived_from_lossy_images_says_so(tmp_path: Path):
    lossy = small_series(
        tmp_path,
        LossyImageCompression="01",
        LossyImageCompressionRatio="8",
        LossyImageCompressionMethod="ISO_10918_1",
    )

    dataset = segmentation(lossy)

    assert dataset.LossyImageCompression == "01"
    assert dataset.LossyImageCompressionRatio == 8


def test_objects_are_built_without_the_files_of_the_series(tmp_path: Path):
    """A series is read once: what is built of it later needs nothing of the spool."""
    series = small_series(tmp_path)
    for each in series.slices:
        each.path.unlink()

    dataset = segmentation(series)

    (referenced,) = dataset.ReferencedSeriesSequence
    named = [item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence]
    assert named == [each.sop_instance_uid for each in series.slices]


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 11)),
        elements=st.integers(0, 3),
    )
)
def test_bits_run_on_from_frame_to_frame_whatever_their_size(labels: NDArray[np.uint8]):
    """Unpacking all bytes from the lowest bit gives the masks, one after the other.

    Up to 15 frames of up to 77 pixels: more than eight, and rarely whole bytes.
    """
    frames = [Frame(index, n) for n in (1, 2, 3) for index in range(len(labels))]

    packed = packed_bits(labels, frames).read()

    masks = np.stack([labels == n for n in (1, 2, 3)])
    assert len(packed) % 2 == 0
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    np.testing.assert_array_equal(bits[: masks.size], masks.ravel())
    assert not bits[masks.size :].any()


def test_groups_encoded_at_once_are_the_bytes_that_the_library_would_write(tmp_path: Path):
    dataset = segmentation(small_series(tmp_path))
    at_once, one_by_one = tmp_path / "at_once.dcm", tmp_path / "one_by_one.dcm"
    dataset.save_as(at_once, enforce_file_format=True)

    for groups in dataset.PerFrameFunctionalGroupsSequence:  # taken apart by looking
        groups.FrameContentSequence = [deepcopy(groups.FrameContentSequence[0])]
    dataset.save_as(one_by_one, enforce_file_format=True)

    assert at_once.read_bytes() == one_by_one.read_bytes()


def test_the_segmentation_reads_as_reviewed(tmp_path: Path, request: pytest.FixtureRequest):
    series = small_series(tmp_path)
    paths = write_results(
        publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD),
        tmp_path / "out",
    )

    check_golden("segmentation", header_text(dcmread(paths[0])), request)
