"""Training: resumable to the iteration, and honest about where weights come from."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.recipes import small_recipe

from inference.bundle import load_bundle, load_network
from inference.errors import TrainingError
from inference.structures import LABEL_COUNT
from inference.training.dataset import cosine_rate
from inference.training.recipe import read_recipe
from inference.training.train import Run, segmentation_loss, train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    images = torch.rand(2, 1, 32, 48, generator=generator)
    return images, (images[:, 0] > 0.5).long()


def test_a_run_cut_off_and_resumed_ends_with_the_same_weights(tmp_path: Path) -> None:
    recipe = read_recipe(small_recipe(tmp_path))
    whole, first = Run.fresh(recipe), Run.fresh(recipe)
    for k in range(4):
        whole.step(*batch(k))
    for k in range(2):
        first.step(*batch(k))
    first.save(tmp_path / "checkpoint.safetensors")

    resumed = Run.resumed(recipe, tmp_path / "checkpoint.safetensors")
    for k in range(2, 4):
        resumed.step(*batch(k))

    assert resumed.iteration == 4
    for name in ("network", "average"):
        expected = getattr(whole, name).state_dict()
        for key, actual in getattr(resumed, name).state_dict().items():
            assert torch.equal(expected[key], actual), key


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run = Run.fresh(read_recipe(small_recipe(tmp_path)))
    run.step(*batch(0))
    run.save(tmp_path / "checkpoint.safetensors")
    other = read_recipe(small_recipe(tmp_path, ("seed = 7", "seed = 8")))

    with pytest.raises(TrainingError, match="another recipe"):
        Run.resumed(other, tmp_path / "checkpoint.safetensors")


def test_training_learns_what_is_bright(tmp_path: Path) -> None:
    recipe = read_recipe(small_recipe(tmp_path, ("iterations = 3", "iterations = 40")))
    run = Run.fresh(recipe)

    losses = [run.step(*batch(0)) for _ in range(40)]

    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_of_the_study_is_the_cross_entropy() -> None:
    """Two classes out of 23 with logits 0: log 23; soft Dice changes it."""
    logits = torch.zeros(1, LABEL_COUNT, 4, 4)
    labels = torch.ones(1, 4, 4, dtype=torch.long)

    assert float(segmentation_loss(logits, labels, 0.0)) == pytest.approx(3.1355, abs=1e-3)
    # Dice: 2 x 16/23 over (16/23 + 16) = 1/12.
    with_dice = float(segmentation_loss(logits, labels, 0.5))
    assert with_dice == pytest.approx(0.5 * 3.1355 + 0.5 * (1 - 1 / 12), abs=1e-3)


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    assert cosine_rate(0, 100, 10) == pytest.approx(0.1)
    assert cosine_rate(10, 100, 10) == pytest.approx(1.0)
    assert cosine_rate(55, 100, 10) == pytest.approx(0.5)
    assert cosine_rate(100, 100, 10) == pytest.approx(0.0)


def test_train_leaves_a_bundle_that_loads_and_says_where_it_comes_from(tmp_path: Path) -> None:
    folder = train(small_recipe(tmp_path), tmp_path / "out", progress=False)

    bundle = load_bundle(folder)
    assert bundle.name == "small"
    assert bundle.training["recipe"] == "small.toml"
    assert bundle.training["iterations"] == 3
    assert bundle.training["validated_on_patients"] is False
    assert bundle.calibration is None
    history = (tmp_path / "out" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert len(history) == 1 + 3


def started(folder: Path, bundle: Path, sha256: str, *changes: tuple[str, str]) -> Path:
    start = f'[start]\nbundle = "{bundle.name}"\nweights_sha256 = "{sha256}"\n[training]'
    return small_recipe(folder, ("[training]", start), *changes)


def test_a_run_may_start_from_a_bundle_and_its_own_says_so(tmp_path: Path) -> None:
    """float16 on disk: the start is the bundle's weights, not the run's that wrote it."""
    first = load_bundle(train(small_recipe(tmp_path), tmp_path / "first", progress=False))
    shutil.copytree(first.folder, tmp_path / "first-bundle")
    sha256 = first.weights_sha256

    path = started(tmp_path, tmp_path / "first-bundle", sha256, ("seed = 7", "seed = 8"))
    run = Run.fresh(read_recipe(path))
    second = load_bundle(train(path, tmp_path / "second", progress=False))

    for name, expected in load_network(first).state_dict().items():
        assert torch.equal(run.network.state_dict()[name], expected), name
    assert first.training["started_from_weights"] == "random weights"
    assert second.training["started_from_weights"] == sha256
    assert second.weights_sha256 != sha256


def test_a_start_from_other_weights_than_the_recipe_means_is_refused(tmp_path: Path) -> None:
    bundle = train(small_recipe(tmp_path), tmp_path / "first", progress=False)
    shutil.copytree(bundle, tmp_path / "first-bundle")

    recipe = read_recipe(started(tmp_path, tmp_path / "first-bundle", "0" * 64))

    with pytest.raises(TrainingError, match="starts from 0000"):
        Run.fresh(recipe)


def test_a_start_with_another_network_is_refused(tmp_path: Path) -> None:
    bundle = train(small_recipe(tmp_path), tmp_path / "first", progress=False)
    shutil.copytree(bundle, tmp_path / "first-bundle")
    sha256 = load_bundle(bundle).weights_sha256
    wider = ("filters = 4", "filters = 8")

    recipe = read_recipe(started(tmp_path, tmp_path / "first-bundle", sha256, wider))

    with pytest.raises(TrainingError, match="not the recipe's"):
        Run.fresh(recipe)
