"""Asymmetry, outliers and effect sizes, worked by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dicom_node.cohort.statistics import asymmetry_percent, modified_z, paired_effect

NAN = float("nan")


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=float)


def test_asymmetry_is_the_difference_over_the_mean():
    """110 and 90: 20 over 100; 90 and 110: the same downwards; nothing of nothing."""
    found = asymmetry_percent(values(110, 90, 0, NAN, 50), values(90, 110, 0, 10, 0))

    assert found == pytest.approx([20.0, -20.0, NAN, NAN, 200.0], nan_ok=True)


def test_modified_z_is_that_of_iglewicz_and_hoaglin():
    """Median of 1 2 3 4 5 6 7 100 is 4.5; deviations .5 .5 1.5 1.5 2.5 2.5 3.5 95.5: MAD 2.

    100 lies 0.6745 x 95.5 / 2 = 32.2 out, 7 only 0.84.
    """
    scores = modified_z(values(1, 2, 3, 4, 5, 6, 7, 100))

    assert scores[-1] == pytest.approx(0.6745 * 95.5 / 2)
    assert scores[-2] == pytest.approx(0.6745 * 2.5 / 2)


@pytest.mark.parametrize("few", [values(1, 2, 3, 4, 5, 6, 700), values(1, 1, 1, 1, 1, 1, 1, 9)])
def test_few_values_and_equal_ones_have_no_outlier(few: np.ndarray):
    assert np.isnan(modified_z(few)).all()


def test_an_unknown_value_is_no_outlier_and_moves_none():
    known = values(1, 2, 3, 4, 5, 6, 7, 100)
    scores = modified_z(np.append(known, NAN))

    assert scores[:-1] == pytest.approx(modified_z(known))
    assert np.isnan(scores[-1])


def test_cohens_dz_is_the_mean_difference_over_its_spread():
    """Differences 1 2 3: mean 2, SD 1."""
    effect = paired_effect(values(11, 22, 33), values(10, 20, 30))

    assert effect.cohens_dz == pytest.approx(2.0)
    assert effect.rank_biserial == pytest.approx(1.0)


def test_two_pairs_have_no_effect_size():
    """Differences 1 and 1.1 would make a dz of 15: two pairs that are alike by chance."""
    effect = paired_effect(values(1, 1.1), np.zeros(2))

    assert (effect.cohens_dz, effect.rank_biserial) == (None, None)


def test_rank_biserial_counts_ranks_for_and_against():
    """Differences 1 -2 3 -4 5 0: ranks for 1 + 3 + 5, against 2 + 4: (9 - 6) / 15."""
    effect = paired_effect(values(1, -2, 3, -4, 5, 0), np.zeros(6))

    assert effect.rank_biserial == pytest.approx(3 / 15)


def test_rank_biserial_agrees_with_scipys_rank_sums():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.4, 1, 30), rng.normal(0, 1, 30)
    smaller = stats.wilcoxon(first, second).statistic
    larger = 30 * 31 / 2 - smaller

    effect = paired_effect(first, second)

    assert effect.rank_biserial == pytest.approx((larger - smaller) / (30 * 31 / 2))


def test_equal_differences_have_no_dz_and_equal_pairs_no_effect():
    assert paired_effect(values(0.1, 0.2, 0.3), values(0.0, 0.1, 0.2)).cohens_dz is None
    assert paired_effect(values(1, 2), values(1, 2)).rank_biserial is None
    assert paired_effect(values(1), values(0)).cohens_dz is None
