"""Claims about what lies between results: a batch or a node, the table, the cohort, norms."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from support.case_records import row
from support.cases import source_datasets
from support.ct import ct_stack, save
from support.fast_analysis import COMMAND
from support.postgres import running_postgres
from support.small_node import small_config
from support.volumes import body
from typer.testing import CliRunner, Result

from dicom_node.case_files.phantom_series import DEFAULT_HEADER, write_phantom_series
from dicom_node.cohort import figures
from dicom_node.commands import cli
from dicom_node.node.workflow import Workflow
from dicom_node.persistence.ledger import Ledger
from dicom_node.spool.arrivals import SeriesArrival
from inference.models.bundle import load_bundle
from inference.phantom.spec import SMALL_PHANTOM
from inference.structures import BY_ABBREVIATION

SCRIPT = Path(__file__).parents[1] / "support" / "batch_with_crashes.py"
PICTURE = '<img src="data:image/jpeg;base64,'


@pytest.fixture(autouse=True, scope="module")
def _few_panels() -> Iterator[None]:
    """One structure a figure instead of 22."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "STRUCTURES", (BY_ABBREVIATION["GMED"],))
        yield


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, words)))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a batch: two scans of a graded patient, one refused, one that crashed."""
    folder = tmp_path_factory.mktemp("batch")
    lines = ["path,name"]
    for year in (2023, 2024):
        header = replace(DEFAULT_HEADER, scanned=datetime(year, 4, 15, 9))  # noqa: DTZ001
        write_phantom_series(folder / f"{year}" / "series", SMALL_PHANTOM, header)
        lines.append(f"{year},{year}")
    save(ct_stack((0.0, 2.0)), folder / "short")
    image = SimpleITK.GetImageFromArray(np.array(body(spacing_mm=(50.0, 8.0, 8.0)).volume.hu))
    SimpleITK.WriteImage(image[:, :, :7], str(folder / "crash.nii.gz"))
    (folder / "list.csv").write_text("\n".join([*lines, "short,short", "crash.nii.gz,crash"]))
    (folder / "grades.csv").write_text(
        "patient_id,side,grade,grader,scale\n"
        "PHANTOM-0001,R,4,Ito H,Kellgren-Lawrence grade\n"
        "PHANTOM-0001,L,1,Ito H,Kellgren-Lawrence grade\n"
    )
    words = ["--list", "list.csv", "--out", "results", "--grader", "grades.csv"]
    done = subprocess.run(
        [sys.executable, SCRIPT, "segment", *words, "--samples", "1", "--device", "cpu"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stderr
    (folder / "results" / ".part-x" / "half").mkdir(parents=True)
    (folder / "results" / ".part-x" / "half" / "report.json").write_text("{")
    return folder / "results"


def test_a_batch_in_the_table_has_its_grades_refusals_and_failures(
    batch: Path, tmp_path: Path
) -> None:
    done = run("export", batch, "--out", tmp_path / "out.csv")
    cases = {each["case"]: each for each in rows(tmp_path / "out-cases.csv")}
    outcomes = {each["case"]: each["outcome"] for each in rows(batch / "cases.csv")}

    assert (done.exit_code, done.stderr) == (0, "")
    assert {name.removeprefix("results/") for name in cases} == outcomes.keys()
    states = {"analysed": "reported", "refused": "refused", "failed": "failed"}
    for name, outcome in outcomes.items():
        assert cases[f"results/{name}"]["state"] == states[outcome]
    assert cases["results/short"]["code"] == "too-few-slices"
    crashed = cases["results/crash"]
    assert crashed["code"] == "analysis-failed"
    assert crashed["words"] == "segmenting: it crashed (SIGSEGV)"
    assert crashed["structures_accepted"] == ""
    later = cases["results/2024"]
    assert [later[f"grade_{one}"] for one in ("R", "R_scale", "R_grader", "L")] == [
        "4",
        "Kellgren-Lawrence grade",
        "Ito H",
        "1",
    ]
    assert later["previous_study_date"] == "2023-04-15"
    structures = [each for each in rows(tmp_path / "out.csv") if each["case"].endswith("2024")]
    assert {(each["side"], each["grade"]) for each in structures} == {
        ("R", "4"),
        ("L", "1"),
        ("", ""),
    }


def test_a_batch_pseudonymised_names_nobody_who_graded_and_no_day_of_analysis(
    batch: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    done = run("export", batch, "--out", tmp_path / "out.csv", "--pseudonymise", key)
    text = "".join(path.read_text() for path in tmp_path.glob("*.csv"))
    cases = rows(tmp_path / "out-cases.csv")

    assert done.exit_code == 0
    assert "Ito" not in text
    assert "SIGSEGV" not in text
    assert {each["analysed_at"] for each in cases} == {""}
    graders = {each["grade_R_grader"] for each in cases if each["grade_R"]}
    assert len(graders) == 1
    assert graders.pop().startswith("G-")
    places = [each["patient_key"] or each["case"] for each in cases]
    assert places == sorted(places)


def test_a_batch_as_a_cohort_compares_the_graded_sides_and_counts_the_failed(
    batch: Path, tmp_path: Path
) -> None:
    """The first scan of the patient is the pair; nobody gives a --sides file."""
    done = run("cohort", batch, "--out", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()

    assert done.exit_code == 0, done.output
    assert "4: 2 reported, 1 refused, 1 failed" in html
    assert "segmenting: it crashed (SIGSEGV)" in html
    assert "The affected side of 2 cases is known." in html
    assert "the greater grade by people, in tables of grades" in html
    assert "Grade 4 of the affected side" in html
    assert "Ito" not in html


def test_a_pseudonymous_report_takes_a_file_of_sides_with_real_names_and_tells_none(
    batch: Path, tmp_path: Path
) -> None:
    sides = tmp_path / "sides.csv"
    sides.write_text("case,affected_side\nPHANTOM-0001,R\nPAT-9,L\n")
    out = tmp_path / "report.html"
    done = run(
        "cohort", batch, "--out", out, "--sides", sides, "--pseudonymise", tmp_path / "key"
    )
    html = out.read_text()

    assert done.exit_code == 0, done.output
    assert "The affected side of 2 cases is known." in html
    assert "1 cases of the file are not in this cohort" in html
    assert "not in this cohort: PAT-9" in done.stderr
    assert "Cases have pseudonyms in this report" in html
    for name in ("PAT-9", "PHANTOM-0001", "results/", str(tmp_path), "SIGSEGV"):
        assert name not in html, name


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The settings of a node with cases of 20 patients, and a refusal."""
    folder = tmp_path_factory.mktemp("node")
    if request.param == "sqlite":
        yield _filled(f"sqlite:///{folder}/db", folder)
        return
    with running_postgres() as postgres:
        yield _filled(postgres.url, folder)


def _filled(url: str, folder: Path) -> Path:
    ledger = Ledger(url)
    for number in range(20):
        day = date(2026, 1, 1 + number)
        ledger.save(row(f"1.2.{number}", patient_key=f"k{number}", study_date=day))
    ledger.save(row("1.3.1", patient_key="k9", code="not-axial"))
    ledger.close()
    (folder / "node.toml").write_text(f"[node]\ndatabase = {url!r}\n")
    return folder / "node.toml"


def test_a_case_of_a_node_is_held_against_norms_by_its_series(
    node: Path, tmp_path: Path
) -> None:
    norms = tmp_path / "norms.json"
    saved = run("cohort", "--config", node, "--save-norms", norms)
    page = tmp_path / "case.html"
    asked = ("cohort", "--config", node, "--norms", norms)
    one = run(*asked, "--series", "1.2.3", "--out", page)
    none = run(*asked, "--series", "1.2.99")

    assert "norms of 20 patients" in saved.output
    assert one.exit_code == 0, one.output
    assert "1.2.3: " in one.output
    assert "1.2.4" not in one.output
    assert "Case 1.2.3" in page.read_text()
    assert str(none.exception) == "no case of these series in the node's database"


def test_a_node_pseudonymised_is_a_cohort_without_its_uids(node: Path, tmp_path: Path) -> None:
    norms = tmp_path / "norms.json"
    asked = ("cohort", "--config", node, "--pseudonymise", tmp_path / "key")
    saved = run(*asked, "--save-norms", norms)
    compared = run(*asked, "--norms", norms, "--series", "1.2.3")

    assert saved.exit_code == 0, saved.output
    assert compared.exit_code == 0, compared.output
    assert "C-" in compared.output
    assert "1.2.3" not in compared.output


def test_flagged_cases_of_a_node_show_their_qc_pages_while_the_files_are_kept(
    tmp_path: Path,
) -> None:
    """Two flagged cases; the objects of one are purged; pseudonymised, no page is shown."""
    config = small_config(tmp_path, None)
    ledger = Ledger(config.node.database_url)
    sha256 = load_bundle(config.analysis.bundle).sha256
    workflow = Workflow(config, ledger, sha256, [*COMMAND, "--partial"])
    kinds = workflow.kinds()
    for uid in ("1.2.1", "1.2.2"):
        datasets = source_datasets(SeriesInstanceUID=uid, StudyInstanceUID=f"{uid}.9")
        for each in datasets:
            each.SOPInstanceUID = f"{each.SOPInstanceUID}.{uid[-1]}"
        paths = tuple(sorted(save(datasets, tmp_path / "spool" / uid)))
        uids = tuple(str(each.SOPInstanceUID) for each in datasets)
        work = list(
            workflow.admit(SeriesArrival(uid, f"{uid}.9", 1, paths, uids, "CT1", "N", "quiet"))
        )
        while work:
            job = work.pop(0)
            work += kinds[job.kind].run(job.payload)
    for result in ledger.results("1.2.2", 1):
        Path(result.path).unlink()
    ledger.close()
    (tmp_path / "node.toml").write_text(f"[node]\ndatabase = 'sqlite:///{tmp_path}/db'\n")
    out, asked = tmp_path / "report.html", ("cohort", "--config", tmp_path / "node.toml")
    done = run(*asked, "--out", out)
    html = out.read_text()
    hidden = run(*asked, "--out", out, "--pseudonymise", tmp_path / "key")

    assert done.exit_code == 0, done.output
    assert "2 cases are flagged" in html
    assert html.count(PICTURE) == 1
    assert hidden.exit_code == 0
    assert PICTURE not in out.read_text()
    assert "1.2.1" not in out.read_text()
