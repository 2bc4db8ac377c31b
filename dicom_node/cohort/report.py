"""The cohort's report: one HTML file that needs no network, no other file and no script.

```
1  what it is made of    patients, bundles and settings, banner
2  verdicts              of cases and structures; refusals by reason; findings
3  distributions         by sex, side and age, beside the study's Table 7
4  sides                 asymmetry, outliers by name
5  uncertainty           thresholds, flagged cases with their QC pages
6  drift                 control charts over time, and by scanner
7  affected sides        where a file or a grader tells them
```
How the page is made and what it never holds: `page.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from dicom_node.cohort import figures, tables
from dicom_node.cohort.age_groups import FEWEST_IN_GROUP, age_groups
from dicom_node.cohort.charts import Chart, styled
from dicom_node.cohort.cohort import Cohort, Mask, Quantity, day_of, differing_settings
from dicom_node.cohort.control_chart import Step, without_small_periods
from dicom_node.cohort.drift import (
    charts_of,
    drift_words,
    scanner_groups,
    scanner_words,
    watched_numbers,
)
from dicom_node.cohort.page import About, Block, Gallery, Section, banners, page_html
from dicom_node.cohort.records import FLAGGED, CaseRecord, Model
from dicom_node.cohort.side_comparison import compare_sides, grades_of_affected
from dicom_node.cohort.sides_file import KnownSides
from dicom_node.cohort.statistics import OUTLYING
from dicom_node.cohort.thumbnails import MOST, thumbnail
from inference.results import Verdict

MOST_FLAGGED: Final = 60
MOST_UNMATCHED: Final = 8
HEIGHTS_NEEDED: Final = 0.5
"""Volumes are normalised where at least this share of the cases has a height."""

MIXED_BUNDLES: Final = (
    "MIXED BUNDLES: these cases were not made by one network. Differences between groups, over"
    " time or between scanners may be differences of the networks. Choose one with --bundle."
)
WHAT_COUNTS: Final = (
    "Distributions, sides and norms count each patient once, with the first scan; verdicts,"
    " uncertainty and drift count every case. Numbers count where the verdict of the structure"
    " is accepted or not judged."
)
TABLE_7_WORDS: Final = (
    "The study's Table 7 (unaffected side of patients with hip osteoarthritis, expert"
    " annotation) stands beside: its means alone, as the study's spread is not at hand. It is"
    " another population, measured by hand."
)
ASYMMETRY_WORDS: Final = (
    "Volume: right minus left over the mean of both, in percent. Mean HU: right minus left in"
    " HU, as a mean of about 0 is nothing to divide by. An outlier lies beyond"
    f" {OUTLYING:g} by the modified z-score (Iglewicz and Hoaglin 1993); it may be a patient or"
    " a failure."
)
DRIFT_WORDS: Final = (
    "Days are those of the scans; of the analysis where a scan has no date. A quantity has"
    " moved where all cases from some period on lie, in their mean, more than 4 standard errors"
    " from the first third of the cases, and the last of them are still away."
)
SIDES_WORDS: Final = (
    "The two sides of a patient are compared: Shapiro-Wilk on the differences, then Student's t"
    " (p of at least .05) or Wilcoxon's signed rank; p times the number of structures tested"
    " (Bonferroni). Cohen's dz: mean difference over its SD; rank biserial: 1 where the"
    " affected side is always the greater, -1 where the smaller."
)


def cohort_html(cohort: Cohort, about: About, sides: KnownSides | None = None) -> str:
    """The report of a cohort."""
    with styled():
        first = cohort.first_scans()
        sections = [
            _patients(cohort, first),
            _verdicts(cohort),
            _distributions(cohort, first),
            _asymmetry(cohort, first),
            _uncertainty(cohort),
            _drift(cohort, pseudonymous=about.pseudonymous),
            _affected(cohort, sides, pseudonymous=about.pseudonymous),
        ]
    facts = (*_facts(cohort, first, about), *about.facts)
    alerts = _bundle_alerts(cohort)
    return page_html(replace(about, facts=facts), alerts, banners(cohort), sections)


def _bundle_alerts(cohort: Cohort) -> tuple[str, ...]:
    models = [model for model, _ in cohort.models]
    named = "; ".join(f"{_model_words(one)}: {count} cases" for one, count in cohort.models)
    if not cohort.has_one_bundle:
        return (f"{MIXED_BUNDLES} {named}",)
    differing = differing_settings(models)
    if differing:
        return (f"Mixed settings ({', '.join(differing)}): {named}",)
    return ()


def _model_words(model: Model) -> str:
    return (
        f"{model.name} {model.version} (weights {model.weights_sha256[:12]},"
        f" {model.doubt_words}, uncertainty by {model.uncertainty}"
        + (f", settings {model.settings[:12]})" if model.settings else ")")
    )


def _facts(cohort: Cohort, first: Mask, about: About) -> Iterator[tuple[str, str]]:
    days = [day for case in cohort.cases if (day := day_of(case)) is not None]
    counts = {
        state: sum(one.state == state for one in cohort.records)
        for state in ("reported", "refused", "failed")
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    yield "cases", f"{len(cohort.records)}: {told}"
    if cohort.repeated:
        yield "records of the same analysis, left out", str(cohort.repeated)
    yield "patients with results", str(int(first.sum()))
    if days:
        # The first month may be one patient's.
        form = "%Y" if about.pseudonymous else "%Y-%m"
        yield "scans from", f"{min(days):{form}} to {max(days):{form}}"
    for number, (model, count) in enumerate(cohort.models):
        yield "bundle" if not number else "and", f"{_model_words(model)}: {count} cases"


def _patients(cohort: Cohort, first: Mask) -> Section:
    unknown = int(figures.of_sex(cohort, "").sum()), int(np.isnan(cohort.ages).sum())
    lead = [WHAT_COUNTS]
    if any(unknown):
        lead.append(f"Sex unknown or other: {unknown[0]} cases; age unknown: {unknown[1]}.")
    return Section(
        "patients", "Patients", tuple(lead), blocks=(tables.patient_table(cohort, first),)
    )


def _verdicts(cohort: Cohort) -> Section:
    counts = dict(tables.verdict_counts(cohort))
    shares = {
        row: {verdict.value: count / found.total() for verdict, count in found.items()}
        for row, found in counts.items()
        if found.total()
    }
    chart = figures.verdict_chart(shares) if shares else Chart("Verdicts", missing="no case")
    blocks = (
        chart,
        tables.verdict_table(cohort),
        tables.reason_table(cohort.records),
        tables.finding_table(cohort),
    )
    accepted = counts["cases"][Verdict.ACCEPTED]
    without = len(cohort.records) - len(cohort.cases)
    lead = (
        f"{accepted} of {len(cohort.cases)} reported cases are accepted.",
        f"Refused or failed, and so without numbers: {without}.",
    )
    return Section("verdicts", "Verdicts and refusals", lead, blocks=blocks)


def volume_quantity(cohort: Cohort) -> Quantity:
    """Normalised volumes where enough heights are known, else plain ones."""
    heights = [bool(case.source.height_m) for case in cohort.cases]
    with_numbers = np.isfinite(cohort.numbers[Quantity.NORMALISED]).any(axis=1)
    enough = bool(heights) and float(with_numbers.mean()) >= HEIGHTS_NEEDED
    return Quantity.NORMALISED if enough else Quantity.VOLUME


def _distributions(cohort: Cohort, first: Mask) -> Section:
    title = "Distributions"
    if not cohort.cases:
        return Section("distributions", title, ("No case has numbers.",))
    volume = volume_quantity(cohort)
    lead = [TABLE_7_WORDS]
    without = int((~np.isfinite(cohort.numbers[Quantity.NORMALISED]).any(axis=1)).sum())
    if volume is Quantity.VOLUME:
        lead.append(
            f"The height of {without} of {len(cohort.cases)} cases is not known: volumes are in"
            " cm3 and are not compared with Table 7."
        )
    elif without:
        lead.append(f"{without} cases without a height are not among the normalised volumes.")
    groups = age_groups(cohort.ages[first])
    blocks: list[Block] = []
    for quantity in (volume, Quantity.MEAN_HU):
        by_sex = figures.distribution_chart(cohort, quantity, first)
        by_age = figures.age_chart(cohort, quantity, first, groups)
        blocks += [
            by_sex,
            tables.distribution_table(cohort, quantity, first, by_sex.title),
            by_age,
            tables.age_table(cohort, quantity, first, groups, by_age.title),
        ]
    return Section("distributions", title, tuple(lead), blocks=tuple(blocks))


def _asymmetry(cohort: Cohort, first: Mask) -> Section:
    if not cohort.cases:
        return Section("sides", "Differences of the sides", ("No case has numbers.",))
    found = tables.outliers(cohort, first)
    lead = (
        ASYMMETRY_WORDS,
        (
            f"{len(found)} side differences are outliers, of"
            f" {len({one.case.source.name for one in found})} cases."
        ),
    )
    blocks = (
        figures.asymmetry_chart(cohort, first),
        tables.asymmetry_table(cohort, first),
        tables.outlier_table(found),
    )
    return Section("sides", "Differences of the sides", lead, blocks=blocks)


def _uncertainty(cohort: Cohort) -> Section:
    limits = {case.mean_uncertainty_limits for case in cohort.cases}
    one_pair = next(iter(limits)) if len(limits) == 1 else None
    of_structures = tables.shared_limits(cohort)
    flagged = sorted(
        (case for case in cohort.cases if case.verdict in FLAGGED),
        key=lambda case: -(case.mean_uncertainty or 0.0),
    )
    lead = [f"{len(flagged)} cases are flagged as inaccurate or failed."]
    if cohort.cases and not np.nan_to_num(cohort.mean_uncertainty, nan=1.0).any():
        lead.append(
            "Every uncertainty is 0, as of one Monte Carlo sample: no verdict says anything of"
            " how sure the network was."
        )
    if len(limits) > 1:
        lead.append("The cases do not share one pair of thresholds: none is drawn.")
    elif one_pair is None and cohort.cases:
        lead.append("The bundle is not calibrated: there are no thresholds.")
    blocks = (
        figures.uncertainty_chart(cohort, one_pair, of_structures),
        tables.uncertainty_table(cohort, of_structures),
        tables.flagged_table(flagged, MOST_FLAGGED),
        _gallery(flagged),
    )
    return Section("uncertainty", "Uncertainty and flagged cases", tuple(lead), blocks=blocks)


def _gallery(flagged: Sequence[CaseRecord]) -> Gallery:
    pictures: list[tuple[str, str, str]] = []
    for case in flagged:
        if len(pictures) == MOST:
            break
        data = thumbnail(Path(case.qc_picture)) if case.qc_picture else ""
        if data:
            verdict = case.verdict.value if case.verdict else ""
            pictures.append((case.source.name, verdict, data))
    note = "" if pictures or not flagged else "No QC page of a flagged case is there as a file."
    return Gallery(tuple(pictures), note)


def _drift(cohort: Cohort, *, pseudonymous: bool) -> Section:
    title = "Drift over time and between scanners"
    if not cohort.cases:
        return Section("drift", title, ("No case has numbers.",))
    watched = watched_numbers(cohort)
    # A week, or a period of few cases, would tell when a single one was scanned.
    finest = Step.MONTH if pseudonymous else Step.WEEK
    charts = charts_of(cohort, watched, np.ones(len(cohort.cases), dtype=bool), finest)
    if pseudonymous:
        charts = [(one, without_small_periods(chart, FEWEST_IN_GROUP)) for one, chart in charts]
    groups, unnamed = scanner_groups(cohort)
    by_scanner = [
        (name, charts_of(cohort, watched, members, finest)) for name, members in groups
    ]
    alerts = [words for one, chart in charts if (words := drift_words(one, chart, ""))]
    for name, own in by_scanner:
        alerts += [words for one, chart in own if (words := drift_words(one, chart, name))]
    passing = [
        f"{one.words}: {', '.join(chart.passing)}" for one, chart in charts if chart.passing
    ]
    lead = [DRIFT_WORDS]
    if any(chart.periods for _, chart in charts) and not alerts:
        lead.append("Nothing has moved.")
    if passing:
        lead.append(f"Beyond the limits, but no lasting move: {'; '.join(passing)}.")
    if unnamed:
        lead.append(f"{unnamed} cases are of no named scanner, or of one with few cases.")
    named = [(one.words, chart) for one, chart in charts]
    told = [scanner_words(watched, members) for _, members in groups]
    blocks = (
        figures.drift_chart(named),
        tables.period_table(named),
        figures.scanner_chart(groups, [(one.words, one.values) for one in watched[:3]]),
        tables.scanner_table(groups, watched, told),
    )
    return Section("drift", title, tuple(lead), tuple(alerts), blocks)


def _affected(cohort: Cohort, sides: KnownSides | None, *, pseudonymous: bool) -> Section:
    title = "Affected and unaffected sides"
    if sides is None or not (sides.affected or sides.unmatched):
        why = "No affected side is known: neither a file (--sides) nor a grader tells it."
        if sides is not None and sides.grades:
            why = (
                f"{len(sides.grades)} cases have grades, but none of them tells an affected"
                " side: that takes a number on each side, and one greater than the other."
            )
        return Section("affected", title, (why,))
    alerts: tuple[str, ...] = ()
    if sides.unmatched:
        words = f"{len(sides.unmatched)} cases of the file are not in this cohort"
        # Names that may be real ones stand in no report that has pseudonyms.
        shown = () if pseudonymous else sides.unmatched[:MOST_UNMATCHED]
        more = len(sides.unmatched) - len(shown)
        and_more = f" and {more} more" if more > 0 else ""
        alerts = (f"{words}: {', '.join(shown)}{and_more}" if shown else words,)
    lead = [
        SIDES_WORDS,
        f"The affected side of {len(sides.affected)} cases is known.",
    ]
    if sides.by_grade:
        by = f" by {sides.grader}" if sides.grader else ""
        lead.append(f"Of {sides.by_grade} it is the side with the greater grade{by}.")
    if sides.by_others:
        lead.append(
            f"{sides.by_others} cases were graded by others alone and are left out: grades of"
            " two graders are not mixed."
        )
    volume = volume_quantity(cohort)
    quantities = (volume, Quantity.MEAN_HU)
    compared = [(figures.WORDS[one], compare_sides(cohort, sides, one)) for one in quantities]
    blocks: list[Block] = [figures.side_chart(compared)]
    blocks += [tables.side_table(found, _capital(words)) for words, found in compared]
    for grade in grades_of_affected(cohort, sides):
        for one in quantities:
            found = compare_sides(cohort, sides, one, grade)
            heading = f"Grade {grade} of the affected side: {figures.WORDS[one]}"
            blocks.append(tables.side_table(found, heading))
    return Section("affected", title, tuple(lead), alerts, tuple(blocks))


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
