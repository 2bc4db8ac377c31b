"""Thresholds as the study fits them, by numbers worked by hand."""

import datetime as dt

import numpy as np
import pytest

from inference.evaluation.metrics import auroc
from inference.evaluation.study import TABLE_7
from inference.results import Score
from inference.structures import STRUCTURES
from inference.training.calibrate import (
    MINIMUM_MAD,
    dice_table,
    fit,
    fit_lines,
    plausible_ranges,
)
from inference.training.detection import detection
from inference.training.scoring import Scored


def test_auroc_counts_pairs_and_halves_ties() -> None:
    """Bad scores 3 and 2, good ones 1, 2: pairs 3>1, 3>2, 2>1 and a tie: 3.5 of 4."""
    score = np.array([3.0, 2.0, 1.0, 2.0])
    bad = np.array([True, True, False, False])

    assert auroc(score, bad) == pytest.approx(0.875)


def test_auroc_needs_good_and_bad_cases() -> None:
    assert auroc(np.array([1.0, 2.0]), np.array([False, False])) is None


def test_limits_follow_the_rule_of_the_study() -> None:
    """Dice 1 - 100 u exactly; clean .96 .94 .92: median .94, MAD .02.

    Limits: .94 - 2 x 1.4826 x .02 = .8807 and .8510; so u = .001193 and .001490.
    """
    dice = np.array([0.96, 0.94, 0.92, 0.80, 0.50])
    uncertainty = (1 - dice) / 100
    clean = np.array([True, True, True, False, False])

    fitted = fit_lines(dice, {Score.UNCERTAINTY: uncertainty}, clean)

    assert fitted is not None
    assert fitted.dice_limits == pytest.approx((0.880696, 0.851044))
    assert fitted.uncertainty_limits == pytest.approx((0.00119304, 0.00148956), rel=1e-4)
    assert fitted.judging.auroc_failed == 1.0
    assert not fitted.judging.weak


def test_a_structure_whose_uncertainty_says_nothing_gets_no_threshold() -> None:
    dice = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    uncertainty = np.array([1.0, 2.0, 3.0, 4.0, 5.0]) * -1e-3

    scores = {Score.UNCERTAINTY: uncertainty}
    assert fit_lines(dice, scores, np.ones(5, dtype=bool)) is None


def test_cases_that_hardly_differ_still_leave_room() -> None:
    dice = np.array([0.95, 0.95, 0.95, 0.95, 0.40])
    uncertainty = np.array([1e-4, 1e-4, 1e-4, 1e-4, 9e-4])

    fitted = fit_lines(dice, {Score.UNCERTAINTY: uncertainty}, np.array([True] * 4 + [False]))

    assert fitted is not None
    assert fitted.dice_mad == MINIMUM_MAD


def cases() -> list[Scored]:
    made = []
    for k in range(8):
        dice = np.full(len(STRUCTURES), 0.95 - 0.05 * k)
        made.append(Scored(f"case {k}", k > 4, dice, {Score.UNCERTAINTY: (1 - dice) / 50}))
    return made


def test_fit_gives_every_structure_and_the_average_a_threshold() -> None:
    calibration = fit(cases(), "eight cases", dt.date(2025, 1, 1))

    assert set(calibration.structures) == {s.abbreviation for s in STRUCTURES}
    assert calibration.average is not None
    assert calibration.expected_cases == 8


def test_a_structure_that_no_case_shows_has_no_threshold_and_no_row() -> None:
    scored = cases()
    for case in scored:
        case.dice[0] = np.nan

    assert "PELVIS" not in fit(scored, "", dt.date(2025, 1, 1)).structures
    assert "PELVIS" not in [row[0] for row in dice_table(scored)]


def test_plausible_ranges_hold_the_means_of_the_study_for_a_man_and_a_woman() -> None:
    for abbreviation, limits in plausible_ranges().items():
        for height_m in (1.5, 1.8):
            volume = TABLE_7[abbreviation][0] * height_m**2
            assert limits.volume_cm3 is not None
            assert limits.volume_cm3[0] < volume < limits.volume_cm3[1]


def test_a_gate_is_tried_with_its_own_limits_and_a_missed_structure_counts_as_worst() -> None:
    """Good cases have Dice .95 and .90; the third is missed: flagged with certainty."""
    calibration = fit(cases(), "eight cases", dt.date(2025, 1, 1))
    count = len(STRUCTURES)
    tried = [
        Scored(name, False, np.full(count, dice), {Score.UNCERTAINTY: np.full(count, unsure)})
        for name, dice, unsure in (
            ("good", 0.95, 1e-3),
            ("good too", 0.90, 2e-3),
            ("missed", 0.0, np.nan),
        )
    ]

    found = detection(calibration, tried)

    assert found.failures == (count, 3 * count)
    assert found.structure_failed == 1.0
    assert found.failed == 1.0


def test_a_gate_that_was_tried_on_good_cases_alone_has_no_figure() -> None:
    calibration = fit(cases(), "eight cases", dt.date(2025, 1, 1))

    assert detection(calibration, cases()[:1]).structure_failed is None


def test_verdicts_rest_on_the_samples_disagreement_where_there_is_one() -> None:
    """Of each score the limits are kept; a line that rises leaves its score out."""
    dice = np.array([0.96, 0.94, 0.92, 0.80, 0.50])
    scores = {
        Score.UNCERTAINTY: (1 - dice) / 100,
        Score.DISAGREEMENT: 2 * (1 - dice),
        Score.VOLUME_CV: dice,
    }
    clean = np.array([True, True, True, False, False])

    fitted = fit_lines(dice, scores, clean)

    assert fitted is not None
    assert fitted.gate is Score.DISAGREEMENT
    assert set(fitted.scores) == {Score.UNCERTAINTY, Score.DISAGREEMENT}
    assert fitted.judging.limits == pytest.approx((2 * 0.119304, 2 * 0.148956))
    assert fitted.uncertainty_limits == pytest.approx((0.00119304, 0.00148956))


def test_without_disagreement_verdicts_rest_on_the_uncertainty() -> None:
    fitted = fit(cases(), "eight cases", dt.date(2025, 1, 1))

    assert {one.gate for one in fitted.structures.values()} == {Score.UNCERTAINTY}


def test_scores_are_tried_side_by_side_on_the_same_cases() -> None:
    """The disagreement knows the bad cases; the volume's variation says nothing of them."""
    rng = np.random.default_rng(1)
    made = []
    for one in cases():
        missed = (1 - one.dice) * rng.uniform(0.99, 1.01, len(one.dice))
        vague = (1 - one.dice) * rng.uniform(0.2, 5.0, len(one.dice))
        scores = {Score.DISAGREEMENT: missed, Score.VOLUME_CV: vague}
        made.append(Scored(one.name, one.corrupted, one.dice, scores))
    calibration = fit(made, "eight cases", dt.date(2025, 1, 1))

    good, vague_one = (detection(calibration, made, score) for score in made[0].scores)

    assert detection(calibration, made) == good
    assert good.structure_failed is not None
    assert vague_one.structure_failed is not None
    assert good.structure_failed > 0.99 > vague_one.structure_failed
    assert good.structure_aurc is not None
    assert vague_one.structure_aurc is not None
    assert good.structure_aurc < vague_one.structure_aurc
