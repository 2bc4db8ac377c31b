"""Series to volume: every voxel where it belongs, or a refusal that names the reason."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from scipy.spatial.transform import Rotation
from support.ct import (
    AXIAL,
    ct_slice,
    ct_stack,
    enhanced_ct,
    field_hu,
    file_meta,
    pixel_points,
    save,
)

from dicom_node.errors import (
    DuplicateSliceError,
    GantryTiltError,
    GeometryError,
    IncompleteSeriesError,
    MixedPatientError,
    MixedSeriesError,
    NoImagesError,
    NotAxialError,
    PixelDataError,
    SeriesError,
    TooFewSlicesError,
)
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import group_by_series, read_series
from inference.geometry import Geometry


def read(datasets: Sequence[Dataset], folder: Path) -> CtSeries:
    return read_series(save(datasets, folder))


def expected_hu(geometry: Geometry) -> np.ndarray[Any, Any]:
    """What `field_hu` says at every voxel of a grid."""
    index = np.indices(geometry.shape).reshape(3, -1).T.astype(float)
    return field_hu(geometry.to_patient_mm(index)).reshape(geometry.shape)


def turned(orientation: Sequence[float], rotation: Rotation) -> list[float]:
    return [*rotation.apply(orientation[:3]), *rotation.apply(orientation[3:])]


def assert_every_voxel_lies_where_it_belongs(series: CtSeries) -> None:
    geometry = series.volume.geometry
    np.testing.assert_allclose(series.volume.hu, expected_hu(geometry), atol=0.51)
    assert (np.diff(geometry.slice_offsets_mm) > 0).all()
    assert geometry.normal[2] > 0.9
    assert geometry.row_axis[1] > 0.9
    assert geometry.column_axis[0] > 0.9


# --- order and orientation


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


def test_slices_shifted_sideways_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[2].ImagePositionPatient = [9.0, -3.0, 4.0]

    with pytest.raises(MixedSeriesError, match=r"sideways by up to 13\.0 mm"):
        read(datasets, tmp_path)


# --- spacing, gaps, duplicates


def test_zones_of_2_6_and_1_mm_are_measured_with_their_own_thickness(tmp_path: Path) -> None:
    offsets = [0, 2, 4, 8, 14, 20, 23.5, 24.5, 25.5]
    thickness = [2, 2, 2, 6, 6, 6, 1, 1, 1]
    datasets = ct_stack(offsets)
    for dataset, value in zip(datasets, thickness, strict=True):
        dataset.SliceThickness = value

    series = read(datasets, tmp_path)

    np.testing.assert_allclose(series.volume.geometry.extents_mm, thickness)
    assert any("unevenly spaced" in note for note in series.notes)


def test_a_lost_slice_is_named_by_position_and_may_come_later(tmp_path: Path) -> None:
    with pytest.raises(IncompleteSeriesError, match=r"between 4\.0 and 8\.0 mm") as refused:
        read(ct_stack([0, 2, 4, 8, 10, 12]), tmp_path)

    assert refused.value.retryable


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    datasets = ct_stack()

    series = read([*datasets, datasets[2]], tmp_path)

    assert len(series.slices) == 5
    assert [out.reason for out in series.left_out] == ["exact duplicate of another slice"]


def test_the_same_image_under_another_uid_counts_once(tmp_path: Path) -> None:
    datasets = ct_stack()
    copy = ct_slice(datasets[2].ImagePositionPatient)

    series = read([*datasets, copy], tmp_path)

    assert len(series.slices) == 5
    assert len(series.left_out) == 1


def test_different_images_at_one_position_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    other = ct_slice(datasets[2].ImagePositionPatient, hu=np.full((6, 8), 40))

    with pytest.raises(DuplicateSliceError, match=r"at 4\.0 mm"):
        read([*datasets, other], tmp_path)


def test_one_uid_naming_two_images_is_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[3].SOPInstanceUID = datasets[1].SOPInstanceUID

    with pytest.raises(DuplicateSliceError, match="carry one UID"):
        read(datasets, tmp_path)


def test_two_acquisitions_over_each_other_are_a_mixed_series(tmp_path: Path) -> None:
    early = ct_stack(AcquisitionNumber=1)
    late = ct_stack(AcquisitionNumber=2, hu=np.full((6, 8), 40))

    with pytest.raises(MixedSeriesError, match="two acquisitions"):
        read([*early, *late], tmp_path)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_slices_are_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(TooFewSlicesError, match=f"{count} slice"):
        read(ct_stack()[:count], tmp_path)


# --- what must not be mixed


@pytest.mark.parametrize(
    ("element", "value", "error"),
    [
        ("PatientID", "P2", MixedPatientError),
        ("StudyInstanceUID", "1.2.3.4", MixedPatientError),
        ("SeriesInstanceUID", "1.2.3.5", MixedSeriesError),
        ("FrameOfReferenceUID", "1.2.3.6", MixedSeriesError),
        ("ConvolutionKernel", "B80f", MixedSeriesError),
        ("PixelSpacing", [1.0, 0.6], MixedSeriesError),
        ("ImageOrientationPatient", [-1, 0, 0, 0, -1, 0], MixedSeriesError),
    ],
)
def test_a_series_that_mixes_is_refused(
    element: str, value: Any, error: type[SeriesError], tmp_path: Path
) -> None:
    datasets = ct_stack()
    setattr(datasets[2], element, value)

    with pytest.raises(error):
        read(datasets, tmp_path)


def test_mixed_matrix_sizes_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[2] = ct_slice(datasets[2].ImagePositionPatient, shape=(6, 10))

    with pytest.raises(MixedSeriesError, match="matrix sizes"):
        read(datasets, tmp_path)


def test_messages_never_name_the_patient(tmp_path: Path) -> None:
    datasets = ct_stack(PatientID="SECRET-ID")
    datasets[0].PatientID = "OTHER-SECRET"

    with pytest.raises(MixedPatientError) as refused:
        read(datasets, tmp_path)

    assert "SECRET" not in str(refused.value)


IDENTITY = {
    "PatientID": "P1",
    "PatientName": "Yamada^Tarou=山田^太郎",
    "PatientBirthDate": "19510203",
    "PatientSex": "F",
    "AccessionNumber": "A-4711",
}


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PatientID", "P2", "name 2 different patients"),
        ("PatientID", "p1", "name 2 different patients"),
        ("PatientID", "01", "name 2 different patients"),
        ("PatientName", "Yamada^Hanako=山田^花子", "name 2 different patients"),
        ("PatientName", "Yamada^Tarou=山田^次郎", "name 2 different patients"),
        ("PatientName", "Tarou^Yamada", "name 2 different patients"),
        ("PatientName", "=山田^花子", "name 2 different patients"),
        ("PatientBirthDate", "19510302", "birth date: 2 different"),
        ("PatientSex", "M", "sex: 2 different"),
        ("StudyInstanceUID", "1.2.3.4", "study: 2 different"),
        ("AccessionNumber", "A-4712", "accession number: 2 different"),
    ],
)
def test_one_image_of_another_patient_refuses_the_series_in_words_without_patient_data(
    keyword: str, value: str, words: str, tmp_path: Path
) -> None:
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    setattr(datasets[3], keyword, value)

    with pytest.raises(MixedPatientError, match=words) as refused:
        read(datasets, tmp_path)

    assert refused.value.code == "mixed-patient"
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "P1 "),
        ("PatientName", "Yamada^Tarou^^^=山田^太郎"),
        ("PatientName", "YAMADA^TAROU=山田^太郎=やまだ^たろう"),
        ("PatientName", "Yamada^Tarou"),
        ("PatientName", "Ｙａｍａｄａ^Ｔａｒｏｕ"),  # noqa: RUF001 - full-width on purpose
        ("PatientBirthDate", "1951.02.03"),
        ("PatientSex", "F "),
        ("AccessionNumber", " A-4711"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_same_patient_written_another_way_is_the_same_patient(
    keyword: str, value: str, tmp_path: Path
) -> None:
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    setattr(datasets[3], keyword, value)

    assert not read(datasets, tmp_path).notes


def test_one_name_in_two_character_sets_is_one_patient(tmp_path: Path) -> None:
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    datasets[3].SpecificCharacterSet = ["", "ISO 2022 IR 87"]

    assert not read(datasets, tmp_path).notes


def test_a_localizer_of_another_patient_refuses_the_series_too(tmp_path: Path) -> None:
    datasets = ct_stack()
    scout = ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], PatientID="P2")

    with pytest.raises(MixedPatientError, match="2 different patients"):
        read([*datasets, scout], tmp_path)


def test_an_image_without_patient_id_among_others_refuses_the_series(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[1].PatientID = ""

    with pytest.raises(MixedPatientError, match="1 of 5 images of this series have no patient"):
        read(datasets, tmp_path)


def test_a_series_without_any_patient_id_is_read(tmp_path: Path) -> None:
    assert read(ct_stack(PatientID=""), tmp_path).volume.hu.shape == (5, 6, 8)


def test_results_take_the_identity_from_an_image_that_says_all_of_it(tmp_path: Path) -> None:
    """The lowest slice would be asked, but leaves out the name: noted, and asked elsewhere."""
    datasets = ct_stack(SpecificCharacterSet="ISO_IR 192", **IDENTITY)
    datasets[0].PatientName = ""

    series = read(datasets, tmp_path)

    assert series.notes == ("1 of 5 images leave out the name that the others give",)
    assert series.header.PatientName == "Yamada^Tarou=山田^太郎"


def test_a_name_in_no_declared_character_set_is_noted(tmp_path: Path) -> None:
    paths = save(ct_stack(SpecificCharacterSet="ISO_IR 100", PatientName="Müller"), tmp_path)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 192"))

    (note,) = read_series(paths).notes

    assert note.startswith("PatientName is not written in the character set")


# --- what is left out


def test_localisers_derived_images_and_other_files_are_left_out(tmp_path: Path) -> None:
    localiser = ct_slice(
        orientation=(1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    bare = ct_slice(ImageType=["DERIVED", "SECONDARY", "MPR"], ImagePositionPatient=None)
    paths = save([localiser, *ct_stack(), bare], tmp_path)
    readme = tmp_path / "README"
    readme.write_text("not DICOM")

    series = read_series([*paths, readme])

    assert len(series.slices) == 5
    assert sorted(out.reason.split(" ")[0] for out in series.left_out) == [
        "a",
        "derived",
        "localizer",
    ]


def test_a_series_of_nothing_else_is_refused_with_the_tally(tmp_path: Path) -> None:
    derived = ct_stack(ImageType=["DERIVED", "SECONDARY", "MPR"])

    with pytest.raises(NoImagesError, match="5 x derived image"):
        read(derived, tmp_path)


# --- Hounsfield units


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


# --- missing or absurd headers and pixels


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("ImagePositionPatient", None),
        ("ImageOrientationPatient", None),
        ("PixelSpacing", None),
        ("RescaleSlope", None),
        ("RescaleIntercept", None),
        ("Rows", 0),
        ("Columns", 0),
        ("RescaleSlope", 0),
        ("PixelSpacing", [0, 0]),
        ("PixelSpacing", [1000, 1000]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImagePositionPatient", [0, 0, 1e9]),
    ],
)
def test_missing_or_absurd_geometry_is_refused_by_name(
    element: str, value: Any, tmp_path: Path
) -> None:
    datasets = ct_stack()
    if value is None:
        delattr(datasets[1], element)
    else:
        setattr(datasets[1], element, value)

    with pytest.raises(GeometryError, match=element):
        read(datasets, tmp_path)


@pytest.mark.parametrize("value", [b"nan\\nan ", b"1\\1\\1 ", b"a\\b ", b"inf\\1 "])
def test_numbers_that_are_none_are_refused(value: bytes, tmp_path: Path) -> None:
    paths = save(ct_stack(), tmp_path)
    raw = paths[1].read_bytes()
    good = b"\x28\x00\x30\x00DS\x08\x001.0\\0.5 "
    assert good in raw
    bad = b"\x28\x00\x30\x00DS" + len(value).to_bytes(2, "little") + value
    paths[1].write_bytes(raw.replace(good, bad))

    with pytest.raises(GeometryError, match="PixelSpacing"):
        read_series(paths)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(keep: float, tmp_path: Path) -> None:
    paths = save(ct_stack(shape=(64, 64)), tmp_path)
    raw = paths[2].read_bytes()
    paths[2].write_bytes(raw[: int(len(raw) * keep)])

    with pytest.raises(SeriesError) as refused:
        read_series(paths)

    assert refused.value.code in {"pixel-data", "geometry"}
    assert keep == 0.1 or isinstance(refused.value, PixelDataError)


def test_missing_pixels_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    del datasets[1].PixelData

    with pytest.raises(PixelDataError):
        read(datasets, tmp_path)


def test_pixels_that_cannot_be_decoded_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[1].compress(RLELossless)
    datasets[1].PixelData = datasets[1].PixelData[:40] + b"\x00" * 8

    with pytest.raises(PixelDataError, match="instance"):
        read(datasets, tmp_path)


# --- transfer syntaxes and multi-frame


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_every_lossless_syntax_gives_the_same_volume(syntax: UID, tmp_path: Path) -> None:
    datasets = ct_stack(shape=(64, 64))
    plain = read(datasets, tmp_path / "plain")
    paths = []
    for number, dataset in enumerate(datasets):
        path = tmp_path / f"{number}.dcm"
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        if syntax == ExplicitVRBigEndian:
            words = np.frombuffer(dataset.PixelData, dtype="<u2")
            dataset.PixelData = words.astype(">u2").tobytes()
            dataset["PixelData"].VR = "OW"
        dataset.file_meta = file_meta(dataset, syntax)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)

    series = read_series(paths)

    np.testing.assert_array_equal(series.volume.hu, plain.volume.hu)


def test_frames_of_an_enhanced_image_are_slices(tmp_path: Path) -> None:
    slices = ct_stack()
    enhanced = enhanced_ct([slices[i] for i in (4, 0, 2, 1, 3)])

    series = read([enhanced], tmp_path)

    assert_every_voxel_lies_where_it_belongs(series)
    assert [one.frame_number for one in series.slices] == [2, 4, 3, 5, 1]
    assert {one.sop_instance_uid for one in series.slices} == {enhanced.SOPInstanceUID}
    assert "PixelData" not in series.header


def test_an_enhanced_image_in_two_instances_is_one_stack(tmp_path: Path) -> None:
    slices = ct_stack(range(0, 16, 2))

    series = read([enhanced_ct(slices[4:]), enhanced_ct(slices[:4])], tmp_path)

    assert_every_voxel_lies_where_it_belongs(series)


def test_a_legacy_converted_image_says_its_kernel_frame_by_frame(tmp_path: Path) -> None:
    """Kernels stand in the unassigned groups there (PS3.3 C.7.6.16.2.25.1)."""
    legacy = enhanced_ct(ct_stack(), "1.2.840.10008.5.1.4.1.1.2.2")
    del legacy.SharedFunctionalGroupsSequence[0].CTReconstructionSequence
    for number, frame in enumerate(legacy.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        item.ConvolutionKernel = "B30f" if number else "B80f"
        frame.UnassignedPerFrameConvertedAttributesSequence = [item]

    with pytest.raises(MixedSeriesError, match="B30f, B80f"):
        read([legacy], tmp_path)


def test_derived_frames_are_left_out_by_number(tmp_path: Path) -> None:
    slices = ct_stack()
    slices[4].ImageType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]

    series = read([enhanced_ct(slices)], tmp_path)

    assert len(series.slices) == 4
    assert series.left_out[0].reason.startswith("frame 5: derived")


# --- the patient's height


@pytest.mark.parametrize(
    ("stated", "height_m", "noted"),
    [
        (1.65, 1.65, False),
        (165, 1.65, True),
        (172, 1.72, True),
        (68, None, True),
        (0, None, False),
        (12.0, None, True),
        (None, None, False),
    ],
)
def test_height_is_believed_only_where_it_can_be_one(
    stated: float | None, height_m: float | None, noted: bool, tmp_path: Path
) -> None:
    datasets = ct_stack()
    if stated is not None:
        datasets[0].PatientSize = stated

    series = read(datasets, tmp_path)

    assert series.patient.height_m == height_m
    assert any("height" in note for note in series.notes) == noted


def test_heights_that_disagree_are_not_used(tmp_path: Path) -> None:
    datasets = ct_stack(PatientSize=1.65)
    datasets[0].PatientSize = 1.8

    series = read(datasets, tmp_path)

    assert series.patient.height_m is None
    assert any("2 different patient heights" in note for note in series.notes)


def test_files_are_grouped_by_series(tmp_path: Path) -> None:
    other = generate_uid()
    paths = save([*ct_stack([0, 1, 2]), ct_slice(SeriesInstanceUID=other)], tmp_path)

    groups = group_by_series(paths)

    assert sorted(len(members) for members in groups.values()) == [1, 3]
    assert groups[other] == (paths[3],)


# --- real scans


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
