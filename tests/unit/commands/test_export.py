"""`msk-node export`: a table that says nothing says so."""

from __future__ import annotations

from pathlib import Path

from support.cohort_folders import write_folders
from support.cohorts import cohort
from typer.testing import CliRunner, Result

from dicom_node.commands import cli


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def test_empty_tables_are_told_and_days_in_the_wrong_order_refused(tmp_path: Path):
    write_folders(tmp_path / "R", cohort(3, refused_every=0))
    export = ("export", tmp_path / "R", "--out", tmp_path / "out.csv")
    some, none = _run(*export), _run(*export, "--bundle", "nonesuch")
    backwards = _run(*export, "--from", "2026-02-01", "--to", "2026-01-01")

    assert "are empty" not in some.output
    assert (none.exit_code, "the tables are empty" in none.output) == (0, True)
    assert (backwards.exit_code, "later day" in backwards.output) == (2, True)


def test_a_cohort_of_no_bundle_names_it(tmp_path: Path):
    write_folders(tmp_path / "R", cohort(3))
    html = tmp_path / "c.html"
    done = _run("cohort", tmp_path / "R", "--out", html, "--bundle", "nonesuch")
    assert "by nonesuch" in str(done.exception)
