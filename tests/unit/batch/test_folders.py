"""The folder of a case, however a run ends while it changes what is there."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.killed_replacing import NEW, OLD

from dicom_node.case_files.result_names import ALL_FILES, MARKER_FILE, REPORT_FILE

SCRIPT = Path(__file__).parents[2] / "support" / "killed_replacing.py"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders in which the script has been at work."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True)
    return folder


def after_each_kill(killed: Path, how: str) -> list[dict[str, str]]:
    """What lies in a case's folder, by name, for each step that a kill came before."""
    steps = sorted((killed / how).iterdir(), key=lambda path: int(path.name))
    return [
        {path.name: path.read_text() for path in (step / "case").iterdir()} for step in steps
    ]


@pytest.mark.parametrize(("how", "kills"), [("replace", 20), ("fail", 10), ("clear", 10)])
def test_a_kill_at_any_step_leaves_nothing_that_says_more_than_is_there(
    how: str, kills: int, killed: Path
):
    """A marker: the case is done. A report: all of the files that it is about are there."""
    found = after_each_kill(killed, how)

    assert len(found) > kills
    assert {found[0][name] for name in ALL_FILES} == {OLD}
    for files in found[:-1]:
        if MARKER_FILE in files:
            assert files.keys() >= set(ALL_FILES)
            assert len(set(files.values())) == 1
        if REPORT_FILE in files:
            words = files[REPORT_FILE]
            assert [files.get(name) for name in ALL_FILES] == [words] * len(ALL_FILES)
    ended = {
        "replace": dict.fromkeys((*ALL_FILES, MARKER_FILE), NEW),
        "fail": {MARKER_FILE: found[-1].get(MARKER_FILE)},
        "clear": {},
    }
    assert found[-1] == ended[how]
