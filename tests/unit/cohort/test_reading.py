"""Claims about cases read from folders of `segment` and from rows of the ledger."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.case_records import ANALYSED_AT, report, row

from dicom_node.batch.folders import write_failed
from dicom_node.batch.markers import MadeOf, Marker, marker_bytes
from dicom_node.case_files.report_json import report_json
from dicom_node.case_files.source_json import CaseSource, open_patient_key, source_json
from dicom_node.cohort.reading import by_patient, record_of_row, records_of_folders
from dicom_node.cohort.records import CaseRecord, Grade
from dicom_node.series.scan_facts import PatientNumber, ScanFacts
from inference.results import GraderIdentity, SideGrade, Verdict
from inference.structures import Side

GRADES = (
    SideGrade(
        Side.RIGHT,
        GraderIdentity("bundle", "hip-oa", "1.0", "ab" * 32),
        grade="3",
        probability=0.75,
        scale="Kellgren-Lawrence grade",
    ),
    SideGrade(Side.LEFT, GraderIdentity("table", "Ito, H.", "", "cd" * 32), grade="1"),
)


def failed_marker(name: str) -> Marker:
    """The marker of a case of a batch that failed."""
    made_of = MadeOf(10, "ab" * 32, "cd" * 32, None, None)
    words = ("segmenting: killed by signal 9", "twice")
    tool = "msk-node 1.0"
    return Marker(
        1, name, "/scans/1", made_of, "failed", "failed", words, 3.0, ANALYSED_AT, tool
    )


def write(folder: Path, day: date | None, patient_key: str = "k1", uid: str = "1.2.3") -> Path:
    """A case folder as `segment` leaves it, as far as the table needs it."""
    folder.mkdir(parents=True)
    source = CaseSource(
        patient_key=patient_key,
        analysed_at=ANALYSED_AT,
        settings="a1" * 32,
        scan=ScanFacts(series_instance_uid=uid, study_date=day, sex="F"),
    )
    (folder / "source.json").write_bytes(source_json(source))
    (folder / "report.json").write_bytes(report_json(report()))
    (folder / "qc.png").touch()
    return folder


def read(*folders: Path) -> tuple[list[CaseRecord], list[tuple[str, str]]]:
    unreadable: list[tuple[str, str]] = []
    found = records_of_folders(folders, lambda name, why: unreadable.append((name, why)))
    return list(found), unreadable


def test_a_row_and_a_folder_of_one_case_are_one_record(tmp_path: Path):
    write(tmp_path / "out" / "a", date(2026, 11, 20))
    ((folder,), _) = read(tmp_path / "out")
    of_row = record_of_row(row())

    assert folder.structures == of_row.structures
    assert folder.model == of_row.model
    assert replace(folder.source, name="", sender="", study_instance_uid="") == replace(
        of_row.source, name="", sender="", study_instance_uid=""
    )
    assert folder.qc_picture.endswith("a/qc.png")
    assert folder.source.name == "out/a"


def test_a_structure_has_its_numbers_ranges_shares_and_limits():
    """FEMUR R of `support.cases`: 23.04 cm3, from -0.75 to +0.5, at 40.3 HU."""
    case = record_of_row(row())
    femur = next(one for one in case.structures if one.segment.key == "FEMUR_R")
    cut = next(one for one in case.structures if one.segment.key == "TFL_R")

    assert len(case.structures) == 43
    assert femur.volume_cm3 == pytest.approx(23.04)
    assert femur.volume_range_cm3 == pytest.approx((22.29, 23.54))
    assert (femur.lean, femur.mixed, femur.fat) == (0.75, 0.2, 0.05)
    assert femur.uncertainty_limits == (5e-4, 8e-4)
    assert (cut.verdict, cut.volume_cm3) == (Verdict.TRUNCATED, None)
    assert case.source.height_m == 1.58


def test_a_refused_row_has_its_code_and_a_failed_one_is_failed():
    refused = record_of_row(row(code="not-axial"))
    failed = record_of_row(row(code="analysis-failed", state="failed"))

    assert (refused.state, refused.code, refused.words) == ("refused", "not-axial", "words")
    assert (failed.state, failed.model, failed.structures) == ("failed", None, ())


def test_the_cases_of_a_patient_come_together_the_earliest_first(tmp_path: Path):
    write(tmp_path / "c", date(2026, 1, 1), "k2", "1.3")
    write(tmp_path / "b", date(2025, 1, 1), "k1", "1.2")
    write(tmp_path / "a", date(2026, 1, 1), "k1", "1.1")
    write(tmp_path / "deep" / "er" / "d", None, "", "1.4")
    write(tmp_path / "e", None, "", "1.5")
    found, _ = read(tmp_path)
    names = [[each.source.name.partition("/")[2] for each in one] for one in by_patient(found)]

    assert names == [["deep/er/d"], ["e"], ["b", "a"], ["c"]]


def test_a_folder_of_before_there_was_a_source_has_no_patient_and_no_date(tmp_path: Path):
    (write(tmp_path / "a", date(2026, 1, 1)) / "source.json").unlink()
    ((case,), _) = read(tmp_path)

    assert (case.source.patient_key, case.source.study_date) == ("", None)
    assert (case.source.height_m, case.verdict) == (1.58, Verdict.INACCURATE)


def test_what_an_older_report_does_not_say_is_not_there(tmp_path: Path):
    folder = write(tmp_path / "a", date(2026, 1, 1))
    told = json.loads((folder / "report.json").read_text())
    for one in told["case"]["structures"]:
        del one["composition"], one["uncertainty_limits"], one["mean_hu_spread"]
    del told["case"]["model"]["uncertainty"], told["case"]["model"]["samples_of"]
    (folder / "report.json").write_text(json.dumps(told))
    ((case,), unreadable) = read(tmp_path)

    assert unreadable == []
    assert case.structures[2].lean is None
    assert case.model is not None
    assert case.model.doubt_words == "10 samples of Monte Carlo dropout"


def test_a_case_of_a_guest_says_what_its_uncertainty_rests_on(tmp_path: Path):
    folder = write(tmp_path / "a", date(2026, 1, 1))
    told = json.loads((folder / "report.json").read_text())
    told["case"]["model"] |= {"samples_of": "folds of a cross-validation", "samples": 5}
    (folder / "report.json").write_text(json.dumps(told))
    ((case,), _) = read(tmp_path)

    assert case.model is not None
    assert case.model.doubt_words == "5 folds of a cross-validation"


@pytest.mark.parametrize("name", ["report.json", "source.json"])
@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"case": 1}', '{"scan": 1}'])
def test_a_damaged_folder_is_named_and_the_others_are_read(
    name: str, text: str, tmp_path: Path
):
    write(tmp_path / "a", date(2026, 1, 1))
    (write(tmp_path / "b", date(2026, 1, 2)) / name).write_text(text)
    found, unreadable = read(tmp_path)

    assert "a" in [each.source.name.rpartition("/")[2] for each in found]
    # A source that says nothing is one.
    says_nothing = (name, text) in {("source.json", "{}"), ("source.json", '{"case": 1}')}
    assert ["b"] * (not says_nothing) == [each.rpartition("/")[2] for each, _ in unreadable]
    assert len(found) == 1 + says_nothing


ODD = {
    "text for a number": lambda case: structure_of(case, volume_cm3="x"),
    "a number as text": lambda case: structure_of(case, volume_cm3="12"),
    "a list": lambda case: structure_of(case, mean_hu=[1]),
    "a truth": lambda case: structure_of(case, uncertainty=True),
    "no number": lambda case: structure_of(case, volume_cm3=float("nan")),
    "infinite": lambda case: structure_of(case, volume_cm3=float("inf")),
    "larger than numbers are": lambda case: structure_of(case, volume_cm3=10**400),
    "an odd share": lambda case: structure_of(case, composition={"lean": "a"}),
    "half a range": lambda case: structure_of(case, volume_spread_cm3={"low": None, "high": 1}),
    "an odd mean": lambda case: case.update(mean_uncertainty="x"),
    "samples as text": lambda case: case["model"].update(samples="x"),
    "more samples than 64 bits": lambda case: case["model"].update(samples=2**70),
    "no name": lambda case: case["model"].update(name=None),
    "a list for a name": lambda case: case["model"].update(name=[1]),
    "findings that are no words": lambda case: case.update(findings=[1, 2]),
    "findings of letters": lambda case: case.update(findings="abc"),
    "half a character": lambda case: case.update(words="a\ud800b"),
    "a structure twice": lambda case: case["structures"].append(case["structures"][0]),
}


def structure_of(case: dict[str, Any], **changes: object) -> None:
    case["structures"][0].update(changes)


@pytest.mark.parametrize("spoil", ODD.values(), ids=ODD.keys())
def test_a_report_with_an_odd_value_is_named_and_the_others_are_exported(
    spoil: Callable[[dict[str, Any]], None], tmp_path: Path
):
    """Whatever it is, no table is refused for it, nor a number made of it."""
    write(tmp_path / "a", date(2026, 1, 1))
    odd = write(tmp_path / "b", date(2026, 1, 2)) / "report.json"
    told = json.loads(odd.read_text())
    spoil(told["case"])
    odd.write_text(json.dumps(told))
    found, unreadable = read(tmp_path)

    assert [each.source.name.rpartition("/")[2] for each in found] == ["a"]
    assert [each.rpartition("/")[2] for each, _ in unreadable] == ["b"]


@pytest.mark.parametrize("name", ["report.json", "source.json"])
def test_a_text_of_nothing_but_brackets_is_named(name: str, tmp_path: Path):
    (write(tmp_path / "b", date(2026, 1, 2)) / name).write_text("[" * 100_000)
    found, unreadable = read(tmp_path)
    assert (found, len(unreadable)) == ([], 1)


@pytest.mark.parametrize("odd", ["NaN", "Infinity"])
def test_a_source_with_a_number_that_is_none_is_named(odd: str, tmp_path: Path):
    source = write(tmp_path / "b", date(2026, 1, 2)) / "source.json"
    said = json.loads(source.read_text())
    said["scan"]["age_years"] = float(odd)
    source.write_text(json.dumps(said))
    found, unreadable = read(tmp_path)
    assert (found, len(unreadable)) == ([], 1)


def test_a_folder_s_key_is_the_same_everywhere_and_another_issuer_s_another():
    one = open_patient_key(PatientNumber("MSK0001"))

    assert one == open_patient_key(PatientNumber("MSK0001", ""))
    assert one != open_patient_key(PatientNumber("MSK0001", "HOSP"))
    assert open_patient_key(PatientNumber("", "HOSP")) == ""
    # A line break may be in either: it is still told where one ends.
    assert open_patient_key(PatientNumber("b\nc", "a")) != open_patient_key(
        PatientNumber("c", "a\nb")
    )


def test_grades_are_read_from_rows_and_folders_and_a_side_without_one_has_none(tmp_path: Path):
    """A person's name in a table is told from a bundle's."""
    told = report_json(report(GRADES))
    folder = write(tmp_path / "a", date(2026, 1, 1))
    (folder / "report.json").write_bytes(told)
    ((of_folder,), _) = read(tmp_path)
    of_row = record_of_row(row(report=gzip.compress(told)))
    no_hip = SideGrade(Side.LEFT, GRADES[0].grader, reason="no hip is seen")
    half = record_of_row(row(report=gzip.compress(report_json(report((GRADES[0], no_hip))))))

    assert of_row.grades == of_folder.grades
    assert of_row.grades == (
        Grade("R", "3", 0.75, "hip-oa 1.0", "Kellgren-Lawrence grade"),
        Grade("L", "1", None, "Ito, H.", by_people=True),
    )
    assert half.grades == of_row.grades[:1]
    assert record_of_row(row()).grades == ()


def test_a_case_of_a_batch_that_failed_has_its_words_and_may_be_done_again(tmp_path: Path):
    """Its folder holds a marker alone; results that follow take its place."""
    write_failed(tmp_path / "out" / "2.25.7", failed_marker("2.25.7"))
    write_failed(tmp_path / "out" / "p17-ct", failed_marker("p17-ct"))
    write(tmp_path / "out" / "a", date(2026, 1, 1))
    found, unreadable = read(tmp_path / "out")
    failed = {each.source.name: each for each in found if each.state == "failed"}

    assert (len(found), unreadable) == (3, [])
    assert failed.keys() == {"out/2.25.7", "out/p17-ct"}
    one = failed["out/2.25.7"]
    assert one.words == "segmenting: killed by signal 9; twice"
    assert (one.code, one.verdict, one.model) == ("analysis-failed", None, None)
    assert one.source.series_instance_uid == "2.25.7"
    assert one.source.analysed_at == ANALYSED_AT
    assert failed["out/p17-ct"].source.series_instance_uid == ""

    (tmp_path / "out" / "2.25.7" / "report.json").write_bytes(report_json(report()))
    assert sorted(each.state for each in read(tmp_path / "out")[0]) == [
        "failed",
        "reported",
        "reported",
    ]


def test_a_marker_of_results_that_are_gone_or_no_marker_is_named(tmp_path: Path):
    lost = replace(failed_marker("lost"), outcome="analysed")
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "made_of.json").write_bytes(marker_bytes(lost))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "made_of.json").write_text("{")
    found, unreadable = read(tmp_path)

    assert found == []
    assert sorted(name.rpartition("/")[2] for name, _ in unreadable) == ["broken", "lost"]


def test_what_a_killed_batch_left_half_written_is_no_case(tmp_path: Path):
    write(tmp_path / "a", date(2026, 1, 1))
    write(tmp_path / ".part-b-x7", date(2026, 1, 1))

    assert [each.source.name.rpartition("/")[2] for each in read(tmp_path)[0]] == ["a"]


def test_names_are_unique_whatever_folders_are_given(tmp_path: Path):
    """Folders of one name are told apart by those above; what is given twice counts once."""
    for root in ("x/out", "y/out"):
        write(tmp_path / root / "1.2", date(2026, 1, 1))
    x, y = tmp_path / "x" / "out", tmp_path / "y" / "out"

    assert [each.source.name for each in read(x, y)[0]] == ["x/out/1.2", "y/out/1.2"]
    assert [each.source.name for each in read(x, x / "1.2", x)[0]] == ["out/1.2"]
