"""Held-out bodies as labelled cases: read back as they were drawn, never the training's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_node.case_files.labelled_cases import listed_cases, read_case
from inference.phantom.render import phantom_labels
from inference.structures import SEGMENTS
from inference.training.model_card.held_out_bodies import main, write_case
from inference.training.recipe import read_recipe
from inference.training.scoring import LabelledImage
from inference.training.synthesis.stream import labels_of

RECIPE = Path(__file__).parents[4] / "inference" / "training" / "recipes" / "compact.toml"


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
        main([str(RECIPE), "--out", str(tmp_path), "--seed", str(read_recipe(RECIPE).seed)])

    assert "those bodies were seen" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_still_body_is_the_label_map_itself_with_surroundings(tmp_path: Path) -> None:
    """Every fourth slice, nearest voxels of 4 mm on pixels of 2 mm: volumes within 20 %.

    A deformed body's differ by up to a half, and by far more from structure to structure.
    """
    torch.set_num_threads(1)
    labels = phantom_labels(spacing_mm=4.0)
    np.savez(tmp_path / "other.npz", labels=labels, spacing_mm=np.array([4.0, 4.0, 4.0]))
    arguments = [str(RECIPE), "--data", str(tmp_path), "--label-map", "other.npz"]
    arguments += ["--out", str(tmp_path / "cases"), "--still", "1", "--bodies", "0"]

    main([*arguments, "--every", "4"])

    (listed,) = listed_cases(tmp_path / "cases")
    assert listed.name == "other_still01"
    assert "--label-map other.npz" in listed.made_by
    case = read_case(listed)
    found = np.bincount(labels_of(case.truth).ravel(), minlength=23)[1:] * 16 * 2 * 2
    true = np.bincount(labels[labels < 23].ravel(), minlength=23)[1:] * 4**3
    assert found / true == pytest.approx(np.ones(22), abs=0.2)
    assert (case.volume.hu[case.truth == 0] > 20).any()


def test_a_label_map_that_is_missing_ends_the_command_in_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"label map .* is not there"):
        main([str(RECIPE), "--data", str(tmp_path), "--out", str(tmp_path), "--still", "1"])
