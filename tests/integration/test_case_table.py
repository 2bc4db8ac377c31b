"""Claims about the table of results: what a node has answered is in it, on either database."""

from __future__ import annotations

import csv
import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.case_records import ANALYSED_AT, row
from support.cases import source_datasets
from support.ct import SERIES_UID, STUDY_UID, save
from support.fast_analysis import COMMAND
from support.postgres import running_postgres
from support.small_node import small_config

from dicom_node.case_files.report_json import report_schema
from dicom_node.cohort.reading import record_of_row, records_of_ledger
from dicom_node.cohort.records import CaseRecord
from dicom_node.node.workflow import Workflow
from dicom_node.persistence.database import open_database
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import CaseRow, SeriesRow, SeriesState
from dicom_node.persistence.tables import METADATA
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.digest_key import digest_key
from inference.grading.grader_files import grader_sha256
from inference.models.bundle import load_bundle

MSK_NODE = str(Path(sys.executable).parent / "msk-node")
LATER_INDICES = (
    "series_in_state",
    "series_of_study",
    "series_received",
    "results_in_own_series",
    "deliveries_due",
    "deliveries_in_state",
    "deliveries_to",
    "deliveries_sent",
    "deliveries_changed",
)
Make = Callable[..., Workflow]
PDF = {"profile": {"pdf_summary": True, "pdf_changes": True}}


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('ledger')}/db"
        return
    with running_postgres() as postgres:
        yield postgres.url


@pytest.fixture
def url(server: str) -> str:
    """The URL of a database without tables."""
    database = open_database(server)
    everything = sa.MetaData()
    with database.begin() as connection:
        everything.reflect(connection)
        everything.drop_all(connection)
    database.dispose()
    return server


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    yield ledger
    ledger.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes workflows of one node, as restarts with other settings or databases."""
    ledgers: list[Ledger] = []

    def workflow(*options: str, **sections: Any) -> Workflow:
        config = small_config(tmp_path, None, **sections)
        ledgers.append(Ledger(config.node.database_url))
        return Workflow(
            config=config,
            ledger=ledgers[-1],
            bundle_sha256=load_bundle(config.analysis.bundle).sha256,
            command=[*COMMAND, *options],
        )

    yield workflow
    for ledger in ledgers:
        ledger.close()


def arrival(folder: Path, series: int = 0, **elements: Any) -> SeriesArrival:
    """A series of twelve slices in a study of its own."""
    uids = {
        "SeriesInstanceUID": f"{SERIES_UID}.{series}",
        "StudyInstanceUID": f"{STUDY_UID}.{series}",
    }
    datasets = source_datasets(**(uids | elements))
    for dataset in datasets:
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{series}"
    paths = tuple(sorted(save(datasets, folder / "spool" / uids["SeriesInstanceUID"])))
    return SeriesArrival(
        uids["SeriesInstanceUID"],
        uids["StudyInstanceUID"],
        1,
        paths,
        tuple(str(each.SOPInstanceUID) for each in datasets),
        "CT1",
        "MSKNODE",
        "quiet",
    )


def finish(workflow: Workflow, work: Sequence[JobRequest]) -> None:
    kinds, waiting = workflow.kinds(), list(work)
    while waiting:
        job = waiting.pop(0)
        waiting += kinds[job.kind].run(job.payload)


def case_of(workflow: Workflow, arrived: SeriesArrival) -> CaseRow:
    rows = {each.series_instance_uid: each for each in workflow.ledger.cases()}
    return rows[arrived.series_instance_uid]


def record_of(workflow: Workflow, arrived: SeriesArrival) -> CaseRecord:
    return record_of_row(case_of(workflow, arrived))


def summary_pages(workflow: Workflow, arrived: SeriesArrival) -> bytes:
    """The PDF of a series."""
    results = workflow.ledger.results(arrived.series_instance_uid, 1)
    (path,) = (Path(each.path) for each in results if each.kind == "PDF")
    return path.read_bytes()


def test_an_answered_series_is_in_the_table_on_either_database(
    url: str, make: Make, tmp_path: Path
) -> None:
    """FEMUR R of the boxes has 23.04 cm3; the report is one by the published schema."""
    arrived = arrival(tmp_path, ConvolutionKernel="B30f", KVP="120")
    workflow = make(node={"database": url})
    finish(workflow, workflow.admit(arrived))
    row, record = case_of(workflow, arrived), record_of(workflow, arrived)
    report = json.loads(gzip.decompress(row.report))
    femur = next(one for one in record.structures if one.segment.key == "FEMUR_R")

    assert (row.state, row.verdict, row.bundle) == ("reported", "accepted", "compact 1.0")
    assert (row.sender, row.study_date) == ("CT1", date(2026, 11, 20))
    assert set(report) == set(report_schema()["properties"])
    assert report["input"]["series_instance_uid"] == arrived.series_instance_uid
    assert femur.volume_cm3 == pytest.approx(23.04)
    assert (record.source.kernel, record.source.kvp, record.source.age_years) == (
        "B30f",
        120.0,
        75.8,
    )
    assert record.model is not None
    assert record.model.settings == workflow.settings_hash


def test_a_grader_opens_a_revision_and_leaves_the_scans_comparable(
    make: Make, tmp_path: Path
) -> None:
    """Its rows are no settings of the model: what it found before is what it finds now."""
    table = tmp_path / "grades.csv"
    table.write_text(f"series_instance_uid,side,grade\n{SERIES_UID}.0,R,2\n")
    arrived = arrival(tmp_path)
    bare = make()
    finish(bare, bare.admit(arrived))
    before = record_of(bare, arrived)
    graded = replace(make(analysis={"grader": str(table)}), grader_sha256=grader_sha256(table))
    finish(graded, graded.admit(arrived))
    now = record_of(graded, arrived)
    uids = [
        {each.sop_instance_uid for each in graded.ledger.results(SERIES_UID + ".0", revision)}
        for revision in (1, 2)
    ]

    grades = json.loads(gzip.decompress(case_of(graded, arrived).report))["case"]["grades"]
    assert [one["grade"] for one in grades] == ["2", None]
    assert before.model == now.model is not None
    assert uids[0]
    assert not uids[0] & uids[1]


def test_a_refused_and_a_failed_series_are_in_the_table_with_their_reason(
    make: Make, tmp_path: Path
) -> None:
    two_slices = arrival(tmp_path, 1, offsets_mm=(0.0, 5.0))
    crashing = arrival(tmp_path, 2)
    for arrived, options in ((two_slices, ()), (crashing, ("--crash",))):
        workflow = make(*options, analysis={"attempts": 1})
        finish(workflow, workflow.admit(arrived))
    refused, failed = record_of(workflow, two_slices), record_of(workflow, crashing)

    assert (refused.state, refused.code) == ("refused", "too-few-slices")
    assert (failed.state, failed.code) == ("failed", "analysis-failed")
    assert refused.source.study_date == failed.source.study_date == date(2026, 11, 20)
    assert refused.source.patient_key == failed.source.patient_key != ""


def test_a_series_of_two_patients_is_nobody_s(make: Make, tmp_path: Path) -> None:
    arrived = arrival(tmp_path)
    save(
        [source_datasets(PatientID="OTHER", SeriesInstanceUID=f"{SERIES_UID}.0")[0]],
        tmp_path / "one",
    )
    (other,) = (tmp_path / "one").iterdir()
    mixed = SeriesArrival(
        arrived.series_instance_uid,
        arrived.study_instance_uid,
        1,
        (*arrived.paths[1:], other),
        arrived.sop_instance_uids,
        "CT1",
        "MSKNODE",
        "quiet",
    )
    workflow = make()
    finish(workflow, workflow.admit(mixed))
    row = case_of(workflow, mixed)

    assert row.code == "mixed-patient"
    assert (row.patient_key, row.study_date) == ("", None)


@pytest.mark.parametrize("kept", [False, True])
def test_the_database_alone_names_nobody_unless_it_is_asked_to(
    kept: bool, make: Make, tmp_path: Path
) -> None:
    """Neither the Patient ID nor its plain digest; the name and the birth date in no case."""
    workflow = make(cases={"patient_id": kept})
    arrived = arrival(tmp_path)
    finish(workflow, workflow.admit(arrived))
    row = case_of(workflow, arrived)
    text = row.source + gzip.decompress(row.report).decode()

    assert ("MSK0001" in text) is kept
    for fact in ("Yamada", "19510203", "1951-02-03", "A-4711"):
        assert fact not in text
    key = digest_key(workflow.config.node.spool)
    assert row.patient_key == key.patient_key("", "MSK0001")
    assert len(row.patient_key) == 32


def test_a_case_and_its_series_are_entered_together_or_not_at_all(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies while it enters the answer leaves neither; the next one both."""
    workflow, arrived = make(), arrival(tmp_path)
    (segment,) = workflow.admit(arrived)
    (publish,) = workflow.segment(segment.payload)
    database = sqlite3.connect(tmp_path / "db")
    with closing(database):
        database.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON cases BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
        database.commit()
        with pytest.raises(sa.exc.IntegrityError):
            workflow.publish(publish.payload)
        row = workflow.ledger.series(arrived.series_instance_uid, 1)
        assert row is not None
        assert row.state is SeriesState.SEGMENTED
        database.execute("DROP TRIGGER broken")
        database.commit()
    workflow.publish(publish.payload)
    before = case_of(workflow, arrived)
    workflow.publish(publish.payload)

    assert case_of(workflow, arrived) == before
    row = workflow.ledger.series(arrived.series_instance_uid, 1)
    assert row is not None
    assert row.state is SeriesState.REPORTED


def test_the_summary_says_what_has_changed_since_the_last_scan_where_it_is_wanted(
    make: Make, tmp_path: Path
) -> None:
    """The fast analysis finds the same boxes in both: every change is 0."""
    first = arrival(tmp_path, 1, StudyDate="20251120")
    second = arrival(tmp_path, 2)
    workflow = make(**PDF)
    for arrived in (first, second):
        finish(workflow, workflow.admit(arrived))
    if not Path("/usr/bin/pdftotext").exists():
        pytest.skip("pdftotext (poppler) is not installed")
    texts = []
    for number, arrived in enumerate((first, second)):
        pdf = tmp_path / f"{number}.pdf"
        content = summary_pages(workflow, arrived)
        pdf.write_bytes(content[content.index(b"%PDF") :])
        done = subprocess.run(
            ["pdftotext", "-layout", pdf, "-"], check=True, capture_output=True, text=True
        )
        texts.append(" ".join(done.stdout.split()))

    assert "No earlier scan of this patient was found" in texts[0]
    assert "Change since the scan of 2025-11-20" in texts[1]
    assert "Femur, right 23.0 23.0 ~ +0.0 (-1.2 to +1.2)" in texts[1]


def test_the_latest_revisions_come_by_patient_and_day_and_all_on_request(
    ledger: Ledger,
) -> None:
    ledger.save(
        row("1.3", patient_key="k2"),
        row("1.1", study_date=date(2025, 1, 1)),
        row("1.2", 1),
        row("1.2", 2),
        row("1.4", patient_key="", study_date=None, code="not-axial"),
    )
    names = [(each.series_instance_uid, each.revision) for each in ledger.cases()]

    assert names == [("1.4", 1), ("1.1", 1), ("1.2", 2), ("1.3", 1)]
    assert len(list(ledger.cases(all_revisions=True))) == 5


def test_since_a_moment_the_patients_with_something_new_come_with_all_they_have(
    ledger: Ledger,
) -> None:
    later = datetime(2026, 11, 23, tzinfo=UTC)
    ledger.save(
        row("1.1", study_date=date(2025, 1, 1)),
        row("1.2", analysed_at=later),
        row("1.3", patient_key="k2"),
        row("1.4", patient_key="", study_date=None),
        row("1.5", patient_key="", study_date=None, analysed_at=later),
    )

    assert [each.series_instance_uid for each in ledger.cases(since=later)] == [
        "1.5",
        "1.1",
        "1.2",
    ]
    assert len(list(ledger.cases(since=ANALYSED_AT))) == 5


def test_earlier_days_of_a_patient_are_found_and_nobody_else_s(ledger: Ledger) -> None:
    ledger.save(
        row("1.1", study_date=date(2025, 1, 1)),
        row("1.2"),
        row("1.3", patient_key="k2", study_date=date(2025, 1, 1)),
        row("1.4", study_date=None),
    )
    found = ledger.cases_of_patient("k1", date(2026, 11, 20))

    assert [each.series_instance_uid for each in found] == ["1.1"]


def test_a_row_comes_back_as_it_was_and_a_damaged_one_is_named(ledger: Ledger) -> None:
    ledger.save(row("1.1"), row("1.2", report=b"\x1f\x8bnothing"), row("1.3", source="{"))
    unreadable: list[str] = []
    found = records_of_ledger(ledger, lambda name, _why: unreadable.append(name))

    assert [each.source.name for each in found] == ["1.1"]
    assert unreadable == ["1.2 1", "1.3 1"]
    assert next(ledger.cases()) == row("1.1")


def test_series_that_were_answered_before_are_counted(ledger: Ledger) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    states = (SeriesState.REPORTED, SeriesState.REFUSED, SeriesState.RECEIVED)
    for number, state in enumerate(states):
        uid = f"1.{number}"
        ledger.save(SeriesRow(uid, 1, "1.9", "CT1", "MSKNODE", 9, "f", now, now, state=state))
    ledger.save(row("1.0"))

    assert ledger.answered_without_case() == 1


def export(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MSK_NODE, "export", "--out", "out.csv", *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"},
    )


def test_the_command_writes_a_node_s_cases_and_says_what_is_not_in_them(
    make: Make, tmp_path: Path
) -> None:
    workflow = make()
    for number, day in enumerate(("20251120", "20261120")):
        finish(workflow, workflow.admit(arrival(tmp_path, number, StudyDate=day)))
    now = datetime(2026, 11, 22, tzinfo=UTC)
    before = SeriesRow("1.9", 1, "1.9", "CT1", "MSKNODE", 9, "f", now, now)
    workflow.ledger.save(before.become(SeriesState.REPORTED, now))
    (tmp_path / "node.toml").write_text("[node]\ndatabase = 'db'\n")
    done = export(tmp_path, "--config", "node.toml", "--pseudonymise", "study.key")

    assert done.returncode == 0, done.stderr
    assert "86 structures in out.csv" in done.stdout
    assert "1 answered series are not in the table" in done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    femur = [each for each in rows if each["segment"] == "FEMUR_R"]
    assert [each["volume_change_cm3"] for each in femur] == ["", "0.0"]
    assert femur[1]["volume_change_within_range"] == "true"
    assert femur[0]["patient_key"] == femur[1]["patient_key"] != ""
    assert "CT1" not in (tmp_path / "out-cases.csv").read_text()


def make_it_old(database: Path) -> None:
    """Leave of a ledger what version 0001 had."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
        later = {table.name for table in METADATA.sorted_tables if "since" in table.info}
        for kind, name in found:
            if kind == "index" and name in LATER_INDICES:
                connection.execute(f"DROP INDEX {name}")
        for kind, name in found:
            if kind == "table" and name in later:
                connection.execute(f"DROP TABLE {name}")
        connection.execute("ALTER TABLE series DROP COLUMN voxels")
        connection.execute("UPDATE ledger_version SET version_num = '0001'")
        connection.commit()


def test_a_node_of_before_the_table_goes_on_beside_it_and_is_told_of(
    make: Make, tmp_path: Path
) -> None:
    make()
    make_it_old(tmp_path / "db")
    (tmp_path / "node.toml").write_text("[node]\ndatabase = 'db'\n")
    done = export(tmp_path, "--config", "node.toml")

    assert done.returncode == 3
    assert "an older msk-node" in done.stderr
    make()
    assert export(tmp_path, "--config", "node.toml").returncode == 0


def test_what_a_worker_of_before_the_table_answers_beside_it_is_counted(
    make: Make, tmp_path: Path
) -> None:
    """Its statements name its own columns; the node that is started makes the table."""
    make()
    make_it_old(tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db")) as older:
        newer = make().ledger
        now = "2026-11-22 00:00:00.000000"
        values = ("1.9", 1, "1.9", "CT1", "MSKNODE", 9, "f", "reported", "", "", now, now)
        columns = (
            "series_instance_uid, revision, study_instance_uid, calling_ae_title,"
            " called_ae_title, instances, fingerprint, state, code, reason, received_at,"
            " changed_at"
        )
        marks = ", ".join("?" * len(values))
        older.execute(f"INSERT INTO series ({columns}) VALUES ({marks})", values)  # noqa: S608
        older.commit()

    assert newer.answered_without_case() == 1
    assert list(newer.cases()) == []


def test_the_secret_of_a_spool_that_cannot_be_read_holds_up_no_answer(
    make: Make, tmp_path: Path
) -> None:
    workflow, arrived = make(), arrival(tmp_path)
    (tmp_path / "spool" / ".digest-key").mkdir()
    finish(workflow, workflow.admit(arrived))

    assert case_of(workflow, arrived).patient_key == ""
    assert case_of(workflow, arrived).state == "reported"
