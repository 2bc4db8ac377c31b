"""A claim about what a worker loads before it works: its start is what a restart waits for."""

from __future__ import annotations

import subprocess
import sys

NEEDLESS = ("dicomweb_client", "reportlab", "scipy.stats", "skimage.measure", "torch")
SCRIPT = f"""
import sys
import dicom_node.chores, dicom_node.engine, dicom_node.sender_counts, dicom_node.workflow
from dicom_node.devices import device_key
from inference.bundle_files import bundle_sha256
device_key("cpu")
bundle_sha256("compact")
print(*sorted(set({NEEDLESS!r}) & set(sys.modules)))
"""


def test_a_worker_loads_only_what_every_series_needs() -> None:
    """The network is its child's; PDFs, outlines and DICOMweb wait for their first use."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    )

    assert done.stdout.split() == []
