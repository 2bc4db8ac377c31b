"""The re-query of an Orthanc as a whole: a node that is killed, and each series in its state.

Six studies, and the fast analysis. The long form, with sixty, three kills and the bundle that
is delivered, is `make requery-trial`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.hip_archive import Sort, hip_archive
from support.namespace import make_namespace
from support.requeried import judge, requeried, wait_while_alive

SIX = {
    Sort.PROCESSED: 1,
    Sort.ELIGIBLE: 1,
    Sort.TWO_SERIES: 1,
    Sort.CHILD: 1,
    Sort.INCOMPLETE: 1,
    Sort.REFUSED: 1,
}


@pytest.mark.usefixtures("harness_programs")
def test_a_killed_requery_leaves_every_series_in_its_one_state(tmp_path: Path) -> None:
    """Killed as images come: nothing that was here is asked for again, no result is doubled."""
    namespace = make_namespace(f"msk-requery-{os.getpid()}")
    try:
        with requeried(namespace, tmp_path, samples=1, fast=True) as trial:
            trial.node.start()
            trial.fill(hip_archive(SIX, slice_mm=28.0), tmp_path / "studies")
            wait_while_alive(trial, lambda: trial.has_answered(1), 300, "it answers")
            trial.begin()
            wait_while_alive(trial, trial.is_coming, 300, "images come", 0.01)
            kill = trial.kill("while retrieving")
            trial.node.start()
            wait_while_alive(trial, trial.is_at_rest, 300, "it comes to rest")
            wrong = judge(trial)
            asked = trial.asked()
    finally:
        namespace.remove()

    assert wrong == []
    assert kill.coming == 1
    assert asked.moves >= 4, "and Orthanc was asked at all"
