"""Control charts: still where nothing moved, plain where something did."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from dicom_node.cohort.control_chart import ControlChart, Step, control_chart, step_of

START = dt.date(2024, 1, 1)


def monthly(means: list[float], per_month: int = 10) -> ControlChart:
    """Ten cases a month, alternately 1 above and 1 below the month's mean."""
    days, numbers = [], []
    for month, mean in enumerate(means):
        for number in range(per_month):
            year, of_year = divmod(month, 12)
            days.append(dt.date(2024 + year, of_year + 1, 1 + number))
            numbers.append(mean + (1 if number % 2 else -1))
    return control_chart(days, np.array(numbers))


def test_limits_are_three_standard_errors_from_the_centre():
    """40 of 120 cases in the baseline, half 9 and half 11: SD √(40 / 39), ten a month."""
    chart = monthly([10.0] * 12)

    reach = 3 * np.sqrt(40 / 39) * np.sqrt(1 / 10 + 1 / 40)
    assert chart.centre == pytest.approx(10.0)
    assert chart.periods[-1].limits == pytest.approx((10 - reach, 10 + reach))
    assert [one.in_baseline for one in chart.periods] == [True] * 4 + [False] * 8
    assert chart.moved_since == ""


def test_a_step_that_stays_is_a_move_since_its_first_month():
    chart = monthly([10.0] * 8 + [12.0] * 4)

    assert chart.moved_since == "2024-09"
    assert chart.shift == pytest.approx(2.0)
    assert chart.passing == ()


def test_a_step_down_is_one_too():
    chart = monthly([10.0] * 8 + [8.5] * 4)

    assert chart.moved_since == "2024-09"
    assert chart.shift == pytest.approx(-1.5)


def test_one_month_as_before_does_not_end_a_move():
    chart = monthly([10.0] * 8 + [12.0] * 5 + [10.0])

    assert chart.moved_since == "2024-09"


def test_one_month_beyond_is_told_but_is_no_move():
    chart = monthly([10.0] * 7 + [12.0] + [9.9] * 4)

    assert chart.moved_since == ""
    assert chart.passing == ("2024-08",)


def test_what_came_back_has_not_moved():
    chart = monthly([10.0] * 5 + [12.0] * 4 + [9.9] * 3)

    assert chart.moved_since == ""
    assert chart.passing == ("2024-06", "2024-07", "2024-08", "2024-09")


def test_a_small_step_that_stays_is_found_although_every_month_is_within():
    """80 cases .9 higher, SD 1: .9 / √(1/80 + 1/60) = 5.3 standard errors."""
    chart = monthly([10.0] * 10 + [10.9] * 8)

    assert chart.moved_since == "2024-11"
    assert all(one.beyond == 0 for one in chart.periods)


def test_two_of_ten_failures_after_none_of_forty_are_no_move():
    """Pooled, 2 of 50: z = .2 / √(.04 x .96 x (1/10 + 1/40)) = 2.9."""
    days = [START + dt.timedelta(days=9 * number) for number in range(50)]
    failed = np.array([0.0] * 40 + [0.0, 1.0] * 2 + [0.0] * 6)

    assert control_chart(days, failed, share=True).moved_since == ""


def test_a_share_keeps_to_its_bounds_and_may_start_from_none():
    """No failure in the first 48 of 80 cases, then each second: pooled, z is 4.2."""
    days = [START + dt.timedelta(days=5 * number) for number in range(80)]
    failed = [0.0] * 48 + [1.0, 0.0] * 16
    chart = control_chart(days, np.array(failed), share=True)

    assert chart.moved_since == "2024-09"
    assert all(0 <= one.limits[0] <= one.limits[1] <= 1 for one in chart.periods if one.limits)


def test_binomial_limits_are_those_of_three_sd_in_probability():
    """None of 20: taken as half of one. Of 5 cases more than 1 is rarer than .00135 only.

    P(2 or more of 5 | .025) = .0059, P(3 or more) = .00015: the limit is 2 of 5.
    """
    days = [START + dt.timedelta(days=number * 30) for number in range(40)]
    days += [dt.date(2027, 6, 1)] * 5
    chart = control_chart(days, np.zeros(45), share=True)

    assert chart.periods[-1].limits == pytest.approx((0.0, 0.4))


def test_nothing_moves_by_chance():
    """Of 200 charts of noise at most one says so."""
    rng = np.random.default_rng(4)
    days = [START + dt.timedelta(days=7 * number) for number in range(150)]
    charts = [control_chart(days, rng.normal(size=150)) for _ in range(200)]

    assert sum(bool(chart.moved_since) for chart in charts) <= 1


@pytest.mark.parametrize("sizes", [(40, 10, 10), (80, 70), (10, 60, 10), (15,) * 10])
def test_nothing_moves_by_chance_where_days_have_many_cases(sizes: tuple[int, ...]):
    """As where days are those of the analysis. By value within a day, most of them moved."""
    rng = np.random.default_rng(5)
    days = [
        START + dt.timedelta(days=40 * number)
        for number, size in enumerate(sizes)
        for _ in range(size)
    ]
    charts = [control_chart(days, rng.normal(size=len(days))) for _ in range(200)]

    assert all(chart.periods for chart in charts)
    assert sum(bool(chart.moved_since) for chart in charts) <= 1


def test_the_baseline_ends_with_a_day():
    """A third of 60 is 20; the day of the 20th has 30 cases up to the 35th."""
    days = [START] * 5 + [START + dt.timedelta(days=40)] * 30
    days += [START + dt.timedelta(days=80)] * 25
    numbers = np.array([0.0] * 5 + [1.0] * 30 + [1.0] * 25)

    assert control_chart(days, numbers).centre == pytest.approx(30 / 35)


@pytest.mark.parametrize(
    ("days", "numbers", "words"),
    [
        ([START] * 39, np.arange(39.0), "39 of at least 40"),
        ([None] * 50, np.arange(50.0), "0 of at least 40"),
        ([START] * 50, np.arange(50.0), "the first third of the cases is all there is"),
        (
            [START + dt.timedelta(days=n) for n in range(50)],
            np.ones(50),
            "the first third of the cases does not vary",
        ),
    ],
)
def test_where_there_is_no_chart_the_reason_stands_in_words(
    days: list[dt.date | None], numbers: np.ndarray, words: str
):
    chart = control_chart(days, numbers)

    assert chart.missing.startswith(words)
    assert chart.periods == ()


@pytest.mark.parametrize(
    ("length", "cases", "step", "name"),
    [
        (90, 60, Step.WEEK, "2024-05-13"),
        (90, 20, Step.MONTH, "2024-05"),
        (700, 90, Step.MONTH, "2024-05"),
        (700, 50, Step.QUARTER, "2024 Q2"),
        (3000, 5000, Step.QUARTER, "2024 Q2"),
    ],
)
def test_a_period_goes_with_the_length_and_the_cases_of_the_cohort(
    length: int, cases: int, step: Step, name: str
):
    last = dt.date(2024, 5, 19)
    days = [last - dt.timedelta(days=length * number // (cases - 1)) for number in range(cases)]

    assert step_of(days) is step
    assert step_of(days, Step.MONTH) is (Step.MONTH if step is Step.WEEK else step)
    assert step.name_of(step.start(last)) == name
