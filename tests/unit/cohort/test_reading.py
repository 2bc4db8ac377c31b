"""Claims about cases read from folders of `segment` and from rows of the ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from support.case_records import ANALYSED_AT, report, row

from dicom_node.case_files.report_json import report_json
from dicom_node.case_files.source_json import CaseSource, open_patient_key, source_json
from dicom_node.cohort.reading import by_patient, record_of_row, records_of_folders
from dicom_node.cohort.records import CaseRecord
from dicom_node.series.scan_facts import PatientNumber, ScanFacts
from inference.results import Verdict


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
    del told["case"]["model"]["uncertainty"]
    (folder / "report.json").write_text(json.dumps(told))
    ((case,), unreadable) = read(tmp_path)

    assert unreadable == []
    assert case.structures[2].lean is None
    assert case.model is not None
    assert case.model.uncertainty == "variance"


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


def test_a_folder_s_key_is_the_same_everywhere_and_another_issuer_s_another():
    one = open_patient_key(PatientNumber("MSK0001"))

    assert one == open_patient_key(PatientNumber("MSK0001", ""))
    assert one != open_patient_key(PatientNumber("MSK0001", "HOSP"))
    assert open_patient_key(PatientNumber("", "HOSP")) == ""
