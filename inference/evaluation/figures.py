"""The study's figures 4 to 7 as PNG files.

```
4   box plots of Dice, ASD, AVE and AIE of every structure
5   uncertainty against Dice: regression line and thresholds
6   ROC of the uncertainty against inaccurate and failed cases
7   muscles of the affected against those of the unaffected side
```
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from inference.evaluation.exhibits import FIGURE_TITLES, Picture
from inference.evaluation.failure import FailureDetection, of_average, of_structure
from inference.evaluation.metrics import roc_curve
from inference.evaluation.scored import Arm, Evaluation, Quantity, SideClass
from inference.structures import Group, Structure

Values = NDArray[np.float64]

COLOURS: Final = ("#2f6f9f", "#d1782b")
"""Blue and orange: told apart by the colour-blind, and in print."""
INACCURATE, FAILED = "#b58900", "#b8233a"
GREY: Final = "#8a8f94"
FEWEST_POINTS: Final = 2

STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e7ea",
    "figure.dpi": 110,
}


def all_figures(evaluation: Evaluation) -> tuple[Picture, ...]:
    """Every figure, in the order of their numbers."""
    named = len(evaluation.arms) > 1
    with mpl.rc_context(STYLE):
        return (
            accuracy_figure(evaluation),
            *(uncertainty_figure(arm, named=named) for arm in evaluation.arms),
            roc_figure(evaluation),
            side_figure(evaluation),
        )


def accuracy_figure(evaluation: Evaluation) -> Picture:
    """Figure 4: box plots over the cases, structure by structure."""
    title = FIGURE_TITLES[4]
    structures = evaluation.first.structures()
    if not structures:
        return Picture(4, title, missing="no structure is annotated")
    panels = (
        (Quantity.DICE, "Dice"),
        (Quantity.ASD, "ASD, mm"),
        (Quantity.AVE, "AVE, %"),
        (Quantity.AIE, "AIE, HU"),
    )
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, (quantity, words) in zip(axes, panels, strict=True):
        groups = [[arm.values(s, quantity) for s in structures] for arm in evaluation.arms]
        _boxes(ax, groups, [arm.name for arm in evaluation.arms])
        ax.set_ylabel(words)
    _structure_ticks(axes[-1], structures)
    if len(evaluation.arms) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return Picture(4, title, _png(figure))


def uncertainty_figure(arm: Arm, *, named: bool = False) -> Picture:
    """Figure 5: uncertainty against Dice, of the averages and of every structure."""
    title = FIGURE_TITLES[5]
    about = arm.name if named else ""
    average = of_average(arm)
    if len(average.dice) < FEWEST_POINTS:
        why = "fewer than two cases have both Dice and uncertainty"
        return Picture(5, title, missing=why, about=about)
    panels = [("average of the structures", average)]
    panels += [(one.abbreviation, of_structure(arm, one)) for one in arm.structures()]
    columns = 4
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(11, 2.35 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, (name, found) in zip(axes, panels, strict=False):
        _scatter(ax, name, found)
    figure.supxlabel("mean uncertainty inside the predicted label")
    figure.supylabel("Dice")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return Picture(5, title, _png(figure), about=about)


def _scatter(ax: Axes, name: str, found: FailureDetection) -> None:
    """One panel: cases, regression line, limits of Dice and of uncertainty."""
    r = "" if found.correlation is None else f", r = {found.correlation:.2f}"
    ax.set_title(f"{name}{r}", fontsize=9, loc="left")
    ax.scatter(found.uncertainty, found.dice, s=13, color=COLOURS[0], alpha=0.75, label="case")
    ax.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    ax.tick_params(labelsize=7)
    ax.xaxis.offsetText.set_fontsize(7)
    if found.line is not None:
        ends = np.array([found.uncertainty.min(), found.uncertainty.max()])
        line = found.line
        ax.plot(ends, line.a + line.b * ends, color="#333", lw=1.1, label="regression line")
    limits = found.uncertainty_limits or (None, None)
    shown = zip(
        found.dice_limits or (),
        limits,
        (INACCURATE, FAILED),
        ("limit, inaccurate", "limit, failed"),
        strict=False,
    )
    lowest, highest = ax.get_xlim()
    for dice, uncertainty, colour, words in shown:
        ax.axhline(dice, color=colour, ls="--", lw=0.9, label=words)
        # A limit far beyond all cases would squeeze them into a corner.
        if uncertainty is not None and lowest <= uncertainty <= highest:
            ax.axvline(uncertainty, color=colour, ls=":", lw=0.9)


def roc_figure(evaluation: Evaluation) -> Picture:
    """Figure 6: ROC of the averages (thick) and of every structure (thin)."""
    title = FIGURE_TITLES[6]
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    drawn = False
    for which, (ax, words) in enumerate(
        zip(axes, ("inaccurate (k = -2)", "failed (k = -3)"), strict=True)
    ):
        ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        ax.set_title(words, loc="left", fontsize=10)
        ax.set_xlabel("share of good cases flagged")
        ax.set_aspect("equal")
        for arm, colour in zip(evaluation.arms, COLOURS, strict=False):
            for one in arm.structures():
                drawn |= _curve(ax, of_structure(arm, one), which, colour, "")
            drawn |= _curve(ax, of_average(arm), which, colour, arm.name)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="lower right", frameon=False, title="average of the structures")
        else:
            why = "average of the structures: no case,\nor every case, below the limit"
            ax.text(0.97, 0.04, why, ha="right", color=GREY)
    axes[0].set_ylabel("share of bad cases flagged")
    if not drawn:
        why = "no structure has both good and bad cases"
        return Picture(6, title, missing=why)
    return Picture(6, title, _png(figure))


def _curve(ax: Axes, found: FailureDetection, which: int, colour: str, name: str) -> bool:
    """Draw one ROC, a thin one without a name; False where there is none."""
    if found.dice_limits is None:
        return False
    limit = found.dice_limits[which]
    area = found.auroc(limit)
    if area is None:
        return False
    false, true = roc_curve(found.uncertainty, found.bad(limit))
    if name:
        style = "-" if colour == COLOURS[0] else (0, (4, 1.5))  # both are seen where they meet
        words = f"{name}: AUROC {area:.3f}"
        ax.plot(false, true, color=colour, lw=2.2, ls=style, label=words)
    else:
        ax.plot(false, true, color=colour, lw=0.6, alpha=0.45)
    return True


def side_figure(evaluation: Evaluation) -> Picture:
    """Figure 7: muscles of the affected against the unaffected side, as found.

    Bones have another scale of HU; they are in Table 7.
    """
    title = FIGURE_TITLES[7]
    if not evaluation.names_affected_sides:
        return Picture(7, title, missing="no case names an affected side")
    arm = evaluation.first
    structures = tuple(one for one in arm.structures() if one.group is not Group.BONE)
    if not structures:
        return Picture(7, title, missing="no muscle is annotated")
    normalised = evaluation.knows_heights
    panels = (
        (Quantity.VOLUME, "volume, cm3/m2" if normalised else "volume, cm3"),
        (Quantity.MEAN_HU, "mean HU"),
        (Quantity.UNCERTAINTY, "uncertainty"),
        (Quantity.DICE, "Dice"),
    )
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True)
    sides = (SideClass.UNAFFECTED, SideClass.AFFECTED)
    for ax, (quantity, words) in zip(axes, panels, strict=True):
        groups = [
            [arm.of_side(s, quantity, side, normalised=normalised) for s in structures]
            for side in sides
        ]
        _boxes(ax, groups, [side.value for side in sides])
        ax.set_ylabel(words)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter("")
    axes[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    _structure_ticks(axes[-1], structures)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return Picture(7, title, _png(figure), about=arm.name)


def _boxes(ax: Axes, groups: Sequence[Sequence[Values]], names: Sequence[str]) -> None:
    """Box plots beside each other: median, quartiles, 1.5 IQR, and what lies outside."""
    width = 0.62 / len(groups)
    for place, (values, name) in enumerate(zip(groups, names, strict=True)):
        shift = (place - (len(groups) - 1) / 2) * (width + 0.06)
        known = [column[np.isfinite(column)] for column in values]
        colour = COLOURS[place]
        ax.boxplot(
            known,
            positions=np.arange(len(known)) + shift,
            widths=width,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": colour + "55", "edgecolor": colour},
            medianprops={"color": colour, "lw": 1.6},
            whiskerprops={"color": colour},
            capprops={"color": colour},
            flierprops={"marker": ".", "markersize": 4, "markeredgecolor": colour},
        )
        ax.plot([], [], color=colour, lw=5, alpha=0.6, label=name)
    ax.grid(visible=True)


def _structure_ticks(ax: Axes, structures: Sequence[Structure]) -> None:
    ax.set_xticks(np.arange(len(structures)), [one.abbreviation for one in structures])
    ax.tick_params(axis="x", rotation=45)
    ax.set_xlim(-0.7, len(structures) - 0.3)


def _png(figure: Figure) -> bytes:
    """Without the date, so that the same figures are the same bytes."""
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", metadata={"Software": None})
    return encoded.getvalue()
