"""Labelled cases that no training has seen: `python -m inference.training.held_out --help`.

    python -m inference.training.held_out RECIPE.toml --data FOLDER --out CASES --bodies 5
    msk-node evaluate CASES --bundle BUNDLE --samples 1,5,10,15,20 --out REPORT

draws bodies as a training of the recipe would, with another seed, and writes each with a
scanner's usual noise as a case that `msk-node evaluate` and `msk-node calibrate` read:
`CASES/body01/image.nii.gz` and `labels.nii.gz`, labels 1 to 22. They say how well a training
converged, not how well a network works on patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from numpy.typing import NDArray

from inference.training.calibrate import USUAL, as_image, corrupt, thinned
from inference.training.dataset import Sources, make_body
from inference.training.recipe import read_recipe
from inference.training.scoring import LabelledImage

SAMPLES_SEED: Final = 990003
"""Of the bodies on which the number of samples is chosen: neither trained nor calibrated on."""


def write_case(folder: Path, image: LabelledImage) -> None:
    """Write an image and its labels, as `[slice, row, column]` from feet, front and right."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, voxels in (("image", image.hu), ("labels", image.labels)):
        sitk.WriteImage(_on_grid(voxels, image.spacing_mm), str(folder / f"{name}.nii.gz"))


def _on_grid(voxels: NDArray[Any], spacing_mm: tuple[float, float, float]) -> sitk.Image:
    """In the patient frame, whose axes SimpleITK's are without a direction (LPS)."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing_mm[::-1])
    return image


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw bodies and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path(), help="of the recipe's label maps")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bodies", type=int, default=5)
    parser.add_argument("--every", type=int, default=1, help="only each n-th slice")
    parser.add_argument("--seed", type=int, default=SAMPLES_SEED)
    asked = parser.parse_args(arguments)
    recipe = read_recipe(asked.recipe)
    if asked.seed == recipe.seed:
        parser.error(f"--seed {asked.seed} is the training's own: those bodies were seen")
    sources = Sources.of(recipe, asked.data)
    for number in range(asked.bodies):
        body = thinned(as_image(make_body(sources, asked.seed, number)), asked.every)
        write_case(asked.out / f"body{number + 1:02d}", corrupt(body, USUAL, number))


if __name__ == "__main__":
    main()
