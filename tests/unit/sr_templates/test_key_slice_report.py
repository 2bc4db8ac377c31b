"""The key-slice report: the record's structures as outlines that a viewer can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import BOXES, CONTEXT, of_kind, small_case, small_series
from support.golden import check_golden, header_text, tree_text

from dicom_node.case_files.report_reader import reported_structures
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import ResultObject, write_results
from inference.results import CaseResult, StructureResult, Verdict
from inference.structures import BY_KEY, SEGMENTS
from sr_templates.context import InstanceInSeries, Observer, ReportContext
from sr_templates.key_slice_report import KeySlice, build_key_slice_report

BOTH = frozenset({ResultKind.SEG, ResultKind.SR, ResultKind.SR_KEY_SLICE})
VIEWER_LINES = 5
"""How many lines OHIF shows at an outline: the numbers first, then the finding site."""

CT = "1.2.840.10008.5.1.4.1.1.2"
SQUARE = ((1.0, 2.0), (5.0, 2.0), (5.0, 6.0), (1.0, 6.0), (1.0, 2.0))


def publish(folder: Path, case: CaseResult | None = None) -> tuple[ResultObject, ...]:
    series = small_series(folder)
    return publish_case(series, case or small_case(series.volume.geometry), CONTEXT, BOTH)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResultObject, ...]:
    """The objects of the small case; tests only read them."""
    return publish(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def report(objects: tuple[ResultObject, ...]) -> Dataset:
    return of_kind(objects, "SR-KEYSLICE")


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def named(item: Dataset, meaning: str) -> list[Dataset]:
    return [child for child in item.get("ContentSequence", ()) if name(child) == meaning]


def groups(dataset: Dataset) -> dict[str, Dataset]:
    """Measurement groups by tracking identifier."""
    return {
        named(group, "Tracking Identifier")[0].TextValue: group
        for container in named(dataset, "Imaging Measurements")
        for group in named(container, "Measurement Group")
    }


def numbers(group: Dataset) -> dict[str, float]:
    return {
        name(item): float(item.MeasuredValueSequence[0].NumericValue)
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }


def outlines(group: Dataset) -> Iterator[tuple[list[tuple[float, float]], Dataset]]:
    """The (column, row) points of a group's outlines, and the image of each."""
    for item in named(group, "Image Region"):
        points = np.reshape(item.GraphicData, (-1, 2)).tolist()
        (image,) = item.ContentSequence
        yield [tuple(point) for point in points], image


def test_every_structure_found_is_a_planar_group_with_one_closed_outline(report: Dataset):
    assert list(groups(report)) == [s.title for s in SEGMENTS if s.key in BOXES]
    for group in groups(report).values():
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
        ((points, image),) = outlines(group)
        assert points[0] == points[-1]
        assert image.RelationshipType == "SELECTED FROM"
        assert named(group, "Image Region")[0].GraphicType == "POLYLINE"


def test_an_outline_lies_around_its_box_on_the_image_of_its_slice(report: Dataset):
    """Sacrum: slices 8 to 10 (image 9 is the first), rows 40 to 45, columns 28 to 35.

    The corner of the first pixel is (0, 0), so the outline reaches from 28 to 36 and 40 to 46.
    """
    ((points, image),) = outlines(groups(report)["Sacrum"])

    assert np.min(points, axis=0).tolist() == [28.0, 40.0]
    assert np.max(points, axis=0).tolist() == [36.0, 46.0]
    (reference,) = image.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == "1.2.826.0.1.3680043.8.498.7.9"
    assert "ReferencedFrameNumber" not in reference


def test_sides_sites_and_tracking_are_those_of_the_record(
    objects: tuple[ResultObject, ...], report: Dataset
):
    record, shown = groups(of_kind(objects, "SR")), groups(report)

    for title, group in shown.items():
        for meaning in ("Tracking Unique Identifier", "Finding", "Finding Site"):
            assert named(group, meaning) == named(record[title], meaning)
        assert named(group, "Algorithm Parameters") == named(
            record[title], "Algorithm Parameters"
        )


def test_its_numbers_are_the_records(objects: tuple[ResultObject, ...], report: Dataset):
    record, shown = groups(of_kind(objects, "SR")), groups(report)

    assert set(numbers(shown["Femur, right"])) == {
        "Volume",
        "Attenuation Coefficient",
        "Lean fraction (above 30 HU)",
    }
    for title, group in shown.items():
        for meaning, value in numbers(group).items():
            assert value == numbers(record[title])[meaning]
            assert named(group, meaning) == named(record[title], meaning)


def test_a_viewer_that_shows_five_lines_still_names_the_structure(report: Dataset):
    for group in groups(report).values():
        assert len(numbers(group)) < VIEWER_LINES


def test_a_reader_of_the_report_finds_the_verdicts_and_the_absent(report: Dataset):
    read = {one.segment.key: one for one in reported_structures(report)}

    assert len(read) == 43
    assert read["FEMUR_R"].volume_cm3 == pytest.approx(23.04)
    assert read["OE_R"].verdict is Verdict.INACCURATE
    assert read["TFL_R"].verdict is Verdict.TRUNCATED
    assert read["TFL_R"].volume_cm3 is None
    assert read["GMAX_L"].verdict is Verdict.ABSENT


def test_the_verdict_is_inferred_from_the_uncertainty_and_its_limits(report: Dataset):
    (verdict,) = named(groups(report)["Obturator externus, right"], "Quality verdict")

    assert list(numbers(verdict).values()) == [6.2e-4, 5e-4, 8e-4]


def test_what_failed_has_an_outline_and_a_verdict_but_no_numbers(tmp_path: Path):
    """A viewer shows the numbers beside the outline, and not the verdict."""

    def failed(one: StructureResult) -> StructureResult:
        is_it = one.segment.key == "FEMUR_L"
        return replace(one, verdict=Verdict.FAILED) if is_it else one

    series = small_series(tmp_path)
    case = small_case(series.volume.geometry)
    case = replace(case, structures=tuple(failed(one) for one in case.structures))
    dataset = of_kind(publish_case(series, case, CONTEXT, BOTH), "SR-KEYSLICE")

    group = groups(dataset)["Femur, left"]
    assert numbers(group) == {}
    assert len(list(outlines(group))) == 1
    assert named(group, "Quality verdict")[0].ConceptCodeSequence[0].CodeValue == "FAILED"
    (words,) = named(group, "Quality verdict, in words")
    assert words.TextValue == "probably failed; do not use without correction"


def test_it_says_that_it_is_a_rendering_of_the_record(
    objects: tuple[ResultObject, ...], report: Dataset
):
    (evaluations,) = named(report, "Qualitative Evaluations")
    (about,) = named(evaluations, "About this report")

    assert "a rendering of the measurement report" in about.TextValue
    assert "which is the record" in about.TextValue
    (of_record,) = named(of_kind(objects, "SR"), "Qualitative Evaluations")
    assert not named(of_record, "About this report")


def test_its_images_are_in_the_evidence_once_and_no_segmentation_is(report: Dataset):
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence

    listed = [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
    assert len(listed) == len(set(listed)) == 12
    for group in groups(report).values():
        for _, image in outlines(group):
            assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID in listed


def test_highdicom_reads_its_planar_groups_back(report: Dataset, tmp_path: Path):
    path = tmp_path / "report.dcm"
    report.save_as(path, enforce_file_format=True)

    content = sr.srread(path).content
    read = content.get_planar_roi_measurement_groups()

    assert len(read) == len(BOXES)
    assert {group.roi.graphic_type for group in read} == {sr.GraphicTypeValues.POLYLINE}


def context() -> ReportContext:
    return ReportContext(
        study_instance_uid="1.2.3",
        sources=(InstanceInSeries(CT, "1.2.3.4.1", "1.2.3.4"),),
        segments=None,
        tracking_uids={segment.number: f"2.25.{segment.number}" for segment in SEGMENTS},
        observer=Observer("2.25.1", "node", "project", "node 1"),
    )


def key_slice(**changes: object) -> KeySlice:
    image = InstanceInSeries(CT, "1.2.3.4.1", "1.2.3.4")
    return replace(KeySlice(BY_KEY["FEMUR_R"], image, None, SQUARE), **changes)


def test_an_outline_of_four_corners_is_not_taken_for_a_viewers_rectangle(tmp_path: Path):
    """OHIF reads a polyline of four or five points as a rectangle drawn with its own tool."""
    case = small_case(small_series(tmp_path).volume.geometry)

    dataset = build_key_slice_report(case, context(), [key_slice()])

    ((points, _),) = outlines(groups(dataset)["Femur, right"])
    assert len(points) == 9
    assert set(SQUARE) < set(points)
    assert (3.0, 2.0) in points  # half-way along the upper side


def test_a_frame_of_a_multi_frame_image_is_named_by_its_number(tmp_path: Path):
    case = small_case(small_series(tmp_path).volume.geometry)
    enhanced = InstanceInSeries("1.2.840.10008.5.1.4.1.1.2.1", "1.2.3.4.1", "1.2.3.4")

    dataset = build_key_slice_report(
        case, context(), [key_slice(image=enhanced, frame_number=7)]
    )

    ((_, image),) = outlines(groups(dataset)["Femur, right"])
    assert image.ReferencedSOPSequence[0].ReferencedFrameNumber == 7


def test_an_open_outline_is_refused():
    with pytest.raises(ValueError, match="FEMUR_R: 4 points are not a closed outline"):
        key_slice(outline=SQUARE[:-1])


def test_without_key_slices_there_are_no_measurements(tmp_path: Path):
    case = small_case(small_series(tmp_path).volume.geometry)

    dataset = build_key_slice_report(case, context(), [])

    assert not named(dataset, "Imaging Measurements")
    assert named(dataset, "Summary")


def test_its_title_is_the_general_one_only_where_it_has_outlines(
    report: Dataset, tmp_path: Path
):
    """OHIF draws the outlines of such a report, and ends with an error if there are none."""
    case = small_case(small_series(tmp_path).volume.geometry)
    bare = build_key_slice_report(case, context(), [])

    titles = [one.ConceptNameCodeSequence[0].CodeValue for one in (report, bare)]

    assert titles == ["126000", "MSKREPORT"]


def test_the_report_reads_as_reviewed(
    objects: tuple[ResultObject, ...], tmp_path: Path, request: pytest.FixtureRequest
):
    shown = [one for one in objects if one.kind is ResultKind.SR_KEY_SLICE]
    dataset = dcmread(write_results(shown, tmp_path)[0])

    check_golden("key_slice_report_header", header_text(dataset), request)
    check_golden("key_slice_report_tree", tree_text(dataset), request)
