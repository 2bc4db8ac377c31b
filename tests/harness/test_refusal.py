"""A site that wants no reports of partial scans: the QC image and the key object alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.answers import RealSeries, ask, picture, words
from support.namespace import Namespace
from support.node_process import NodeProcess, install_node, node_toml
from support.orthanc import Orthanc

from dicom_node.case_files.phantom_series import write_phantom_series
from inference.phantom.spec import PhantomSpec, Zone

KNEES = PhantomSpec(zones=(Zone(10.0, 150.0),), pixel_mm=3.2, rows=128, columns=128)


@pytest.fixture(scope="module")
def node(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A node that refuses partial scans."""
    settings = node_toml(partial="refuse", samples=2)
    node = install_node(namespace, tmp_path_factory.mktemp("refusing"), settings)
    node.start()
    yield node
    node.stop()


@pytest.mark.shared
def test_a_real_partial_scan_is_refused_with_its_reason(
    node: NodeProcess, orthanc: Orthanc, partial_series: RealSeries, out: Path
) -> None:
    found = ask(orthanc, partial_series.paths, {"OT", "KO"})

    picture(found["OT"]).save(out / f"{partial_series.name}_refused_qc.png")
    assert found.keys() == {"OT", "KO"}
    said = words(found["KO"])
    assert "hip to knee" in said or "neither hip nor thigh" in said


def test_the_knees_of_a_phantom_are_refused_with_their_reason(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path
) -> None:
    """The same where no real CT is beside the checkout."""
    found = ask(orthanc, write_phantom_series(tmp_path, KNEES), {"OT", "KO"})

    assert found.keys() == {"OT", "KO"}
    assert "hip to knee" in words(found["KO"])
