"""The patient's height: believed only where it can be one."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ct import (
    ct_stack,
)
from support.read_series import read


@pytest.mark.parametrize(
    ("stated", "height_m", "noted"),
    [
        (1.65, 1.65, False),
        (165, 1.65, True),
        (172, 1.72, True),
        (68, None, True),
        (0, None, False),
        (12.0, None, True),
        (None, None, False),
    ],
)
def test_height_is_believed_only_where_it_can_be_one(
    stated: float | None, height_m: float | None, noted: bool, tmp_path: Path
) -> None:
    datasets = ct_stack()
    if stated is not None:
        datasets[0].PatientSize = stated

    series = read(datasets, tmp_path)

    assert series.patient.height_m == height_m
    assert any("height" in note for note in series.notes) == noted


def test_heights_that_disagree_are_not_used(tmp_path: Path) -> None:
    datasets = ct_stack(PatientSize=1.65)
    datasets[0].PatientSize = 1.8

    series = read(datasets, tmp_path)

    assert series.patient.height_m is None
    assert any("2 different patient heights" in note for note in series.notes)
