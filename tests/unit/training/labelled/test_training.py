"""Training on labelled cases: which slices, which patients, and what the bundle says of it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training_cases import block_cases, case_recipe

from inference.errors import TrainingError
from inference.models.bundle import load_bundle
from inference.training.labelled.batches import CaseSlices
from inference.training.labelled.cases import TrainingCases, cases_of
from inference.training.labelled.held_out_dice import held_out_dice
from inference.training.recipe import Recipe, read_recipe
from inference.training.run import Run
from inference.training.train import train

CPU = torch.device("cpu")


def listed(count: int):
    return lambda *_: block_cases(count)


def known(folder: Path, recipe: Recipe, count: int = 4) -> TrainingCases:
    cases = cases_of(recipe, folder, folder / "cache", listed(count))
    assert cases is not None
    return cases


def test_no_patient_is_on_both_sides_of_the_cross_validation(tmp_path: Path) -> None:
    path = case_recipe(tmp_path)

    folds = [known(tmp_path, read_recipe(path, fold)) for fold in (0, 1)]

    for cases in folds:
        seen, held_out = (
            {case.patient for case in part} for part in (cases.seen, cases.held_out)
        )
        assert not seen & held_out
        assert len(seen | held_out) == 4
    assert folds[0].held_out == folds[1].seen


def test_every_slice_comes_once_before_any_comes_again(tmp_path: Path) -> None:
    """Two cases of 6 slices in batches of 2: six iterations."""
    recipe = read_recipe(case_recipe(tmp_path))
    with CaseSlices(known(tmp_path, recipe).seen, recipe, CPU) as source:
        rounds = [
            [p for k in range(6 * r, 6 * r + 6) for p in source.places(k)] for r in (0, 1)
        ]

    assert all(set(Counter(places).values()) == {1} for places in rounds)
    assert all(len(places) == 12 for places in rounds)
    assert rounds[0] != rounds[1]


def test_an_iteration_is_the_same_whether_or_not_others_came_before(tmp_path: Path) -> None:
    recipe = read_recipe(case_recipe(tmp_path))
    cases = known(tmp_path, recipe).seen
    with CaseSlices(cases, recipe, CPU) as source:
        source.start(0)
        whole = [source.batch(k) for k in range(9)]
    with CaseSlices(cases, recipe, CPU) as source:
        source.start(7)
        images, labels = source.batch(7)

    assert torch.equal(images, whole[7][0])
    assert torch.equal(labels, whole[7][1])
    assert images.shape == (2, 1, 32, 48)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert not torch.equal(images, whole[6][0])


def test_a_network_that_knows_the_answer_has_a_held_out_dice_of_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the structures that no case shows have none."""
    recipe = read_recipe(case_recipe(tmp_path))
    cases = known(tmp_path, recipe)
    monkeypatch.setattr(
        "inference.models.bayesian_unet.sampler.Sampler.softmax_without_dropout",
        lambda _, images: (
            torch.nn.functional.one_hot((images[:, 0] > 0.6).long() * 2, 23)
            .movedim(-1, 1)
            .float()
        ),
    )

    dice = held_out_dice(Run.fresh(recipe), cases.held_out, 0)

    assert dice[1] == 1.0
    assert np.isnan(np.delete(dice, 1)).all()


def test_training_on_cases_ends_in_a_bundle_that_names_them(tmp_path: Path) -> None:
    path = case_recipe(tmp_path, ("iterations = 3", "iterations = 15"))

    folder = train(
        path, tmp_path / "out", fold=1, list_cases=listed(4), device="cpu", progress=False
    )

    training = load_bundle(folder).training
    cases = known(tmp_path, read_recipe(path, 1))
    assert list(training["cases"]) == [case.name for case in cases.seen]
    assert list(training["held_out_cases"]) == [case.name for case in cases.held_out]
    assert training["cases"][cases.seen[0].name] == cases.seen[0].image_sha256[:16]
    assert training["fold"] == "1 of 0 to 1"
    dice = (tmp_path / "out" / "dice.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in dice[1:]] == ["10", "15"]
    assert training["held_out_dice"] == float(dice[-1].split(",")[1])
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_machine_that_reads_no_cases_takes_what_is_ready(tmp_path: Path) -> None:
    recipe = read_recipe(case_recipe(tmp_path))
    made = known(tmp_path, recipe)

    assert cases_of(recipe, tmp_path, tmp_path / "cache", None) == made


def test_a_run_is_not_gone_on_with_where_the_cases_have_changed(tmp_path: Path) -> None:
    path = case_recipe(tmp_path, ("iterations = 3", "iterations = 1"))
    train(path, tmp_path / "out", list_cases=listed(4), device="cpu", progress=False)

    with pytest.raises(TrainingError, match="other cases than are there now"):
        train(path, tmp_path / "out", list_cases=listed(6), device="cpu", progress=False)


def test_a_finished_run_that_is_started_again_changes_nothing(tmp_path: Path) -> None:
    path = case_recipe(tmp_path, ("iterations = 3", "iterations = 1"))
    first = train(path, tmp_path / "out", list_cases=listed(4), device="cpu", progress=False)
    before = load_bundle(first)

    again = train(path, tmp_path / "out", list_cases=listed(4), device="cpu", progress=False)

    assert load_bundle(again).sha256 == before.sha256
