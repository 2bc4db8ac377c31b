"""The main job against a real PACS: CT is routed to the node, answers lie in the same study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.answers import RealSeries, answers, ask, picture, study_of, words
from support.namespace import Namespace
from support.node_process import NodeProcess, install_node, node_toml
from support.orthanc import Orthanc
from support.overlays import overlay
from support.waiting import wait_until

from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.case_files.report_reader import reported_structures
from inference.phantom.render import known_answers
from inference.phantom.spec import DEFAULT_PHANTOM
from inference.results import Verdict


@pytest.fixture(scope="module")
def node(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A node that reports what a partial scan shows."""
    settings = node_toml(partial="report", samples=4)
    node = install_node(namespace, tmp_path_factory.mktemp("node"), settings)
    node.start()
    yield node
    node.stop()


def test_the_phantom_is_answered_with_a_segmentation_and_a_report(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path, out: Path
) -> None:
    """Routed by Orthanc at full size; the report has all 43 segments, with volumes near truth.

    The limits are wide: this test shows that the way is right (units, sides, geometry), not
    how good the model is. A swapped side, axis or unit would miss them by far. Sent once
    more, the series changes nothing.
    """
    series = write_phantom_series(tmp_path, DEFAULT_PHANTOM)

    found = ask(orthanc, series, {"SEG", "SR"})

    overlay(series, found["SEG"]).save(out / "phantom_overlay.png")
    reported = {one.segment.key: one for one in reported_structures(found["SR"])}
    assert len(reported) == 43
    errors = [
        abs(measured / known.volume_cm3 - 1)
        for known in known_answers(DEFAULT_PHANTOM)
        if (measured := reported[known.segment.key].volume_cm3) is not None
    ]
    assert len(errors) > 30
    assert np.median(errors) < 0.3

    files = node.spooled_files()
    job = orthanc.send_on(study_of(series))
    wait_until(
        lambda: orthanc.has_succeeded(job), within_s=300, words="the series was sent again"
    )
    assert node.spooled_files() == files
    assert node.is_idle()
    again = answers(orthanc, study_of(series), {"SEG", "SR"})
    assert {one.SOPInstanceUID for one in again.values()} == {
        one.SOPInstanceUID for one in found.values()
    }


@pytest.mark.shared
@pytest.mark.parametrize("partial_series", ["vhf_pelvis_slab"], indirect=True)
def test_a_partial_scan_is_reported_with_a_picture_that_says_so(
    node: NodeProcess, orthanc: Orthanc, partial_series: RealSeries, out: Path
) -> None:
    """What the scan cuts is named and has no volume."""
    name, series = partial_series.name, partial_series.paths

    found = ask(orthanc, series, {"SEG", "SR", "OT"})

    picture(found["OT"]).save(out / f"{name}_qc.png")
    overlay(series, found["SEG"]).save(out / f"{name}_overlay.png")
    reported = reported_structures(found["SR"])
    cut = [one for one in reported if one.verdict is Verdict.TRUNCATED]
    assert cut
    assert all(one.volume_cm3 is None for one in cut)


@pytest.mark.shared
@pytest.mark.parametrize("partial_series", ["vhf_knee_5mm"], indirect=True)
def test_lower_legs_are_answered_without_a_segmentation(
    node: NodeProcess, orthanc: Orthanc, partial_series: RealSeries, out: Path
) -> None:
    """Two slices of condyles above two calves are no thigh; the answer says so."""
    found = ask(orthanc, partial_series.paths, {"SR", "OT", "KO"})

    picture(found["OT"]).save(out / f"{partial_series.name}_qc.png")
    assert "SEG" not in found
    assert "neither hip nor thigh" in words(found["KO"])
    assert all(one.volume_cm3 is None for one in reported_structures(found["SR"]))


@pytest.mark.shared
def test_a_tilted_head_is_answered_with_the_reason_alone(
    node: NodeProcess, orthanc: Orthanc, shared_data: Path, out: Path
) -> None:
    series = sorted((shared_data / "ct" / "gantry_tilt").glob("*.dcm"))

    found = ask(orthanc, series, {"OT", "KO"})

    picture(found["OT"]).save(out / "gantry_tilt_qc.png")
    assert found.keys() == {"OT", "KO"}
    assert "tilt" in words(found["KO"])
