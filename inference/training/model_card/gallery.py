"""A picture of what a recipe trains on: one training image of each of its first bodies.

python -m inference.training.model_card.gallery RECIPE.toml --data FOLDER --out FILE.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inference.training.recipe import Recipe, read_recipe
from inference.training.synthesis.fields import Draw
from inference.training.synthesis.scanner import View
from inference.training.synthesis.stream import (
    IMAGE,
    Sources,
    Stock,
    draw_images,
    make_body,
    slice_chances,
)

COLUMNS: Final = 4
SHOWN_HU: Final = (-160.0, 300.0)
"""Black and white of the picture: soft tissue in the middle."""


def training_images(recipe: Recipe, data: Path, count: int, device: str) -> Tensor:
    """HU `[count, *crop]`: an augmented slice of each of a recipe's first bodies."""
    sources = Sources.of(recipe, data, device)
    view = View(recipe.training.crop, sources.grid.pixel_mm)
    images = []
    for number in range(count):
        body = make_body(sources, recipe.seed, number)
        chances = slice_chances(body.labels, body.spacing_mm[0])
        hu, labels = torch.from_numpy(body.hu), torch.from_numpy(body.labels)
        draw = Draw(recipe.seed, IMAGE, number)
        images.append(draw_images([Stock(hu, labels, chances)], 1, draw, view)[0][0])
    return torch.stack(images)


def side_by_side(images: Tensor) -> NDArray[np.uint8]:
    """Grey values of images in rows of `COLUMNS`; black where the last row is not full."""
    low, high = SHOWN_HU
    grey = ((images.clamp(low, high) - low) / (high - low) * 255).byte().numpy()
    missing = -len(grey) % COLUMNS
    filled = np.concatenate([grey, np.zeros((missing, *grey.shape[1:]), np.uint8)])
    count, rows, columns = filled.shape
    grid = filled.reshape(count // COLUMNS, COLUMNS, rows, columns)
    return grid.swapaxes(1, 2).reshape(count // COLUMNS * rows, COLUMNS * columns)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path(), help="where its label maps lie")
    parser.add_argument("--out", type=Path, required=True, help="PNG")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--device", default="cpu", help="where the bodies are made")
    asked = parser.parse_args(arguments)
    images = training_images(read_recipe(asked.recipe), asked.data, asked.count, asked.device)
    Image.fromarray(side_by_side(images)).save(asked.out)


if __name__ == "__main__":
    main()
