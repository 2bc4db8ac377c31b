"""What answers a case or a refusal, and how it gets to disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.cases import (
    BOXES,
    CONTEXT,
    FLAGGED,
    RECORD,
    SHAPE,
    UNEVEN,
    box_labels,
    of_kind,
    small_case,
    small_series,
    source_datasets,
)
from support.golden import check_golden, header_text, tree_text

from dicom_node.errors import ResultError
from dicom_node.results.builders import Refusal, publish_case, publish_refusal
from dicom_node.results.case_facts import PublishContext
from dicom_node.results.kinds import SEGMENTATIONS, Form, ResultKind
from dicom_node.results.result_files import ResultObject, write_results
from dicom_node.series.study_header import SourceStudy, studies_of
from inference.structures import BY_KEY
from sr_templates.context import InstanceInSeries

BACKGROUND = 0
"""A label map has a segment for what is none."""

EARLIER = InstanceInSeries(ResultKind.SR.traits.sop_class_uid, "2.25.7", "2.25.8")
TILTED = "the slices are sheared by 12.0 degrees against each other"


def answer(
    tmp_path: Path,
    wanted: Collection[ResultKind] = FLAGGED,
    context: PublishContext = CONTEXT,
    **changes: Any,
) -> tuple[ResultObject, ...]:
    series = small_series(tmp_path)
    return publish_case(series, small_case(series.volume.geometry, **changes), context, wanted)


def refusal() -> Refusal:
    return Refusal("gantry-tilt", TILTED, studies_of(source_datasets()))


def kinds(objects: Iterable[ResultObject]) -> list[str]:
    return [one.kind.value for one in objects]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[ResultKind, Dataset]:
    """Every kind of object of the small case, unevenly spaced, as revision 2."""
    context = replace(
        CONTEXT, revision=2, predecessors={ResultKind.SR: EARLIER}, replaced=(EARLIER,)
    )
    series = small_series(tmp_path_factory.mktemp("ct"), **UNEVEN)
    case = small_case(series.volume.geometry)
    objects = publish_case(series, case, context, set(ResultKind))
    return {one.kind: one.dataset for one in objects}


def segments_referred_to(report: Dataset) -> dict[str, set[int]]:
    """The segment numbers a report refers to, by the object they are in."""
    found: dict[str, set[int]] = {}
    for element in report.iterall():
        if element.keyword == "ReferencedSOPSequence":
            for item in element.value:
                if number := item.get("ReferencedSegmentNumber"):
                    found.setdefault(item.ReferencedSOPInstanceUID, set()).add(number)
    return found


def test_what_is_wanted_is_built_once_what_others_refer_to_first(tmp_path: Path):
    wanted = [ResultKind.KO, ResultKind.SR, ResultKind.SEG, ResultKind.SR]

    assert kinds(answer(tmp_path, wanted)) == ["SEG", "SR", "KO"]


def test_every_kind_of_object_can_be_built_and_says_what_it_is(
    everything: dict[ResultKind, Dataset],
):
    assert list(everything) == list(ResultKind)
    for kind, dataset in everything.items():
        assert dataset.SOPClassUID == kind.traits.sop_class_uid
        assert dataset.Modality == kind.traits.modality
        assert dataset.SeriesDescription == f"{kind.traits.title} of series 3, revision 2"
    uids = [dataset.SOPInstanceUID for dataset in everything.values()]
    assert len(set(uids)) == len(ResultKind)


@pytest.mark.parametrize("form", Form)
def test_the_report_of_a_form_refers_to_the_segments_of_that_form(
    everything: dict[ResultKind, Dataset], form: Form
):
    """Every segment of every object, under the object's own number."""
    segmentations = [everything[one] for one in form.segmentations]

    assert segments_referred_to(everything[form.report]) == {
        one.SOPInstanceUID: {
            item.SegmentNumber for item in one.SegmentSequence if item.SegmentNumber
        }
        for one in segmentations
    }


def test_a_structure_has_one_tracking_uid_in_every_form(everything: dict[ResultKind, Dataset]):
    by_form = [
        {
            item.SegmentLabel: item.TrackingUID
            for one in form.segmentations
            for item in everything[one].SegmentSequence
            if item.SegmentNumber != BACKGROUND
        }
        for form in Form
    ]

    assert len(by_form[0]) == len(BOXES)
    assert by_form[0] == by_form[1] == by_form[2]


def test_the_three_groups_are_series_that_a_list_tells_apart(
    everything: dict[ResultKind, Dataset],
):
    groups = [everything[one] for one in Form.GROUPS.segmentations]

    assert len({one.SeriesInstanceUID for one in groups}) == 3
    assert [one.SeriesDescription for one in groups] == [
        "MSK bones of series 3, revision 2",
        "MSK hip muscles of series 3, revision 2",
        "MSK thigh muscles of series 3, revision 2",
    ]


def test_a_group_without_a_structure_is_no_object(tmp_path: Path):
    """Without the sacrum and both femora there is no bone."""
    labels = box_labels()
    for key in ("SACRUM", "FEMUR_R", "FEMUR_L"):
        labels[labels == BY_KEY[key].number] = 0
    form = Form.GROUPS
    objects = answer(tmp_path, [*form.segmentations, form.report], segments=labels)

    assert kinds(objects) == ["SEG-HIP", "SEG-THIGH", "SR-GROUPS"]
    referred_to = segments_referred_to(objects[-1].dataset)
    assert set(referred_to) == {one.sop_instance_uid for one in objects[:-1]}


def test_a_report_names_its_predecessor_of_the_same_kind_or_else_another(tmp_path: Path):
    other = InstanceInSeries(EARLIER.sop_class_uid, "2.25.70", "2.25.80")
    predecessors = {ResultKind.SR: EARLIER, ResultKind.SR_KEY_SLICE: other}
    context = replace(CONTEXT, revision=2, predecessors=predecessors)
    wanted = {*Form.LABELMAP.segmentations, Form.LABELMAP.report, ResultKind.SR_KEY_SLICE}
    objects = answer(tmp_path, wanted, context)

    def named(kind: str) -> str:
        study = of_kind(objects, kind).PredecessorDocumentsSequence[0]
        uid: str = (
            study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        )
        return uid

    assert named("SR-LABELMAP") == "2.25.7"
    assert named("SR-KEYSLICE") == "2.25.70"


def test_a_rejection_names_what_is_replaced_and_by_what(everything: dict[ResultKind, Dataset]):
    note = everything[ResultKind.KO_REJECTED]

    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert "Replaced by revision 2" in tree_text(note)
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.7"


def test_where_nothing_is_replaced_nothing_is_rejected(tmp_path: Path):
    assert kinds(answer(tmp_path, {ResultKind.SR, ResultKind.KO_REJECTED})) == ["SR"]


def test_all_objects_are_of_the_sources_study_and_each_of_its_own_series(tmp_path: Path):
    objects = answer(tmp_path)

    assert {one.study_instance_uid for one in objects} == {"1.2.826.0.1.3680043.8.498.1"}
    assert len({one.series_instance_uid for one in objects}) == 4
    assert len({one.dataset.SeriesNumber for one in objects}) == 4
    for one in objects:
        assert one.dataset.SOPInstanceUID == one.sop_instance_uid
        assert one.dataset.file_meta.MediaStorageSOPInstanceUID == one.sop_instance_uid
        assert one.dataset.file_meta.MediaStorageSOPClassUID == one.sop_class_uid


def test_a_case_without_any_structure_is_reported_without_a_segmentation(tmp_path: Path):
    nothing = np.zeros(SHAPE, dtype=np.uint8)
    objects = answer(tmp_path, set(ResultKind), segments=nothing, mean_uncertainty=None)

    assert not {one.kind for one in objects} & SEGMENTATIONS
    for form in Form:
        assert "IMAGE" not in tree_text(of_kind(objects, form.report))


def test_the_same_facts_give_the_same_bytes(tmp_path: Path):
    first = write_results(answer(tmp_path / "ct"), tmp_path / "first")
    second = write_results(answer(tmp_path / "ct"), tmp_path / "second")

    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_uid_that_has_a_content_keeps_it(tmp_path: Path):
    """A step that runs again, later and on another device, must not write another content."""
    series = small_series(tmp_path / "ct")
    case = small_case(series.volume.geometry)
    (kept, *_) = write_results(publish_case(series, case, CONTEXT, RECORD), tmp_path / "out")
    before = kept.read_bytes()
    later = replace(CONTEXT, created=CONTEXT.created.replace(hour=20))

    (again, *_) = write_results(publish_case(series, case, later, RECORD), tmp_path / "out")

    assert again == kept
    assert again.read_bytes() == before


def test_only_whole_files_appear_in_the_folder(tmp_path: Path):
    paths = write_results(answer(tmp_path / "ct"), tmp_path / "out")

    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)
    assert all(path.suffix == ".dcm" for path in paths)


def test_a_left_over_of_a_killed_write_does_not_stand_in_the_way(tmp_path: Path):
    objects = answer(tmp_path / "ct")
    (path, *_) = write_results(objects, tmp_path / "out")
    path.rename(path.with_suffix(".part"))
    path.with_suffix(".part").write_bytes(b"half a file")

    (again, *_) = write_results(objects, tmp_path / "out")

    assert dcmread(again).SOPInstanceUID == objects[0].sop_instance_uid
    assert not path.with_suffix(".part").exists()


def test_a_refusal_is_answered_with_a_picture_and_a_flag_that_say_why(tmp_path: Path):
    objects = publish_refusal(refusal(), CONTEXT)

    assert [one.kind for one in objects] == ["SC", "KO"]
    words = f"Not analysed (gantry-tilt): {TILTED}"
    assert of_kind(objects, "SC").ImageComments == words
    assert words in tree_text(of_kind(objects, "KO"))


def test_a_refusal_never_shares_a_uid_with_a_later_analysis(tmp_path: Path):
    refused = {one.sop_instance_uid for one in publish_refusal(refusal(), CONTEXT)}
    analysed = {one.sop_instance_uid for one in answer(tmp_path)}

    assert not refused & analysed


def test_a_refusal_for_another_reason_is_another_result():
    one = publish_refusal(refusal(), CONTEXT)
    other = publish_refusal(replace(refusal(), code="mixed-series"), CONTEXT)

    assert one[0].sop_instance_uid != other[0].sop_instance_uid


def test_images_of_several_studies_are_each_answered_in_their_own():
    mine = source_datasets(offsets_mm=(0.0, 5.0))
    other = source_datasets(offsets_mm=(10.0,), StudyInstanceUID="1.2.99", PatientID="MSK0002")

    objects = publish_refusal(
        Refusal("mixed-patient", "two", studies_of((*mine, *other))), CONTEXT
    )

    assert [one.kind for one in objects] == ["SC", "KO", "SC", "KO"]
    assert [one.dataset.PatientID for one in objects] == ["MSK0001"] * 2 + ["MSK0002"] * 2
    assert len(objects[2].dataset.SourceImageSequence) == 1


def test_a_refusal_of_images_without_a_study_cannot_be_answered():
    with pytest.raises(ResultError, match="names its study"):
        publish_refusal(Refusal("no-images", "none", ()), CONTEXT)


def test_a_refusal_where_no_image_says_which_it_is_has_a_picture_alone():
    """A key object must refer to an image; and no other such series may share the UID."""

    def bare(series: str) -> tuple[SourceStudy, ...]:
        datasets = source_datasets(SeriesInstanceUID=series)
        for dataset in datasets:
            del dataset.SOPInstanceUID
        return studies_of(datasets)

    mine, other = bare("1.2.98"), bare("1.2.99")
    (picture,) = publish_refusal(Refusal("unidentified", "no UID", mine), CONTEXT)
    (others,) = publish_refusal(Refusal("unidentified", "no UID", other), CONTEXT)

    assert picture.kind == "SC"
    assert "SourceImageSequence" not in picture.dataset
    assert picture.sop_instance_uid != others.sop_instance_uid


def test_a_refusal_of_images_without_a_series_refers_to_none():
    (study,) = studies_of(source_datasets(SeriesInstanceUID=None))

    assert study.sources == ()
    assert [one.kind for one in publish_refusal(Refusal("x", "y", (study,)), CONTEXT)] == ["SC"]


def test_picture_and_flag_read_as_reviewed(tmp_path: Path, request: pytest.FixtureRequest):
    objects = answer(tmp_path)
    key_object = of_kind(objects, "KO")

    check_golden("secondary_capture", header_text(of_kind(objects, "SC")), request)
    check_golden("key_object", header_text(key_object) + tree_text(key_object), request)


def test_of_two_processes_that_write_one_object_the_first_has_written_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is ready while ours is still being written."""
    objects = answer(tmp_path)[:1]
    (path,) = write_results(objects, tmp_path / "out")
    theirs = path.read_bytes()
    path.unlink()
    link = os.link

    def they_are_first(source: Path, target: Path) -> None:
        path.write_bytes(theirs + b"theirs")
        link(source, target)

    monkeypatch.setattr("dicom_node.results.result_files.os.link", they_are_first)
    write_results(objects, tmp_path / "out")

    assert path.read_bytes() == theirs + b"theirs"
    assert [each.name for each in (tmp_path / "out").iterdir()] == [path.name]


def test_a_disk_without_links_keeps_results_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("dicom_node.results.result_files.os.link", refuse)
    (path, *_) = write_results(answer(tmp_path), tmp_path / "out")

    assert dcmread(path).SOPInstanceUID
