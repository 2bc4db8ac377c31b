"""`msk-node segment`: what lies in the folder afterwards, for every kind of input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage
from support.bundles import untrained_bundle
from support.ct import ct_stack, save
from support.threshold_kind import THRESHOLDS, threshold_bundle
from support.volumes import body

from dicom_node.case_files.labelled_cases import LabelledCase, ListedCase
from dicom_node.case_files.report_json import report_schema
from dicom_node.case_files.result_folder import FolderResult, segment_to_folder
from dicom_node.commands.segmenters import ByResults
from dicom_node.errors import NoImagesError
from dicom_node.series.reading import read_series
from inference.grading.grades import open_grader
from inference.models.bundle import KINDS, Bundle
from inference.structures import SEGMENTS

SCHEMA = Path(__file__).parents[3] / "dicom_node" / "report.schema.json"
FILES = {
    "labels.nii.gz",
    "labels.json",
    "uncertainty.nii.gz",
    "report.json",
    "source.json",
    "qc.png",
    "density.png",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that labels by chance."""
    return untrained_bundle(tmp_path_factory.mktemp("bundles") / "untrained")


def segment(
    source: Path, out: Path, bundle: Bundle, **options: Any
) -> tuple[FolderResult, ...]:
    return segment_to_folder(source, out, bundle=bundle, device="cpu", **options)


def report_in(folder: Path) -> dict[str, Any]:
    """The report, checked against the published schema."""
    report = json.loads((folder / "report.json").read_text())
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    return report


def scan_file(path: Path) -> Path:
    volume = body(spacing_mm=(60.0, 8.0, 8.0)).volume
    image = SimpleITK.GetImageFromArray(np.array(volume.hu)[:, ::-1, ::-1])
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((8.0, 8.0, 60.0))
    SimpleITK.WriteImage(image, str(path))
    return path


def test_the_published_schema_is_the_one_that_reports_are_made_by():
    """`python -m dicom_node.case_files.report_json` prints it; written into the file anew."""
    published = json.loads(SCHEMA.read_text())

    assert published == report_schema()
    jsonschema.Draft202012Validator.check_schema(published)


def test_a_nifti_file_leaves_labels_and_uncertainty_on_its_own_grid(
    tmp_path: Path, bundle: Bundle
):
    source = scan_file(tmp_path / "scan.nii.gz")
    (result,) = segment(source, tmp_path / "out", bundle, height_m=1.6)
    expected = SimpleITK.ReadImage(str(source))
    labels = SimpleITK.ReadImage(str(tmp_path / "out" / "labels.nii.gz"))
    unsure = SimpleITK.ReadImage(str(tmp_path / "out" / "uncertainty.nii.gz"))

    assert {path.name for path in result.folder.iterdir()} == FILES
    assert (labels.GetPixelID(), unsure.GetPixelID()) == (
        SimpleITK.sitkUInt8,
        SimpleITK.sitkFloat32,
    )
    for image in (labels, unsure):
        assert image.GetSize() == expected.GetSize()
        assert image.GetOrigin() == pytest.approx(expected.GetOrigin())
        assert image.GetDirection() == pytest.approx(expected.GetDirection())
    assert not result.refused


@pytest.mark.parametrize("codes", [(0, 2), (1, 0), (1, 1)])
def test_labels_repeat_what_a_nifti_file_states_of_its_place(
    codes: tuple[int, int], tmp_path: Path, bundle: Bundle
):
    """Also the form that is not set: whoever believes the other one finds both alike."""
    source = scan_file(tmp_path / "scan.nii")
    content = bytearray(source.read_bytes())
    content[252:256] = np.array(codes, dtype="<i2").tobytes()
    source.write_bytes(content)
    segment(source, tmp_path / "out", bundle)

    assert report_in(tmp_path / "out")["nifti_grid"]["same_as_input"] is True
    for name in ("labels.nii.gz", "uncertainty.nii.gz"):
        written = gzip.decompress((tmp_path / "out" / name).read_bytes())
        assert written[252:328] == content[252:328]
        assert written[76:92] == content[76:92]


def test_what_was_tolerated_in_an_image_file_is_told(tmp_path: Path, bundle: Bundle):
    source = scan_file(tmp_path / "scan.nii")
    content = bytearray(source.read_bytes())
    content[123] = 0  # xyzt_units
    source.write_bytes(content)
    segment(source, tmp_path / "out", bundle)

    notes = report_in(tmp_path / "out")["input"]["notes"]
    assert notes == ["no unit of length is stated: taken as mm"]


def test_a_report_holds_all_43_structures_and_the_model(tmp_path: Path, bundle: Bundle):
    segment(scan_file(tmp_path / "scan.mha"), tmp_path / "out", bundle, height_m=1.6)
    report = report_in(tmp_path / "out")

    assert report["refused"] is None
    assert [one["key"] for one in report["case"]["structures"]] == [s.key for s in SEGMENTS]
    assert report["case"]["model"]["weights_sha256"] == bundle.weights_sha256
    assert report["case"]["calibrated_on"] is None
    assert report["input"]["height_m"] == 1.6
    assert report["nifti_grid"]["same_as_input"] is True


def test_labels_json_says_what_the_numbers_mean(tmp_path: Path, bundle: Bundle):
    segment(scan_file(tmp_path / "scan.mha"), tmp_path / "out", bundle)
    names = json.loads((tmp_path / "out" / "labels.json").read_text())

    assert len(names) == 43
    assert names["1"] == {"structure": "PELVIS", "side": "R"}
    assert names["2"] == {"structure": "PELVIS", "side": "L"}
    assert names["5"] == {"structure": "SACRUM", "side": None}
    assert names["43"] == {"structure": "VM", "side": "L"}


@pytest.mark.parametrize("name", ["qc.png", "density.png"])
def test_the_pictures_are_png_of_1024_by_768(tmp_path: Path, bundle: Bundle, name: str):
    segment(scan_file(tmp_path / "scan.mha"), tmp_path / "out", bundle)

    with Image.open(tmp_path / "out" / name) as picture:
        assert (picture.format, picture.size) == ("PNG", (1024, 768))


def test_the_same_input_gives_the_same_labels_and_report(tmp_path: Path, bundle: Bundle):
    source = scan_file(tmp_path / "scan.nii.gz")
    for name in ("first", "second"):
        segment(source, tmp_path / name, bundle)

    for name in ("report.json", "labels.json"):
        first, second = ((tmp_path / run / name).read_bytes() for run in ("first", "second"))
        assert first == second


def dicom_series(folder: Path, uid: str, **elements: Any) -> list[Path]:
    """A crude body of thick slices as a CT series."""
    patient = body(spacing_mm=(60.0, 8.0, 8.0))
    stack = ct_stack(
        patient.geometry.slice_offsets_mm,
        origin_mm=(-220.0, -124.0, 0.0),
        shape=patient.volume.hu.shape[1:],
        spacing_mm=(8.0, 8.0),
        SeriesInstanceUID=uid,
        SliceThickness=60.0,
        **elements,
    )
    for dataset, hu in zip(stack, patient.volume.hu, strict=True):
        dataset.PixelData = (hu.astype(np.int32) + 1024).astype(np.uint16).tobytes()
    return save(stack, folder)


def test_a_dicom_folder_gets_a_report_object_and_figures(tmp_path: Path, bundle: Bundle):
    """The untrained network finds no anatomy, so there is nothing to segment: SR alone."""
    dicom_series(tmp_path / "in", "1.2.3", PatientSize=1.5)
    (result,) = segment(tmp_path / "in", tmp_path / "out", bundle, height_m=1.9)
    report = report_in(tmp_path / "out")

    assert FILES | {"SR.dcm"} <= {path.name for path in result.folder.iterdir()}
    assert pydicom.dcmread(tmp_path / "out" / "SR.dcm").Modality == "SR"
    assert report["input"]["series_instance_uid"] == "1.2.3"
    assert report["input"]["height_m"] == 1.5
    assert not [path for path in result.folder.iterdir() if "part" in path.name]


def test_a_model_without_uncertainty_leaves_no_map_and_accepts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """SEG and SR say "not judged" and "not provided"; `evaluate` takes the folder as it is."""
    monkeypatch.setattr("inference.models.bundle.KINDS", {**KINDS, **THRESHOLDS})
    bundle = threshold_bundle(tmp_path / "bundle", {"VLVI": 0.0, "FEMUR": 150.0})
    dicom_series(tmp_path / "in", "1.2.3")
    (result,) = segment(tmp_path / "in", tmp_path / "out" / "case", bundle)
    report = report_in(result.folder)
    verdicts = {one["verdict"] for one in report["case"]["structures"]}
    found = next(iter(ByResults(tmp_path / "out").segment(*as_listed(tmp_path), samples=[1])))

    expected = FILES | {"SEG.dcm", "SR.dcm"}
    assert {path.name for path in result.folder.iterdir()} == expected - {"uncertainty.nii.gz"}
    assert report["case"]["model"]["uncertainty"] == "none"
    assert report["case"]["model"]["samples"] == 1
    assert report["case"]["mean_uncertainty"] is None
    assert "not provided" in verdicts
    assert "accepted" not in verdicts
    assert found.uncertainty is None
    assert len(found.not_provided) == 39
    sr = str(pydicom.dcmread(result.folder / "SR.dcm"))
    assert "NOTJUDGED" in sr
    assert "no measure of its uncertainty" in report["case"]["words"]


@pytest.mark.parametrize(
    ("names", "right"), [("1.2.3,,", "2"), (",MSK0001,", "2"), ("1.2.4,,", None)]
)
def test_a_case_is_graded_by_the_row_of_a_table_that_names_it(
    names: str, right: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By its series, its patient or its folder's name; report.json, SR and words say so."""
    monkeypatch.setattr("inference.models.bundle.KINDS", {**KINDS, **THRESHOLDS})
    bundle = threshold_bundle(tmp_path / "bundle", {"VLVI": 0.0, "FEMUR": 150.0})
    dicom_series(tmp_path / "in", "1.2.3", PatientID="MSK0001")
    table = tmp_path / "grades.csv"
    head = "series_instance_uid,patient_id,case,side,grade"
    table.write_text(f"{head}\n{names},R,2\n,,in,L,1\n")
    (result,) = segment(tmp_path / "in", tmp_path / "out", bundle, grader=open_grader(table))
    grades = report_in(tmp_path / "out")["case"]["grades"]

    assert [(one["side"], one["grade"]) for one in grades] == [("R", right), ("L", "1")]
    assert bool(grades[0]["reason"]) == (right is None)
    assert "left 1. Graded by grades." in result.words[-1]
    assert result.words[-1].encode() in (result.folder / "SR.dcm").read_bytes()


def test_a_grader_changes_no_volume_and_no_uncertainty(tmp_path: Path, bundle: Bundle):
    """The samples are drawn as without it, so one more row changes nothing but grades."""
    scan = scan_file(tmp_path / "scan.nii.gz")
    table = tmp_path / "grades.csv"
    table.write_text("case,side,grade\nscan.nii.gz,R,2\n")
    bare, graded = tmp_path / "bare", tmp_path / "graded"
    segment(scan, bare, bundle)
    segment(scan, graded, bundle, grader=open_grader(table))

    for name in ("labels.nii.gz", "uncertainty.nii.gz", "qc.png", "density.png"):
        assert (bare / name).read_bytes() == (graded / name).read_bytes()
    cases = [report_in(each)["case"] for each in (bare, graded)]
    assert [bool(case.pop("grades")) for case in cases] == [False, True]
    assert cases[0] == cases[1]
    assert SimpleITK.GetArrayFromImage(
        SimpleITK.ReadImage(str(bare / "uncertainty.nii.gz"))
    ).any()
    sources = [json.loads((each / "source.json").read_text()) for each in (bare, graded)]
    assert sources[0]["settings"] == sources[1]["settings"]


def test_objects_are_called_otherwise_with_another_grader(tmp_path: Path, bundle: Bundle):
    dicom_series(tmp_path / "in", "1.2.3", PatientID="MSK0001")
    table = tmp_path / "grades.csv"
    uids = set()
    for number in (1, 2):
        table.write_text(f"case,side,grade\nin,R,{number}\n")
        segment(tmp_path / "in", tmp_path / "out", bundle, grader=open_grader(table))
        uids.add(dcmread(tmp_path / "out" / "SR.dcm").SOPInstanceUID)
    assert len(uids) == 2


def as_listed(folder: Path) -> tuple[ListedCase, LabelledCase]:
    """The series as a case of `evaluate`, which is not annotated."""
    volume = read_series(sorted((folder / "in").iterdir())).volume
    truth = np.zeros(volume.hu.shape, dtype=np.uint8)
    listed = ListedCase("case", folder / "in", folder / "in", None)
    return listed, LabelledCase(volume, truth, None, "")


def test_several_ct_series_get_a_folder_each_and_a_localiser_none(
    tmp_path: Path, bundle: Bundle
):
    dicom_series(tmp_path / "in" / "a", "1.2.3")
    dicom_series(tmp_path / "in" / "b", "1.2.4")
    dicom_series(tmp_path / "in" / "c", "1.2.5", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    results = segment(tmp_path / "in", tmp_path / "out", bundle)

    assert [result.folder for result in results] == [
        tmp_path / "out" / "1.2.3",
        tmp_path / "out" / "1.2.4",
    ]


def test_a_refused_series_leaves_its_reason_and_nothing_of_an_earlier_run(
    tmp_path: Path, bundle: Bundle
):
    stack = ct_stack((0.0, 2.0, 4.0, 10.0, 12.0))
    save(stack, tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "SEG.dcm").touch()
    (result,) = segment(tmp_path / "in", tmp_path / "out", bundle)
    report = report_in(tmp_path / "out")

    assert (result.refused, result.verdict) == (True, "refused (incomplete-series)")
    assert {path.name for path in result.folder.iterdir()} == {
        "report.json",
        "source.json",
        "qc.png",
    }
    assert report["case"] is None
    assert report["refused"]["code"] == "incomplete-series"
    assert report["refused"]["words"] == result.words[0]


def test_images_without_a_study_are_refused_with_a_report(tmp_path: Path, bundle: Bundle):
    dicom_series(tmp_path / "in", "1.2.3", StudyInstanceUID=None)

    (result,) = segment(tmp_path / "in", tmp_path / "out", bundle)

    assert result.verdict == "refused (unidentified)"
    assert report_in(tmp_path / "out")["refused"]["code"] == "unidentified"


def test_an_image_that_names_no_series_is_not_lost_beside_the_only_one(
    tmp_path: Path, bundle: Bundle
):
    stack = dicom_series(tmp_path / "in", "1.2.3")
    bare = dcmread(stack[-1])
    del bare.SeriesInstanceUID
    bare.save_as(stack[-1])

    (result,) = segment(tmp_path / "in", tmp_path / "out", bundle)

    assert result.verdict == "refused (unidentified)"


def test_a_directory_of_the_medium_is_no_part_of_the_series(tmp_path: Path, bundle: Bundle):
    dicom_series(tmp_path / "in", "1.2.3")
    directory = Dataset()
    directory.FileSetID = "CD"
    directory.DirectoryRecordSequence = []
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    directory.save_as(tmp_path / "in" / "DICOMDIR", enforce_file_format=True)

    (result,) = segment(tmp_path / "in", tmp_path / "out", bundle)

    assert not result.refused


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_no_result_goes_where_a_uid_that_is_a_path_points(tmp_path: Path, bundle: Bundle):
    dicom_series(tmp_path / "in" / "a", "1.2.3")
    dicom_series(tmp_path / "in" / "b", "1.2.4")
    dicom_series(tmp_path / "in" / "c", "../elsewhere")

    results = segment(tmp_path / "in", tmp_path / "out", bundle)

    assert all(result.folder.parent == tmp_path / "out" for result in results)
    assert sorted(result.refused for result in results) == [False, False, True]
    assert not (tmp_path / "elsewhere").exists()


def test_a_damaged_file_spoils_its_own_series_alone(tmp_path: Path, bundle: Bundle):
    (path, *_) = dicom_series(tmp_path / "in" / "a", "1.2.3")
    dicom_series(tmp_path / "in" / "b", "1.2.4")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\x28\0\x10\0US") + 5])

    damaged, sound = segment(tmp_path / "in", tmp_path / "out", bundle)

    assert (damaged.verdict, sound.refused) == ("refused (pixel-data)", False)


def test_a_file_that_may_be_an_image_is_named_in_the_report(tmp_path: Path, bundle: Bundle):
    dicom_series(tmp_path / "in", "1.2.3")
    (tmp_path / "in" / "old").write_bytes(b"\x08\0\x10\0\x0c\0\0\0ACR-NEMA 2.0")
    segment(tmp_path / "in", tmp_path / "out", bundle)

    (left_out,) = report_in(tmp_path / "out")["input"]["left_out"]

    assert "without file meta information" in left_out["reason"]


def test_a_folder_without_images_is_an_error(tmp_path: Path, bundle: Bundle):
    (tmp_path / "note.txt").write_text("no scan here")

    with pytest.raises(NoImagesError):
        segment(tmp_path, tmp_path / "out", bundle)
