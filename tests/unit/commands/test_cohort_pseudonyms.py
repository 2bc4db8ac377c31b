"""`msk-node cohort --pseudonymise`: no person in the report, and what it still says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cohort_folders import write_folders
from support.cohorts import cohort
from typer.testing import CliRunner, Result

from dicom_node.cohort import figures
from dicom_node.commands import cli
from inference.structures import BY_ABBREVIATION

CASES = 90
"""One every day and a half: by themselves they have weeks."""

runner = CliRunner()


@pytest.fixture(autouse=True, scope="module")
def _few_panels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "STRUCTURES", (BY_ABBREVIATION["GMED"],))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases with sources, flagged ones with QC pages, and a folder that nobody can read."""
    root = tmp_path_factory.mktemp("clinic") / "MSK-archive"
    made = cohort(CASES, days=135, uncertain_from=80, factor=2.5)
    write_folders(root, made, pictures=True, sources=True)
    (root / "MSK0666").mkdir()
    (root / "MSK0666" / "report.json").write_text("{")
    return root


def run(root: Path, out: Path, *arguments: object) -> Result:
    key = out.with_name("study.key")
    words = ["cohort", str(root), "--out", str(out), "--pseudonymise", str(key)]
    return runner.invoke(cli.app, [*words, *map(str, arguments)])


@pytest.fixture(scope="module")
def told(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What the command printed, and the report."""
    folder = tmp_path_factory.mktemp("out")
    lines = [f"P-case{n:04d},R\n" for n in range(1, 10)] + ["case0011,L\n", "MSK0777,R\n"]
    (folder / "sides.csv").write_text(f"case,affected_side\n{''.join(lines)}")
    done = run(root, folder / "report.html", "--sides", folder / "sides.csv")
    assert done.exit_code == 0, done.exception
    return done.output, (folder / "report.html").read_text()


def test_sides_are_found_by_real_names_and_told_by_none(told: tuple[str, str]):
    _, html = told

    assert "The affected side of 10 cases is known." in html
    assert "1 cases of the file are not in this cohort" in html
    assert "MSK0777" not in html


def test_no_name_identifier_folder_key_or_picture_is_in_the_report(
    told: tuple[str, str], root: Path
):
    _, html = told
    made = cohort(CASES, days=135, uncertain_from=80, factor=2.5)

    assert html.count("C-") >= 5
    for case in made:
        source = case.source
        for word in (source.name, source.series_instance_uid, source.study_instance_uid):
            assert word not in html
        assert source.patient_id not in html
    for word in ("MSK0666", root.name, "study.key", "sides.csv", "data:image/jpeg"):
        assert word not in html
    assert "1 cases, whose names are left out" in html


def test_no_day_or_week_of_a_scan_is_in_the_report(told: tuple[str, str]):
    """Without pseudonyms the same cases have weeks."""
    _, html = told
    periods = re.findall(r'<th scope="row" title="(20[^"]*)">', html)

    assert periods[0] == "2023-01"
    assert all(re.fullmatch(r"20\d\d-\d\d", name) for name in periods)
    assert "A mark each month" in html
    assert "<td>2023 to 2023</td>" in html


def test_a_report_without_pseudonyms_has_all_of_them(root: Path, tmp_path: Path):
    """The claims above can fail."""
    done = runner.invoke(cli.app, ["cohort", str(root), "--out", str(tmp_path / "r.html")])
    html = (tmp_path / "r.html").read_text()

    assert done.exit_code == 0
    for word in ("case0081", "MSK0666", "data:image/jpeg", "A mark each week"):
        assert word in html


def test_cases_against_norms_do_not_come_in_the_order_of_their_days(root: Path, tmp_path: Path):
    saved = ["cohort", str(root), "--save-norms", str(tmp_path / "norms.json")]
    assert runner.invoke(cli.app, saved).exit_code == 0
    few = write_folders(
        tmp_path / "few", cohort(12, refused_every=0, prefix="new", seed=3), sources=True
    )
    done = run(few, tmp_path / "case.html", "--norms", tmp_path / "norms.json")
    names = re.findall(r"^(C-[0-9a-f]{16}): ", done.output, re.MULTILINE)

    assert done.exit_code == 0
    assert len(names) == 12
    assert names == sorted(names)
    assert "new0" not in done.output + (tmp_path / "case.html").read_text()
