"""Dice of the cases that a run does not see, while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.sampler import Sampler
from inference.structures import LABEL_COUNT
from inference.training.labelled.preparation import PreparedCase
from inference.training.run import Run

SLICES_AT_ONCE: Final = 8


def held_out_dice(run: Run, cases: Sequence[PreparedCase], slices: int) -> NDArray[np.float64]:
    """(22,) Dice of every structure, the mean over the cases that show it; nan where none.

    The averaged weights segment without dropout: one pass instead of many, a little below
    what the mean of many samples reaches.

    Args:
        run: whose weights are tried; they stay as they are.
        cases: on the network's pixels; slices lie as they were prepared.
        slices: this many at most, evenly over all cases; 0: all.
    """
    sampler = Sampler.of(run.average, run.device, Precision(), run.recipe.window)
    total = sum(len(case.hu()) for case in cases)
    every = max(1, -(-total // slices)) if slices else 1
    scores = [_dice(run, sampler, case, every) for case in cases]
    return np.array([_mean(column) for column in np.array(scores).T])


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


@torch.no_grad()
def _dice(run: Run, sampler: Sampler, case: PreparedCase, every: int) -> NDArray[np.float64]:
    """(22,) Dice over every n-th slice of a case; nan where a structure is not in the truth."""
    hu, labels = case.hu(), case.labels()
    pairs = torch.zeros(LABEL_COUNT**2, dtype=torch.int64, device=run.device)
    places = range(every // 2 if len(hu) > every // 2 else 0, len(hu), every)
    for start in range(0, len(places), SLICES_AT_ONCE):
        part = list(places[start : start + SLICES_AT_ONCE])
        slices = torch.from_numpy(np.array(hu[part])).to(run.device)
        truth = torch.from_numpy(np.array(labels[part])).to(run.device).long()
        images = run.recipe.window.apply(slices)[:, None]
        found = sampler.softmax_without_dropout(images).argmax(1)
        pairs += torch.bincount((truth * LABEL_COUNT + found).flatten(), minlength=len(pairs))
    counts = pairs.view(LABEL_COUNT, LABEL_COUNT).cpu().numpy().astype(np.float64)
    true, predicted, both = counts.sum(1)[1:], counts.sum(0)[1:], counts.diagonal()[1:]
    return np.where(true > 0, 2 * both / np.maximum(true + predicted, 1), np.nan)
