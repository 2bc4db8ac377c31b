"""Progress of a run while it goes on: on disk, on a progress bar, as a picture."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from inference.errors import TrainingError
from inference.structures import STRUCTURES
from inference.training.curves import draw_curves

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

HISTORY_FILE: Final = "history.csv"
DICE_FILE: Final = "dice.csv"
CURVES_FILE: Final = "curves.png"
TENSORBOARD_FOLDER: Final = "tensorboard"

HISTORY_COLUMNS: Final = ("iteration", "seconds", "loss")
DICE_COLUMNS: Final = ("iteration", "mean", *(one.abbreviation for one in STRUCTURES))

READ_EVERY_S: Final = 0.5
"""Losses are read from the device so often: each time the device is waited for."""

SMOOTHING_ITERATIONS: Final = 33
"""The bar's loss is a moving average over about so many."""

DRAW_EVERY_S: Final = 60.0
"""The curves are drawn anew so often at most."""


class History:
    """Losses and Dice of a run: a line of a CSV each, the bar, TensorBoard, and curves.

    Reading a loss waits for the device, so losses are gathered there and read together.
    """

    def __init__(
        self, folder: Path, files: tuple[TextIO, TextIO], bar: Bar, board: SummaryWriter | None
    ) -> None:
        self._folder, self._bar, self._board = folder, bar, board
        self._losses, self._dice = files
        self._unread: list[tuple[int, float, Tensor]] = []
        self._read_at = time.monotonic()
        self._drawn_at = -math.inf

    def note(self, iteration: int, seconds: float, loss: Tensor) -> None:
        """Take up a loss; what came in goes to disk about twice a second."""
        self._unread.append((iteration, seconds, loss))
        if time.monotonic() - self._read_at >= READ_EVERY_S:
            self.write()

    def plan(self, iterations: int) -> None:
        """Take up how many there will be."""
        self._bar.plan(iterations)

    def write(self) -> None:
        """Read the losses that came in and write them down.

        Raises:
            TrainingError: the loss is no number any more; the weights are lost.
        """
        unread, self._unread = self._unread, []
        losses = torch.stack([loss for *_, loss in unread]).tolist() if unread else []
        rows = [(*one[:2], loss) for one, loss in zip(unread, losses, strict=True)]
        self._losses.writelines(f"{k},{seconds:.1f},{loss:.5f}\n" for k, seconds, loss in rows)
        self._losses.flush()
        for iteration, _, loss in rows:
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at iteration {iteration}; a lower learning_rate or"
                    ' precision = "float32" may help'
                )
        if rows:
            self._bar.show(rows[-1][0], losses)
            self._tell("loss", float(np.mean(losses)), rows[-1][0])
        self._read_at = time.monotonic()

    def note_dice(self, iteration: int, dice: NDArray[np.float64]) -> None:
        """Write down the Dice of the held-out cases, (22,), nan where there is none."""
        mean = mean_of(dice)
        cells = ["" if math.isnan(one) else f"{one:.4f}" for one in (mean, *dice)]
        self._dice.write(f"{iteration},{','.join(cells)}\n")
        self._dice.flush()
        self._bar.show_dice(mean)
        for name, value in zip(DICE_COLUMNS[1:], (mean, *dice), strict=True):
            self._tell(f"Dice/{name}", float(value), iteration)
        if time.monotonic() - self._drawn_at >= DRAW_EVERY_S:
            self.draw()

    def draw(self) -> None:
        """Draw the curves of what is written down so far."""
        names = (HISTORY_FILE, DICE_FILE, CURVES_FILE)
        draw_curves(*(self._folder / name for name in names))
        self._drawn_at = time.monotonic()

    def _tell(self, tag: str, value: float, iteration: int) -> None:
        if self._board is not None and math.isfinite(value):
            self._board.add_scalar(tag, value, iteration)


def mean_of(dice: NDArray[np.float64]) -> float:
    """The mean over the structures that have a Dice; nan where none has."""
    known = dice[np.isfinite(dice)]
    return float(known.mean()) if len(known) else math.nan


@contextlib.contextmanager
def history_of(
    folder: Path, iteration: int, iterations: int, *, shown: bool, tensorboard: bool = False
) -> Iterator[History]:
    """The history in a folder, of a run that goes on after an iteration.

    Later lines were written by a run that was killed before its next checkpoint, and go:
    those iterations are done again. At the end of the block the curves are drawn.

    Raises:
        TrainingError: TensorBoard is asked for and not installed.
    """
    _cut(folder / HISTORY_FILE, HISTORY_COLUMNS, iteration)
    _cut(folder / DICE_FILE, DICE_COLUMNS, iteration)
    with contextlib.ExitStack() as stack:
        losses, dice = (
            stack.enter_context((folder / name).open("a", encoding="utf-8"))
            for name in (HISTORY_FILE, DICE_FILE)
        )
        board = _board(folder / TENSORBOARD_FOLDER, iteration) if tensorboard else None
        if board is not None:
            stack.callback(board.close)
        bar = stack.enter_context(_bar(iterations, shown=shown))
        history = History(folder, (losses, dice), bar, board)
        yield history
        history.draw()


def _cut(path: Path, columns: tuple[str, ...], iteration: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    whole = [cells for line in lines if len(cells := line.split(",")) == len(columns)]
    kept = [cells for cells in whole if cells[0].isdigit() and int(cells[0]) <= iteration]
    temporary = path.with_suffix(".part")
    rows = [",".join(cells) for cells in (columns, *kept)]
    temporary.write_text("\n".join([*rows, ""]), encoding="utf-8")
    temporary.replace(path)


def _board(folder: Path, iteration: int) -> SummaryWriter:
    """TensorBoard's writer; what is later than the iteration is hidden: it is done again."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise TrainingError(
            "TensorBoard is not installed; the extra `tensorboard` brings it"
        ) from error
    return SummaryWriter(str(folder), purge_step=iteration + 1)


class Bar:
    """The progress bar; shows a smoothed loss and the last Dice of the held-out cases."""

    def __init__(self, bar: Progress, iterations: int) -> None:
        self._bar = bar
        self._task = bar.add_task("training", total=iterations, loss=math.nan, dice="")
        self._loss: float | None = None

    def show(self, iteration: int, losses: list[float]) -> None:
        """Move to an iteration whose loss is the last of these."""
        for loss in losses:
            before = loss if self._loss is None else self._loss
            self._loss = before + (loss - before) / SMOOTHING_ITERATIONS
        self._bar.update(self._task, completed=iteration, loss=self._loss)

    def plan(self, iterations: int) -> None:
        """Reach to so many iterations."""
        self._bar.update(self._task, total=iterations)

    def show_dice(self, mean: float) -> None:
        """Show the mean Dice of the held-out cases."""
        self._bar.update(self._task, dice=f"Dice {mean:.3f}")


@contextlib.contextmanager
def _bar(iterations: int, *, shown: bool) -> Iterator[Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[dice]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not shown) as bar:
        yield Bar(bar, iterations)
