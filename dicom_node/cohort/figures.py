"""The figures of the cohort's report. Each has a table of the same numbers beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from dicom_node.cohort.age_groups import FEWEST_IN_GROUP, AgeGroup
from dicom_node.cohort.charts import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH_IN,
    YELLOW,
    Chart,
    box,
    grid_of,
    shown_name,
    svg_of,
    swatch,
    tint,
)
from dicom_node.cohort.cohort import Cohort, Mask, Quantity, Values
from dicom_node.cohort.control_chart import ControlChart, Period
from dicom_node.cohort.drift import NO_SCANNER
from dicom_node.cohort.side_comparison import SideComparison
from dicom_node.cohort.statistics import OUTLYING, asymmetry_percent, modified_z
from inference.evaluation.study import TABLE_7
from inference.results import Verdict
from inference.structures import SEGMENTS, STRUCTURES, Group, Side, Structure

SEX_WORDS: Final[Mapping[str, str]] = {"F": "women", "M": "men", "": "sex unknown"}
SEX_COLOURS: Final[Mapping[str, str]] = {"F": ORANGE, "M": BLUE, "": GREY}
SIDE_HATCHES: Final[Mapping[Side, str]] = {Side.RIGHT: "", Side.LEFT: "////"}

WORDS: Final[Mapping[Quantity, str]] = {
    Quantity.VOLUME: "volume, cm3",
    Quantity.NORMALISED: "normalised volume, cm3/m2",
    Quantity.MEAN_HU: "mean HU",
}

VERDICT_LOOKS: Final[Mapping[str, tuple[str, str]]] = {
    Verdict.FAILED.value: (VERMILLION, "xxxx"),
    Verdict.INACCURATE.value: (ORANGE, "////"),
    Verdict.TRUNCATED.value: (PURPLE, "\\\\\\\\"),
    Verdict.SPOILED.value: (YELLOW, "...."),
    Verdict.ABSENT.value: (GREY, "----"),
    Verdict.NOT_PROVIDED.value: ("#c9ced3", ""),
    Verdict.NOT_JUDGED.value: (SKY, ""),
    Verdict.ACCEPTED.value: (BLUE, ""),
}
"""Colour and hatch, from the worst on: what matters stands at the left."""

PANEL_COLUMNS: Final = 5
MOST_OUTLIERS_DRAWN: Final = 40
SMALL: Final = 0.01
"""Uncertainties are smaller: their axes are written in powers of ten."""


def study_mean(structure: Structure, quantity: Quantity) -> float | None:
    """The mean of the study's Table 7; None of a quantity that is not there."""
    normalised, hu = TABLE_7[structure.abbreviation]
    if quantity is Quantity.MEAN_HU:
        return hu
    return normalised if quantity is Quantity.NORMALISED else None


def distribution_chart(cohort: Cohort, quantity: Quantity, first: Mask) -> Chart:
    """Structure by structure: women and men, right and left."""
    title = f"{_sentence(WORDS[quantity])}, by sex and side"
    of_all = {sex: first & of_sex(cohort, sex) for sex in SEX_WORDS}
    members = {sex: some for sex, some in of_all.items() if some.any()}
    sexes = tuple(members)

    def panel(ax: Axes, structure: Structure) -> None:
        of = dict(zip(Side, cohort.sides(quantity, structure), strict=True))
        _sex_boxes(ax, structure, of, members)
        _study_line(ax, structure, quantity)

    figure = _panels(panel)
    words = ", ".join(SEX_WORDS[sex] for sex in sexes)
    _legend(
        figure,
        [(SEX_COLOURS[sex], "", SEX_WORDS[sex]) for sex in sexes]
        + [(GREY, SIDE_HATCHES[side], f"{_side_word(side)} side") for side in Side],
        study=quantity is not Quantity.VOLUME,
    )
    return Chart(
        title,
        f"Box plots of {WORDS[quantity]} of 22 structures, for {words}, right and left side.",
        svg_of(figure, f"dist-{quantity.name.lower()}"),
        "Box: quartiles and median; whiskers: 5th and 95th percentile; fewer than 5 values are"
        " drawn as points. The right side stands first, the left one, hatched, second."
        + ("" if quantity is Quantity.VOLUME else " Dotted line: mean of the study's Table 7."),
    )


def of_sex(cohort: Cohort, sex: str) -> Mask:
    """(cases,) of women, men, or of all whose sex is neither or unknown (empty)."""
    if sex:
        return np.asarray(cohort.sexes == sex)
    return ~np.isin(cohort.sexes, ("F", "M"))


def _sex_boxes(
    ax: Axes, structure: Structure, of: Mapping[Side, Values], members: Mapping[str, Mask]
) -> None:
    """A group for each sex. of: the values of each side, (cases,); members: of each sex."""
    for number, (sex, some) in enumerate(members.items()):
        for side in Side if structure.paired else (Side.RIGHT,):
            shift = 0.0 if not structure.paired else (-0.2 if side is Side.RIGHT else 0.2)
            hatch = SIDE_HATCHES[side] if structure.paired else ""
            colour = SEX_COLOURS[sex]
            box(ax, of[side][some], number + shift, colour, width=0.32, hatch=hatch)
    ax.set_xticks(range(len(members)), [SEX_WORDS[sex] for sex in members])
    ax.set_xlim(-0.6, len(members) - 0.4)


def age_chart(
    cohort: Cohort, quantity: Quantity, first: Mask, groups: Sequence[AgeGroup]
) -> Chart:
    """Structure by structure: medians and quartiles of the age groups, both sides together."""
    title = f"{_sentence(WORDS[quantity])}, by age"
    sexes = [sex for sex in ("F", "M") if (first & of_sex(cohort, sex)).any()]
    if len(groups) < 2 or not sexes:
        why = "fewer than two age groups of at least 5 patients of known sex"
        return Chart(title, missing=why)

    def panel(ax: Axes, structure: Structure) -> None:
        values = both_sides(cohort, quantity, structure)
        for sex in sexes:
            of_them = np.where(first & of_sex(cohort, sex), values, np.nan)
            _age_line(ax, of_them, cohort.ages, groups, sex)
        ax.set_xticks(range(len(groups)), [_short(group) for group in groups])
        _study_line(ax, structure, quantity)

    figure = _panels(panel)
    looks = [(SEX_COLOURS[sex], "", SEX_WORDS[sex]) for sex in sexes]
    _legend(figure, looks, study=quantity is not Quantity.VOLUME)
    return Chart(
        title,
        f"Medians and quartiles of {WORDS[quantity]} over {len(groups)} age groups, 22 panels.",
        svg_of(figure, f"age-{quantity.name.lower()}"),
        "Mark: median; bar: quartiles; years of age below, mean of both sides. Groups of fewer"
        " than 5 patients are put together with their neighbours, or not drawn.",
    )


def both_sides(cohort: Cohort, quantity: Quantity, structure: Structure) -> Values:
    """(cases,) mean of the sides; of the one that counts, where the other does not."""
    right, left = cohort.sides(quantity, structure)
    return np.where(np.isnan(right), left, np.where(np.isnan(left), right, (right + left) / 2))


def _age_line(
    ax: Axes, values: Values, ages: Values, groups: Sequence[AgeGroup], sex: str
) -> None:
    places, quartiles = [], []
    for place, group in enumerate(groups):
        inside = values[group.members(ages)]
        known = inside[np.isfinite(inside)]
        if len(known) >= FEWEST_IN_GROUP:
            places.append(place + (-0.12 if sex == "F" else 0.12))
            quartiles.append(np.percentile(known, (25, 50, 75)))
    if not places:
        return
    low, middle, high = np.array(quartiles).T
    ax.errorbar(
        places,
        middle,
        yerr=(middle - low, high - middle),
        color=SEX_COLOURS[sex],
        marker="o" if sex == "F" else "s",
        markersize=3.5,
        lw=1.2,
        elinewidth=0.9,
    )


def asymmetry_chart(cohort: Cohort, first: Mask) -> Chart:
    """Side differences of volume in percent and of mean HU in HU."""
    paired = [one for one in STRUCTURES if one.paired]
    figure = Figure(figsize=(WIDTH_IN, 6.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, of, words in zip(
        axes,
        (volume_asymmetry, hu_difference),
        ("volume: right minus left over their mean, %", "mean HU: right minus left, HU"),
        strict=True,
    ):
        for place, structure in enumerate(paired):
            values = np.where(first, of(cohort, structure), np.nan)
            box(ax, values, -place, BLUE, upright=False)
            far = np.abs(modified_z(values)) > OUTLYING
            shown = values[far][:MOST_OUTLIERS_DRAWN]
            ax.plot(shown, np.full(len(shown), -place), "D", color=VERMILLION, markersize=3)
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_xlabel(words)
        ax.grid(visible=True, axis="x")
    axes[0].set_yticks([-n for n in range(len(paired))], [one.abbreviation for one in paired])
    return Chart(
        "Differences of the sides",
        "Box plots of side differences of volume and mean HU, one row for each structure.",
        svg_of(figure, "asym"),
        "Box: quartiles and median; whiskers: 5th and 95th percentile. Diamonds: outliers by"
        f" the modified z-score (beyond {OUTLYING:g}), which the table names.",
    )


def volume_asymmetry(cohort: Cohort, structure: Structure) -> Values:
    """(cases,) in percent."""
    return asymmetry_percent(*cohort.sides(Quantity.VOLUME, structure))


def hu_difference(cohort: Cohort, structure: Structure) -> Values:
    """(cases,) in HU: a mean HU may be about 0, and nothing is divided by it."""
    right, left = cohort.sides(Quantity.MEAN_HU, structure)
    return right - left


def uncertainty_chart(
    cohort: Cohort,
    limits: tuple[float, float] | None,
    of_structures: Mapping[str, tuple[float, float]],
) -> Chart:
    """Mean uncertainty of the cases, and of every structure, with the thresholds.

    Args:
        cohort: all of it.
        limits: of the mean, where all cases share them.
        of_structures: by abbreviation, likewise.
    """
    title = "Uncertainty and its thresholds"
    known = cohort.mean_uncertainty[np.isfinite(cohort.mean_uncertainty)]
    if not len(known):
        return Chart(title, missing="no case has an uncertainty (the model measures none)")
    if not known.any():
        return Chart(title, missing="every uncertainty is 0: one sample does not vary")
    figure = Figure(figsize=(WIDTH_IN, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 1.3))
    upper.hist(
        known,
        bins=min(60, max(8, len(known) // 8)),
        color=tint(BLUE, 0.6),
        edgecolor=BLUE,
        lw=0.5,
    )
    for limit, colour, style, words in zip(
        limits or (),
        (ORANGE, VERMILLION),
        ("--", "-"),
        ("inaccurate above", "failed above"),
        strict=False,
    ):
        upper.axvline(limit, color=colour, ls=style, lw=1.6, label=f"{words} {limit:.2e}")
    if limits:
        upper.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    upper.set_xlabel("mean uncertainty of a case")
    upper.set_ylabel("cases")
    upper.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    for place, structure in enumerate(STRUCTURES):
        box(lower, structure_uncertainty(cohort, structure), place, BLUE)
        for limit, colour, mark in zip(
            of_structures.get(structure.abbreviation, ()),
            (ORANGE, VERMILLION),
            ("_", "x"),
            strict=False,
        ):
            lower.plot([place], [limit], mark, color=colour, markersize=9, mew=2)
    lower.set_yscale("log")
    lower.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    lower.yaxis.set_major_formatter("{x:.0e}")
    lower.yaxis.set_minor_formatter("")
    lower.set_xticks(range(len(STRUCTURES)), [s.abbreviation for s in STRUCTURES], rotation=45)
    lower.set_ylabel("uncertainty")
    lower.grid(visible=True, axis="y")
    return Chart(
        title,
        "Histogram of the cases' mean uncertainty with thresholds; boxes of each structure.",
        svg_of(figure, "uncertainty"),
        "Below: uncertainty inside each structure, both sides, logarithmic; bar and cross:"
        " thresholds for inaccurate and failed, where all cases share them.",
    )


def structure_uncertainty(cohort: Cohort, structure: Structure) -> Values:
    """Of all segments of a structure, whatever their verdict; nan where there is none."""
    places = [one.number - 1 for one in SEGMENTS if one.structure is structure]
    return np.concatenate([cohort.numbers[Quantity.UNCERTAINTY][:, place] for place in places])


def drift_chart(charts: Sequence[tuple[str, ControlChart]]) -> Chart:
    """Control charts below each other."""
    title = "Control charts over time"
    drawn = [(words, chart) for words, chart in charts if chart.periods]
    if not drawn:
        return Chart(
            title, missing="; ".join(dict.fromkeys(chart.missing for _, chart in charts))
        )
    figure = Figure(figsize=(WIDTH_IN, 2.6 * len(drawn) + 0.5), layout="constrained")
    axes = figure.subplots(len(drawn), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (words, chart) in zip(axes, drawn, strict=True):
        _control(ax, chart)
        ax.set_ylabel(words)
    figure.autofmt_xdate(rotation=30)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return Chart(
        title,
        "Means of each period with control limits: "
        + ", ".join(words for words, _ in drawn)
        + ".",
        svg_of(figure, "drift"),
        f"A mark each {drawn[0][1].step.value}; shaded: 3 standard errors from the baseline,"
        " which is the first third of the cases, or as likely for a share; open marks: the"
        " baseline itself, or too few cases to judge.",
    )


def _control(ax: Axes, chart: ControlChart) -> None:
    starts = _days(chart.periods)
    bands = [one for one in chart.periods if one.limits is not None]
    ax.fill_between(
        _days(bands),
        [one.limits[0] for one in bands if one.limits],
        [one.limits[1] for one in bands if one.limits],
        color=SKY,
        alpha=0.25,
        lw=0,
        label="limits",
    )
    ax.axhline(chart.centre, color=INK, lw=0.8, label="baseline")
    ax.plot(starts, [one.mean for one in chart.periods], color=GREY, lw=0.7)
    within = [
        one for one in chart.periods if not one.beyond and one.limits and not one.in_baseline
    ]
    base = [one for one in chart.periods if one.in_baseline or one.limits is None]
    out = [one for one in chart.periods if one.beyond]
    for some, mark, colour, face, words in (
        (base, "o", BLUE, "none", "baseline, or few cases"),
        (within, "o", BLUE, BLUE, "within limits"),
        (out, "D", VERMILLION, VERMILLION, "beyond limits"),
    ):
        ax.plot(
            _days(some),
            [one.mean for one in some],
            mark,
            color=colour,
            markerfacecolor=face,
            markersize=5,
            label=words,
        )
    ax.grid(visible=True, axis="y")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    if abs(chart.centre) < SMALL:
        ax.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))


def _days(periods: Sequence[Period]) -> NDArray[np.datetime64]:
    return np.array([one.start for one in periods], dtype="datetime64[D]")


def scanner_chart(
    groups: Sequence[tuple[str, Mask]], columns: Sequence[tuple[str, Values]]
) -> Chart:
    """Box plots by scanner."""
    title = "By scanner"
    if not groups:
        return Chart(title, missing=NO_SCANNER)
    figure = Figure(figsize=(WIDTH_IN, 0.42 * len(groups) + 1.3), layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for ax, (words, values) in zip(axes, columns, strict=True):
        for place, (_, members) in enumerate(groups):
            box(ax, values[members], -place, BLUE, upright=False)
        known = values[np.isfinite(values)]
        if len(known):
            ax.axvline(float(np.median(known)), color=INK, lw=0.8, ls=":")
        ax.set_xlabel(words)
        ax.grid(visible=True, axis="x")
        if len(known) and np.abs(known).max() < SMALL:
            ax.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    axes[0].set_yticks(
        [-n for n in range(len(groups))], [shown_name(name) for name, _ in groups]
    )
    axes[0].set_ylim(-len(groups) + 0.4, 0.6)
    return Chart(
        title,
        f"Box plots for {len(groups)} scanners of "
        + ", ".join(words for words, _ in columns)
        + ".",
        svg_of(figure, "scanner"),
        "Box: quartiles and median; whiskers: 5th and 95th percentile; dotted: median of all.",
    )


def verdict_chart(shares: Mapping[str, Mapping[str, float]]) -> Chart:
    """Shares of verdicts, a bar for each row. shares: by row, then by verdict."""
    rows = list(shares)
    figure = Figure(figsize=(WIDTH_IN, 0.23 * len(rows) + 1.0), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(rows):
        left = 0.0
        for verdict, (colour, hatch) in VERDICT_LOOKS.items():
            share = 100 * shares[row].get(verdict, 0.0)
            if share:
                ax.barh(
                    -place,
                    share,
                    left=left,
                    height=0.72,
                    color=tint(colour, 0.5),
                    edgecolor=colour,
                    hatch=hatch,
                    lw=0.6,
                )
            left += share
    used = [one for one in VERDICT_LOOKS if any(one in row for row in shares.values())]
    ax.set_yticks([-n for n in range(len(rows))], rows)
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share, %")
    _legend(figure, [(*VERDICT_LOOKS[one], one) for one in used], study=False)
    return Chart(
        "Verdicts of the cases and of every structure",
        "Stacked bars: share of each verdict among the cases and among each structure.",
        svg_of(figure, "verdicts"),
        "Both sides of a structure together.",
    )


def side_chart(compared: Sequence[tuple[str, Sequence[SideComparison]]]) -> Chart:
    """Affected against unaffected side, the muscles; stars for corrected p-values."""
    title = "Muscles of the affected and of the unaffected side"
    figure = Figure(figsize=(WIDTH_IN, 3.6 * len(compared) + 0.4), layout="constrained")
    axes = figure.subplots(len(compared), 1, squeeze=False, sharex=True)[:, 0]
    muscles: list[SideComparison] = []
    for ax, (words, found) in zip(axes, compared, strict=True):
        muscles = [one for one in found if one.structure.group is not Group.BONE]
        for place, one in enumerate(muscles):
            box(ax, one.unaffected, place - 0.2, BLUE, width=0.34)
            box(ax, one.affected, place + 0.2, VERMILLION, width=0.34, hatch="////")
        ax.set_ylabel(words)
        ax.grid(visible=True, axis="y")
        if muscles and muscles[0].quantity is not Quantity.MEAN_HU:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("")
        for place, one in enumerate(muscles):
            ax.text(
                place,
                1.0,
                stars(one.test.corrected_p),
                transform=ax.get_xaxis_transform(),
                ha="center",
            )
    axes[-1].set_xticks(
        range(len(muscles)), [one.structure.abbreviation for one in muscles], rotation=45
    )
    looks = [(BLUE, "", "unaffected side"), (VERMILLION, "////", "affected side")]
    _legend(figure, looks, study=False)
    return Chart(
        title,
        "Box plots of muscles, affected beside unaffected side: "
        + ", ".join(w for w, _ in compared)
        + ".",
        svg_of(figure, "sides"),
        "Box: quartiles and median; whiskers: 5th and 95th percentile. Corrected p: * < .05,"
        " ** < .01, *** < .001.",
    )


def stars(p: float | None) -> str:
    """The usual signs of a corrected p-value."""
    if p is None:
        return ""
    return "*" * sum(p < limit for limit in (0.05, 0.01, 0.001))


def strip_chart(rows: Mapping[str, Mapping[str, Mapping[str, float]]], prefix: str) -> Chart:
    """The z-scores of one case. rows: by quantity, structure, side (`R`, `L`, empty)."""
    figure = Figure(figsize=(WIDTH_IN, 5.6), layout="constrained")
    axes = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    names = [one.abbreviation for one in STRUCTURES]
    for ax, (words, scores) in zip(axes, rows.items(), strict=True):
        ax.axvspan(-2, 2, color=SKY, alpha=0.2, lw=0)
        ax.axvline(0, color=INK, lw=0.8)
        for side, mark, colour, face in (
            ("R", "o", BLUE, BLUE),
            ("L", "s", VERMILLION, "none"),
            ("", "D", GREEN, GREEN),
        ):
            points = [
                (float(np.clip(scores[name][side], -6, 6)), -place)
                for place, name in enumerate(names)
                if side in scores.get(name, {})
            ]
            label = {"R": "right", "L": "left", "": "whole"}[side]
            ax.plot(
                [x for x, _ in points],
                [y for _, y in points],
                mark,
                color=colour,
                markerfacecolor=face,
                markersize=6,
                label=label,
            )
        ax.set_xlim(-6.3, 6.3)
        ax.set_xlabel(f"z, {words}")
        ax.grid(visible=True, axis="both")
    axes[0].set_yticks([-n for n in range(len(names))], names)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return Chart(
        "The case against the norms",
        "Strips of z-scores, a row for each structure, right and left side apart.",
        svg_of(figure, prefix),
        "Shaded: within 2 SD of the group's mean. What lies farther out than 6 is drawn at 6.",
    )


def _panels(draw: Callable[[Axes, Structure], None]) -> Figure:
    """A panel for each structure, on a fixed layout: one that is computed takes seconds."""
    rows = -(-len(STRUCTURES) // PANEL_COLUMNS)
    height = 2.05 * rows + 0.4
    figure = Figure(figsize=(WIDTH_IN, height))
    axes = grid_of(figure, len(STRUCTURES), PANEL_COLUMNS)
    for ax, structure in zip(axes, STRUCTURES, strict=True):
        draw(ax, structure)
        ax.set_title(structure.abbreviation, loc="left", fontsize=9, fontweight="bold")
        ax.tick_params(labelsize=8)
        ax.grid(visible=True, axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(4))
    figure.subplots_adjust(
        left=0.04,
        right=0.998,
        top=1 - 0.6 / height,
        bottom=0.3 / height,
        wspace=0.27,
        hspace=0.32,
    )
    return figure


def _study_line(ax: Axes, structure: Structure, quantity: Quantity) -> None:
    mean = study_mean(structure, quantity)
    if mean is not None:
        ax.axhline(mean, color=INK, lw=1.1, ls=":")


def _legend(figure: Figure, looks: Sequence[tuple[str, str, str]], *, study: bool) -> None:
    """Looks are colour, hatch and words."""
    handles: list[Artist] = [swatch(*look) for look in looks]
    if study:
        words = "mean of the study's Table 7"
        handles.append(Line2D([], [], color=INK, ls=":", lw=1.1, label=words))
    columns = min(6, len(handles))
    if figure.get_layout_engine() is None:
        figure.legend(handles=handles, loc="upper center", ncols=columns)
    else:
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)


def _short(group: AgeGroup) -> str:
    if group.below_year is None:
        return f"{group.from_year}+" if group.from_year else "all"
    if not group.from_year:
        return f"<{group.below_year}"
    decade = group.below_year == group.from_year + 10
    return f"{group.from_year}s" if decade else f"{group.from_year}-{group.below_year - 1}"


def _side_word(side: Side) -> str:
    return "right" if side is Side.RIGHT else "left"


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
