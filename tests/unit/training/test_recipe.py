"""A recipe says everything that a run depends on, and refuses what does not fit."""

from pathlib import Path

import pytest
from support.recipes import small_recipe
from support.training_cases import case_recipe

import inference
from inference.errors import TrainingError
from inference.models.bayesian_unet.network import FIVE_LAYERS, SIX_LAYERS, Architecture
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.training.recipe import read_recipe

SHIPPED = Path(inference.__file__).parent / "training" / "recipes"


def test_the_shipped_recipe_asks_for_the_compact_network_on_2_mm_pixels() -> None:
    recipe = read_recipe(SHIPPED / "compact.toml")

    assert recipe.architecture == Architecture(5, 16, True, 0.5, 2)
    assert recipe.grid.pixel_mm == 2.0


def test_no_shipped_recipe_names_a_place_on_some_machine() -> None:
    for path in SHIPPED.glob("*.toml"):
        recipe = read_recipe(path)
        assert not any(Path(name).is_absolute() for name in recipe.data.label_maps)


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    path = small_recipe(tmp_path, ("batch = 2", "batch = 2\nbach = 3"))

    with pytest.raises(TrainingError, match=r"training\.bach"):
        read_recipe(path)


def test_a_bad_value_is_refused_with_its_key(tmp_path: Path) -> None:
    path = small_recipe(tmp_path, ("iterations = 3", "iterations = 0"))

    with pytest.raises(TrainingError, match=r"training\.iterations"):
        read_recipe(path)


def test_a_crop_smaller_than_the_network_can_see_is_refused(tmp_path: Path) -> None:
    path = small_recipe(tmp_path, ("layers = 2", "layers = 6"))

    with pytest.raises(TrainingError, match="crop"):
        read_recipe(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")


def test_a_longer_run_is_still_the_same_run_but_another_seed_is_not(tmp_path: Path) -> None:
    first = read_recipe(small_recipe(tmp_path))
    longer = read_recipe(small_recipe(tmp_path, ("iterations = 3", "iterations = 9")))
    other = read_recipe(small_recipe(tmp_path, ("seed = 7", "seed = 8")))

    assert longer.identity == first.identity
    assert other.identity != first.identity
    assert longer.sha256 != first.sha256


@pytest.mark.parametrize(
    ("name", "architecture", "iterations"),
    [("study-5layers", FIVE_LAYERS, 150_000), ("study-6layers", SIX_LAYERS, 200_000)],
)
def test_the_study_s_recipes_hold_its_settings(
    name: str, architecture: Architecture, iterations: int
) -> None:
    """Batch 3, cross entropy alone, slices at 1.0 mm, whole slices on their own pixels."""
    recipe = read_recipe(SHIPPED / f"{name}.toml")

    assert recipe.name == name
    assert recipe.architecture == architecture
    assert recipe.window == Window(-150, 350, 0, 255)
    assert recipe.grid == PixelGrid(None, body_only=False)
    assert recipe.data.slice_mm == 1.0
    assert recipe.folds is not None
    assert recipe.folds.count == 5
    plan = recipe.training
    assert (plan.iterations, plan.batch, plan.dice_weight) == (iterations, 3, 0.0)
    assert plan.crop == (512, 512)


def test_another_fold_is_another_run(tmp_path: Path) -> None:
    path = case_recipe(tmp_path)

    assert read_recipe(path, 1).identity != read_recipe(path).identity
    assert read_recipe(path, 0).identity == read_recipe(path).identity


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('cases = "cases"', 'cases = "cases"\nphantom_share = 0.5', "either cases, or"),
        ('cases = "cases"', "", "neither cases, label_maps nor phantom_share"),
        ("count = 2", "count = 1", r"folds\.count: Input should be greater than or equal to 2"),
        ("count = 2", "count = 2\nindex = 2", "folds: index is 2"),
        ("pixel_mm = 2.0", "pixel_mm = 0.05", "pixel_mm is 0.05, not in"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        read_recipe(case_recipe(tmp_path, (old, new)))


def test_a_fold_is_asked_for_only_where_there_are_folds(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="fold 1 is asked for"):
        read_recipe(small_recipe(tmp_path), 1)


def test_bodies_are_made_on_pixels_that_are_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="pixel_mm = 0 need data"):
        read_recipe(small_recipe(tmp_path, ("pixel_mm = 2.0", "pixel_mm = 0")))
