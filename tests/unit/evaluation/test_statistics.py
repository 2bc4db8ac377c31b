"""Agreement, correlation and tests: worked by hand, and against scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from inference.evaluation.statistics import (
    PairedTest,
    absolute_error,
    bonferroni,
    concordance,
    mean_sd,
    paired_test,
    pearson,
    regression,
)

NAN = float("nan")


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=float)


def test_concordance_counts_a_shift_against_it():
    """X 1 2 3, y 2 3 4: variances and covariance 2/3, means 1 apart.

    2 x 2/3 / (2/3 + 2/3 + 1) = 4/7; the correlation is 1.
    """
    x, y = values(1, 2, 3), values(2, 3, 4)

    assert concordance(x, y) == pytest.approx(4 / 7)
    assert pearson(x, y) == pytest.approx(1.0)
    assert concordance(x, x) == pytest.approx(1.0)


def test_correlation_and_line_are_those_of_scipy():
    rng = np.random.default_rng(3)
    x = rng.normal(size=20)
    y = 2 - 3 * x + rng.normal(size=20)
    theirs = stats.linregress(x, y)

    line = regression(x, y)

    assert line is not None
    assert (line.a, line.b) == pytest.approx((theirs.intercept, theirs.slope))
    assert pearson(x, y) == pytest.approx(theirs.rvalue)
    assert line.x_at(line.a) == pytest.approx(0.0)


def test_unknown_values_take_their_pair_with_them():
    x, y = values(1, 2, 3, NAN, 5), values(2, 3, 4, 100, NAN)

    assert concordance(x, y) == pytest.approx(4 / 7)
    assert absolute_error(x, y) == mean_sd(values(1, 1, 1))


def test_mean_and_spread_are_of_the_sample():
    """2 4 6: mean 4, variance (4 + 0 + 4) / 2 = 4."""
    known = mean_sd(values(2, NAN, 4, 6))

    assert known is not None
    assert (known.mean, known.sd, known.count) == (4.0, 2.0, 3)
    assert mean_sd(values(NAN)) is None
    one = mean_sd(values(7))
    assert one is not None
    assert one.sd is None


def test_two_cases_have_no_correlation_and_constants_have_none():
    assert pearson(values(1, 2), values(1, 2)) is None
    assert concordance(values(1, 2), values(1, 2)) is None
    assert pearson(values(0, 0, 0, 0), values(1, 2, 3, 4)) is None
    assert regression(values(0, 0, 0), values(1, 2, 3)) is None


def test_normal_differences_get_a_t_test():
    """Differences 1 2 3: t = 2 / (1 / sqrt 3) with 2 degrees of freedom.

    There p = 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14) = .0742.
    """
    test = paired_test(values(11, 22, 33), values(10, 20, 30))

    assert (test.name, test.pairs, test.difference) == ("t", 3, 2.0)
    assert test.p == pytest.approx(1 - (12 / 14) ** 0.5)


def test_skewed_differences_get_wilcoxon():
    """Eight differences, all positive, one of them huge: p = 2 / 2^8 whatever their size."""
    differences = values(0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 5.0)

    test = paired_test(differences, np.zeros(8))

    assert stats.shapiro(differences).pvalue < 0.05
    assert test.name == "Wilcoxon"
    assert test.p == pytest.approx(2 / 2**8)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (values(1, 2), values(2, 1), "2 of at least 3 pairs"),
        (values(1, 2, NAN), values(2, 1, 3), "2 of at least 3 pairs"),
        (values(0.1, 0.2, 0.3), values(0.0, 0.1, 0.2), "all differences are equal"),
        (values(NAN), values(1), "0 of at least 3 pairs"),
    ],
)
def test_where_no_test_is_possible_the_reason_stands_in_words(
    first: np.ndarray, second: np.ndarray, words: str
):
    test = paired_test(first, second)

    assert (test.p, test.name, test.words) == (None, "", words)


def test_bonferroni_multiplies_by_the_tests_that_were_made():
    tests = [PairedTest(5, p=0.01), PairedTest(5, p=0.4), PairedTest(2, words="too few")]
    tests.append(PairedTest(5, p=0.2))

    assert [test.corrected_p for test in bonferroni(tests)] == pytest.approx(
        [0.03, 1.0, None, 0.6]
    )
