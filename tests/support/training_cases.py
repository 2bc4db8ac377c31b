"""Labelled cases small enough to train on in a test: bright blocks in a dim body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.training.labelled.preparation import Case
from inference.volume import Volume
from support.recipes import small_recipe

SYNTHETIC = "phantom_share = 1.0"


def block_volume(seed: int, slices: int = 6) -> tuple[Volume, NDArray[np.uint8]]:
    """A body of 0 HU in air; label 2 is a block of 200 HU in it, elsewhere in every case."""
    random = np.random.default_rng(seed)
    hu = np.full((slices, 40, 56), -1000, np.int16)
    hu[:, 4:36, 6:50] = random.normal(0, 10, (slices, 32, 44)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    top, left = (int(n) for n in random.integers((8, 10), (20, 34)))
    block = np.s_[:, top : top + 12, left : left + 12]
    hu[block], labels[block] = 200, 2
    return Volume(hu, Geometry.regular(hu.shape, (5.0, 2.0, 2.0))), labels


def block_cases(count: int) -> tuple[Case, ...]:
    """Cases of as many patients."""
    return tuple(
        Case(f"case-{n}", f"patient-{n}", f"print-{n}", lambda n=n: block_volume(n))
        for n in range(count)
    )


def case_recipe(folder: Path, *changes: tuple[str, str]) -> Path:
    """A recipe for such cases, in two folds."""
    held_out = "[folds]\ncount = 2\n[held_out]\nevery = 10\n[training]"
    cases = 'cases = "cases"\nslice_mm = 0'
    return small_recipe(folder, (SYNTHETIC, cases), ("[training]", held_out), *changes)
