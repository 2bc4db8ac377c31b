"""The tables of the cohort's report: the numbers behind its figures.

Each function gives columns, rows and notes; the report numbers them. Mean ± standard
deviation is over patients, of the sample (n - 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicom_node.cohort.age_groups import FEWEST_IN_GROUP, AgeGroup
from dicom_node.cohort.cohort import Cohort, Mask, Quantity, Values
from dicom_node.cohort.control_chart import ControlChart
from dicom_node.cohort.drift import NO_SCANNER, Watched
from dicom_node.cohort.figures import (
    SEX_WORDS,
    both_sides,
    hu_difference,
    of_sex,
    structure_uncertainty,
    study_mean,
    volume_asymmetry,
)
from dicom_node.cohort.records import FLAGGED, CaseRecord
from dicom_node.cohort.side_comparison import SideComparison
from dicom_node.cohort.statistics import OUTLYING, modified_z
from inference.evaluation.exhibits import Cell, Column, Table
from inference.evaluation.statistics import mean_sd
from inference.results import Verdict
from inference.structures import STRUCTURES, Side, Structure, segment_of

Rows = tuple[tuple[Cell, ...], ...]

MOST_OUTLIERS: Final = 30
SIDE_WORDS: Final = {Side.RIGHT: "right", Side.LEFT: "left"}
FORMS: Final = {
    Quantity.VOLUME: ".1f",
    Quantity.NORMALISED: ".2f",
    Quantity.MEAN_HU: ".1f",
}


def distribution_table(cohort: Cohort, quantity: Quantity, first: Mask, title: str) -> Table:
    """Every structure by sex and side, beside the study's mean."""
    form = FORMS[quantity]
    columns = (
        Column("structure"),
        Column("sex"),
        Column("side"),
        Column("patients"),
        Column("mean ± SD", form, spread=True),
        Column("5th", form),
        Column("median", form),
        Column("95th", form),
        Column("Table 7", form),
    )
    rows = []
    for structure in STRUCTURES:
        for sex in SEX_WORDS:
            members = first & of_sex(cohort, sex)
            for side in Side if structure.paired else (None,):
                values = cohort.column(quantity, segment_of(structure, side))[members]
                row = _spread_cells(values)
                if row is not None:
                    words = SIDE_WORDS[side] if side else "whole"
                    about = (structure.abbreviation, SEX_WORDS[sex], words)
                    rows.append((*about, *row, study_mean(structure, quantity)))
    return Table(0, title, columns, tuple(rows), missing="" if rows else "no number counts")


def _spread_cells(values: Values) -> tuple[Cell, ...] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, middle, high = (float(one) for one in np.percentile(known, (5, 50, 95)))
    return len(known), mean_sd(known), low, middle, high


def age_table(
    cohort: Cohort, quantity: Quantity, first: Mask, groups: Sequence[AgeGroup], title: str
) -> Table:
    """Every structure by sex and age group; groups that are too small are withheld."""
    form = FORMS[quantity]
    columns = [Column("structure"), Column("sex")]
    columns += [Column(group.words, form, spread=True) for group in groups]
    rows: list[tuple[Cell, ...]] = []
    for structure in STRUCTURES:
        values = both_sides(cohort, quantity, structure)
        for sex in ("F", "M"):
            members = first & of_sex(cohort, sex)
            cells = [values[members & group.members(cohort.ages)] for group in groups]
            counts = [int(np.isfinite(cell).sum()) for cell in cells]
            if any(count >= FEWEST_IN_GROUP for count in counts):
                told = [
                    mean_sd(cell) if count >= FEWEST_IN_GROUP else None
                    for cell, count in zip(cells, counts, strict=True)
                ]
                rows.append((structure.abbreviation, SEX_WORDS[sex], *told))
    why = (
        ""
        if groups and rows
        else f"no group of {FEWEST_IN_GROUP} patients of known age and sex"
    )
    note = (
        f"Mean of both sides; mean ± SD over patients. Groups of fewer than {FEWEST_IN_GROUP}"
    )
    notes = (f"{note} are put together with their neighbours, or withheld.",)
    return Table(0, title, tuple(columns), tuple(rows), missing=why, notes=notes)


def asymmetry_table(cohort: Cohort, first: Mask) -> Table:
    """Side differences of every paired structure."""
    columns = (
        Column("structure"),
        Column("patients"),
        Column("volume, % (R - L over mean)", ".1f", spread=True),
        Column("5th", ".1f"),
        Column("median", ".1f"),
        Column("95th", ".1f"),
        Column("mean HU, R - L", ".1f", spread=True),
    )
    rows: list[tuple[Cell, ...]] = []
    for structure in (one for one in STRUCTURES if one.paired):
        volume = np.where(first, volume_asymmetry(cohort, structure), np.nan)
        hu = np.where(first, hu_difference(cohort, structure), np.nan)
        cells = _spread_cells(volume)
        if cells is not None:
            rows.append((structure.abbreviation, *cells, mean_sd(hu)))
    missing = "" if rows else "no case has both sides of a structure"
    return Table(0, "Side differences", columns, tuple(rows), missing=missing)


@dataclass(frozen=True, slots=True)
class Outlier:
    """A side difference far from that of the others."""

    case: CaseRecord
    structure: Structure
    quantity: str
    value: float
    z: float


def outliers(cohort: Cohort, first: Mask) -> tuple[Outlier, ...]:
    """Of volume and mean HU, the farthest out first."""
    found = []
    for structure in (one for one in STRUCTURES if one.paired):
        for of, words in ((volume_asymmetry, "volume, %"), (hu_difference, "mean HU")):
            values = np.where(first, of(cohort, structure), np.nan)
            scores = modified_z(values)
            found += [
                Outlier(
                    cohort.cases[row], structure, words, float(values[row]), float(scores[row])
                )
                for row in np.flatnonzero(np.abs(scores) > OUTLYING)
            ]
    return tuple(sorted(found, key=lambda one: -abs(one.z)))


def outlier_table(found: Sequence[Outlier]) -> Table:
    """The outlying side differences by name of the case."""
    columns = (
        Column("case"),
        Column("structure"),
        Column("what"),
        Column("right minus left", ".1f"),
        Column("modified z", ".1f"),
    )
    rows = tuple(
        (one.case.source.name, one.structure.abbreviation, one.quantity, one.value, one.z)
        for one in found[:MOST_OUTLIERS]
    )
    more = len(found) - len(rows)
    notes = (f"{more} more are not listed.",) if more else ()
    missing = "" if rows else "no side difference is an outlier"
    return Table(0, "Outlying side differences", columns, rows, missing=missing, notes=notes)


def uncertainty_table(cohort: Cohort, limits: dict[str, tuple[float, float]]) -> Table:
    """Uncertainty of every structure, and how many lie above the thresholds."""
    columns = (
        Column("structure"),
        Column("segments"),
        Column("median", ".2e"),
        Column("95th", ".2e"),
        Column("limit, inaccurate", ".2e"),
        Column("limit, failed", ".2e"),
        Column("above, inaccurate"),
        Column("above, failed"),
    )
    rows: list[tuple[Cell, ...]] = []
    for structure in STRUCTURES:
        values = structure_uncertainty(cohort, structure)
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        median, high = (float(one) for one in np.percentile(known, (50, 95)))
        own = limits.get(structure.abbreviation)
        above = [int((known > limit).sum()) for limit in own] if own else [None, None]
        shown = own or (None, None)
        rows.append((structure.abbreviation, len(known), median, high, *shown, *above))
    missing = "" if rows else "the model measures no uncertainty"
    return Table(0, "Uncertainty of every structure", columns, tuple(rows), missing=missing)


def verdict_table(cohort: Cohort) -> Table:
    """Counts of verdicts: of the cases, then of every structure."""
    verdicts = [one for one in Verdict if any(one in row for _, row in verdict_counts(cohort))]
    columns = (Column("structure"), *(Column(one.value) for one in verdicts))
    rows: Rows = tuple(
        (name, *(row[one] for one in verdicts)) for name, row in verdict_counts(cohort)
    )
    return Table(
        0, "Verdicts", columns, rows, missing="" if verdicts else "no case is reported"
    )


def verdict_counts(cohort: Cohort) -> Iterator[tuple[str, Counter[Verdict]]]:
    """A row for the cases, one for each structure with both sides together."""
    yield "cases", Counter(case.verdict for case in cohort.cases if case.verdict is not None)
    of_structures: dict[Structure, Counter[Verdict]] = {one: Counter() for one in STRUCTURES}
    for case in cohort.cases:
        for one in case.structures:
            of_structures[one.segment.structure][one.verdict] += 1
    for structure, counts in of_structures.items():
        yield structure.abbreviation, counts


def reason_table(records: Sequence[CaseRecord]) -> Table:
    """Refused and failed cases by reason, the most frequent first."""
    counts = Counter((one.state, one.code) for one in records if one.state != "reported")
    words: dict[tuple[str, str], str] = {}
    for one in records:
        words.setdefault((one.state, one.code), one.words)
    columns = (Column("state"), Column("reason"), Column("cases"), Column("words of the first"))
    rows: Rows = tuple(
        (state, code or "not told", count, words[state, code])
        for (state, code), count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    )
    missing = "" if rows else "no case was refused, and none failed"
    return Table(0, "Refused and failed cases", columns, rows, missing=missing)


def finding_table(cohort: Cohort) -> Table:
    """Findings of cases and structures, the most frequent first."""
    cases = Counter(word for case in cohort.cases for word in set(case.findings))
    structures = Counter(
        word for case in cohort.cases for one in case.structures for word in one.findings
    )
    columns = (Column("finding"), Column("cases"), Column("structures"))
    names = sorted(cases | structures, key=lambda word: (-cases[word], -structures[word], word))
    rows = tuple((word, cases[word], structures[word]) for word in names)
    missing = "" if rows else "there is no finding"
    return Table(0, "Findings", columns, rows, missing=missing)


def period_table(charts: Sequence[tuple[str, ControlChart]]) -> Table:
    """The means of the control charts, a row for each period."""
    drawn = [(words, chart) for words, chart in charts if chart.periods]
    columns = [Column("period")]
    names: dict[str, None] = {}
    for words, chart in drawn:
        columns += [Column(f"cases with {words}"), Column(words, ".3g"), Column("limits")]
        names |= dict.fromkeys(one.name for one in chart.periods)
    rows = []
    for name in sorted(names):
        row: list[Cell] = [name]
        for _, chart in drawn:
            one = next((one for one in chart.periods if one.name == name), None)
            if one is None:
                row += [None, None, ""]
                continue
            limits = "" if one.limits is None else f"{one.limits[0]:.3g} to {one.limits[1]:.3g}"
            row += [one.count, one.mean, "baseline" if one.in_baseline else limits]
        rows.append(tuple(row))
    missing = "" if rows else "; ".join(dict.fromkeys(chart.missing for _, chart in charts))
    return Table(
        0, "Periods of the control charts", tuple(columns), tuple(rows), missing=missing
    )


def scanner_table(
    groups: Sequence[tuple[str, Mask]], columns: Sequence[Watched], words: Sequence[str]
) -> Table:
    """A row for each scanner. words: what the limits say of it."""
    heads = [Column("scanner"), Column("cases")]
    heads += [Column(one.words, one.form, spread=not one.share) for one in columns]
    rows: list[tuple[Cell, ...]] = []
    for (name, members), told in zip(groups, words, strict=True):
        cells: list[Cell] = []
        for one in columns:
            found = mean_sd(one.values[members])
            cells.append(found.mean if found and one.share else found)
        rows.append((name, int(members.sum()), *cells, told))
    missing = "" if rows else NO_SCANNER
    columns_told = (*heads, Column("against all"))
    return Table(0, "Scanners", columns_told, tuple(rows), missing=missing)


def flagged_table(flagged: Sequence[CaseRecord], listed: int) -> Table:
    """Cases that are not simply accepted, the most uncertain first."""
    columns = (
        Column("case"),
        Column("verdict"),
        Column("mean uncertainty", ".2e"),
        Column("structures flagged"),
        Column("findings"),
    )
    rows = tuple(
        (
            case.source.name,
            case.verdict.value if case.verdict else "",
            case.mean_uncertainty,
            ", ".join(one.segment.key for one in case.structures if one.verdict in FLAGGED)[
                :200
            ],
            ", ".join(case.findings),
        )
        for case in flagged[:listed]
    )
    more = len(flagged) - len(rows)
    notes = (f"{more} more are not listed.",) if more else ()
    missing = "" if rows else "no case is flagged"
    return Table(0, "Flagged cases", columns, rows, missing=missing, notes=notes)


def side_table(found: Sequence[SideComparison], title: str) -> Table:
    """Affected against unaffected side, a row for each structure."""
    form = FORMS[found[0].quantity] if found else ""
    columns = (
        Column("structure"),
        Column("pairs"),
        Column("unaffected", form, spread=True),
        Column("affected", form, spread=True),
        Column("difference", form),
        Column("p, corrected", "p"),
        Column("test"),
        Column("Cohen's dz", ".2f"),
        Column("rank biserial", ".2f"),
    )
    rows = tuple(
        (
            one.structure.abbreviation,
            one.test.pairs,
            mean_sd(one.unaffected),
            mean_sd(one.affected),
            one.test.difference,
            one.test.corrected_p,
            one.test.name or one.test.words,
            one.effect.cohens_dz,
            one.effect.rank_biserial,
        )
        for one in found
        if one.test.pairs
    )
    missing = "" if rows else "no case has both sides"
    return Table(0, title, columns, rows, missing=missing)


def patient_table(cohort: Cohort, first: Mask) -> Table:
    """Who the patients are."""
    columns = (
        Column("group"),
        Column("patients"),
        Column("age, years", ".1f", spread=True),
        Column("height, m", ".2f", spread=True),
        Column("weight, kg", ".1f", spread=True),
    )
    facts = [
        np.array([np.nan if value is None else value for value in column], dtype=np.float64)
        for column in (
            [case.source.age_years for case in cohort.cases],
            [case.source.height_m for case in cohort.cases],
            [case.source.weight_kg for case in cohort.cases],
        )
    ]
    groups = [(words, first & of_sex(cohort, sex)) for sex, words in SEX_WORDS.items()]
    rows = tuple(
        (words, int(members.sum()), *(mean_sd(column[members]) for column in facts))
        for words, members in [*groups, ("all", first)]
        if members.any()
    )
    return Table(0, "Patients", columns, rows, missing="" if rows else "no case is reported")


def shared_limits(cohort: Cohort) -> dict[str, tuple[float, float]]:
    """The uncertainty limits of structures that are the same in all cases."""
    found: dict[str, set[tuple[float, float]]] = {}
    for case in cohort.cases:
        for one in case.structures:
            if one.uncertainty_limits is not None:
                name = one.segment.structure.abbreviation
                found.setdefault(name, set()).add(one.uncertainty_limits)
    return {name: next(iter(limits)) for name, limits in found.items() if len(limits) == 1}
