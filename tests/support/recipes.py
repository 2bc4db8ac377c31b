"""Recipes small enough for a test."""

from __future__ import annotations

from pathlib import Path

SMALL = """
name = "small"
version = "0"
seed = 7
samples = 2
[data]
phantom_share = 1.0
sources = ["phantom"]
[network]
layers = 2
filters = 4
batch_normalisation = true
[input]
high_value = 1.0
pixel_mm = 2.0
[training]
iterations = 3
batch = 2
crop = [32, 48]
learning_rate = 1e-2
warm_up = 1
averaging = 0.9
bodies_at_once = 1
iterations_per_body = 100
threads = 1
"""


def small_recipe(folder: Path, *changes: tuple[str, str]) -> Path:
    """A recipe for phantoms and a tiny network, with some text replaced."""
    text = SMALL
    for old, new in changes:
        if old not in text:
            raise ValueError(f"{old!r} is not in the recipe")
        text = text.replace(old, new)
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path
