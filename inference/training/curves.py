"""The course of a run as a picture: its loss, and the Dice of the held-out cases."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

POINTS: Final = 500
"""The loss is drawn as the means of this many parts of the run."""


def draw_curves(history: Path, dice: Path, out: Path) -> None:
    """Draw what a run has written down so far.

    Args:
        history: CSV with iteration, seconds and loss; see `history`.
        dice: CSV with iteration, mean and one column a structure; may be missing.
        out: PNG.
    """
    figure = Figure(figsize=(8, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    _draw_loss(upper, history)
    _draw_dice(lower, dice)
    lower.set_xlabel("iteration")
    temporary = out.with_suffix(".part")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(out)


def _draw_loss(axes: Axes, history: Path) -> None:
    iterations, losses = thinned(_numbers(history)[:, [0, 2]])
    axes.plot(iterations, losses, color="tab:blue")
    axes.set_yscale("log")
    axes.set_ylabel("loss")
    axes.grid(visible=True, alpha=0.3)


def _draw_dice(axes: Axes, dice: Path) -> None:
    axes.set_ylabel("Dice, held-out cases")
    axes.set_ylim(0, 1)
    axes.grid(visible=True, alpha=0.3)
    rows = _numbers(dice) if dice.exists() else np.zeros((0, 2))
    if not len(rows):
        axes.text(0.5, 0.5, "no case is held out", ha="center", transform=axes.transAxes)
        return
    axes.plot(rows[:, 0], rows[:, 2:], color="grey", alpha=0.35, linewidth=0.8)
    axes.plot(rows[:, 0], rows[:, 1], color="tab:red", marker=".", label="mean")
    axes.plot([], [], color="grey", alpha=0.6, label="single structures")
    axes.legend(loc="lower right")


def _numbers(path: Path) -> NDArray[np.float64]:
    """The rows of a CSV below its head, `[row, column]`; an empty cell is nan."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head, *rows = [line.split(",") for line in lines]
    cells = [[float(cell) if cell else math.nan for cell in row] for row in rows]
    return np.array(cells, dtype=np.float64).reshape(-1, len(head))


def thinned(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[row, 2]` as two columns of at most POINTS means."""
    parts = np.array_split(rows, min(len(rows), POINTS)) if len(rows) else []
    means = np.array([part.mean(0) for part in parts]).reshape(-1, 2)
    return means[:, 0], means[:, 1]
