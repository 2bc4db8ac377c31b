"""The history of a run: every iteration once, also after a kill; no loss that is nan."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference.errors import TrainingError
from inference.training.curves import thinned
from inference.training.history import history_of


def written(folder: Path, iteration: int, losses: list[float]) -> list[str]:
    with history_of(folder, iteration, 10, shown=False) as history:
        for k, loss in enumerate(losses, iteration + 1):
            history.note(k, 0.5 * k, torch.tensor(loss))
        history.write()
    return (folder / "history.csv").read_text(encoding="utf-8").splitlines()


def test_every_iteration_has_its_line(tmp_path: Path) -> None:
    lines = written(tmp_path, 0, [3.0, 2.5])

    assert lines == ["iteration,seconds,loss", "1,0.5,3.00000", "2,1.0,2.50000"]


def test_lines_after_the_checkpoint_go_and_are_written_anew(tmp_path: Path) -> None:
    """Killed in iteration 4, within a line; the checkpoint is of iteration 2."""
    written(tmp_path, 0, [3.0, 2.5, 2.0])
    with (tmp_path / "history.csv").open("a", encoding="utf-8") as file:
        file.write("4,2.")

    lines = written(tmp_path, 2, [2.25])

    assert [line.split(",")[0] for line in lines] == ["iteration", "1", "2", "3"]
    assert lines[-1] == "3,1.5,2.25000"


def test_a_loss_that_is_no_number_ends_the_run_after_it_is_written_down(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="loss is nan at iteration 2"):
        written(tmp_path, 0, [3.0, float("nan")])

    assert (tmp_path / "history.csv").read_text(encoding="utf-8").endswith("2,1.0,nan\n")


def dice(first: float) -> NDArray[np.float64]:
    """Two structures of 22 have a Dice."""
    values = np.full(22, np.nan)
    values[:2] = first, 0.5
    return values


def test_dice_has_a_mean_over_the_structures_that_have_one(tmp_path: Path) -> None:
    with history_of(tmp_path, 0, 10, shown=False) as history:
        history.note_dice(5, dice(0.9))

    head, line = (tmp_path / "dice.csv").read_text(encoding="utf-8").splitlines()
    assert head.startswith("iteration,mean,PELVIS,FEMUR,SACRUM")
    assert line == "5,0.7000,0.9000,0.5000" + "," * 20


def test_curves_are_drawn_of_what_is_written(tmp_path: Path) -> None:
    with history_of(tmp_path, 0, 10, shown=False) as history:
        history.note(1, 0.5, torch.tensor(3.0))
        history.write()
        history.note_dice(1, dice(0.9))

    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_long_histories_are_drawn_as_means() -> None:
    """1000 rows in 500 parts of two: the first is the mean of rows 0 and 1."""
    rows = np.stack([np.arange(1000.0), 2 * np.arange(1000.0)], axis=1)

    iterations, losses = thinned(rows)

    assert len(iterations) == 500
    assert (iterations[0], losses[0]) == (0.5, 1.0)


def test_tensorboard_gets_losses_and_dice(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an extra")
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    with history_of(tmp_path, 0, 10, shown=False, tensorboard=True) as history:
        history.note(1, 0.5, torch.tensor(3.0))
        history.write()
        history.note_dice(1, dice(0.9))

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "Dice/mean", "Dice/PELVIS", "Dice/FEMUR"}
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 3.0)]
