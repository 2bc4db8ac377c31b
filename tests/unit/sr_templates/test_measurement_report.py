"""The measurement report: what it says of each structure, and what it must not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import (
    BOXES,
    CONTEXT,
    RECORD,
    of_kind,
    small_case,
    small_series,
    with_numbers,
)
from support.golden import check_golden, header_text, tree_text

from dicom_node.case_files.report_reader import reported_structures
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results
from dicom_node.series.selection import ExcludedImage
from inference.results import Finding, JudgedBy, Metal, Score, Verdict
from inference.structures import BY_KEY, SEGMENTS, Side
from sr_templates.context import InstanceInSeries


def report_on(tmp_path: Path, **source: object) -> Dataset:
    """The report of the small case on images with some elements changed."""
    series = small_series(tmp_path, **source)
    return of_kind(
        publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD), "SR"
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The report of the small case; tests only read it."""
    return report_on(tmp_path_factory.mktemp("ct"))


def below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from below(child)


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def named(item: Dataset, meaning: str) -> list[Dataset]:
    return [child for child in item.ContentSequence if name(child) == meaning]


def number(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


def unit(item: Dataset) -> str:
    return str(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue)


def groups(dataset: Dataset) -> dict[str, Dataset]:
    """Measurement groups by tracking identifier."""
    return {
        named(item, "Tracking Identifier")[0].TextValue: item
        for item in below(dataset)
        if name(item) == "Measurement Group"
    }


def template(group: Dataset) -> str:
    return str(group.ContentTemplateSequence[0].TemplateIdentifier)


def code_value(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeValue)


def test_there_is_one_group_for_each_structure_found_in_the_fixed_order(report: Dataset):
    assert list(groups(report)) == [
        segment.title for segment in SEGMENTS if segment.key in BOXES
    ]


def test_a_reader_of_the_report_finds_the_numbers_of_the_case(report: Dataset):
    read = {one.segment.key: one for one in reported_structures(report)}

    # 8 slices x 6 x 6 voxels x 0.08 cm3 = 23.04 cm3
    assert read["FEMUR_R"].volume_cm3 == pytest.approx(23.04)
    assert read["FEMUR_R"].mean_hu == pytest.approx(40.3)
    assert read["FEMUR_R"].uncertainty == pytest.approx(3.46e-4)
    assert read["FEMUR_R"].verdict is Verdict.ACCEPTED
    assert read["OE_R"].verdict is Verdict.INACCURATE
    assert read["GMAX_L"].verdict is Verdict.ABSENT
    assert read["GMAX_L"].volume_cm3 is None
    assert len(read) == 43


def test_a_structure_found_is_a_volumetric_group_that_names_its_segment(tmp_path: Path):
    series = small_series(tmp_path)
    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD)
    seg, dataset = of_kind(objects, "SEG"), of_kind(objects, "SR")
    by_label = {item.SegmentLabel: item for item in seg.SegmentSequence}

    found = groups(dataset)

    for key in BOXES:
        group = found[BY_KEY[key].title]
        segment = by_label[BY_KEY[key].title]
        assert template(group) == "1411"
        (image,) = named(group, "Referenced Segment")
        reference = image.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == segment.SegmentNumber
        assert segment.TrackingUID == named(group, "Tracking Unique Identifier")[0].UID
        (source,) = named(group, "Source Series for Segmentation")
        assert series.header.SeriesInstanceUID == source.UID


def test_an_absent_structure_is_named_with_its_side_and_without_any_number(report: Dataset):
    (evaluations,) = named(report, "Qualitative Evaluations")
    absent = named(evaluations, "Structure not found")

    assert len(absent) == 43 - len(BOXES)
    (gmax_right, gmax_left) = [item for item in absent if code_value(item) == "206007"]
    assert [code_value(item) for item in gmax_right.ContentSequence] == ["24028007"]
    assert [code_value(item) for item in gmax_left.ContentSequence] == ["7771000"]
    assert all(item.ValueType == "CODE" for one in absent for item in below(one))


def test_a_truncated_structure_is_named_without_volume(report: Dataset):
    group = groups(report)["Tensor fasciae latae, right"]

    assert template(group) == "1411"
    assert not named(group, "Volume")
    assert not named(group, "Volume divided by height squared")
    assert named(group, "Attenuation Coefficient")
    assert code_value(named(group, "Quality verdict")[0]) == "TRUNCATED"
    assert code_value(named(group, "Reason for quality verdict")[0]) == "CUTBYSCAN"


def test_what_may_be_done_with_a_structure_that_is_not_accepted_is_told_in_words(
    report: Dataset,
):
    found = groups(report)

    def told(title: str) -> list[str]:
        return [item.TextValue for item in named(found[title], "Quality verdict, in words")]

    assert told("Tensor fasciae latae, right") == [
        "cut by the border of the scan; no volume is given"
    ]
    assert told("Obturator externus, right") == [
        "probably inaccurate; correctable with moderate effort"
    ]
    assert told("Femur, right") == []


def test_a_structure_spoiled_by_metal_is_named_without_volume_or_attenuation(tmp_path: Path):
    series = small_series(tmp_path)
    case = small_case(series.volume.geometry)
    femur = case.of(BY_KEY["FEMUR_L"])
    findings = (Finding.METAL_INSIDE,)
    spoiled = replace(femur, verdict=Verdict.SPOILED, findings=findings).withhold()
    structures = tuple(spoiled if one is femur else one for one in case.structures)
    dataset = of_kind(
        publish_case(series, replace(case, structures=structures), CONTEXT, RECORD), "SR"
    )

    group = groups(dataset)["Femur, left"]
    assert [name(item) for item in group.ContentSequence if item.ValueType == "NUM"] == [
        "Predictive uncertainty",
        "Dice between the samples of the model",
        "Variation of the volume over the samples of the model",
    ]
    (words,) = named(group, "Quality verdict, in words")
    assert words.TextValue == "spoiled by metal; no volume is given"
    (evaluations,) = named(dataset, "Qualitative Evaluations")
    (withheld,) = named(evaluations, "Volumes not given")
    assert withheld.TextValue == (
        "No volume is given for tensor fasciae latae (right), cut by the border of the scan; "
        "nor for femur (left), spoiled by metal."
    )


def test_the_summary_stands_before_everything_measured(report: Dataset):
    contained = [item for item in report.ContentSequence if item.RelationshipType == "CONTAINS"]

    assert [name(item) for item in contained] == [
        "Summary",
        "Imaging Measurements",
        "Qualitative Evaluations",
    ]
    assert contained[0].TextValue.startswith("Case inaccurate: the scan does not show all of")


def test_segments_in_several_segmentations_are_found_in_their_own(tmp_path: Path):
    """One segmentation for each group of structures; the report refers to all of them."""
    series = small_series(tmp_path)
    forms = (ResultKind.SEG_BONES, ResultKind.SEG_HIP, ResultKind.SEG_THIGH)
    objects = publish_case(
        series, small_case(series.volume.geometry), CONTEXT, {*forms, ResultKind.SR_GROUPS}
    )
    dataset = of_kind(objects, "SR-GROUPS")
    labels = {
        (seg.SOPInstanceUID, segment.SegmentNumber): segment.SegmentLabel
        for seg in (of_kind(objects, form) for form in forms)
        for segment in seg.SegmentSequence
    }

    for title, group in groups(dataset).items():
        (reference,) = named(group, "Referenced Segment")[0].ReferencedSOPSequence
        place = (reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber)
        assert labels[place] == title
    assert len(groups(dataset)) == len(labels) == len(BOXES)
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    listed = {
        item.ReferencedSOPInstanceUID
        for one in study.ReferencedSeriesSequence
        for item in one.ReferencedSOPSequence
    }
    assert {seg for seg, _ in labels} <= listed


def test_the_range_over_the_samples_is_in_the_unit_of_its_value(report: Dataset):
    """The samples reach 0.5 cm3 above and 0.75 cm3 below; 4.7 and 1.3 HU."""
    group = groups(report)["Femur, right"]
    (volume,), (hu,) = named(group, "Volume"), named(group, "Attenuation Coefficient")

    def reach(item: Dataset) -> list[tuple[float, str]]:
        return [
            (number(child), unit(child))
            for child in item.ContentSequence
            if "range" in name(child)
        ]

    assert reach(volume) == [(0.5, "cm3"), (0.75, "cm3")]
    assert reach(hu) == [(4.7, "[hnsf'U]"), (1.3, "[hnsf'U]")]


def test_a_value_outside_its_samples_has_no_negative_range(tmp_path: Path):
    """The label is that of the mean; its volume may lie above that of every sample."""
    series = small_series(tmp_path)
    case = small_case(series.volume.geometry)
    femur = case.of(BY_KEY["FEMUR_R"])
    outside = with_numbers(femur, volume_cm3=30.0)
    structures = tuple(outside if one is femur else one for one in case.structures)
    dataset = of_kind(
        publish_case(series, replace(case, structures=structures), CONTEXT, RECORD), "SR"
    )

    (volume,) = named(groups(dataset)["Femur, right"], "Volume")

    reach = [number(child) for child in volume.ContentSequence]
    assert reach == [0.0, pytest.approx(30.0 - 22.29)]


def test_mean_attenuation_is_marked_as_a_mean_and_composition_adds_up(report: Dataset):
    group = groups(report)["Femur, right"]

    (hu,) = named(group, "Attenuation Coefficient")
    assert code_value(named(hu, "Derivation")[0]) == "373098007"
    shares = [number(item) for item in group.ContentSequence if "fraction" in name(item)]
    assert shares == [75.0, 20.0, 5.0]


def test_the_verdict_is_inferred_from_the_limits_of_the_uncertainty(report: Dataset):
    group = groups(report)["Obturator externus, right"]

    (uncertainty,) = named(group, "Predictive uncertainty")
    (verdict,) = named(group, "Quality verdict")
    assert number(uncertainty) == pytest.approx(6.2e-4)
    assert [number(item) for item in verdict.ContentSequence] == [5e-4, 8e-4]
    assert {item.RelationshipType for item in verdict.ContentSequence} == {"INFERRED FROM"}


def test_the_verdict_of_the_case_is_inferred_from_the_mean_uncertainty(report: Dataset):
    (evaluations,) = named(report, "Qualitative Evaluations")
    (verdict,) = named(evaluations, "Quality verdict of the case")

    assert [number(item) for item in verdict.ContentSequence] == [4.1e-4, 6e-4, 9e-4]


def test_a_verdict_by_the_samples_disagreement_is_inferred_from_the_dice_between_them(
    tmp_path: Path,
):
    """Limits .25 and .375 on 1 - Dice: .75 and .625 on the Dice; of the case a mean of .875."""
    series = small_series(tmp_path)
    by = JudgedBy(Score.DISAGREEMENT, 0.125, (0.25, 0.375))
    case = small_case(series.volume.geometry, judged_by=by)
    structures = tuple(replace(one, judged_by=by) for one in case.structures)
    dataset = of_kind(
        publish_case(series, replace(case, structures=structures), CONTEXT, RECORD), "SR"
    )

    (verdict,) = named(groups(dataset)["Obturator externus, right"], "Quality verdict")
    limits = [
        (name(item), number(item))
        for item in verdict.ContentSequence
        if "between samples" in name(item)
    ]
    assert limits == [
        ("Limit of the Dice between samples for inaccurate (k = -2)", 0.75),
        ("Limit of the Dice between samples for failed (k = -3)", 0.625),
    ]
    (evaluations,) = named(dataset, "Qualitative Evaluations")
    (of_case,) = named(evaluations, "Quality verdict of the case")
    numbers = [number(item) for item in of_case.ContentSequence]
    assert numbers == [4.1e-4, 6e-4, 9e-4, 0.875, 0.75, 0.625]


def test_without_calibration_there_are_no_limits(tmp_path: Path):
    series = small_series(tmp_path)
    case = small_case(series.volume.geometry, mean_uncertainty_limits=None)
    structures = tuple(replace(one, uncertainty_limits=None) for one in case.structures)
    dataset = of_kind(
        publish_case(series, replace(case, structures=structures), CONTEXT, RECORD), "SR"
    )

    assert not [item for item in below(dataset) if "limit" in name(item)]


def test_without_a_height_there_is_no_normalised_volume(tmp_path: Path):
    series = small_series(tmp_path, PatientSize=None)
    case = small_case(series.volume.geometry)
    unknown = tuple(
        with_numbers(one, normalised_volume_cm3_per_m2=None) for one in case.structures
    )
    dataset = of_kind(
        publish_case(series, replace(case, structures=unknown), CONTEXT, RECORD), "SR"
    )

    assert not [item for item in below(dataset) if "height" in name(item)]


def test_the_side_of_one_structure_does_not_leak_into_another(report: Dataset):
    found = groups(report)

    for segment in (BY_KEY[key] for key in BOXES):
        for site in named(found[segment.title], "Finding Site"):
            sides = [code_value(item) for item in site.get("ContentSequence", ())]
            expected = {Side.RIGHT: ["24028007"], Side.LEFT: ["7771000"], None: []}
            assert sides == expected[segment.side]


def test_a_private_structure_is_also_placed_in_a_standard_concept(report: Dataset):
    group = groups(report)["Biceps femoris, left"]

    sites = [code_value(site) for site in named(group, "Finding Site")]
    assert sites == ["BF", "102292000"]


def test_the_algorithm_is_identified_once_in_each_group(report: Dataset):
    for group in groups(report).values():
        assert len(named(group, "Algorithm Name")) == 1
        parameters = [item.TextValue for item in named(group, "Algorithm Parameters")]
        assert parameters == [
            "Monte Carlo samples: 10",
            "seed: 20211",
            f"weights sha256: {'5f' * 32}",
        ]
        assert code_value(named(group, "Algorithm Family")[0]) == "123110"
        nested = [item for item in below(group) if name(item) == "Algorithm Name"]
        assert len(nested) == 1


def test_the_case_is_judged_in_codes_and_in_words(report: Dataset):
    (evaluations,) = named(report, "Qualitative Evaluations")

    def value(meaning: str) -> str:
        item = named(evaluations, meaning)[0]
        return code_value(item) if item.ValueType == "CODE" else str(item.TextValue)

    assert value("Quality verdict of the case") == "INACCURATE"
    assert value("Reason for quality verdict of the case") == "NOTHIPTOKNEE"
    assert value("Coverage of the scan") == "PARTIAL"
    assert value("Metal") == "373067005"
    assert value("Rule that closed the series") == "no image for 60 s"
    assert "obturator externus and obturator internus" in value("Weak quality flags")
    assert "the 10 samples of Monte Carlo dropout reach" in value("How to read the numbers")
    assert value("Intended use").startswith("Research use.")


def test_metal_is_told_with_volume_and_side(tmp_path: Path):
    series = small_series(tmp_path)
    case = small_case(
        series.volume.geometry,
        metal=Metal(8.0, (Side.LEFT,), (BY_KEY["FEMUR_L"],)),
        findings=(Finding.METAL_PRESENT,),
    )
    dataset = of_kind(publish_case(series, case, CONTEXT, RECORD), "SR")

    (evaluations,) = named(dataset, "Qualitative Evaluations")
    coded, said = named(evaluations, "Metal")
    assert code_value(coded) == "373066001"
    assert said.TextValue == "About 8.0 cm3 of metal (left). Spoiled: femur (left)."


def test_notes_on_the_images_and_what_was_left_out_are_told(tmp_path: Path):
    series = small_series(tmp_path)
    left_out = (ExcludedImage("1.2.3", "localiser"), ExcludedImage("1.2.4", "localiser"))
    series = replace(series, notes=("unevenly spaced slices",), left_out=left_out)
    dataset = of_kind(
        publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD), "SR"
    )

    (evaluations,) = named(dataset, "Qualitative Evaluations")
    notes = [item.TextValue for item in named(evaluations, "Note on the images used")]
    assert notes == ["unevenly spaced slices", "2 images left out: localiser"]


def test_evidence_lists_the_source_series_and_the_segmentation(tmp_path: Path):
    series = small_series(tmp_path)
    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD)

    (study,) = of_kind(objects, "SR").CurrentRequestedProcedureEvidenceSequence

    assert study.StudyInstanceUID == series.header.StudyInstanceUID
    listed = {
        item.SeriesInstanceUID: [
            one.ReferencedSOPInstanceUID for one in item.ReferencedSOPSequence
        ]
        for item in study.ReferencedSeriesSequence
    }
    seg = of_kind(objects, "SEG")
    assert listed[seg.SeriesInstanceUID] == [seg.SOPInstanceUID]
    assert len(listed[series.header.SeriesInstanceUID]) == 12


def test_a_revision_names_the_report_that_it_replaces(tmp_path: Path):
    series = small_series(tmp_path)
    first = InstanceInSeries("1.2.840.10008.5.1.4.1.1.88.34", "2.25.7", "2.25.8")
    context = replace(CONTEXT, revision=2, predecessors={ResultKind.SR: first})

    dataset = of_kind(
        publish_case(series, small_case(series.volume.geometry), context, RECORD), "SR"
    )

    (study,) = dataset.PredecessorDocumentsSequence
    (referenced,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == dataset.StudyInstanceUID
    assert referenced.SeriesInstanceUID == "2.25.8"
    assert referenced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.7"


def test_the_procedure_and_the_request_are_the_studys_own(tmp_path: Path):
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator = "CT07", "99HIS"
    procedure.CodeMeaning = "CT 股関節"
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.ScheduledProcedureStepID = "S1"

    dataset = report_on(
        tmp_path, ProcedureCodeSequence=[procedure], RequestAttributesSequence=[request]
    )

    assert code_value(named(dataset, "Procedure reported")[0]) == "CT07"
    (referenced,) = dataset.ReferencedRequestSequence
    assert referenced.RequestedProcedureID == "RP1"
    assert referenced.AccessionNumber == "A-4711"
    assert "RequestAttributesSequence" not in dataset


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_procedure_that_no_code_can_be_does_not_end_the_report(tmp_path: Path):
    """Its meaning is cut; what would become another code is left out."""
    items = []
    for value, scheme, meaning in (
        ("P1", "99HOSP", "hip to knee, both sides " * 5),
        ("P2", "9" * 17, "a scheme that is too long"),
        (["P3", "P4"], "99HOSP", "two values"),
        ("P5", "99HOSP", ""),
    ):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        items.append(item)

    (procedure,) = named(report_on(tmp_path, ProcedureCodeSequence=items), "Procedure reported")

    assert code_value(procedure) == "P1"
    assert len(procedure.ConceptCodeSequence[0].CodeMeaning) == 64


def test_without_a_procedure_code_a_general_ct_code_stands_in(report: Dataset):
    (procedure,) = named(report, "Procedure reported")

    assert code_value(procedure) == "25045-6"


def test_the_report_is_complete_and_unverified(report: Dataset):
    assert report.CompletionFlag == "COMPLETE"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_containers_hold_separate_facts_so_that_viewers_show_their_names(report: Dataset):
    containers = [item for item in below(report) if item.ValueType == "CONTAINER"]
    assert len(containers) == 2 + len(BOXES)
    assert {item.ContinuityOfContent for item in (report, *containers)} == {"SEPARATE"}


def test_the_record_has_a_title_that_ohif_shows_as_text(report: Dataset):
    """With the general title (126000, DCM) OHIF looks for an outline in every group."""
    (title,) = report.ConceptNameCodeSequence

    assert (title.CodeValue, title.CodingSchemeDesignator) == ("MSKREPORT", "99MSKNODE")
    assert title.CodeMeaning == "Musculoskeletal CT Measurement Report"


def test_all_that_a_container_holds_has_a_name(report: Dataset):
    """OHIF ends with an error at an item without one."""
    containers = [one for one in (report, *below(report)) if one.ValueType == "CONTAINER"]

    assert all(name(item) for one in containers for item in one.ContentSequence)


def test_the_report_reads_as_reviewed(tmp_path: Path, request: pytest.FixtureRequest):
    series = small_series(tmp_path)
    paths = write_results(
        publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD),
        tmp_path / "out",
    )
    dataset = dcmread(paths[1])

    check_golden("report_header", header_text(dataset), request)
    check_golden("report_tree", tree_text(dataset), request)
