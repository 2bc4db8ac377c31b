"""A recipe says everything that a run depends on, and refuses what does not fit."""

from pathlib import Path

import pytest
from support.recipes import small_recipe

import inference
from inference.errors import TrainingError
from inference.network import Architecture
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
