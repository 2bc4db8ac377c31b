"""What is watched over time: one table for all charts, and none of it about single cases."""

from __future__ import annotations

import numpy as np
from support.cohorts import cohort

from dicom_node.cohort.cohort import Cohort
from dicom_node.cohort.control_chart import Step, without_small_periods
from dicom_node.cohort.drift import Watched, charts_of
from dicom_node.cohort.tables import period_table

TABLE = Cohort.of(cohort(120, days=140, refused_every=0))
EVERYONE = np.ones(120, dtype=bool)
RNG = np.random.default_rng(3)
ALWAYS = Watched("always", RNG.normal(size=120), ".1f")
SELDOM = Watched(
    "seldom", np.where(np.arange(120) % 3 == 0, RNG.normal(size=120), np.nan), ".1f"
)


def test_all_charts_have_periods_of_one_length():
    """120 cases in 20 weeks are 6 a week, 40 are 2: too few. Both have months then."""
    alone = [charts_of(TABLE, [one], EVERYONE)[0][1].step for one in (ALWAYS, SELDOM)]
    together = charts_of(TABLE, [ALWAYS, SELDOM], EVERYONE)
    table = period_table([(one.words, chart) for one, chart in together])

    assert alone == [Step.WEEK, Step.MONTH]
    assert {chart.step for _, chart in together} == {Step.MONTH}
    assert all(len(str(row[0])) == len("2023-01") for row in table.rows)
    assert all(row[1] and row[4] for row in table.rows)


def test_no_period_of_few_cases_is_left_where_none_may_be_told():
    """Of 40 cases in six months one has fewer than 8."""
    ((_, chart),) = charts_of(TABLE, [SELDOM], EVERYONE, Step.MONTH)
    told = without_small_periods(chart, 8)

    assert min(one.count for one in chart.periods) < 8
    assert min(one.count for one in told.periods) >= 8
    assert without_small_periods(chart, 100).missing == "no month has 100 cases"
