"""The gate's verdicts on structures and cases."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from inference.quality.calibration import (
    Calibration,
    PlausibleRange,
    ScoreLimits,
    StructureCalibration,
)
from inference.quality.gate import judge_case, judge_structure, judged_by, mean_uncertainty
from inference.results import (
    QUANTITIES,
    TOLD_ALTHOUGH,
    Composition,
    Coverage,
    Finding,
    JudgedBy,
    Measurement,
    Metal,
    Region,
    Score,
    Spread,
    StructureResult,
    Verdict,
)
from inference.structures import BY_KEY, SEGMENTS, Segment

GMED_L = BY_KEY["GMED_L"]
WHOLE = Coverage(Region.HIP_TO_KNEE)
LIMITS = (4e-4, 6e-4)


def line(*, weak: bool = False) -> StructureCalibration:
    return StructureCalibration(
        dice_median=0.95,
        dice_mad=0.01,
        dice_limits=(0.92, 0.91),
        gate=Score.UNCERTAINTY,
        scores={Score.UNCERTAINTY: ScoreLimits(1.0, -200.0, LIMITS, weak=weak)},
    )


def calibration(*, weak: bool = False) -> Calibration:
    return Calibration(
        data_set="hand-made",
        script="none",
        fitted_on=dt.date(2026, 1, 1),
        expected_cases=10,
        average=line(),
        structures={"GMED": line(weak=weak)},
        plausible={"GMED": PlausibleRange(volume_cm3=(100.0, 600.0), mean_hu=(-20.0, 70.0))},
    )


OF_SAMPLES = {"uncertainty", "pairwise_dice", "volume_cv"}


def measurement(segment: Segment = GMED_L, **changes: object) -> Measurement:
    usual = Measurement(
        segment=segment,
        voxel_count=1000,
        volume_cm3=300.0,
        volume_spread_cm3=Spread(295.0, 310.0),
        normalised_volume_cm3_per_m2=100.0,
        mean_hu=40.0,
        mean_hu_spread=Spread(39.0, 41.0),
        composition=Composition(lean=0.7, mixed=0.2, fat=0.1),
        uncertainty=3e-4,
        pairwise_dice=0.9,
        volume_cv=0.02,
    )
    return replace(usual, **changes)


def judged(
    measured: Measurement,
    *,
    weak: bool = False,
    coverage: Coverage = WHOLE,
    metal: Metal | None = None,
) -> StructureResult:
    return judge_structure(measured, calibration(weak=weak), coverage, metal or Metal())


def test_a_structure_whose_model_has_no_uncertainty_is_not_judged():
    result = judged(measurement(uncertainty=None))

    assert (result.verdict, result.findings) == (Verdict.NOT_JUDGED, ())
    assert result.measured.volume_cm3 == 300.0


def test_a_number_out_of_range_needs_no_uncertainty_to_be_doubted():
    result = judged(measurement(uncertainty=None, volume_cm3=900.0))

    assert result.verdict is Verdict.INACCURATE
    assert result.findings == (Finding.VOLUME_IMPLAUSIBLE,)


@pytest.mark.parametrize(
    ("uncertainty", "verdict"),
    [
        (4e-4, Verdict.ACCEPTED),
        (4.1e-4, Verdict.INACCURATE),
        (6e-4, Verdict.INACCURATE),
        (6.1e-4, Verdict.FAILED),
    ],
)
def test_uncertainty_above_a_limit_decides(uncertainty: float, verdict: Verdict):
    result = judged(measurement(uncertainty=uncertainty))

    assert result.verdict is verdict
    assert (Finding.UNCERTAIN in result.findings) == (verdict is not Verdict.ACCEPTED)
    assert result.uncertainty_limits == LIMITS


BY_DISAGREEMENT = replace(
    calibration(),
    structures={
        "GMED": replace(
            line(),
            gate=Score.DISAGREEMENT,
            scores={
                Score.UNCERTAINTY: ScoreLimits(1.0, -200.0, LIMITS),
                Score.DISAGREEMENT: ScoreLimits(1.0, -0.5, (0.2, 0.3)),
            },
        )
    },
)


@pytest.mark.parametrize(
    ("dice", "verdict", "findings"),
    [
        (0.85, Verdict.ACCEPTED, ()),
        (0.75, Verdict.INACCURATE, (Finding.SAMPLES_DISAGREE,)),
        (0.65, Verdict.FAILED, (Finding.SAMPLES_DISAGREE,)),
    ],
)
def test_a_structure_is_judged_by_the_score_that_its_calibration_rests_on(
    dice: float, verdict: Verdict, findings: tuple[Finding, ...]
):
    """Limits .2 and .3 on 1 - Dice; the uncertainty, far above its own, is told and no more."""
    measured = measurement(uncertainty=1.0, pairwise_dice=dice)
    result = judge_structure(measured, BY_DISAGREEMENT, WHOLE, Metal())

    assert (result.verdict, result.findings) == (verdict, findings)
    assert result.uncertainty_limits == LIMITS
    assert result.judged_by == JudgedBy(Score.DISAGREEMENT, pytest.approx(1 - dice), (0.2, 0.3))


def test_what_lacks_the_score_that_verdicts_rest_on_is_not_judged():
    measured = measurement(pairwise_dice=None)

    assert judge_structure(measured, BY_DISAGREEMENT, WHOLE, Metal()).verdict is (
        Verdict.NOT_JUDGED
    )


def test_a_case_is_judged_by_the_mean_of_its_score_over_the_structures():
    """Disagreements .1 and .5: a mean of .3, above .2 and not above .35."""
    average = StructureCalibration(
        0.95,
        0.01,
        (0.92, 0.91),
        Score.DISAGREEMENT,
        {Score.DISAGREEMENT: ScoreLimits(1.0, -0.5, (0.2, 0.35))},
    )
    results = [
        StructureResult(Measurement(BY_KEY[key], 9, pairwise_dice=dice), Verdict.ACCEPTED)
        for key, dice in (("GMED_L", 0.9), ("GMED_R", 0.5))
    ]
    rule = replace(calibration(), average=average)

    assert judge_case(results, rule, replace(WHOLE, region=Region.PARTIAL), Metal()) == (
        Verdict.TRUNCATED,
        (Finding.SAMPLES_DISAGREE, Finding.NOT_HIP_TO_KNEE),
    )
    by = judged_by(results, rule)
    assert by is not None
    assert by.value == pytest.approx(0.3)


def test_a_flag_on_a_weak_structure_says_that_it_is_weak():
    result = judged(measurement(uncertainty=1e-3), weak=True)

    assert result.findings == (Finding.UNCERTAIN, Finding.WEAK_FLAG)


def test_an_implausible_volume_is_inaccurate_and_with_implausible_hu_failed():
    large = judged(measurement(volume_cm3=900.0))
    absurd = judged(measurement(volume_cm3=900.0, mean_hu=300.0))

    assert (large.verdict, large.findings) == (
        Verdict.INACCURATE,
        (Finding.VOLUME_IMPLAUSIBLE,),
    )
    assert absurd.verdict is Verdict.FAILED


def test_what_is_not_found_is_absent_and_has_no_numbers():
    result = judged(Measurement(GMED_L, 0))

    assert (result.verdict, result.findings) == (Verdict.ABSENT, (Finding.NOT_FOUND,))
    assert told(result) == set()


@pytest.mark.parametrize("uncertainty", [2e-4, 5e-4, 7e-4])
def test_every_quantity_that_was_measured_passes_the_gate(uncertainty: float):
    """Also one that is added later: the gate names none; accepted, inaccurate, failed."""
    measured = measurement(uncertainty=uncertainty)

    assert judged(measured).measured is measured
    assert told(judged(measured)) == set(QUANTITIES)


def test_a_cut_structure_has_no_volume_and_is_not_held_against_its_range():
    cut = Coverage(Region.PARTIAL, cut=(GMED_L,))
    result = judged(measurement(volume_cm3=5.0), coverage=cut)

    assert (result.verdict, result.findings) == (Verdict.TRUNCATED, (Finding.CUT_BY_SCAN,))
    assert told(result) == {"mean_hu", "mean_hu_spread", "composition", *OF_SAMPLES}
    assert result.measured.mean_hu == 40.0


def test_metal_takes_volume_hu_and_composition_away():
    result = judged(measurement(), metal=Metal(30.0, (), (GMED_L,)))

    assert result.verdict is Verdict.SPOILED
    assert told(result) == OF_SAMPLES


def test_what_is_cut_and_spoiled_tells_as_little_as_what_is_spoiled():
    cut = Coverage(Region.PARTIAL, cut=(GMED_L,))
    result = judged(measurement(), coverage=cut, metal=Metal(30.0, (), (GMED_L,)))

    assert told(result) == OF_SAMPLES


def test_what_is_told_although_it_is_cut_or_spoiled_is_measured():
    assert all(names <= set(QUANTITIES) for names in TOLD_ALTHOUGH.values())


def test_without_calibration_nothing_is_flagged_and_no_limit_is_named():
    result = judge_structure(measurement(uncertainty=1.0), None, WHOLE, Metal())

    assert result.verdict is Verdict.ACCEPTED
    assert result.uncertainty_limits is None


def told(result: StructureResult) -> set[str]:
    """The quantities that a result still has."""
    return {name for name in QUANTITIES if getattr(result.measured, name) is not None}


def case(
    verdicts: dict[Verdict, int] | None = None,
    *,
    uncertainty: float = 3e-4,
    coverage: Coverage = WHOLE,
    metal: Metal | None = None,
) -> tuple[Verdict, tuple[Finding, ...]]:
    """Judge a case with so many structures of each verdict, the others accepted."""
    listed = [v for verdict, count in (verdicts or {}).items() for v in [verdict] * count]
    listed += [Verdict.ACCEPTED] * (len(SEGMENTS) - len(listed))
    structures = [
        StructureResult(
            Measurement(segment, 0)
            if verdict is Verdict.ABSENT
            else Measurement(segment, 10, uncertainty=uncertainty),
            verdict,
            (Finding.UNCERTAIN,) if verdict is not Verdict.ACCEPTED else (),
        )
        for segment, verdict in zip(SEGMENTS, listed, strict=True)
    ]
    return judge_case(structures, calibration(), coverage, metal or Metal())


def test_a_case_with_nothing_to_say_is_accepted():
    assert case() == (Verdict.ACCEPTED, ())


def test_a_case_of_which_a_structure_is_not_judged_is_not_accepted():
    assert case({Verdict.NOT_JUDGED: 1})[0] is Verdict.NOT_JUDGED
    assert case({Verdict.NOT_JUDGED: 30, Verdict.FAILED: 10})[0] is Verdict.NOT_JUDGED
    assert case({Verdict.NOT_JUDGED: 30, Verdict.FAILED: 11})[0] is Verdict.FAILED


def test_what_a_model_does_not_provide_is_neither_missing_nor_flagged():
    assert case({Verdict.NOT_PROVIDED: 40}) == (Verdict.ACCEPTED, ())
    provided = case({Verdict.NOT_PROVIDED: 36, Verdict.ABSENT: 1})
    assert provided == (Verdict.ACCEPTED, (Finding.NOT_FOUND,))


def test_a_few_flagged_structures_do_not_condemn_the_case():
    """10 of 43 are below a quarter."""
    assert case({Verdict.FAILED: 10})[0] is Verdict.ACCEPTED


def test_more_than_a_quarter_flagged_makes_it_inaccurate_more_than_a_quarter_failed_fails():
    """11 of 43 are above a quarter."""
    assert case({Verdict.INACCURATE: 11}) == (Verdict.INACCURATE, (Finding.UNCERTAIN,))
    assert case({Verdict.FAILED: 11}) == (Verdict.FAILED, (Finding.UNCERTAIN,))


def test_the_average_uncertainty_alone_can_fail_a_case():
    assert case(uncertainty=5e-4) == (Verdict.INACCURATE, (Finding.UNCERTAIN,))
    assert case(uncertainty=7e-4) == (Verdict.FAILED, (Finding.UNCERTAIN,))


def test_structures_missing_from_a_whole_scan_count_as_failed():
    """The first 12 segments are 6 of each side: fewer than half, so the sides are there."""
    assert case({Verdict.ABSENT: 12}) == (Verdict.FAILED, (Finding.NOT_FOUND,))


def test_a_scan_of_one_leg_does_not_miss_the_other():
    structures = [
        StructureResult(Measurement(s, 0), Verdict.ABSENT, (Finding.NOT_FOUND,))
        if s.side == "R"
        else StructureResult(Measurement(s, 9, uncertainty=3e-4), Verdict.ACCEPTED)
        for s in SEGMENTS
    ]

    assert judge_case(structures, calibration(), WHOLE, Metal()) == (Verdict.ACCEPTED, ())


def test_a_case_of_which_more_than_a_quarter_is_cut_is_truncated():
    """31 of 43, as where a narrow field of view cuts a scan from hip to knee; or 11 of them."""
    for count in (31, 11):
        assert case({Verdict.TRUNCATED: count})[0] is Verdict.TRUNCATED
    assert case({Verdict.TRUNCATED: 10})[0] is Verdict.ACCEPTED


def test_the_share_that_is_cut_is_of_the_structures_that_are_there():
    """One leg in view, of which 6 of 22 structures are cut; two of three are too few."""
    assert case({Verdict.ABSENT: 21, Verdict.TRUNCATED: 6})[0] is not Verdict.ACCEPTED
    assert case({Verdict.NOT_PROVIDED: 40, Verdict.TRUNCATED: 2})[0] is Verdict.ACCEPTED


def test_against_the_header_every_structure_failed_without_a_number():
    against = Coverage(Region.HIP_TO_KNEE, against_header=True)
    result = judged(measurement(), coverage=against, metal=Metal(30.0, (), (GMED_L,)))

    assert (result.verdict, result.findings) == (Verdict.FAILED, (Finding.AGAINST_HEADER,))
    assert told(result) == set()
    assert case(coverage=against) == (Verdict.FAILED, (Finding.AGAINST_HEADER,))


def test_what_a_stump_ends_has_no_volume_and_its_case_is_truncated():
    stump = Coverage(Region.HIP_TO_KNEE, stump=(GMED_L,))
    result = judged(measurement(volume_cm3=5.0), coverage=stump)

    assert (result.verdict, result.findings) == (Verdict.TRUNCATED, (Finding.NO_KNEE,))
    assert "volume_cm3" not in told(result)
    assert case(coverage=stump) == (Verdict.TRUNCATED, (Finding.NO_KNEE,))


def test_a_femur_whose_segmentation_ends_early_failed():
    lost = Coverage(Region.HIP_TO_KNEE, lost=(GMED_L,))
    result = judged(measurement(), coverage=lost)

    assert (result.verdict, result.findings) == (Verdict.FAILED, (Finding.FEMUR_LOST,))
    assert case(coverage=lost) == (Verdict.INACCURATE, (Finding.FEMUR_LOST,))


def test_a_thigh_that_is_not_there_is_not_missing():
    """After a disarticulation of the hip: neither femur nor muscles of the thigh."""
    gone = [
        s
        for s in SEGMENTS
        if s.side == "L" and (s.key == "FEMUR_L" or s.structure.group == "thigh muscle")
    ]
    structures = [
        StructureResult(Measurement(s, 0), Verdict.ABSENT, (Finding.NOT_FOUND,))
        if s in gone
        else StructureResult(Measurement(s, 9, uncertainty=3e-4), Verdict.ACCEPTED)
        for s in SEGMENTS
    ]

    assert judge_case(structures, calibration(), WHOLE, Metal()) == (Verdict.ACCEPTED, ())


def test_a_partial_scan_is_truncated_and_says_why():
    partial = Coverage(Region.PARTIAL, cut=(GMED_L,))

    assert case(coverage=partial) == (
        Verdict.TRUNCATED,
        (Finding.NOT_HIP_TO_KNEE, Finding.CUT_BY_SCAN),
    )


def test_another_body_region_fails_with_that_reason_alone():
    elsewhere = Coverage(Region.ELSEWHERE)

    assert case({Verdict.ABSENT: 43}, coverage=elsewhere) == (
        Verdict.FAILED,
        (Finding.WRONG_REGION,),
    )


def test_metal_that_reaches_a_structure_spoils_the_case_and_metal_elsewhere_is_mentioned():
    assert case(metal=Metal(30.0, (), (GMED_L,))) == (
        Verdict.SPOILED,
        (Finding.METAL_PRESENT,),
    )
    assert case(metal=Metal(0.1)) == (Verdict.ACCEPTED, (Finding.METAL_PRESENT,))


def test_the_worst_reason_wins():
    partial = Coverage(Region.PARTIAL)
    verdict, findings = case(uncertainty=7e-4, coverage=partial, metal=Metal(1, (), (GMED_L,)))

    assert verdict is Verdict.FAILED
    assert findings == (Finding.UNCERTAIN, Finding.METAL_PRESENT, Finding.NOT_HIP_TO_KNEE)


def test_mean_uncertainty_is_over_the_structures_found():
    found, other, absent = (
        StructureResult(Measurement(GMED_L, 9, uncertainty=each), Verdict.ACCEPTED)
        for each in (2e-4, 4e-4, None)
    )

    assert mean_uncertainty([found, other, absent]) == pytest.approx(3e-4)
    assert mean_uncertainty([absent]) is None
