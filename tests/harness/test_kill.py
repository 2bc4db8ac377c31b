"""Power cuts: after SIGKILL and a new start nothing is lost or doubled in Orthanc.

The signal goes to the node's whole process group. The QC image is asked for in every case, so
that each trial ends with the same three objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from support.answers import answers, study_of
from support.namespace import Namespace
from support.node_process import NodeProcess, install_node, node_toml
from support.orthanc import Orthanc
from support.waiting import wait_until

from dicom_node.case_files.phantom_series import write_phantom_series
from inference.phantom.spec import SMALL_PHANTOM

RESULTS = {"SEG", "SR", "OT"}


@pytest.fixture
def node(namespace: Namespace, tmp_path: Path) -> Iterator[NodeProcess]:
    """A fresh node for each trial, running."""
    node = install_node(namespace, tmp_path / "node", node_toml(samples=2, qc_image="always"))
    node.start()
    yield node
    node.stop()


def test_a_kill_while_receiving_loses_no_image(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path
) -> None:
    """Orthanc sees its job fail, as any sender would, and sends once more."""
    series = write_phantom_series(tmp_path / "series", replace(SMALL_PHANTOM, seed=1))
    uid = str(dcmread(series[0], stop_before_pixels=True).SeriesInstanceUID)
    orthanc.store(series)

    wait_until(lambda: node.spooled_files() >= 5, within_s=120, words="images arrive")
    node.kill()
    arrived = node.spooled_files()
    wait_until(
        lambda: orthanc.failed_routing(uid), within_s=300, words="Orthanc notes that it failed"
    )
    node.start()
    orthanc.post(f"/jobs/{orthanc.failed_routing(uid)}/resubmit", {})

    assert arrived < len(series)
    wait_until(
        lambda: node.spooled_files() == len(series), within_s=300, words="all images arrive"
    )
    _ends_well(node, orthanc, series)


def test_a_kill_while_segmenting_is_made_up_for(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path
) -> None:
    """Nobody sends anything again: the node goes on by itself."""
    series = write_phantom_series(tmp_path / "series", replace(SMALL_PHANTOM, seed=2))
    orthanc.store(series)

    wait_until(node.is_segmenting, within_s=300, words="the child process segments")
    node.kill()
    node.start()

    _ends_well(node, orthanc, series)


def test_a_kill_while_delivering_stores_nothing_twice(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path
) -> None:
    """The cruellest moment: Orthanc has the object, but its answer never reached the node."""
    series = write_phantom_series(tmp_path / "series", replace(SMALL_PHANTOM, seed=3))
    orthanc.hold()
    orthanc.store(series)

    wait_until(orthanc.is_holding, within_s=300, words="Orthanc keeps the node waiting")
    node.kill()
    orthanc.release()
    node.start()

    _ends_well(node, orthanc, series)


def _ends_well(node: NodeProcess, orthanc: Orthanc, series: list[Path]) -> None:
    """Every result exactly once, and the node has nothing left to do."""
    answers(orthanc, study_of(series), RESULTS)
    wait_until(node.is_idle, within_s=300, words="the node is idle", every_s=0.3)
    assert answers(orthanc, study_of(series), RESULTS).keys() >= RESULTS
