"""The history of a run: every iteration once, also after a kill; no loss that is nan."""

from pathlib import Path

import pytest
import torch

from inference.errors import TrainingError
from inference.training.history import history_of


def written(path: Path, iteration: int, losses: list[float]) -> list[str]:
    with history_of(path, iteration, 10, shown=False) as history:
        for k, loss in enumerate(losses, iteration + 1):
            history.note(k, 0.5 * k, torch.tensor(loss))
        history.write()
    return path.read_text(encoding="utf-8").splitlines()


def test_every_iteration_has_its_line(tmp_path: Path) -> None:
    lines = written(tmp_path / "history.csv", 0, [3.0, 2.5])

    assert lines == ["iteration,seconds,loss", "1,0.5,3.00000", "2,1.0,2.50000"]


def test_lines_after_the_checkpoint_go_and_are_written_anew(tmp_path: Path) -> None:
    """Killed in iteration 4, within a line; the checkpoint is of iteration 2."""
    path = tmp_path / "history.csv"
    written(path, 0, [3.0, 2.5, 2.0])
    with path.open("a", encoding="utf-8") as file:
        file.write("4,2.")

    lines = written(path, 2, [2.25])

    assert [line.split(",")[0] for line in lines] == ["iteration", "1", "2", "3"]
    assert lines[-1] == "3,1.5,2.25000"


def test_a_loss_that_is_no_number_ends_the_run_after_it_is_written_down(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"

    with pytest.raises(TrainingError, match="loss is nan at iteration 2"):
        written(path, 0, [3.0, float("nan")])

    assert path.read_text(encoding="utf-8").endswith("2,1.0,nan\n")
