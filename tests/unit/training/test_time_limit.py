"""A run planned for a time: its last iteration comes when the time is up, at any pace."""

import math

import pytest

from inference.errors import TrainingError
from inference.training.time_limit import TimeLimit


def iterations_done(limit: TimeLimit, pace: list[float]) -> tuple[int, float]:
    """Iterations and seconds of a run whose k-th takes `pace[k]`, and later ones the last."""
    iteration, seconds = 0, 0.0
    planned = limit.begin(iteration, seconds)
    while iteration < planned:
        seconds += pace[min(iteration, len(pace) - 1)]
        iteration += 1
        planned = limit.plan(iteration, seconds)
    return iteration, seconds


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        ([0.5], 200),
        ([30.0, 0.5], 141),  # the first one waits for what is compiled
        ([0.5, 20.0, 0.5], 161),  # or the second
        ([0.5] * 100 + [1.0], 150),  # half-way another user comes
        ([1.0] * 50 + [0.25], 250),  # and goes
    ],
)
def test_as_many_iterations_as_fit(pace: list[float], expected: int) -> None:
    done, seconds = iterations_done(TimeLimit(100.0, 100_000), pace)

    assert done == pytest.approx(expected, abs=2)
    assert 95 < seconds <= 101


def test_the_plan_is_known_long_before_the_end() -> None:
    """Else the learning rate would fall all at once."""
    limit = TimeLimit(100.0, 100_000)

    plans = [limit.plan(k, k * 0.5) for k in range(1, 200)]

    assert all(plan == pytest.approx(200, abs=3) for plan in plans[15:])


def test_a_run_that_goes_on_keeps_to_its_plan_from_its_first_iteration() -> None:
    """Else its learning rate would be that of the recipe's many iterations for a while."""
    limit = TimeLimit(100.0, 100_000)

    assert limit.begin(100, 50.0) == 200
    assert limit.plan(101, 53.0) == 200


def test_a_fast_machine_does_what_the_recipe_says_and_no_more() -> None:
    assert iterations_done(TimeLimit(100.0, 50), [0.1]) == (50, pytest.approx(5.0))


def test_without_a_limit_the_recipe_s_iterations_are_done() -> None:
    assert iterations_done(TimeLimit(math.inf, 70), [1e6])[0] == 70


def test_a_run_that_goes_on_after_its_time_was_up_is_over() -> None:
    assert TimeLimit(100.0, 500).plan(40, 100.0) == 40
    assert TimeLimit(100.0, 500).begin(40, 100.0) == 40
    assert TimeLimit(100.0, 500).begin(40, 99.0) == 40  # no other one fits


@pytest.mark.parametrize("limit_s", [0.0, -1.0, math.nan])
def test_no_time_is_no_training(limit_s: float) -> None:
    with pytest.raises(TrainingError, match="no training"):
        TimeLimit(limit_s, 10)
