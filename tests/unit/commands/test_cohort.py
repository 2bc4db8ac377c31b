"""`msk-node cohort`: folders in; a report, norms, or a case against norms out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.cohort_folders import write_folders
from support.cohorts import MODEL, cohort
from typer.testing import CliRunner, Result

from dicom_node.cohort import figures
from dicom_node.commands import cli
from dicom_node.errors import ConfigurationError
from inference.structures import BY_ABBREVIATION

runner = CliRunner()


@pytest.fixture(autouse=True, scope="module")
def _few_panels() -> Iterator[None]:
    """One structure a figure instead of 22."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "STRUCTURES", (BY_ABBREVIATION["GMED"],))
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 cases in a folder each, and one that nobody can read."""
    root = tmp_path_factory.mktemp("cohort") / "results"
    write_folders(root, cohort(40, uncertain_from=30, factor=2.5), pictures=True)
    (root / "damaged").mkdir()
    (root / "damaged" / "report.json").write_text('{"case": {"verdict": "fine"}}')
    return root


def run(*arguments: object) -> Result:
    return runner.invoke(cli.app, ["cohort", *map(str, arguments)])


def test_folders_become_one_report_with_their_qc_pages(results: Path, tmp_path: Path):
    sides = tmp_path / "sides.csv"
    sides.write_text("case,affected_side\n" + "".join(f"case{n:04d},R\n" for n in range(1, 10)))

    done = run(results, "--out", tmp_path / "deep" / "report.html", "--sides", sides)
    html = (tmp_path / "deep" / "report.html").read_text()

    assert done.exit_code == 0
    assert "report of 40 cases" in done.output
    assert "not read: results/damaged: ValueError" in done.output
    assert "results/damaged: ValueError" in html
    assert html.count('<img src="data:image/jpeg;base64,') >= 5
    assert "The affected side of 9 cases is known." in html


def test_norms_are_saved_and_a_case_is_held_against_them(results: Path, tmp_path: Path):
    saved = run(results, "--save-norms", tmp_path / "norms.json")
    assert (saved.exit_code, "norms of 38 patients" in saved.output) == (0, True)

    write_folders(tmp_path / "one", cohort(1, refused_every=0, seed=8, prefix="new"))
    page = tmp_path / "case.html"
    done = run(tmp_path / "one", "--norms", tmp_path / "norms.json", "--out", page)

    assert done.exit_code == 0
    told = " ".join(done.output.split())
    assert re.search(r"one/new0001: 2\d\d numbers compared, \d+ beyond 2 SD", told)
    assert re.search(r", [a-z]+.* [\d.]+: z [+-]\d\.\d of everyone \(n 3\d\)", told)
    assert "Case one/new0001" in page.read_text()


def test_a_case_of_another_bundle_ends_as_not_comparable(results: Path, tmp_path: Path):
    run(results, "--save-norms", tmp_path / "norms.json")
    other = replace(MODEL, weights_sha256="b2" * 32)
    write_folders(tmp_path / "one", cohort(1, refused_every=0, model=other))

    done = run(tmp_path / "one", "--norms", tmp_path / "norms.json")

    assert "results of two bundles are not compared" in " ".join(done.output.split())
    assert isinstance(done.exception, ConfigurationError)


def test_one_bundle_of_several_can_be_chosen(results: Path, tmp_path: Path):
    other = replace(MODEL, version="2", weights_sha256="b2" * 32)
    write_folders(tmp_path / "more", cohort(8, refused_every=0, model=other, prefix="more"))
    folders = (results, tmp_path / "more")

    mixed = run(*folders, "--save-norms", tmp_path / "norms.json")
    assert "norms are of one bundle" in str(mixed.exception)

    done = run(*folders, "--save-norms", tmp_path / "norms.json", "--bundle", "compact 2")
    assert done.exit_code == 0
    norms = json.loads((tmp_path / "norms.json").read_text())
    assert (norms["patients"], norms["model"]["version"]) == (8, "2")


@pytest.mark.parametrize(
    "options",
    [
        ("--title", "x"),
        ("--norms", "n.json", "--save-norms", "m.json"),
        ("--norms", "n.json", "--sides", "s.csv"),
    ],
)
def test_options_that_make_no_sense_together_are_wrong_usage(
    results: Path, options: tuple[str, ...]
):
    assert run(results, *options).exit_code == 2


def test_a_folder_without_cases_is_told(tmp_path: Path):
    done = run(tmp_path, "--out", tmp_path / "report.html")

    assert "no case in" in str(done.exception)
    assert not (tmp_path / "report.html").exists()


def test_more_cases_than_are_looked_at_one_by_one_are_not_compared(
    results: Path, tmp_path: Path
):
    run(results, "--save-norms", tmp_path / "norms.json")
    write_folders(tmp_path / "many", cohort(51, refused_every=0))

    done = run(tmp_path / "many", "--norms", tmp_path / "norms.json")

    assert "51 cases: 50 at most" in str(done.exception)
