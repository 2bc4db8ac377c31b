"""Labelled images are scored by their own numbers, on a machine that has little installed."""

import subprocess
import sys

import numpy as np
import pytest

from inference.geometry import Geometry
from inference.prediction import Prediction, SampleProfiles
from inference.results import Score
from inference.structures import LABEL_COUNT
from inference.training.calibrate import CORRUPTIONS, graded, thinned
from inference.training.scoring import LabelledImage, compare

BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import inference.training.calibrate
import inference.training.scoring
"""
ABSENT = {"SimpleITK", "pydicom", "highdicom", "structlog", "pydantic", "PIL", "typer"}


GRID = Geometry.regular((4, 20, 20), (4.0, 2.0, 2.0))


def predicted(
    labels: np.ndarray, uncertainty: np.ndarray | None, profiles: SampleProfiles | None = None
) -> Prediction:
    return Prediction(labels, uncertainty, profiles, "by hand")


def image() -> LabelledImage:
    """Label 1 fills 800 voxels, label 2 a hundred: too small to be a case of it."""
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[:, :10, :] = 1
    labels[:, 15, :] = 2
    labels[:2, 15, :] = 0
    return LabelledImage(np.zeros(labels.shape, np.int16), labels, (4.0, 2.0, 2.0), "box")


def test_scoring_and_fitting_need_no_reader_and_no_parser() -> None:
    code = BARE.format(absent=ABSENT)

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


def test_dice_and_uncertainty_are_of_the_label_that_was_found() -> None:
    """600 of 800 voxels found: Dice 2 x 600 / 1400; half of them waver by .002, half not."""
    one = image()
    found = one.labels.copy()
    found[3] = 0
    uncertainty = np.zeros(found.shape, np.float32)
    uncertainty[:, :5, :] = 0.002

    scored = compare(one, predicted(found, uncertainty), GRID)

    assert scored.dice[0] == pytest.approx(1200 / 1400)
    assert scored.scores[Score.UNCERTAINTY][0] == pytest.approx(0.001)


def test_what_is_small_or_not_annotated_is_no_case() -> None:
    one = image()

    certain = np.zeros(one.labels.shape, np.float32)
    scored = compare(one, predicted(one.labels, certain), GRID)

    assert np.isfinite(scored.dice).sum() == 1
    assert len(scored.dice) == LABEL_COUNT - 1


def test_a_structure_that_is_missed_has_dice_but_no_uncertainty() -> None:
    one = image()

    certain = np.zeros(one.labels.shape, np.float32)
    scored = compare(one, predicted(np.zeros_like(one.labels), certain), GRID)

    assert scored.dice[0] == 0
    assert np.isnan(scored.scores[Score.UNCERTAINTY][0])


def test_an_image_and_labels_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        LabelledImage(np.zeros((1, 2, 2), np.int16), np.zeros((1, 2, 3), np.uint8), (1, 1, 1))


def test_every_corruption_has_its_turn_and_leaves_the_truth() -> None:
    body = image()

    made = list(graded([body] * (len(CORRUPTIONS) // 2 + 1)))

    assert {one.corrupted for one in made} >= {one.name for one in CORRUPTIONS}
    assert sum(not one.corrupted for one in made) == len(CORRUPTIONS) // 2 + 1
    assert all((one.labels == body.labels).all() for one in made)


def test_a_thinned_image_stands_for_as_much_as_before() -> None:
    few = thinned(image(), 2)

    assert few.hu.shape[0] == 2
    assert few.spacing_mm == (8.0, 2.0, 2.0)


def test_disagreement_and_volume_are_of_the_samples_of_both_sides_together() -> None:
    """Two samples of 100 and 60 pixels in each slice, 50 of them shared.

    1 - 2 x 50 / 160 = .375; volumes 100 and 60: SD 28.28 over a mean of 80.
    """
    one = image()
    voxels = np.zeros((2, 4, LABEL_COUNT, 1), np.int32)
    voxels[0, :, 1], voxels[1, :, 1] = 100, 60
    agreeing = np.zeros((4, LABEL_COUNT, 1), np.int64)
    agreeing[:, 1] = 50
    hu = np.zeros(voxels.shape, np.float32)
    edges = np.array([-0.5, 19.5])
    profiles = SampleProfiles(voxels, hu, voxels[0], hu[0], agreeing, edges, 1.0)

    scores = compare(one, predicted(one.labels, None, profiles), GRID).scores

    assert set(scores) == {Score.DISAGREEMENT, Score.VOLUME_CV}
    assert scores[Score.DISAGREEMENT][0] == pytest.approx(0.375)
    assert scores[Score.VOLUME_CV][0] == pytest.approx(np.sqrt(800) / 80)
    assert np.isnan(scores[Score.DISAGREEMENT][1:]).all()


def test_a_model_without_samples_and_uncertainty_has_no_scores() -> None:
    one = image()

    assert compare(one, predicted(one.labels, None), GRID).scores == {}
