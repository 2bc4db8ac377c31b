"""Claims about what a process loads before it works: its start is what a restart waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.persistence.ledger import Ledger

WORKER = """
import dicom_node.archive.expected_counts, dicom_node.persistence.job_queue
import dicom_node.node.maintenance, dicom_node.node.workflow
from dicom_node.analysis.devices import device_key
from inference.models.bundle_files import bundle_sha256
from dicom_node.persistence.ledger import Ledger
device_key("cpu")
bundle_sha256("compact")
Ledger("sqlite:///node.sqlite").close()
"""
RECEIVER = """
import dicom_node.receiving.receiver, dicom_node.node.roles
from dicom_node.settings.loading import parse_config
from pathlib import Path
parse_config({}, source="", folder=Path()).node.database_path
"""
WEB = "import dicom_node.web.process, dicom_node.web.server"
LOOKING = """
import dicom_node.commands.cli, dicom_node.commands.health, dicom_node.node.find
import dicom_node.node.health, dicom_node.node.status, dicom_node.settings.loading
"""
NEEDLESS_TO_WORK = (
    "alembic dicomweb_client fastapi nibabel prometheus_client reportlab scipy.stats"
    " skimage.measure torch"
)
NEEDLESS_TO_RECEIVE = (
    "alembic dbos fastapi highdicom nibabel prometheus_client scipy sqlalchemy torch"
)
NEEDLESS_TO_LOOK = (
    "alembic dbos dicomweb_client highdicom nibabel psycopg reportlab scipy torch"
)


@pytest.mark.parametrize(
    ("process", "needless"),
    [
        (WORKER, NEEDLESS_TO_WORK),
        (RECEIVER, NEEDLESS_TO_RECEIVE),
        (WEB, NEEDLESS_TO_LOOK),
        (LOOKING, f"{NEEDLESS_TO_LOOK} fastapi"),
    ],
    ids=["worker", "receiver", "web", "a command that looks"],
)
def test_a_process_loads_only_what_every_series_needs(
    process: str, needless: str, tmp_path: Path
) -> None:
    """The network is the child's; PDFs, outlines and DICOMweb wait for their first use.

    So does Alembic, where the ledger is of this version.
    """
    Ledger(f"sqlite:///{tmp_path}/node.sqlite").close()
    script = (
        f"{process}\nimport sys\nprint(*sorted(set({needless.split()}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path
    )

    assert done.stdout.split() == []
