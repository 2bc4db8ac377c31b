"""Every encoding and every group of a case says the same, and other readers read it so.

`highdicom` stands for the readers: it knows the object by its own words alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, parse_basic_offsets, parse_fragments
from pydicom.uid import RLELossless
from rle.utils import decode_pixel_data
from support.cases import (
    BOXES,
    CREATED,
    MODEL,
    OFFSETS_MM,
    box_labels,
    small_case,
    small_series,
    source_datasets,
)
from support.ct import enhanced_ct, save
from support.golden import check_golden, header_text

from dicom_node.errors import ResultError
from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.kinds import ResultKind
from dicom_node.results.seg.frames import Frame
from dicom_node.results.seg.pixels import run_lengths
from dicom_node.results.seg.segmentation import (
    Encoding,
    SegmentationUids,
    build_segmentation,
    segment_numbers,
)
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from dicom_node.uids import derived_uid, tracking_uid
from inference.results import CaseResult
from inference.structures import BY_KEY, SEGMENTS, Group

FEET_FIRST_PRONE = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
Form = tuple[ResultKind, Encoding, Group | None]
FORMS: list[Form] = [
    (ResultKind.SEG, Encoding.BINARY, None),
    (ResultKind.SEG_LABELMAP, Encoding.LABELMAP, None),
    (ResultKind.SEG_BONES, Encoding.BINARY, Group.BONE),
    (ResultKind.SEG_HIP, Encoding.BINARY, Group.HIP_MUSCLE),
    (ResultKind.SEG_THIGH, Encoding.BINARY, Group.THIGH_MUSCLE),
    (ResultKind.SEG_THIGH, Encoding.LABELMAP, Group.THIGH_MUSCLE),
]
BINARY, LABELMAP = FORMS[:2]


def written(
    series: CtSeries,
    path: Path,
    kind: ResultKind,
    encoding: Encoding,
    group: Group | None = None,
    *,
    case: CaseResult | None = None,
) -> Path:
    """The segmentation of the boxes, or of another case, in a file."""
    source_uid = str(series.header.SeriesInstanceUID)
    uids = SegmentationUids(
        tracking={s.number: tracking_uid(source_uid, s.key) for s in SEGMENTS},
        dimension_organization=derived_uid("dimensions", source_uid),
    )
    identity = Identity(kind, derived_uid(kind), derived_uid("s", kind), revision=1)
    equipment = Equipment(CREATED, "2.25.1001", ("0.1.0", f"{MODEL.name} {MODEL.version}"))
    dataset = build_segmentation(
        case or small_case(series.volume.geometry),
        series.grid,
        uids,
        ObjectHeader(series.header, identity, equipment),
        encoding=encoding,
        group=group,
    )
    dataset.save_as(path, enforce_file_format=True)
    return path


def as_segment_numbers(path: Path, source: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What highdicom reads on the source grid, in the numbers of `SEGMENTS`.

    Slices outside the object's own extent are empty.
    """
    segmentation = hd.seg.segread(path)
    table = np.zeros(256, dtype=np.uint8)
    for number in segmentation.segment_numbers:
        item = segmentation.get_segment_description(number)
        table[number] = BY_KEY[item.SegmentDescription].number
    read = segmentation.get_volume(combine_segments=True)
    whole = np.zeros_like(source)
    offsets = list(OFFSETS_MM)
    for index, image in enumerate(read.array):
        position = read.get_plane_position(plane_index=index)[0].ImagePositionPatient
        whole[offsets.index(float(position[2]))] = table[image]
    return whole


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("orientation", "origin_mm"),
    [
        ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (-128.0, -128.0, 0.0)),
        (FEET_FIRST_PRONE, (-128.0, 128.0, 55.0)),
        (TURNED, (128.0, -128.0, 0.0)),
    ],
)
def test_highdicom_reads_every_voxel_back(
    tmp_path: Path,
    form: Form,
    orientation: tuple[float, ...],
    origin_mm: tuple[float, float, float],
):
    series = small_series(tmp_path / "ct", orientation=orientation, origin_mm=origin_mm)

    path = written(series, tmp_path / "seg.dcm", *form)

    group = form[2]
    inside = [0, *(s.number for s in SEGMENTS if group in {None, s.structure.group})]
    labels = box_labels()
    expected = series.orientation.to_source(np.where(np.isin(labels, inside), labels, 0))
    assert expected.any()
    np.testing.assert_array_equal(as_segment_numbers(path, expected), expected)


def test_a_group_counts_its_own_segments_from_one(tmp_path: Path):
    """Of the boxes GMED right, GMED left and OE right are hip muscles: 10, 11 and 17."""
    series = small_series(tmp_path)
    case = small_case(series.volume.geometry)

    assert segment_numbers(case, Group.HIP_MUSCLE) == {
        BY_KEY["GMED_R"].number: 1,
        BY_KEY["GMED_L"].number: 2,
        BY_KEY["OE_R"].number: 3,
    }


def test_the_groups_together_hold_every_segment_once(tmp_path: Path):
    case = small_case(small_series(tmp_path).volume.geometry)

    by_group = [segment_numbers(case, group) for group in Group]

    assert sorted(n for numbers in by_group for n in numbers) == list(segment_numbers(case))
    assert [list(numbers.values()) for numbers in by_group] == [[1, 2, 3]] * 3


def test_a_group_says_in_its_header_what_it_holds(tmp_path: Path):
    series = small_series(tmp_path / "ct")

    objects = [dcmread(written(series, tmp_path / form[0], *form)) for form in FORMS[2:5]]

    assert [(one.ContentLabel, one.ContentDescription) for one in objects] == [
        ("MSK_BONES", "Bones from hip to knee, right and left"),
        ("MSK_HIP_MUSCLES", "Hip muscles, right and left"),
        ("MSK_THIGH_MUSCLE", "Thigh muscles, right and left"),
    ]
    assert [[item.SegmentDescription for item in one.SegmentSequence] for one in objects] == [
        ["FEMUR_R", "FEMUR_L", "SACRUM"],
        ["GMED_R", "GMED_L", "OE_R"],
        ["BF_L", "TFL_R", "VLVI_R"],
    ]


def test_a_group_of_which_nothing_was_found_has_no_object(tmp_path: Path):
    series = small_series(tmp_path)
    labels = box_labels()
    labels[labels > BY_KEY["SACRUM"].number] = 0
    case = small_case(series.volume.geometry, segments=labels)

    with pytest.raises(ResultError, match="segmentation of hip muscle"):
        written(series, tmp_path / "seg.dcm", *FORMS[3], case=case)


def test_a_segment_is_described_alike_in_every_form(tmp_path: Path):
    """Code, side, colour, algorithm and tracking UID; only the number is the object's own."""
    series = small_series(tmp_path / "ct")
    described: dict[str, list[Dataset]] = {key: [] for key in BOXES}

    for form in FORMS:
        for item in dcmread(written(series, tmp_path / "seg.dcm", *form)).SegmentSequence:
            if item.SegmentNumber:
                del item.SegmentNumber
                described[item.SegmentDescription].append(item)

    for items in described.values():
        assert len(items) >= 3
        assert all(item == items[0] for item in items)


def test_a_label_map_has_a_frame_for_each_slice_from_the_first_to_the_last_segmented(
    tmp_path: Path,
):
    """Slices 3 to 5 and 9 hold something, so 3 to 9 have frames, also 6, 7 and 8."""
    series = small_series(tmp_path / "ct")
    labels = np.zeros_like(box_labels())
    labels[3:6, 30:40, 10:20] = BY_KEY["FEMUR_R"].number
    labels[9, 30:40, 10:20] = BY_KEY["VM_R"].number
    case = small_case(series.volume.geometry, segments=labels)

    dataset = dcmread(written(series, tmp_path / "seg.dcm", *LABELMAP, case=case))

    assert dataset.NumberOfFrames == 7
    frames = dataset.PerFrameFunctionalGroupsSequence
    assert [one.PlanePositionSequence[0].ImagePositionPatient[2] for one in frames] == [
        *OFFSETS_MM[3:10]
    ]
    assert [one.FrameContentSequence[0].DimensionIndexValues for one in frames] == [
        *range(1, 8)
    ]
    np.testing.assert_array_equal(np.unique(dataset.pixel_array), [0, 1, 2])
    assert not dataset.pixel_array[3:6].any()


def test_a_frame_of_a_label_map_refers_to_its_source_slice_and_to_no_segment(tmp_path: Path):
    series = small_series(tmp_path / "ct")

    dataset = dcmread(written(series, tmp_path / "seg.dcm", *LABELMAP))

    sources = {one.sop_instance_uid: index for index, one in enumerate(series.slices)}
    for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert sources[reference.ReferencedSOPInstanceUID] == index
        assert "SegmentIdentificationSequence" not in groups
    (dimension,) = dataset.DimensionIndexSequence
    assert dimension.DimensionDescriptionLabel == "Slice, feet to head"


def test_a_label_map_describes_its_background_behind_all_segments(tmp_path: Path):
    """Every pixel value is described (PS3.3 C.8.20.2.3), and Pixel Padding Value names it.

    Some viewers take item n of the sequence for segment n: the background must not come
    first.
    """
    series = small_series(tmp_path / "ct")

    dataset = dcmread(written(series, tmp_path / "seg.dcm", *LABELMAP))

    assert [item.SegmentNumber for item in dataset.SegmentSequence] == [*range(1, 10), 0]
    assert dataset.PixelPaddingValue == 0
    background = dataset.SegmentSequence[-1]
    assert background.SegmentedPropertyTypeCodeSequence[0].CodeValue == "125040"
    assert background.RecommendedDisplayCIELabValue[0] == 0


def test_a_label_map_is_compressed_frame_by_frame_with_a_table_of_offsets(tmp_path: Path):
    series = small_series(tmp_path / "ct")

    dataset = dcmread(written(series, tmp_path / "seg.dcm", *LABELMAP))

    assert dataset.file_meta.TransferSyntaxUID == RLELossless
    assert (dataset.BitsAllocated, dataset.PhotometricInterpretation) == (8, "MONOCHROME2")
    assert dataset.SegmentsOverlap == "NO"
    offsets = parse_basic_offsets(dataset.PixelData)
    fragments, starts = parse_fragments(dataset.PixelData[8 + 4 * len(offsets) :])
    assert len(offsets) == fragments == dataset.NumberOfFrames == 12
    assert offsets == starts


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 300)),
        elements=st.integers(0, 2),
        fill=st.integers(0, 2),
    )
)
def test_run_lengths_decode_to_the_pixels_whatever_they_are(labels: NDArray[np.uint8]):
    """Up to 300 columns: several runs of the longest kind, and single pixels between them.

    Segments 1 and 2 stand in the pixels as 7 and 3.
    """
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[1:3] = 7, 3
    frames = [Frame(index) for index in range(len(labels))]

    encoded = run_lengths(labels, frames, numbers)

    _, rows, columns = labels.shape
    decoded = [
        decode_pixel_data(one, version=2, rows=rows, columns=columns, bits_allocated=8)
        for one in generate_frames(encoded, number_of_frames=len(labels))
    ]
    np.testing.assert_array_equal(
        np.stack([np.frombuffer(one, np.uint8) for one in decoded]).reshape(labels.shape),
        numbers[labels],
    )


def test_bit_planes_and_label_map_do_not_share_their_dimensions(tmp_path: Path):
    series = small_series(tmp_path / "ct")

    binary, label_map = (
        dcmread(written(series, tmp_path / form[0], *form)) for form in (BINARY, LABELMAP)
    )

    uids = {
        one.DimensionOrganizationSequence[0].DimensionOrganizationUID
        for one in (binary, label_map)
    }
    assert len(uids) == 2
    for one in (binary, label_map):
        assert {d.DimensionOrganizationUID for d in one.DimensionIndexSequence} == {
            one.DimensionOrganizationSequence[0].DimensionOrganizationUID
        }


def test_a_label_map_of_an_enhanced_ct_refers_to_frames(tmp_path: Path):
    source = enhanced_ct(source_datasets(PatientName="Yamada^Tarou"))
    series = read_series(save([source], tmp_path / "ct"))

    dataset = dcmread(written(series, tmp_path / "seg.dcm", *LABELMAP))

    assert [
        groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for groups in dataset.PerFrameFunctionalGroupsSequence
    ] == list(range(1, 13))


def test_a_label_map_on_uneven_slices_says_each_thickness(tmp_path: Path):
    uneven_mm = (*OFFSETS_MM[:11], OFFSETS_MM[11] + 2)
    datasets = source_datasets(offsets_mm=uneven_mm)
    for dataset in datasets:
        dataset.SliceThickness = 5.0 if dataset.InstanceNumber < 12 else 9.0
    series = read_series(save(datasets, tmp_path / "ct"))

    result = dcmread(written(series, tmp_path / "seg.dcm", *LABELMAP))

    assert "PixelMeasuresSequence" not in result.SharedFunctionalGroupsSequence[0]
    assert [
        groups.PixelMeasuresSequence[0].SliceThickness
        for groups in result.PerFrameFunctionalGroupsSequence
    ] == [5.0] * 11 + [9.0]


@pytest.mark.parametrize("form", [BINARY, LABELMAP])
def test_the_same_case_gives_the_same_bytes(tmp_path: Path, form: Form):
    series = small_series(tmp_path / "ct")
    case = small_case(series.volume.geometry)

    one, again = (written(series, tmp_path / name, *form, case=case) for name in "ab")

    assert one.read_bytes() == again.read_bytes()


def test_another_model_changes_the_algorithm_alone(tmp_path: Path):
    """The segments of two versions of a model keep their tracking UIDs."""
    series = small_series(tmp_path / "ct")
    case = small_case(series.volume.geometry)
    newer = replace(case, model=replace(MODEL, version="1.1"))

    old, new = (
        dcmread(written(series, tmp_path / "seg.dcm", *BINARY, case=each)).SegmentSequence
        for each in (case, newer)
    )

    assert [item.TrackingUID for item in old] == [item.TrackingUID for item in new]
    assert {item.SegmentAlgorithmName for item in new} == {"msk-node compact 1.1"}


@pytest.mark.parametrize("form", [LABELMAP, FORMS[3]])
def test_encodings_and_groups_read_as_reviewed(
    tmp_path: Path,
    form: Form,
    request: pytest.FixtureRequest,
):
    path = written(small_series(tmp_path / "ct"), tmp_path / "seg.dcm", *form)

    name = {ResultKind.SEG_LABELMAP: "label_map", ResultKind.SEG_HIP: "hip"}[form[0]]
    check_golden(f"segmentation_{name}", header_text(dcmread(path)), request)
