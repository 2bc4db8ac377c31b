"""The samples of an analysis: the same whoever grades the hips, and whoever asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from support.bundles import untrained_bundle
from support.ct import ct_stack, save
from support.volumes import body

from dicom_node.analysis.child import analyse_with_bundle
from dicom_node.analysis.request import Request
from dicom_node.series.reading import read_series
from dicom_node.settings.node import Logging
from dicom_node.uids import settings_digest
from inference.grading.grader_files import grader_sha256
from inference.results import CaseResult


def test_the_samples_of_a_series_do_not_depend_on_the_grader(tmp_path: Path):
    """A worker of the version before knows no settings of the model apart, nor any grader."""
    bundle = untrained_bundle(tmp_path / "bundle")
    table = tmp_path / "grades.csv"
    table.write_text("patient_id,side,grade\nnobody,R,2\n")
    paths = tuple(save(ct_stack(), tmp_path / "in"))
    bare = settings_digest(bundle.sha256, None, "report")
    hashed = grader_sha256(table)
    asked = Request(
        "1.2", paths, tmp_path, str(bundle.folder), "cpu", None, bare, Logging(), "", "", bare
    )
    graded = replace(
        asked,
        settings_hash=settings_digest(bundle.sha256, None, "report", hashed),
        grader=str(table),
        grader_sha256=hashed,
    )

    def analysed(request: Request) -> CaseResult:
        series = replace(read_series(paths), volume=body(spacing_mm=(60.0, 8.0, 8.0)).volume)
        return analyse_with_bundle(series, request, lambda _done, _total: None)

    ours, with_grades, of_before, other = (
        analysed(each)
        for each in (
            asked,
            graded,
            replace(asked, model_settings=""),
            replace(asked, model_settings="of others"),
        )
    )
    assert ours.uncertainty is not None
    assert ours.grades == ()
    assert len(with_grades.grades) == 2
    np.testing.assert_array_equal(with_grades.uncertainty, ours.uncertainty)
    np.testing.assert_array_equal(of_before.uncertainty, ours.uncertainty)
    assert not np.array_equal(other.uncertainty, ours.uncertainty)
