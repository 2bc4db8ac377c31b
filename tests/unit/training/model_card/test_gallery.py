"""The picture of what a recipe trains on."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from support.recipes import small_recipe

from inference.training.model_card.gallery import main, side_by_side


def test_images_stand_in_rows_and_the_last_row_is_filled_with_black() -> None:
    """Five images of 2 x 3 pixels, all white: two rows of four, three places black."""
    picture = side_by_side(torch.full((5, 2, 3), 3000.0))

    assert picture.shape == (4, 12)
    assert (picture[:2] == 255).all()
    assert (picture[2:, :3] == 255).all()
    assert (picture[2:, 3:] == 0).all()


def test_the_command_draws_a_recipe_s_training_images(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, ("crop = [32, 48]", "crop = [96, 128]"))

    main([str(recipe), "--out", str(tmp_path / "drawn.png"), "--count", "1"])

    picture = np.asarray(Image.open(tmp_path / "drawn.png"))
    assert picture.shape == (96, 4 * 128)
    assert 0.02 < (picture[:, :128] > 60).mean() < 0.9
