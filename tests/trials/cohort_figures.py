"""The figures of docs/cohort.md: `python tests/trials/cohort_figures.py [CASES]`.

How often is something said to have moved where nothing has? Cohorts of 150 made-up cases each,
with three scanners: with a case every six days, and with all cases on five days, as where
days are those of the analysis. How long does a report take, and how large is it, of CASES
(default 2,500)?
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.cohorts import cohort, renamed

from dicom_node.cohort.cohort import Cohort
from dicom_node.cohort.drift import charts_of, scanner_groups, watched_numbers
from dicom_node.cohort.page import About
from dicom_node.cohort.report import cohort_html

COHORTS = 40
DAYS = [date(2024, month, 9) for month in (1, 3, 4, 6, 9)]


def say(words: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def moved(table: Cohort) -> tuple[int, int]:
    """How many charts say so, of all cases and of each scanner, and how many there are."""
    watched = watched_numbers(table)
    everyone = np.ones(len(table.cases), dtype=bool)
    groups = [everyone, *(members for _, members in scanner_groups(table)[0])]
    charts = [chart for some in groups for _, chart in charts_of(table, watched, some)]
    return sum(bool(one.moved_since) for one in charts), sum(
        bool(one.periods) for one in charts
    )


def main() -> None:
    """Print the figures."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 2500
    for words, few_days in (("a case every six days", False), ("five days of 30 cases", True)):
        found = []
        for seed in range(COHORTS):
            cases = cohort(150, seed=seed)
            if few_days:
                cases = tuple(
                    renamed(one, study_date=DAYS[number * len(DAYS) // len(cases)])
                    for number, one in enumerate(cases)
                )
            found.append(moved(Cohort.of(cases)))
        told, charts = sum(bool(one) for one, _ in found), sum(number for _, number in found)
        say(f"{words}: moved in {told} of {COHORTS} cohorts ({charts} charts)")
    table = Cohort.of(cohort(size))
    start = time.process_time()
    html = cohort_html(table, About(datetime.now(UTC)))
    taken = time.process_time() - start
    say(f"report of {size} cases: {taken:.0f} s of processor time, {len(html) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
