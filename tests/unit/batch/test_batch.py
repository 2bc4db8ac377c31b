"""Many cases, of which some fail in every way there is: the others are done all the same."""

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bundles import untrained_bundle
from support.image_files import nifti
from support.light_batch_child import COMMAND
from typer.testing import CliRunner

from dicom_node.batch.batch import Limits, Request, run_batch
from dicom_node.batch.cases import Case
from dicom_node.batch.child import serve
from dicom_node.batch.messages import Answer, Kind, Settings, Step, receive_answer
from dicom_node.batch.pace import Pace
from dicom_node.batch.table import Row
from dicom_node.case_files.result_folder import read_image_scan
from dicom_node.commands import batch, cli
from dicom_node.commands.batch import found_cases
from dicom_node.errors import ConfigurationError
from inference.errors import BundleError, InferenceError
from inference.grading.grader_files import grader_sha256


class Heard:
    """What a batch tells."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.paces: list[Pace] = []
        self.troubles: list[str] = []

    def begun(self, pace: Pace) -> None:
        """How many there are."""
        self.paces.append(pace)

    def slices(self, case: str, done: int, total: int) -> None:
        """Of no interest."""

    def finished(self, row: Row, pace: Pace) -> None:
        """One more."""
        self.rows.append(row)
        self.paces.append(pace)

    def trouble(self, words: str) -> None:
        """A warning."""
        self.troubles.append(words)


def request(tmp_path: Path, *names: str, **options: object) -> Request:
    cases = []
    for number, name in enumerate(names):
        path = tmp_path / "in" / str(number) / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        cases.append(Case(f"{number}-{name}", path, (path,), is_image=True))
    given = {"command": COMMAND, **options}
    return Request(tuple(cases), tmp_path / "out", Settings("b", "cpu", 1), "abc", **given)


def outcomes(rows: tuple[Row, ...]) -> dict[str, str]:
    return {row.case.split("-")[1]: row.outcome for row in rows}


def test_a_case_that_crashes_fails_or_is_refused_never_stops_the_rest(tmp_path: Path):
    names = ("good", "crash", "once", "error", "memory", "refused", "fine")
    heard = Heard()
    rows = run_batch(request(tmp_path, *names), heard)
    words = {row.case.split("-")[1]: row.words for row in rows}

    assert outcomes(rows) == {
        "good": "analysed",
        "crash": "failed",
        "once": "analysed",
        "error": "failed",
        "memory": "failed",
        "refused": "refused",
        "fine": "analysed",
    }
    assert words["crash"] == "segmenting: it crashed (SIGSEGV)"
    assert words["memory"] == "measuring and writing: there was not memory enough"
    assert words["error"].startswith("reading: unexpected ValueError at ")
    assert "patient" not in words["error"]
    # What died is tried once more, alone, behind all others.
    assert {one.split(":")[0] for one in heard.troubles} == {"1-crash", "2-once", "4-memory"}
    assert {row.case for row in heard.rows[-3:]} == {"1-crash", "2-once", "4-memory"}
    assert heard.paces[-1].done == heard.paces[-1].total == len(names)
    assert [row.case for row in rows] == [f"{n}-{name}" for n, name in enumerate(names)]


def test_a_second_run_does_nothing_and_failed_ones_are_tried_when_asked(tmp_path: Path):
    names = ("good", "crash", "refused")
    first = run_batch(request(tmp_path, *names), Heard())
    nobody = (sys.executable, "-c", "raise SystemExit('nothing is to be started')")
    again = Heard()
    second = run_batch(request(tmp_path, *names, command=nobody), again)
    failed = Heard()
    run_batch(request(tmp_path, *names, again_failed=True), failed)

    assert second == first
    assert again.rows == []
    assert again.paces[0].before == 3
    assert [row.case for row in failed.rows] == ["1-crash"]


def test_what_changed_is_done_again_and_nothing_else(tmp_path: Path):
    run_batch(request(tmp_path, "good", "fine"), Heard())
    (tmp_path / "in" / "1" / "fine").write_text("other content")
    heard = Heard()
    run_batch(request(tmp_path, "good", "fine"), heard)
    assert [row.case for row in heard.rows] == ["1-fine"]

    other = request(tmp_path, "good", "fine")
    changed = Heard()
    run_batch(
        Request(other.cases, other.out, other.settings, "another bundle", command=COMMAND),
        changed,
    )
    assert len(changed.rows) == 2

    graded = Heard()
    run_batch(replace(other, bundle_sha256="another bundle", grader_sha256="a grader"), graded)
    assert len(graded.rows) == 2


def test_a_grader_that_changes_under_a_batch_ends_it(tmp_path: Path):
    """Markers name the old one: nothing is to be made of the new one under it."""
    scan = nifti(tmp_path / "scan.nii", np.eye(3))
    bundle = untrained_bundle(tmp_path / "bundle")
    grades = tmp_path / "grades.csv"
    grades.write_text("case,side,grade\nscan.nii,R,1\n")

    class Meanwhile(Heard):
        """Begins when the hashes have been taken, and no process has been started."""

        def begun(self, pace: Pace) -> None:
            grades.write_text("case,side,grade\nscan.nii,R,2\n")

    asked = Request(
        (Case("scan", scan, (scan,), is_image=True),),
        tmp_path / "out",
        Settings(str(bundle.folder), "cpu", 1, str(grades)),
        bundle.sha256,
        grader_sha256=grader_sha256(grades),
    )
    with pytest.raises(BundleError, match=r"grades\.csv has changed since the batch"):
        run_batch(asked, Meanwhile())
    assert not (tmp_path / "out" / "scan").exists()


@pytest.mark.parametrize("step", [Step.SEGMENT, Step.WRITE])
def test_a_process_with_another_bundle_than_the_batch_has_says_so(step: Step, tmp_path: Path):
    bundle = untrained_bundle(tmp_path / "bundle")
    settings = Settings(str(bundle.folder), "cpu", 1, bundle_sha256="of before")
    parent, line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with parent, line:
        serve(step, line, settings)
        answer, _ = receive_answer(parent) or (None, None)

    words = f"{bundle.folder} has changed since the batch was started; start it again"
    assert answer == Answer(Kind.UNUSABLE, "BundleError", (words,))


def test_a_step_that_hangs_is_ended_and_the_case_failed(tmp_path: Path):
    limits = Limits(step_s=3.0)
    rows = run_batch(request(tmp_path, "hang", "good", limits=limits), Heard())
    assert outcomes(rows) == {"hang": "failed", "good": "analysed"}
    assert rows[0].words == "segmenting: it took too long and was stopped"


def test_a_full_disk_ends_the_batch_and_fails_no_case(tmp_path: Path):
    with pytest.raises(OSError, match="No space left") as caught:
        run_batch(request(tmp_path, "good", "full", "fine"), Heard())
    assert caught.value.filename == str(tmp_path / "out")
    table = (tmp_path / "out" / "cases.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in table[1:3]] == ["analysed", "not done"]
    assert not (tmp_path / "out" / "1-full").exists()
    assert not list((tmp_path / "out").glob(".part-*"))


def test_processes_that_do_not_start_end_the_batch(tmp_path: Path):
    nobody = (sys.executable, "-c", "raise SystemExit(7)")
    with pytest.raises(InferenceError, match="does not start: it ended with exit code 7"):
        run_batch(request(tmp_path, "good", command=nobody), Heard())


def test_two_batches_never_share_a_folder(tmp_path: Path):
    class Second(Heard):
        def begun(self, pace: Pace) -> None:
            with pytest.raises(ConfigurationError, match="another"):
                run_batch(request(tmp_path, "good"), Heard())

    rows = run_batch(request(tmp_path, "good"), Second())
    assert outcomes(rows) == {"good": "analysed"}


def test_results_of_before_go_and_files_of_others_stay(tmp_path: Path):
    run_batch(request(tmp_path, "good"), Heard())
    folder = tmp_path / "out" / "0-good"
    (folder / "notes.txt").write_text("mine")
    (folder / "report.json").write_text("of before")
    (tmp_path / "in" / "0" / "good").write_text("changed")
    run_batch(request(tmp_path, "good"), Heard())

    assert {path.name for path in folder.iterdir()} == {"made_of.json", "notes.txt"}
    assert json.loads((folder / "made_of.json").read_text())["made_of"]["files"] == 1


def test_no_more_cases_are_in_memory_than_the_limits_say():
    assert Limits.for_cores(2) == Limits(readers=1, writers=1)
    assert Limits.for_cores(16) == Limits(readers=2, writers=4)


def test_a_table_of_grades_calls_each_case_by_its_name_in_the_batch(tmp_path: Path):
    """Not by the folder that its files lie in, which is `series` of many scans."""
    cases = []
    for name in ("patient1", "patient2"):
        path = tmp_path / name / "series" / "named"
        path.parent.mkdir(parents=True)
        path.touch()
        cases.append(Case(name, path.parent, (path,)))
    rows = run_batch(replace(request(tmp_path), cases=tuple(cases)), Heard())
    assert [row.words for row in rows] == ["called patient1", "called patient2"]


def test_a_scan_from_an_image_file_has_the_name_that_it_is_given(tmp_path: Path):
    path = nifti(tmp_path / "ct.nii", np.eye(3))
    assert read_image_scan(path).subject.case == "ct.nii"
    assert read_image_scan(path, name="p17-ct").subject.case == "p17-ct"


def test_an_archive_that_grows_leaves_no_scan_twice(tmp_path: Path):
    """The first scan's results lie in the folder itself: as a case it gets one of its own."""
    asked = request(tmp_path, "a", "b")
    asked.out.mkdir()
    for name in ("report.json", "labels.nii.gz", "notes.txt"):
        (asked.out / name).write_text("{}")
    run_batch(asked, Heard())
    assert (asked.out / "labels.nii.gz").exists(), "a report of somebody else's"

    (asked.out / "report.json").write_text('{"report_version": 1}')
    heard = Heard()
    run_batch(asked, heard)
    assert "are removed" in heard.troubles[0]
    assert not (asked.out / "report.json").exists()
    assert (asked.out / "notes.txt").exists()


def test_one_scan_is_a_case_where_a_batch_has_been(tmp_path: Path):
    """Beside the folders of the others, its results would be found twice."""
    (tmp_path / "in").mkdir()
    nifti(tmp_path / "in" / "ct.nii", np.eye(3))
    assert found_cases(tmp_path / "in", None, tmp_path / "new", None).cases == ()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cases.csv").touch()
    (case,) = found_cases(tmp_path / "in", None, tmp_path / "out", None).cases
    assert case.name == "ct"


def test_an_error_in_a_table_of_grades_is_told_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch, "found_cases", lambda *_: pytest.fail("searched"))
    grades = tmp_path / "grades.csv"
    grades.write_text("case,grade\na,1\n")
    words = ["segment", str(tmp_path), "--out", str(tmp_path / "R"), "--grader", str(grades)]
    assert isinstance(CliRunner().invoke(cli.app, words).exception, BundleError)
