"""Cross-validation by patient: everyone is held out once, nobody on both sides."""

import pytest

from inference.errors import TrainingError
from inference.training.folds import Folds

PATIENTS = [f"p{n}" for n in range(12)]


def test_every_patient_is_held_out_in_exactly_one_fold() -> None:
    parts = [Folds(count=5, index=k, seed=3).held_out(PATIENTS) for k in range(5)]

    assert sorted(p for part in parts for p in part) == sorted(PATIENTS)
    assert sorted(len(part) for part in parts) == [2, 2, 2, 3, 3]


def test_the_parts_follow_from_the_patients_not_from_their_order_or_number_of_cases() -> None:
    folds = Folds(count=3, index=1, seed=3)

    assert folds.held_out(PATIENTS) == folds.held_out([*reversed(PATIENTS), "p3", "p3"])


def test_another_seed_deals_otherwise() -> None:
    dealt = {Folds(count=4, seed=seed).held_out(PATIENTS) for seed in range(8)}

    assert len(dealt) > 1


def test_fewer_patients_than_folds_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 patients cannot be dealt into 5 folds"):
        Folds(count=5).held_out(["a", "b", "a"])


def test_a_fold_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="the last is number 4"):
        Folds(count=5, index=5)
