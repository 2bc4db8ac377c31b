"""The node of an earlier commit, as its own code: taken out of the history of this checkout."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LAST_WITHOUT_PACKAGES: Final = "e38e03d8046d1be0948009fec84c712d055fcead"
"""The last commit whose modules lie in a row, and whose ledger has no version."""
LAST_BEFORE_OPERATION: Final = "2356a194360b393b7741952ab37b4030d8fdfbe3"
"""The last commit without events, orders and pages; its ledger is of version 0004."""
SETTINGS: Final = """
import sys
from pathlib import Path
import dicom_node
# Looked for by its place: what the earlier tree lacks would be found in this one.
if (Path(dicom_node.__file__).parent / "settings").is_dir():
    from dicom_node.settings.loading import load_config
else:
    from dicom_node.config import load_config
    import dicom_node.engine
print(load_config(Path(sys.argv[1])).model_dump_json())
"""


@dataclass(frozen=True, slots=True)
class PreviousNode:
    """The code of an earlier commit in `tree`, run by the interpreter of the tests.

    What it needs of others is what is installed here; only its own packages come first.
    """

    tree: Path

    @property
    def serve(self) -> str:
        """The script that runs its node with its fast analysis."""
        return str(self.tree / "tests" / "support" / "serve_small.py")

    def environment(self, gates: Path, work: Path, results: Path) -> dict[str, str]:
        """What its processes find in theirs: its code, and the gates that hold them."""
        pausing = str(self.tree / "tests" / "support" / "pausing")
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([pausing, str(self.tree)]),
            "MSK_TEST_GATES": str(gates),
            "MSK_TEST_WORK": str(work),
            "MSK_TEST_RESULTS": str(results),
        }

    def settings(self, node_toml: Path) -> str:
        """What it reads in a `node.toml`, as the JSON that its `serve_small.py` takes."""
        done = subprocess.run(
            [sys.executable, "-c", SETTINGS, str(node_toml)],
            check=True,
            capture_output=True,
            text=True,
            cwd=node_toml.parent,
            env={**os.environ, "PYTHONPATH": str(self.tree)},
        )
        return done.stdout


def previous_node(folder: Path, commit: str = LAST_WITHOUT_PACKAGES) -> PreviousNode:
    """Put the code of a commit into a folder; a skip where the history is not here."""
    wanted = ("dicom_node", "inference", "sr_templates", "tests/support")
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit, *wanted]
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode != 0:
        pytest.skip(f"commit {commit[:8]} is not here: a shallow clone, or no clone at all")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return PreviousNode(folder)
