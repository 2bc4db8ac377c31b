"""Claims about a case on its way between two processes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from support.cases import SHAPE, small_case

from dicom_node.analysis.case_store import CaseFacts, load_case, save_case
from dicom_node.durable_files import write_durably
from inference.geometry import Geometry
from inference.results import CaseResult

GRID = Geometry.regular(SHAPE, (5.0, 4.0, 4.0), (-128.0, -128.0, 0.1))


def test_a_case_comes_back_exactly(tmp_path: Path) -> None:
    case = small_case(GRID)
    save_case(tmp_path / "case", case)
    back = load_case(tmp_path / "case")

    for each in fields(CaseFacts):
        assert getattr(back, each.name) == getattr(case, each.name), each.name
    np.testing.assert_array_equal(back.segments, case.segments)
    np.testing.assert_array_equal(back.uncertainty, case.uncertainty)
    for each in fields(Geometry):
        np.testing.assert_array_equal(
            getattr(back.geometry, each.name), getattr(case.geometry, each.name)
        )


def test_every_field_of_a_case_is_kept() -> None:
    arrays = {"geometry", "segments", "uncertainty"}

    assert {each.name for each in fields(CaseFacts)} | arrays == {
        each.name for each in fields(CaseResult)
    }


def test_saving_again_replaces_the_case_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_case(tmp_path / "case", small_case(GRID))
    save_case(tmp_path / "case", small_case(GRID, mean_uncertainty=0.5))

    assert load_case(tmp_path / "case").mean_uncertainty == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outcome.json"
    write_durably(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["outcome.json"]
