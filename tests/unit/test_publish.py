"""What answers a case or a refusal, and how it gets to disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from support.cases import (
    CONTEXT,
    of_kind,
    small_case,
    small_series,
    source_datasets,
)
from support.golden import check_golden, header_text, tree_text

from dicom_node.errors import ResultError
from dicom_node.results.publish import (
    QcPolicy,
    Refusal,
    ResultObject,
    publish_case,
    publish_refusal,
    write_results,
)
from inference.results import Verdict

TILTED = "the slices are sheared by 12.0 degrees against each other"


def answer(
    tmp_path: Path, verdict: Verdict = Verdict.INACCURATE, policy: QcPolicy = "on_failure"
) -> tuple[ResultObject, ...]:
    series = small_series(tmp_path)
    case = small_case(series.volume.geometry, verdict=verdict)
    return publish_case(series, case, replace(CONTEXT, qc_policy=policy))


def refusal() -> Refusal:
    return Refusal("gantry-tilt", TILTED, tuple(source_datasets()))


@pytest.mark.parametrize(
    ("verdict", "policy", "kinds"),
    [
        (Verdict.ACCEPTED, "on_failure", ["SEG", "SR"]),
        (Verdict.INACCURATE, "on_failure", ["SEG", "SR", "SC", "KO"]),
        (Verdict.FAILED, "on_failure", ["SEG", "SR", "SC", "KO"]),
        (Verdict.ACCEPTED, "always", ["SEG", "SR", "SC"]),
        (Verdict.FAILED, "always", ["SEG", "SR", "SC", "KO"]),
        (Verdict.FAILED, "never", ["SEG", "SR"]),
    ],
)
def test_a_case_that_is_not_accepted_gets_a_picture_and_a_flag(
    tmp_path: Path, verdict: Verdict, policy: QcPolicy, kinds: list[str]
):
    assert [one.rendering for one in answer(tmp_path, verdict, policy)] == kinds


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
    series = small_series(tmp_path)
    nothing = np.zeros(series.volume.geometry.shape, dtype=np.uint8)
    case = small_case(series.volume.geometry, segments=nothing, mean_uncertainty=None)

    objects = publish_case(series, case, CONTEXT)

    assert [one.rendering for one in objects] == ["SR", "SC", "KO"]
    assert "IMAGE" not in tree_text(of_kind(objects, "SR"))


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
    (kept, *_) = write_results(publish_case(series, case, CONTEXT), tmp_path / "out")
    before = kept.read_bytes()
    later = replace(CONTEXT, created=CONTEXT.created.replace(hour=20))

    (again, *_) = write_results(publish_case(series, case, later), tmp_path / "out")

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

    assert [one.rendering for one in objects] == ["SC", "KO"]
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

    objects = publish_refusal(Refusal("mixed-patient", "two", (*mine, *other)), CONTEXT)

    assert [one.rendering for one in objects] == ["SC", "KO", "SC", "KO"]
    assert [one.dataset.PatientID for one in objects] == ["MSK0001"] * 2 + ["MSK0002"] * 2
    assert len(objects[2].dataset.SourceImageSequence) == 1


def test_a_refusal_of_images_without_a_study_cannot_be_answered():
    with pytest.raises(ResultError, match="names its study"):
        publish_refusal(Refusal("no-images", "none", ()), CONTEXT)


def test_picture_and_flag_read_as_reviewed(tmp_path: Path, request: pytest.FixtureRequest):
    objects = answer(tmp_path)
    key_object = of_kind(objects, "KO")

    check_golden("secondary_capture", header_text(of_kind(objects, "SC")), request)
    check_golden("key_object", header_text(key_object) + tree_text(key_object), request)
