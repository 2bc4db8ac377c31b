"""A training that is killed goes on at the very iteration, and ends with the very weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from support.training_cases import block_cases, case_recipe

from inference.training.labelled.cases import cases_of
from inference.training.recipe import read_recipe

ITERATIONS = 36
WAIT_S = 600.0


def started(recipe: Path, cache: Path, out: Path) -> subprocess.Popen[bytes]:
    """A process that trains, on one thread; it writes a checkpoint whenever it may."""
    asked = [str(recipe), "--cache", str(cache), "--out", str(out)]
    command = [sys.executable, "-m", "inference.training.train", *asked]
    command += ["--device", "cpu", "--checkpoint-s", "0", "--no-bar"]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def finish(process: subprocess.Popen[bytes]) -> None:
    assert process.wait(WAIT_S) == 0


def done(out: Path) -> list[str]:
    """Iterations in the history, and their losses."""
    path = out / "history.csv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    return [",".join(line.split(",")[::2]) for line in lines]


def kill_after(process: subprocess.Popen[bytes], out: Path, iteration: int) -> None:
    """SIGKILL as soon as a checkpoint and the history of some iteration are there."""
    deadline = time.monotonic() + WAIT_S
    while len(done(out)) < iteration or not (out / "checkpoint.safetensors").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(WAIT_S) == -signal.SIGKILL


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    changes = ("iterations = 3", f"iterations = {ITERATIONS}")
    path = case_recipe(tmp_path, changes, ("every = 10", "every = 12"))
    cache = tmp_path / "cache"
    cases_of(read_recipe(path), tmp_path, cache, lambda *_: block_cases(4))
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    undisturbed = started(path, cache, whole)
    kill_after(started(path, cache, killed), killed, iteration=15)
    finish(started(path, cache, killed))
    finish(undisturbed)

    expected = load_file(whole / "checkpoint.safetensors")
    found = load_file(killed / "checkpoint.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert done(killed) == done(whole)
    assert len(done(whole)) == ITERATIONS
    dice = [(out / "dice.csv").read_text(encoding="utf-8") for out in (whole, killed)]
    assert dice[0] == dice[1]
    weights = [out / "small" / "weights.safetensors" for out in (whole, killed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
