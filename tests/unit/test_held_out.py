"""Held-out bodies as labelled cases: read back as they were drawn, never the training's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_node.labelled_cases import listed_cases, read_case
from inference.structures import SEGMENTS
from inference.training.held_out import main, write_case
from inference.training.scoring import LabelledImage

RECIPE = Path(__file__).parents[2] / "inference" / "training" / "recipes" / "compact.toml"


def test_a_case_is_read_back_voxel_by_voxel_on_its_grid(tmp_path: Path) -> None:
    """A thigh bone near the first corner and at none of its mirrored places."""
    hu = np.arange(5 * 6 * 8, dtype=np.int16).reshape(5, 6, 8) - np.int16(100)
    labels = np.zeros(hu.shape, np.uint8)
    labels[1:3, 1:3, 1:3] = 2
    write_case(tmp_path / "body01", LabelledImage(hu, labels, (4.0, 1.5, 2.0)))

    (listed,) = listed_cases(tmp_path)
    case = read_case(listed)
    structures = {0: 0} | {one.number: one.structure.label for one in SEGMENTS}

    assert listed.name == "body01"
    assert np.array_equal(case.volume.hu, hu)
    assert case.volume.geometry.spacing_mm == pytest.approx((1.5, 2.0))
    assert case.volume.geometry.extents_mm == pytest.approx(4.0)
    assert np.array_equal(np.vectorize(structures.get)(case.truth), labels)


def test_the_training_s_own_bodies_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(RECIPE), "--out", str(tmp_path), "--seed", "20251122"])

    assert "those bodies were seen" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
