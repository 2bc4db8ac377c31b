"""Charts as SVG inside a page: what every figure of the cohort's report shares.

Text stays text (small files, sharp at any size, found by a search). Identifiers get the
chart's own prefix: several charts stand in one document. Colours are those of Okabe and Ito
(2008), told apart by the colour-blind; what they tell is told by place, hatch or mark too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

Values = NDArray[np.float64]

BLUE, ORANGE, GREEN, VERMILLION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, YELLOW, GREY = "#cc79a7", "#56b4e9", "#f0e442", "#8a8f94"
INK: Final = "#1d2329"

FEWEST_FOR_BOX: Final = 5
"""Fewer values are drawn as what they are: points."""

WIDTH_IN: Final = 11.0
LONGEST_NAME: Final = 30

STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e4e7ea",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}

_IDS: Final = re.compile(r'(\bid="|href="#|url\(#)')
_HEAD: Final = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA: Final = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE: Final = re.compile(
    r'\s*<defs>\s*<style type="text/css">.*?</style>\s*</defs>', re.DOTALL
)
_FONT: Final = "'DejaVu Sans'"
_FONTS: Final = "'DejaVu Sans', Verdana, 'Liberation Sans', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of the report.

    alt: what it shows, for those who do not see it; its numbers stand in a table.
    svg: an element; empty where `missing` says why there is none.
    caption: how to read it.
    """

    title: str
    alt: str = ""
    svg: str = ""
    caption: str = ""
    missing: str = ""


def tint(colour: str, share: float = 0.35) -> str:
    """A light, opaque tone of a colour: hatches are lost on a transparent one."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


def styled() -> AbstractContextManager[None]:
    """The settings under which charts are drawn."""
    return mpl.rc_context(STYLE)


def svg_of(figure: Figure, prefix: str) -> str:
    """A figure as an SVG element; the same figure gives the same text.

    Args:
        figure: drawn within `styled`.
        prefix: of every identifier inside; unlike all others of the page.
    """
    encoded = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(encoded, format="svg", metadata={"Date": None, "Creator": None})
    text = _HEAD.sub("", encoded.getvalue())
    text = _STYLE.sub("", _METADATA.sub("", text))
    text = _IDS.sub(rf"\g<1>{prefix}-", text)
    return text.replace(_FONT, _FONTS).strip()


def shown_name(words: str) -> str:
    """A name of people's as a label: short, and of signs that the font has.

    The table beside the chart gives it in full.
    """
    kept = "".join(sign if sign.isprintable() and ord(sign) < 0x250 else "?" for sign in words)
    short = kept if len(kept) <= LONGEST_NAME else f"{kept[: LONGEST_NAME - 3]}..."
    return short.strip().lstrip("_") or "?"


def box(  # noqa: PLR0913 - what a box looks like
    ax: Axes,
    values: Values,
    place: float,
    colour: str,
    *,
    width: float = 0.6,
    hatch: str = "",
    upright: bool = True,
) -> None:
    """A box of quartiles with whiskers to the 5th and 95th percentile; points of few values."""
    known = values[np.isfinite(values)]
    if not len(known):
        return
    if len(known) < FEWEST_FOR_BOX:
        places = np.full(len(known), place)
        pair = (places, known) if upright else (known, places)
        ax.plot(*pair, "o", color=colour, markersize=3.5, markerfacecolor="none")
        return
    lower, first, median, third, upper = np.percentile(known, (5, 25, 50, 75, 95))
    stats = {"med": median, "q1": first, "q3": third, "whislo": lower, "whishi": upper}
    ax.bxp(
        [stats],
        positions=[place],
        widths=width,
        orientation="vertical" if upright else "horizontal",
        patch_artist=True,
        manage_ticks=False,
        showfliers=False,
        showcaps=False,
        boxprops={"facecolor": tint(colour), "edgecolor": colour, "hatch": hatch, "lw": 0.9},
        medianprops={"color": INK, "lw": 1.4},
        whiskerprops={"color": colour, "lw": 0.9},
    )


def grid_of(figure: Figure, panels: int, columns: int) -> Sequence[Axes]:
    """Axes for panels, row by row; those that are not needed are away."""
    rows = -(-panels // columns)
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes[panels:]:
        ax.set_axis_off()
    return axes[:panels]


def swatch(colour: str, hatch: str, words: str) -> Patch:
    """An entry of the legend that looks like a box."""
    return Patch(facecolor=tint(colour), edgecolor=colour, hatch=hatch, label=words)
