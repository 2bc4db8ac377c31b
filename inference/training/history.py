"""What a run tells of itself while it goes on: a history on disk and a progress bar."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import torch
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

COLUMNS: Final = "iteration,seconds,loss"

READ_EVERY_S: Final = 0.5
"""Losses are read from the device so often: each time the device is waited for."""

SMOOTHING_ITERATIONS: Final = 33
"""The bar's loss is a moving average over about so many."""


class History:
    """The losses of a run: a line of a CSV for every iteration, and the bar's loss.

    Reading a loss waits for the device, so losses are gathered there and read together.
    """

    def __init__(self, file: TextIO, bar: Bar) -> None:
        self._file, self._bar = file, bar
        self._unread: list[tuple[int, float, Tensor]] = []
        self._read_at = time.monotonic()

    def note(self, iteration: int, seconds: float, loss: Tensor) -> None:
        """Take up a loss; what came in goes to disk about twice a second."""
        self._unread.append((iteration, seconds, loss))
        if time.monotonic() - self._read_at >= READ_EVERY_S:
            self.write()

    def write(self) -> None:
        """Read the losses that came in and write them down.

        Raises:
            TrainingError: the loss is no number any more; the weights are lost.
        """
        unread, self._unread = self._unread, []
        losses = torch.stack([loss for *_, loss in unread]).tolist() if unread else []
        rows = [(*one[:2], loss) for one, loss in zip(unread, losses, strict=True)]
        self._file.writelines(f"{k},{seconds:.1f},{loss:.5f}\n" for k, seconds, loss in rows)
        self._file.flush()
        for iteration, _, loss in rows:
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at iteration {iteration}; a lower learning_rate or"
                    ' precision = "float32" may help'
                )
        if rows:
            self._bar.show(rows[-1][0], losses)
        self._read_at = time.monotonic()


@contextlib.contextmanager
def history_of(
    path: Path, iteration: int, iterations: int, *, shown: bool
) -> Iterator[History]:
    """The history of a run that goes on after an iteration.

    Later lines were written by a run that was killed before its next checkpoint, and go:
    those iterations are done again.
    """
    _cut(path, iteration)
    with path.open("a", encoding="utf-8") as file, _bar(iterations, shown=shown) as bar:
        yield History(file, bar)


def _cut(path: Path, iteration: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    whole = (line for line in lines if line.count(",") == COLUMNS.count(","))
    kept = [
        line for line in whole if (k := line.split(",")[0]).isdigit() and int(k) <= iteration
    ]
    temporary = path.with_suffix(".part")
    temporary.write_text("\n".join([COLUMNS, *kept, ""]), encoding="utf-8")
    temporary.replace(path)


class Bar:
    """The progress bar; shows a smoothed loss."""

    def __init__(self, bar: Progress, iterations: int) -> None:
        self._bar = bar
        self._task = bar.add_task("training", total=iterations, loss=float("nan"))
        self._loss: float | None = None

    def show(self, iteration: int, losses: list[float]) -> None:
        """Move to an iteration whose loss is the last of these."""
        for loss in losses:
            before = loss if self._loss is None else self._loss
            self._loss = before + (loss - before) / SMOOTHING_ITERATIONS
        self._bar.update(self._task, completed=iteration, loss=self._loss)


@contextlib.contextmanager
def _bar(iterations: int, *, shown: bool) -> Iterator[Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not shown) as bar:
        yield Bar(bar, iterations)
