"""Norms: by hand, private, of one bundle; and what a single case is told by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.cohorts import MODEL, cohort, renamed

from dicom_node.cohort.against_norms import FEWEST_TO_COMPARE, compare_case
from dicom_node.cohort.age_groups import ALL_AGES
from dicom_node.cohort.cohort import Cohort, Quantity
from dicom_node.cohort.norms import norms_of, norms_schema, read_norms, write_norms
from dicom_node.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "dicom_node" / "norms.schema.json"


def test_the_published_schema_is_that_of_the_classes():
    assert json.loads(SCHEMA.read_text()) == norms_schema()


def test_norms_of_everyone_are_mean_and_spread_of_those_who_count(tmp_path: Path):
    table = Cohort.of(cohort(60))
    write_norms(norms_of(table), tmp_path / "norms.json")
    norms = read_norms(tmp_path / "norms.json")

    jsonschema.validate(json.loads((tmp_path / "norms.json").read_text()), norms_schema())
    (found,) = [
        one
        for one in norms.norms
        if (one.sex, one.key, one.quantity) == ("all", "GMED_R", Quantity.VOLUME)
    ]
    known = np.array(
        [
            one.volume_cm3
            for case in table.cases
            for one in case.structures
            if one.segment.key == "GMED_R" and one.verdict == "accepted" and one.volume_cm3
        ]
    )
    assert found.n == len(known)
    assert found.mean == pytest.approx(known.mean(), rel=1e-5)
    assert found.sd == pytest.approx(known.std(ddof=1), rel=1e-5)
    assert {one.percent: one.value for one in found.percentiles}[50] == pytest.approx(
        np.median(known), rel=5e-3
    )


def test_no_group_is_of_fewer_than_five_patients_and_what_is_withheld_is_counted():
    """Four men among thirty: nothing is said of men, nor of everyone, who are women and men."""
    records = [
        renamed(case, sex="M" if number < 4 else "F")
        for number, case in enumerate(cohort(30, refused_every=0))
    ]
    norms = norms_of(Cohort.of(records))

    assert min(one.n for one in norms.norms) >= 5
    assert {one.sex for one in norms.norms} == {"F"}
    assert norms.withheld >= 43


def test_one_of_unknown_sex_among_fifty_is_not_told_by_subtraction():
    records = [
        renamed(case, sex="" if number == 7 else "M" if number % 2 else "F")
        for number, case in enumerate(cohort(50, refused_every=0))
    ]

    assert {one.sex for one in norms_of(Cohort.of(records)).norms} == {"F", "M"}


@pytest.mark.parametrize("seed", range(3))
def test_no_subtraction_leaves_fewer_than_five_patients(seed: int):
    """Everyone less the sexes, a sex less its ages: nobody, or at least five."""
    rng = np.random.default_rng(seed)
    records = [
        renamed(
            case,
            sex=str(rng.choice(["F", "F", "F", "M", "M", "O"])),
            age_years=None if rng.random() < 0.02 else case.source.age_years,
        )
        for case in cohort(120, seed=seed, refused_every=0)
    ]
    count: dict[tuple[str, str, bool], int] = {}
    for one in norms_of(Cohort.of(records)).norms:
        of = (f"{one.key} {one.quantity}", one.sex, one.age_group == ALL_AGES)
        count[of] = count.get(of, 0) + one.n
    rests = []
    for (cell, sex, whole), total in count.items():
        if not whole:
            rests.append(count[cell, sex, True] - total)
        elif sex == "all":
            rests.append(total - sum(count.get((cell, one, True), 0) for one in "FM"))

    assert any(rests)
    assert all(rest == 0 or rest >= 5 for rest in rests)


def test_percentiles_are_of_twenty_patients_at_least_and_rounded():
    """Of 5 the 25th, 50th and 75th would be the values of three patients."""
    found = norms_of(Cohort.of(cohort(60, refused_every=0))).norms

    assert {bool(one.percentiles) for one in found if one.n < 20} == {False}
    assert {bool(one.percentiles) for one in found if one.n >= 20} == {True}
    values = [each.value for one in found for each in one.percentiles]
    assert values == [float(f"{value:.3g}") for value in values]


def test_ages_of_each_sex_cover_all_without_a_gap():
    norms = norms_of(Cohort.of(cohort(200)))
    for sex in ("F", "M"):
        groups = sorted(
            {
                (one.from_year, one.below_year)
                for one in norms.norms
                if one.sex == sex and (one.from_year or one.below_year)
            }
        )
        assert groups[0][0] == 0
        assert groups[-1][1] is None
        assert [end for _, end in groups[:-1]] == [start for start, _ in groups[1:]]


def test_a_file_of_norms_names_nobody(tmp_path: Path):
    table = Cohort.of(cohort(60))
    write_norms(norms_of(table), tmp_path / "norms.json")
    text = (tmp_path / "norms.json").read_text()

    for case in table.cases:
        source = case.source
        for word in (source.name, source.patient_id, source.series_instance_uid):
            assert word not in text


def test_two_bundles_make_no_norms():
    other = replace(MODEL, version="2", weights_sha256="b2" * 32)
    mixed = [*cohort(20), *cohort(20, model=other, prefix="more", seed=2)]

    with pytest.raises(ConfigurationError, match=r"norms are of one bundle.*compact 2"):
        norms_of(Cohort.of(mixed))


def test_four_patients_make_no_norms():
    with pytest.raises(ConfigurationError, match="no norms of 4 patients"):
        norms_of(Cohort.of(cohort(4, refused_every=0)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no norms"),
        ('{"norms_version": 2}', "norms_version"),
        ("[]", "no norms"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str, words: str):
    (tmp_path / "norms.json").write_text(text)

    with pytest.raises(ConfigurationError, match=words):
        read_norms(tmp_path / "norms.json")


def test_a_case_is_measured_by_the_closest_group_that_is_large_enough():
    norms = norms_of(Cohort.of(cohort(200, refused_every=0)))
    (case,) = cohort(1, refused_every=0, seed=9, prefix="new")
    case = renamed(case, sex="F", age_years=64.0)

    compared = compare_case(case, norms)

    assert compared.refused == ""
    (score,) = [
        one
        for one in compared.scores
        if (one.segment.key, one.quantity) == ("PELVIS_L", Quantity.VOLUME)
    ]
    assert score.norm.sex == "F"
    assert score.norm.age_group.holds(64.0)
    assert score.norm.n >= FEWEST_TO_COMPARE
    assert score.z == pytest.approx((score.value - score.norm.mean) / score.norm.sd)
    assert score.group_words == f"women, 60 to 69 (n {score.norm.n})"


def test_a_norm_that_varies_by_rounding_alone_gives_no_z():
    """Otherwise a share that differs in its third digit lies millions of SDs away."""
    norms = norms_of(Cohort.of(cohort(80, refused_every=0)))
    alike = [replace(one, mean=0.3, sd=5e-17) for one in norms.norms]
    (case,) = cohort(1, refused_every=0)
    scores = compare_case(case, replace(norms, norms=tuple(alike))).scores
    assert scores
    assert {one.z for one in scores} == {None}


def test_a_case_of_unknown_sex_and_age_is_compared_with_everyone_and_told_so():
    norms = norms_of(Cohort.of(cohort(80)))
    (case,) = cohort(1, refused_every=0)

    compared = compare_case(renamed(case, sex="", age_years=None), norms)

    assert {one.norm.sex for one in compared.scores} == {"all"}
    assert any("sex of the case is not known" in note for note in compared.notes)
    assert any("age of the case is not known" in note for note in compared.notes)


def test_a_case_of_another_bundle_is_not_compared():
    norms = norms_of(Cohort.of(cohort(80)))
    (case,) = cohort(1, refused_every=0, model=replace(MODEL, weights_sha256="b2" * 32))

    compared = compare_case(case, norms)

    assert compared.scores == ()
    assert "results of two bundles are not compared" in compared.refused


def test_other_samples_of_one_bundle_are_compared_and_told():
    norms = norms_of(Cohort.of(cohort(80)))
    (case,) = cohort(1, refused_every=0, model=replace(MODEL, samples=1))

    assert any(
        "took 1 samples, the norms 10" in note for note in compare_case(case, norms).notes
    )


def test_norms_of_few_patients_measure_nobody():
    norms = norms_of(Cohort.of(cohort(12, refused_every=0)))
    (case,) = cohort(1, refused_every=0)

    largest = max(one.n for one in norms.norms)
    assert largest <= 12
    assert f"the largest group of the norms has {largest} patients" in (
        compare_case(case, norms).refused
    )


def test_a_structure_without_any_number_of_the_norms_is_told_as_that():
    """Not as too few patients: there are eighty."""
    norms = norms_of(Cohort.of(cohort(80, refused_every=0)))
    (case,) = cohort(1, refused_every=0)
    empty = replace(
        case.structures[0],
        verdict="accepted",
        volume_cm3=None,
        normalised_volume_cm3_per_m2=None,
        mean_hu=None,
        lean=None,
        mixed=None,
        fat=None,
    )
    left_out = dict(compare_case(replace(case, structures=(empty,)), norms).left_out or ())
    refused = compare_case(replace(case, structures=(empty,)), norms).refused
    both = compare_case(replace(case, structures=(empty, *case.structures[1:])), norms)

    assert left_out == {}
    assert "no number of those that the norms have" in refused
    assert dict(both.left_out)["no number of those that the norms have"] == (empty.segment.key,)
    assert not any("fewer than 20" in words for words, _ in both.left_out)


def test_a_refused_case_has_nothing_to_compare():
    norms = norms_of(Cohort.of(cohort(80)))
    refused = next(case for case in cohort(80) if case.state == "refused")

    assert "series-incomplete" in compare_case(refused, norms).refused


def test_percentiles_are_told_between_neighbours():
    norms = norms_of(Cohort.of(cohort(80, refused_every=0)))
    (case,) = cohort(1, refused_every=0)
    score = compare_case(case, norms).scores[0]
    at = {one.percent: one.value for one in score.norm.percentiles}

    assert replace(score, value=at[5] - 1).percentile_words == "below 5th"
    assert replace(score, value=(at[25] + at[50]) / 2).percentile_words == "25th to 50th"
    assert replace(score, value=at[95] + 1).percentile_words == "above 95th"
