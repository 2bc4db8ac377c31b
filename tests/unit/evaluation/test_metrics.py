"""The study's metrics: by hand, and against implementations that are not ours."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats

from inference.evaluation.metrics import (
    FailureClasses,
    absolute_volume_error_percent,
    aurc,
    auroc,
    average_surface_distance_mm,
    dice_of_counts,
    roc_curve,
)
from inference.geometry import Geometry

SPACING_MM = (5.0, 0.7, 0.9)


def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
    """On a grid of 14 x 40 x 36, away from its border."""
    index = np.indices((14, 40, 36))
    return sum(((i - c) / r) ** 2 for i, c, r in zip(index, centre, radii, strict=True)) <= 1


TRUE = ellipsoid((6, 19, 17), (4.2, 12.3, 9.1))
FOUND = ellipsoid((6.7, 21, 15), (4.6, 11.0, 10.4))


def itk(mask: NDArray[np.bool_]) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING_MM[::-1])
    return image


def test_dice_is_that_of_simpleitk():
    filtered = SimpleITK.LabelOverlapMeasuresImageFilter()
    filtered.Execute(itk(TRUE), itk(FOUND))

    ours = dice_of_counts((TRUE & FOUND).sum(), TRUE.sum(), FOUND.sum())

    assert ours == pytest.approx(filtered.GetDiceCoefficient())


def test_the_surface_distance_is_that_of_simpleitk():
    """Contours by LabelContour, distances by the Maurer map: nothing of ours in between."""
    contours = [
        SimpleITK.LabelContour(itk(mask), fullyConnected=False) for mask in (TRUE, FOUND)
    ]
    distances = []
    for here, there in (contours, contours[::-1]):
        field = SimpleITK.SignedMaurerDistanceMap(
            there, squaredDistance=False, useImageSpacing=True
        )
        away = np.abs(SimpleITK.GetArrayFromImage(field))
        distances.append(away[SimpleITK.GetArrayFromImage(here) > 0])
    expected = np.concatenate(distances).mean()

    ours = average_surface_distance_mm(TRUE, FOUND, Geometry.regular(TRUE.shape, SPACING_MM))

    assert expected > 0.5
    assert ours == pytest.approx(expected, rel=1e-5)


def test_a_voxel_against_two_is_a_third_of_their_distance():
    """Truth `#.`, found `##`, pixels 3 mm apart: distances 0 forth, 0 and 3 back: 3 / 3."""
    true = np.array([[[True, False]]])
    found = np.array([[[True, True]]])
    geometry = Geometry.regular((1, 1, 2), (1.0, 1.0, 3.0))

    assert average_surface_distance_mm(true, found, geometry) == pytest.approx(1.0)


def test_the_surface_distance_knows_unevenly_spaced_slices():
    """Voxels in the first and the third of slices at 0, 2 and 8 mm are 8 mm apart."""
    even = Geometry.regular((3, 1, 1), (2.0, 1.0, 1.0))
    positions = even.positions_mm.copy()
    positions[2, 2] = 8.0
    uneven = Geometry(
        positions, np.array([2.0, 4.0, 6.0]), even.row_axis, even.column_axis, (1.0, 1.0), 1, 1
    )
    first, third = (np.arange(3)[:, None, None] == k for k in (0, 2))

    assert average_surface_distance_mm(first, third, uneven) == pytest.approx(8.0)


def test_inside_voxels_are_no_surface():
    """A cube of 5 against one of 3 inside it: every face lies 1 mm deeper.

    98 outer and 26 inner voxels. Outer: 54 face voxels 1 mm away, 36 along the edges
    sqrt 2, 8 corners sqrt 3. Inner, all 1 mm away.
    """
    outer = np.zeros((7, 7, 7), bool)
    inner = outer.copy()
    outer[1:6, 1:6, 1:6] = True
    inner[2:5, 2:5, 2:5] = True
    expected = (54 + 36 * 2**0.5 + 8 * 3**0.5 + 26) / (98 + 26)

    ours = average_surface_distance_mm(outer, inner, Geometry.regular((7, 7, 7), (1, 1, 1)))

    assert ours == pytest.approx(expected)


def test_what_was_not_found_has_no_distance_and_nothing_has_no_dice():
    empty = np.zeros_like(TRUE)
    geometry = Geometry.regular(TRUE.shape, SPACING_MM)

    assert average_surface_distance_mm(TRUE, empty, geometry) is None
    assert dice_of_counts(0, 10, 0) == 0.0
    assert dice_of_counts(0, 0, 0) is None


def test_volume_errors_are_relative_to_the_truth():
    """80 for 100 and 120 for 100 are both off by 20 %."""
    assert absolute_volume_error_percent(100.0, 80.0) == pytest.approx(20.0)
    assert absolute_volume_error_percent(100.0, 120.0) == pytest.approx(20.0)
    assert absolute_volume_error_percent(0.0, 5.0) is None


SCORES = hnp.arrays(
    np.float64, st.integers(2, 30), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])
)


@given(SCORES, st.data())
def test_auroc_is_mann_whitney_and_the_area_under_the_curve(
    score: NDArray[np.float64], data: st.DataObject
):
    count = data.draw(st.integers(1, len(score) - 1))
    bad = np.arange(len(score)) < count
    u = stats.mannwhitneyu(score[bad], score[~bad], method="asymptotic").statistic

    false, true = roc_curve(score, bad)

    assert auroc(score, bad) == pytest.approx(u / (count * (len(score) - count)))
    assert np.trapezoid(true, false) == pytest.approx(auroc(score, bad))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_failures_lie_two_and_three_robust_sigmas_below_the_median():
    """Dice .96 .94 .92 .80 .50: median .92, deviations .04 .02 0 .12 .42, so MAD .04.

    Limits .92 - 2 x 1.4826 x .04 = .801392 and .92 - 3 x 1.4826 x .04 = .742088.
    """
    classes = FailureClasses.of(np.array([0.96, 0.94, 0.92, 0.80, 0.50]))

    assert (classes.median, classes.mad) == pytest.approx((0.92, 0.04))
    assert classes.inaccurate_below == pytest.approx(0.801392)
    assert classes.failed_below == pytest.approx(0.742088)


def test_aurc_is_the_mean_of_the_risks_of_the_kept() -> None:
    """Risks by growing score .1 .2 .6: kept one .1, two .15, three .3; mean 11 / 60."""
    score, risk = np.array([2.0, 1.0, 3.0]), np.array([0.2, 0.1, 0.6])

    assert aurc(score, risk) == pytest.approx(0.55 / 3)


def test_aurc_of_equal_scores_is_that_of_no_order_in_particular() -> None:
    """Score 1: .1; score 2 twice: .2 and .6, .4 on average. (.1 + .25 + .3) / 3.

    The two orders give (.1 + .15 + .3) / 3 and (.1 + .35 + .3) / 3: their mean.
    """
    score, risk = np.array([2.0, 1.0, 2.0]), np.array([0.6, 0.1, 0.2])

    assert aurc(score, risk) == pytest.approx(0.65 / 3)
    assert aurc(np.zeros(3), risk) == pytest.approx(risk.mean())
    assert aurc(np.empty(0), np.empty(0)) is None
