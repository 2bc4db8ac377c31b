"""What independent programs say of every kind of object: dciodvfy, PixelMed and dcmqi."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from support.cases import (
    CONTEXT,
    FLAGGED,
    RECORD,
    UNEVEN,
    box_labels,
    small_case,
    small_series,
    source_datasets,
)
from support.ct import enhanced_ct, save
from support.validators import dciodvfy_errors, pixelmed_sr_errors, templates

from dicom_node.results.builders import Refusal, publish_case, publish_refusal
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from dicom_node.series.study_header import studies_of
from inference.results import GradeCode, GraderIdentity, SideGrade
from inference.structures import SEGMENTS, Side
from sr_templates.context import InstanceInSeries

pytestmark = pytest.mark.peer

DCMQI = Path(sys.executable).parent
MISSING = ("StudyID", "AccessionNumber", "PatientName", "PatientBirthDate", "PatientSex")
SOURCES: dict[str, dict[str, Any]] = {
    "japanese": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    },
    "latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"},
    "anonymous": dict.fromkeys(MISSING),
    "leg": {"BodyPartExamined": "LEG"},
    "uneven": UNEVEN,
    "turned": {
        "orientation": (0.0, 1.0, 0.0, -1.0, 0.0, 0.0),
        "origin_mm": (128.0, -128.0, 0.0),
    },
    "zone": {"TimezoneOffsetFromUTC": "+0900"},
}


GRADES = (
    SideGrade(
        Side.RIGHT,
        GraderIdentity("bundle", "hip-oa", "2.1", "ab" * 32),
        grade="normal",
        probability=0.87,
        code=GradeCode("17621005", "SCT", "Normal"),
    ),
    SideGrade(Side.LEFT, GraderIdentity("table", "reader A", "", "cd" * 32), grade="3"),
)
"""One by a bundle, coded; one by a person, in words."""


def published(series: CtSeries, folder: Path, **changes: Any) -> dict[str, Path]:
    """The objects of the small case on disk, by kind."""
    case = small_case(series.volume.geometry, **changes)
    objects = publish_case(series, case, CONTEXT, FLAGGED)
    paths = write_results(objects, folder)
    return {one.kind: path for one, path in zip(objects, paths, strict=True)}


@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_error_in_any_object(tmp_path: Path, source: str):
    series = small_series(tmp_path / "ct", **SOURCES[source])

    for kind, path in published(series, tmp_path / "out").items():
        assert dciodvfy_errors(path) == [], kind


def test_dciodvfy_finds_no_error_in_a_segmentation_on_even_slices(tmp_path: Path):
    series = small_series(tmp_path / "ct", **SOURCES["uneven"])
    case = small_case(series.volume.geometry)

    (path,) = write_results(
        publish_case(series, case, CONTEXT, {ResultKind.SEG_EVEN}), tmp_path / "out"
    )
    assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("source", ["japanese", "uneven", "turned"])
def test_dciodvfy_finds_no_error_in_density_slices(tmp_path: Path, source: str):
    series = small_series(tmp_path / "ct", **SOURCES[source])
    case = small_case(series.volume.geometry)

    objects = publish_case(series, case, CONTEXT, {ResultKind.SC_DENSITY_SLICES})

    (path,) = write_results(objects, tmp_path / "out")
    assert dciodvfy_errors(path) == []


def test_dciodvfy_finds_no_error_in_objects_of_an_enhanced_ct(tmp_path: Path):
    image = enhanced_ct(source_datasets(PatientName="Yamada^Tarou"))
    series = read_series(save([image], tmp_path / "ct"))

    for kind, path in published(series, tmp_path / "out").items():
        assert dciodvfy_errors(path) == [], kind


def test_dciodvfy_finds_no_error_where_no_structure_was_found(tmp_path: Path):
    series = small_series(tmp_path / "ct")
    nothing = np.zeros(series.volume.geometry.shape, dtype=np.uint8)

    paths = published(series, tmp_path / "out", segments=nothing, mean_uncertainty=None)

    assert set(paths) == {"SR", "SC", "KO"}
    for kind, path in paths.items():
        assert dciodvfy_errors(path) == [], kind


def test_dciodvfy_finds_no_error_in_the_answer_to_a_refused_series(tmp_path: Path):
    refusal = Refusal("gantry-tilt", "sheared by 12.0 degrees", studies_of(source_datasets()))

    for path in write_results(publish_refusal(refusal, CONTEXT), tmp_path):
        assert dciodvfy_errors(path) == []


def test_pixelmed_finds_no_error_in_the_report_of_a_revision(tmp_path: Path):
    """A report with all that it may hold: numbers, absent structures, predecessor, grades."""
    series = small_series(tmp_path / "ct")
    first = InstanceInSeries("1.2.840.10008.5.1.4.1.1.88.34", "2.25.7", "2.25.8")
    context = replace(CONTEXT, revision=2, predecessors={ResultKind.SR: first})
    case = small_case(series.volume.geometry, grades=GRADES)
    objects = publish_case(series, case, context, RECORD)
    _, report = write_results(objects, tmp_path / "out")

    assert dciodvfy_errors(report) == []
    assert pixelmed_sr_errors(report) == []


def test_pixelmed_finds_a_relationship_that_is_not_allowed(tmp_path: Path):
    """The checks above can fail: it says so of an item beside the template, without "Error"."""
    series = small_series(tmp_path / "ct")
    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD)
    _, report = write_results(objects, tmp_path / "out")
    dataset = dcmread(report)
    verdict = dataset.ContentSequence[-1].ContentSequence[0]  # of the case
    verdict.ContentSequence[0].RelationshipType = "CONTAINS"  # its mean uncertainty
    dataset.save_as(report)

    (error,) = pixelmed_sr_errors(report)

    assert "has illegal relationship CONTAINS with child" in error


@pytest.mark.parametrize(
    "line",
    [
        'Error: 1: /CONTAINER (126000,DCM,"Report"): Missing required content item',
        "Parent content item (1: CODE) has illegal relationship CONTAINS with child (1.1: NUM)",
        "1.9.1: /CONTAINER: Incorrect graphic type - expected POLYLINE - found POINT",
    ],
)
def test_whatever_pixelmed_says_beside_warnings_and_progress_is_an_error(line: str):
    said = templates(
        "Found Comprehensive3DSR IOD\n"
        "Found Root Template TID_1500 (MeasurementReport)\n"
        f"{line}\n"
        "Warning: 1.2: /CONTAINER/TEXT: Content Item not in template\n"
        "Root Template Validation Complete\n"
        "IOD validation complete\n\n"
    )

    assert (len(said.errors), len(said.warnings)) == (1, 1)


def test_dciodvfy_knows_label_maps(tmp_path: Path):
    """One without its mandatory Manufacturer is found; Debian's of 2022 did not look for it."""
    series = small_series(tmp_path / "ct")
    case = small_case(series.volume.geometry)
    objects = publish_case(series, case, CONTEXT, {ResultKind.SEG_LABELMAP})
    (path,) = write_results(objects, tmp_path / "out")
    dataset = dcmread(path)
    del dataset.Manufacturer
    dataset.save_as(tmp_path / "incomplete.dcm")

    assert dciodvfy_errors(path) == []
    assert any("Manufacturer" in one for one in dciodvfy_errors(tmp_path / "incomplete.dcm"))


def every_segment(shape: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.uint8)
    for segment in SEGMENTS:
        labels[segment.number % 9 : segment.number % 9 + 3, segment.number, 5:50] = (
            segment.number
        )
    return labels


@pytest.mark.parametrize("labels", [box_labels(), every_segment((12, 64, 64))])
def test_dcmqi_reads_the_segmentation_back_voxel_by_voxel(tmp_path: Path, labels: np.ndarray):
    series = small_series(tmp_path / "ct")
    seg = published(series, tmp_path / "out", segments=labels)["SEG"]
    (tmp_path / "itk").mkdir()

    subprocess.run(
        [
            DCMQI / "segimage2itkimage",
            *("--inputDICOM", seg, "--outputDirectory", "itk"),
            *("--mergeSegments", "-t", "nii"),
        ],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )

    image = SimpleITK.ReadImage(next((tmp_path / "itk").glob("*.nii*")))
    numbers = np.concatenate(([0], np.unique(labels[labels > 0])))
    read = numbers[on_grid(image, series)]
    np.testing.assert_array_equal(read, labels)


def on_grid(image: SimpleITK.Image, series: CtSeries) -> np.ndarray:
    """An image, as large as its content, on the grid of the volume."""
    geometry = series.volume.geometry
    grid = SimpleITK.Image(*geometry.shape[::-1], SimpleITK.sitkUInt8)
    grid.SetOrigin(geometry.positions_mm[0].tolist())
    grid.SetSpacing((*geometry.spacing_mm[::-1], float(geometry.extents_mm[0])))
    same = SimpleITK.Resample(
        image, grid, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0
    )
    return SimpleITK.GetArrayFromImage(same)


def test_dcmqi_reads_the_measurements_of_the_report(tmp_path: Path):
    report = published(small_series(tmp_path / "ct"), tmp_path / "out")["SR"]
    answer = tmp_path / "report.json"

    subprocess.run(
        [DCMQI / "tid1500reader", "--inputDICOM", report, "--outputMetadata", answer],
        check=True,
        capture_output=True,
    )

    assert '"23.04"' in answer.read_text()
